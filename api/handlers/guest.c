/*
 * The guest's inside: its agent, programs, files, addresses. Whatever asks a guest is a task on a
 * thread of its own while the request is parked, so a guest that does not answer costs no worker.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/codec/guest.h"
#include "api/handlers/handlers.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/core.h"
#include "service/vm/exec.h"
#include "service/vm/guest.h"
#include "service/vm/guest_address.h"

#define FREEZE_SECONDS 30
#define PATH_MAX_BYTES 4095

/* To read from, or to change: what waits in a pool is handed out clean. */
static struct vm *find(struct request *req, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);

    if (!vm || (!str_eq(req->method, "GET") && vm_refuse_waiting(vm, err)))
        return NULL;
    return TAKE_PTR(vm);
}

/* Starts the task (which takes arg) and parks until it has ended. */
static int run(struct request *req, const char *vm_id, guest_run_fn *fn, void *arg,
               void (*arg_free)(void *), handler_fn *resume, struct error *err)
{
    struct guest_task *task = NULL;

    if (guest_task_start(req->core, vm_id, fn, arg, arg_free, &task, err))
        return -1;
    request_keep(req, task, guest_task_drop);
    return request_park_on(req, guest_task_park, task, resume);
}

/* In resume: the task's argument, or NULL with its error. */
static void *result(struct request *req, struct error *err)
{
    struct guest_task *task = request_kept(req);

    if (request_wait_result(req) == WAIT_STOPPING) {
        error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
        return NULL;
    }
    return guest_task_result(task, err) ? NULL : guest_task_arg(task);
}

/* ---- what there is ---- */

struct look {
    char vm_id[UUID_TEXT];
    struct guest_info info;
    struct guest_found found;
};

static int run_info(struct core *core, void *arg, struct error *err)
{
    struct look *look = arg;

    return guest_info_read(core, look->vm_id, &look->info, err);
}

static int info_done(struct request *req, struct response *res, struct error *err)
{
    const struct look *look = result(req, err);

    if (!look)
        return -1;
    response_json(res, 200, codec_guest(&look->info));
    return 0;
}

static int run_addresses(struct core *core, void *arg, struct error *err)
{
    struct look *look = arg;

    return guest_addresses_read(core, look->vm_id, &look->found, err);
}

static int addresses_done(struct request *req, struct response *res, struct error *err)
{
    const struct look *look = result(req, err);

    if (!look)
        return -1;
    response_json(res, 200, codec_list(codec_guest_addresses(&look->found), NULL));
    return 0;
}

static int look(struct request *req, guest_run_fn *fn, handler_fn *resume, struct error *err)
{
    auto_vm struct vm *vm = find(req, err);
    struct look *arg;

    if (!vm)
        return -1;
    arg = xcalloc(1, sizeof(*arg));
    str_copy_utf8(arg->vm_id, sizeof(arg->vm_id), vm->id);
    return run(req, vm->id, fn, arg, free, resume, err);
}

int handle_agent_get(struct request *req, struct response *res, struct error *err)
{
    (void)res;
    return look(req, run_info, info_done, err);
}

int handle_addresses(struct request *req, struct response *res, struct error *err)
{
    (void)res;
    return look(req, run_addresses, addresses_done, err);
}

/* ---- programs ---- */

static int exec_done(struct request *req, struct response *res, struct error *err)
{
    const struct guest_exec *x = result(req, err);

    if (!x)
        return -1;
    response_json(res, 200, codec_guest_exec(x));
    return 0;
}

DEFINE_CLEANUP(guest_exec, struct guest_exec *, guest_exec_free);

struct kept {
    struct exec *exec;
    bool replayed;
};

static void kept_free(void *arg)
{
    struct kept *k = arg;

    exec_unref(k->exec);
    free(k);
}

