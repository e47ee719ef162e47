/*
 * VMs: list, create, read, change, delete, and the actions on them.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "api/handlers/wait.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/console.h"
#include "service/vm/core.h"
#include "service/vm/vm.h"

#define LABEL_FILTERS_MAX   8
#define REASON_WAIT_MS      2000

/* ---- list ---- */

struct label_filter {
    char *keys[LABEL_FILTERS_MAX];
    const char *values[LABEL_FILTERS_MAX];
    size_t count;
    struct error *err;
};

static void label_filter_done(struct label_filter *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->keys[i]);
}

static int label_argument(void *arg, const char *name, const char *value)
{
    struct label_filter *f = arg;
    const char *equals = strchr(value, '=');

    if (!str_eq(name, "label"))
        return 0;
    if (!equals || equals == value)
        return error_set_at(f->err, ERROR_INVALID_ARGUMENT, "label", "label must be key=value");
    if (f->count == LABEL_FILTERS_MAX)
        return error_set_at(f->err, ERROR_INVALID_ARGUMENT, "label",
                            "label may be given at most %d times", LABEL_FILTERS_MAX);
    f->keys[f->count] = xstrndup(value, (size_t)(equals - value));
    f->values[f->count++] = equals + 1;
    return 0;
}

static int state_argument(const struct request *req, int *ret, struct error *err)
{
    const char *name = request_query(req, "state");
    enum vm_state state;

    if (!name)
        return 0;
    state = vm_state_from_name(name);
    if (state == VM_STATE_COUNT)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "state", "there is no state %s", name);
    *ret = (int)state;
    return 0;
}

int handle_vm_list(struct request *req, struct response *res, struct error *err)
{
    auto_scope(label_filter_done) struct label_filter labels = {.err = err};
    struct vm_filter filter = {.project_id = req->principal.project_id, .state = -1};
    struct page page;
    char cursor[PAGE_CURSOR_SIZE];
    const char *next = NULL;
    struct vm **vms;
    size_t count;
    bool more;

    if (page_read(req, &page, err) || state_argument(req, &filter.state, err) ||
        request_query_each(req, label_argument, &labels))
        return -1;
    filter.name = request_query(req, "name");
    filter.set = request_query(req, "set");
    filter.label_keys = (const char *const *)labels.keys;
    filter.label_values = labels.values;
    filter.label_count = labels.count;
    filter.after_seq = page.after;
    filter.limit = (size_t)page.limit;
    vm_list(req->core, &filter, &vms, &count, &more);
    if (more && count)
        next = page_next(req, res, vms[count - 1]->seq, cursor);
    response_blob(res, 200, codec_vm_list(vms, count, next));
    for (size_t i = 0; i < count; i++)
        vm_unref(vms[i]);
    free(vms);
    return 0;
}

/* ---- read ---- */

static int answer_vm(struct response *res, struct vm *vm)
{
    answer_etag(res, vm);
    response_blob(res, 200, codec_vm(vm));
    return 0;
}

int handle_vm_get(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);

    return vm ? answer_vm(res, vm) : -1;
}

int handle_vm_timeline(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);

    if (!vm)
        return -1;
    response_json(res, 200, codec_timeline(vm));
    return 0;
}

/* Whole, and to those who may change it: it is not shown anywhere else. */
int handle_user_data(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);

    if (!vm)
        return -1;
    if (!vm->spec->user_data) {
        error_set(err, ERROR_NOT_FOUND, "VM %s has no user data", vm->spec->name);
        return -1;
    }
    response_text(res, 200, "text/plain; charset=utf-8", vm->spec->user_data);
    return 0;
}

/* ---- create ---- */

/* ?wait=, and what is said when it does not come. */
static const struct {
    const char *name, *not_yet, *never;
} waits[WAIT_VM_COUNT] = {
    [WAIT_VM_RUNNING] = {"running", "does not run yet", "running"},
    [WAIT_VM_CONSOLE] = {"console", "its console is silent", "heard"},
    [WAIT_VM_READY] = {"ready", "has not said that it is ready", "ready"},
};

struct create_wait {
    char vm_id[UUID_TEXT], op_id[UUID_TEXT];
    struct wait_request wanted;
    enum wait_vm what; /* to be seen first, and often all */
    int64_t seconds, deadline;
    bool replayed;
    bool awaits_reason; /* it failed; the operation is about to say why */
    struct guest_task *task;
};

static void create_wait_free(void *arg)
{
    struct create_wait *wait = arg;

    guest_task_unref(wait->task);
    free(wait);
}

static void answer_created(struct response *res, struct vm *vm, const struct op *op, bool replayed)
{
    response_header(res, "Location", "/v1/vms/%s", vm->id);
    answer_etag(res, vm);
    answer_replayed(res, replayed);
    response_blob(res, 201, codec_vm_created(vm, op));
}

static bool came_true(struct request *req, const struct vm *vm, enum wait_vm what)
{
    if (what == WAIT_VM_CONSOLE)
        return console_has_output(core_consoles(req->core), vm->id, "console");
    if (what == WAIT_VM_READY)
        return vm->marks[VM_MARK_READY] != 0;
    /* A guest may be done before anybody looks; it ran all the same. */
    return vm->started_at != 0 && vm->state != VM_STATE_STARTING;
}

static int create_failed(const struct create_wait *wait, enum wait_result result,
                         const struct vm *vm, const struct op *op, struct error *err)
{
    if (result == WAIT_STOPPING) {
        error_set(err, ERROR_SHUTTING_DOWN,
                  "VM %s exists; the daemon stopped while it was waited for", wait->vm_id);
    } else if (op && op->state == OP_FAILED) {
        *err = op->error;
    } else if (result == WAIT_TIMEOUT && !wait->awaits_reason) {
        error_set(err, ERROR_TIMEOUT, "VM %s exists; after %lld s it is %s and %s", wait->vm_id,
                  (long long)wait->seconds, vm ? vm_state_name(vm->state) : "deleted",
                  waits[wait->what].not_yet);
    } else {
        error_set(err, ERROR_VM_STATE_CONFLICT, "VM %s is %s%s%s", wait->vm_id,
                  vm ? vm_state_name(vm->state) : "deleted", vm && *vm->state_reason ? ": " : "",
                  vm ? vm->state_reason : "");
    }
    if (vm)
        error_remedy(err, "The VM stays: look at /v1/vms/%s, or delete it.", wait->vm_id);
    return -1;
}

static int guest_resume(struct request *req, struct response *res, struct error *err)
{
    struct create_wait *wait = request_kept(req);
    const char *project = req->principal.project_id;
    struct error why = ERROR_INIT;
    auto_vm struct vm *vm = vm_find(req->core, project, wait->vm_id, &why);
    auto_op struct op *op = *wait->op_id ? op_find(req->core, project, wait->op_id, &why) : NULL;

    if (request_wait_result(req) == WAIT_STOPPING)
        return create_failed(wait, WAIT_STOPPING, vm, op, err);
    if (guest_task_result(wait->task, &why)) {
        error_set(err, why.code, "VM %s exists; %s", wait->vm_id, why.detail);
        error_remedy(err, "The VM stays: look at /v1/vms/%s, or delete it.", wait->vm_id);
        return -1;
    }
    if (!vm)
        return create_failed(wait, WAIT_DONE, vm, op, err);
    answer_created(res, vm, op, wait->replayed);
    return 0;
}

/* It runs; the rest only the guest can tell. */
static int look_inside(struct request *req, struct create_wait *wait, struct error *err)
{
    if (wait_for_guest(req, wait->vm_id, &wait->wanted, wait->deadline - clock_monotonic_ms(),
                       &wait->task, err))
        return -1;
    return request_park_on(req, guest_task_park, wait->task, guest_resume);
}

static int create_resume(struct request *req, struct response *res, struct error *err)
{
    struct create_wait *wait = request_kept(req);
    const char *project = req->principal.project_id;
    struct error ignored;
    auto_vm struct vm *vm = vm_find(req->core, project, wait->vm_id, &ignored);
    auto_op struct op *op =
        *wait->op_id ? op_find(req->core, project, wait->op_id, &ignored) : NULL;

    if (vm && came_true(req, vm, wait->what) && wait->wanted.what > WAIT_FOR_READY)
        return look_inside(req, wait, err);
    if (vm && came_true(req, vm, wait->what)) {
        answer_created(res, vm, op, wait->replayed);
        return 0;
    }
    /* The VM's state is committed a moment before the operation's end, which has the reason. */
    if (op && !op_is_finished(op) && request_wait_result(req) == WAIT_DONE &&
        !wait->awaits_reason) {
        wait->awaits_reason = true;
        return request_park_op(req, wait->op_id, REASON_WAIT_MS, create_resume);
    }
    return create_failed(wait, request_wait_result(req), vm, op, err);
}