/* One that somebody may come back to: it runs, or it has ended. */
static int kept_done(struct request *req, struct response *res, struct error *err)
{
    const struct kept *k = request_kept(req);
    struct exec *e = k->exec;
    struct exec_info info;

    if (request_wait_result(req) == WAIT_STOPPING)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    exec_info_read(e, &info);
    /* A stream that broke off is a fact about it; one that never began is this request's failure. */
    if ((!info.stream || info.total[0] + info.total[1] == 0) && exec_result(e, err))
        return -1;
    if (k->replayed)
        response_header(res, "Idempotency-Replayed", "true");
    if (!info.stream) {
        response_json(res, 200, codec_guest_exec(exec_outcomes(e)));
        return 0;
    }
    response_header(res, "Location", "/v1/vms/%s/exec/%s", info.vm_id, info.id);
    response_json(res, 201, codec_exec(&info));
    return 0;
}

static int begin_kept(struct request *req, const struct vm *vm, struct guest_exec *x, struct error *err)
{
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    struct exec *e = NULL;
    struct kept *k;
    bool replayed = false;

    if (exec_begin(req->core, &actor, vm, x, &idem, &e, &replayed, err))
        return -1;
    k = xcalloc(1, sizeof(*k));
    *k = (struct kept){e, replayed};
    request_keep(req, k, kept_free);
    return request_park_on(req, exec_park, e, kept_done);
}

int handle_exec(struct request *req, struct response *res, struct error *err)
{
    auto_scope(cleanup_guest_exec) struct guest_exec *x = guest_exec_new();
    auto_vm struct vm *vm = find(req, err);

    (void)res;
    if (!vm || codec_decode_exec(req->json, x, err))
        return -1;
    str_copy_utf8(x->vm_id, sizeof(x->vm_id), vm->id);
    if (x->stream || request_idem(req).key)
        return begin_kept(req, vm, TAKE_PTR(x), err);
    return run(req, vm->id, guest_exec_run, TAKE_PTR(x), guest_exec_free, exec_done, err);
}

static struct exec *find_exec(struct request *req, struct error *err)
{
    auto_vm struct vm *vm = find(req, err);
    struct exec *e = NULL;

    return vm && exec_find(req->core, vm->id, request_param(req, "exec"), &e, err) == 0 ? e : NULL;
}

int handle_exec_list(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm = find(req, err);
    struct exec *found[EXEC_LIST_MAX];
    json_t *items;
    size_t count;

    if (!vm)
        return -1;
    items = json_array();
    count = exec_list(req->core, vm->id, found, EXEC_LIST_MAX);
    for (size_t i = 0; i < count; i++) {
        struct exec_info info;

        exec_info_read(found[i], &info);
        json_array_append_new(items, codec_exec(&info));
        exec_unref(found[i]);
    }
    response_json(res, 200, codec_list(items, NULL));
    return 0;
}

int handle_exec_get(struct request *req, struct response *res, struct error *err)
{
    auto_exec struct exec *e = find_exec(req, err);
    struct exec_info info;

    if (!e)
        return -1;
    exec_info_read(e, &info);
    response_json(res, 200, codec_exec(&info));
    return 0;
}

int handle_exec_kill(struct request *req, struct response *res, struct error *err)
{
    auto_exec struct exec *e = find_exec(req, err);
    struct exec_info info;

    if (!e)
        return -1;
    exec_info_read(e, &info);
    if (!info.stream && !info.ended_at) {
        error_set(err, ERROR_STREAM_NOT_FOUND, "the program is not streamed: only its time-out ends it");
        error_remedy(err, "Begin it with \"stream\": true.");
        return -1;
    }
    exec_kill(e);
    response_json(res, 202, codec_exec(&info));
    return 0;
}

/* ---- files ---- */

static const char *path_argument(const struct request *req, struct error *err)
{
    const char *path = request_query(req, "path");

    if (path && *path && strlen(path) <= PATH_MAX_BYTES && str_is_utf8(path, strlen(path)) &&
        (path[0] == '/' || (path[1] == ':' && path[0])))
        return path;
    error_set_at(err, ERROR_INVALID_ARGUMENT, "path",
                 "path must be the absolute path of a file in the guest");
    return NULL;
}

static int read_done(struct request *req, struct response *res, struct error *err)
{
    struct guest_read *r = result(req, err);

    if (!r)
        return -1;
    res->content_type = "application/octet-stream";
    res->stream = TAKE_PTR(r->source);
    return 0;
}