/* What to wait for, if for anything; *ret_wait false when not asked for. */
static int create_wait_read(const struct request *req, bool start, struct create_wait *ret,
                            bool *ret_wait, struct error *err)
{
    *ret = (struct create_wait){0};
    if (wait_for_read(req, "wait", "wait_for_console", &ret->wanted, err))
        return -1;
    ret->seconds = ret->wanted.seconds;
    ret->what = ret->wanted.what == WAIT_FOR_CONSOLE ? WAIT_VM_CONSOLE
                : ret->wanted.what == WAIT_FOR_READY ? WAIT_VM_READY
                                                     : WAIT_VM_RUNNING;
    *ret_wait = ret->wanted.what != WAIT_FOR_NOTHING;
    if (*ret_wait && !start) {
        error_set_at(err, ERROR_INVALID_ARGUMENT, ret->wanted.pattern ? "wait_for_console" : "wait",
                     "the VM would never be %s",
                     waits[ret->what].never);
        error_remedy(err, "Add \"start\": true to the body, or leave wait out.");
        return -1;
    }
    return 0;
}

int handle_vm_create(struct request *req, struct response *res, struct error *err)
{
    auto_vm_spec struct vm_spec *spec = NULL;
    auto_vm struct vm *vm = NULL;
    auto_op struct op *op = NULL;
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    struct create_wait wait, *kept;
    bool start = false, replayed = false, parks;

    if (vm_spec_decode(req->json, &spec, &start, err) ||
        create_wait_read(req, start, &wait, &parks, err) || queue_check(req, err))
        return -1;
    if (vm_create(req->core, &actor, spec, start, &idem, &vm, &op, &replayed, err))
        return queue_for_memory(req, handle_vm_create, err);
    if (!parks) {
        answer_created(res, vm, op, replayed);
        return 0;
    }
    kept = xcalloc(1, sizeof(*kept));
    *kept = wait;
    kept->replayed = replayed;
    str_copy_utf8(kept->vm_id, sizeof(kept->vm_id), vm->id);
    if (op)
        str_copy_utf8(kept->op_id, sizeof(kept->op_id), op->id);
    kept->deadline = clock_monotonic_ms() + wait.seconds * 1000;
    request_keep(req, kept, create_wait_free);
    return request_park_vm(req, kept->vm_id, wait.what, wait.seconds * 1000, create_resume);
}

/* ---- change, act, delete ---- */

int handle_vm_patch(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm = NULL;
    struct actor actor = request_actor(req);
    int64_t generation = 0;

    if (request_if_match(req, &generation, err) ||
        vm_patch(req->core, &actor, request_param(req, "vm"), req->json, generation, &vm, err))
        return -1;
    return answer_vm(res, vm);
}

static int act(struct request *req, struct response *res, enum vm_verb verb, bool force,
               int64_t generation, struct error *err)
{
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    struct op *op = NULL;
    bool replayed = false;
    int64_t wait_ms;

    /* Looked at before the work: a bad parameter must not leave an operation behind. */
    if (wait_read(req, &wait_ms, err) || queue_check(req, err))
        return -1;
    if (vm_act(req->core, &actor, request_param(req, "vm"), verb, force, generation, &idem, &op,
               &replayed, err))
        return queue_for_memory(req, handle_vm_action, err);
    return answer_op(req, res, op, replayed, err);
}

/* The last segment of the route's template is the verb's name. */
int handle_vm_action(struct request *req, struct response *res, struct error *err)
{
    const char *name = strrchr(req->route->path, '/') + 1;

    for (int verb = 0; verb < VM_VERB_COUNT; verb++) {
        if (str_eq(vm_verb_name((enum vm_verb)verb), name))
            return act(req, res, (enum vm_verb)verb, false, 0, err);
    }
    abort();
}

int handle_vm_delete(struct request *req, struct response *res, struct error *err)
{
    int64_t generation = 0;
    bool force = false;

    if (request_query_bool(req, "force", &force, err) || request_if_match(req, &generation, err))
        return -1;
    return act(req, res, VM_VERB_DELETE, force, generation, err);
}