int handle_file_get(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm = find(req, err);
    const char *path = path_argument(req, err);

    (void)res;
    if (!vm || !path)
        return -1;
    return run(req, vm->id, guest_read_run, guest_read_new(vm->id, path), guest_read_free,
               read_done, err);
}

struct put {
    struct core *core;
    struct guest_write *write;
};

static int put_mode(const struct request *req, int64_t *ret, struct error *err)
{
    const char *text = request_query(req, "mode");
    size_t len = text ? strlen(text) : 0;

    *ret = -1;
    if (!text)
        return 0;
    if (len < 3 || len > 4 || strspn(text, "01234567") != len)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "mode",
                            "mode must be octal permissions like 0644");
    *ret = (int64_t)strtoul(text, NULL, 8);
    return 0;
}

static int put_begin(struct request *req, void **ret, struct error *err)
{
    auto_vm struct vm *vm = find(req, err);
    const char *path = path_argument(req, err);
    struct put *p;
    int64_t mode;

    if (!vm || !path || put_mode(req, &mode, err))
        return -1;
    p = xcalloc(1, sizeof(*p));
    p->core = req->core;
    p->write = guest_write_new(req->core, vm->id, path, err);
    if (!p->write) {
        free(p);
        return -1;
    }
    p->write->mode = mode;
    *ret = p;
    return 0;
}

static int put_write(void *state, const void *data, size_t len, struct error *err)
{
    struct put *p = state;

    return guest_write_add(p->core, p->write, data, len, err);
}

static int put_done(struct request *req, struct response *res, struct error *err)
{
    const struct guest_write *w = result(req, err);

    if (!w)
        return -1;
    response_json(res, 200, json_pack("{s:s, s:I}", "path", w->path, "size_bytes",
                                      (json_int_t)w->written));
    return 0;
}

static int put_finish(struct request *req, void *state, struct response *res, struct error *err)
{
    struct put *p = state;
    struct guest_write *w = p->write;

    (void)res;
    free(p);
    return run(req, w->vm_id, guest_write_run, w, guest_write_free, put_done, err);
}

static void put_abort(void *state)
{
    struct put *p = state;

    guest_write_free(p->write);
    free(p);
}

const struct upload_ops guest_file_upload = {put_begin, put_write, put_finish, put_abort};

/* ---- freezing, clock, keys, passwords ---- */

struct admin {
    char vm_id[UUID_TEXT];
    int64_t seconds, count;
    struct codec_password password;
    struct codec_ssh_keys keys;
};

static void admin_free(void *arg)
{
    struct admin *a = arg;

    if (!a)
        return;
    codec_password_done(&a->password);
    codec_ssh_keys_done(&a->keys);
    free(a);
}
DEFINE_CLEANUP(admin, struct admin *, admin_free);

static struct admin *admin_new(struct request *req, struct error *err)
{
    auto_vm struct vm *vm = find(req, err);
    struct admin *a;

    if (!vm)
        return NULL;
    a = xcalloc(1, sizeof(*a));
    str_copy_utf8(a->vm_id, sizeof(a->vm_id), vm->id);
    return a;
}

/* Takes a. */
static int run_admin(struct request *req, struct admin *a, guest_run_fn *fn, handler_fn *resume,
                     struct error *err)
{
    return run(req, a->vm_id, fn, a, admin_free, resume, err);
}

static int run_freeze(struct core *core, void *arg, struct error *err)
{
    struct admin *a = arg;

    return guest_freeze(core, a->vm_id, a->seconds, &a->count, err);
}

static int freeze_done(struct request *req, struct response *res, struct error *err)
{
    const struct admin *a = result(req, err);

    if (!a)
        return -1;
    response_json(res, 200,
                  json_pack("{s:I, s:o}", "filesystems", (json_int_t)a->count, "thaws_at",
                            codec_time(clock_wall_ms() + a->seconds * 1000)));
    return 0;
}

int handle_freeze(struct request *req, struct response *res, struct error *err)
{
    auto_scope(cleanup_admin) struct admin *a = NULL;
    struct codec_freeze body = {.seconds = FREEZE_SECONDS};

    (void)res;
    if (req->json && codec_decode_freeze(req->json, &body, err))
        return -1;
    a = admin_new(req, err);
    if (!a)
        return -1;
    a->seconds = body.seconds;
    return run_admin(req, TAKE_PTR(a), run_freeze, freeze_done, err);
}

static int run_thaw(struct core *core, void *arg, struct error *err)
{
    struct admin *a = arg;

    return guest_thaw(core, a->vm_id, &a->count, err);
}

static int thaw_done(struct request *req, struct response *res, struct error *err)
{
    const struct admin *a = result(req, err);

    if (!a)
        return -1;
    response_json(res, 200, json_pack("{s:I}", "filesystems", (json_int_t)a->count));
    return 0;
}

int handle_thaw(struct request *req, struct response *res, struct error *err)
{
    auto_scope(cleanup_admin) struct admin *a = admin_new(req, err);

    (void)res;
    return a ? run_admin(req, TAKE_PTR(a), run_thaw, thaw_done, err) : -1;
}

static int nothing_to_say(struct request *req, struct response *res, struct error *err)
{
    if (!result(req, err))
        return -1;
    res->status = 204;
    return 0;
}

static int run_time(struct core *core, void *arg, struct error *err)
{
    const struct admin *a = arg;

    return guest_set_time(core, a->vm_id, err);
}

int handle_time(struct request *req, struct response *res, struct error *err)
{
    auto_scope(cleanup_admin) struct admin *a = admin_new(req, err);

    (void)res;
    return a ? run_admin(req, TAKE_PTR(a), run_time, nothing_to_say, err) : -1;
}

static int run_password(struct core *core, void *arg, struct error *err)
{
    const struct admin *a = arg;

    return guest_set_password(core, a->vm_id, a->password.user, a->password.password,
                              a->password.crypted, err);
}

int handle_password(struct request *req, struct response *res, struct error *err)
{
    auto_scope(cleanup_admin) struct admin *a = admin_new(req, err);

    (void)res;
    if (!a || codec_decode_password(req->json, &a->password, err))
        return -1;
    return run_admin(req, TAKE_PTR(a), run_password, nothing_to_say, err);
}

static int run_ssh_keys(struct core *core, void *arg, struct error *err)
{
    const struct admin *a = arg;

    return guest_set_ssh_keys(core, a->vm_id, a->keys.user, (const char *const *)a->keys.keys,
                              a->keys.count, a->keys.replace, err);
}

int handle_ssh_keys(struct request *req, struct response *res, struct error *err)
{
    auto_scope(cleanup_admin) struct admin *a = admin_new(req, err);

    (void)res;
    if (!a || codec_decode_ssh_keys(req->json, &a->keys, err))
        return -1;
    return run_admin(req, TAKE_PTR(a), run_ssh_keys, nothing_to_say, err);
}

/* ---- how fast it writes to its memory ---- */

static int dirty_done(struct request *req, struct response *res, struct error *err)
{
    const struct guest_dirty *d = result(req, err);

    if (!d)
        return -1;
    response_json(res, 200, codec_dirty_rate(d));
    return 0;
}

int handle_dirty_rate(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm = find(req, err);
    struct guest_dirty *d;
    int64_t seconds = 1;

    (void)res;
    if (!vm || (req->json && codec_decode_dirty_rate(req->json, &seconds, err)))
        return -1;
    if (vm->state != VM_STATE_RUNNING) {
        error_set(err, ERROR_VM_STATE_CONFLICT, "the VM is %s; only a running one writes to its memory",
                  vm_state_name(vm->state));
        error_remedy(err, "Start or resume it first.");
        return -1;
    }
    d = xcalloc(1, sizeof(*d));
    str_copy_utf8(d->vm_id, sizeof(d->vm_id), vm->id);
    d->seconds = seconds;
    return run(req, vm->id, guest_dirty_rate, d, free, dirty_done, err);
}
