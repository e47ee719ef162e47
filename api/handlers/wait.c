/*
 * Waiting for a VM on the server: until it runs, prints, answers, can be reached.
 */
#include "api/handlers/wait.h"

#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/console.h"
#include "service/vm/core.h"
#include "service/vm/guest_wait.h"

#define DEFAULT_SECONDS 30

static const char *const names[WAIT_FOR_COUNT] = {
    [WAIT_FOR_RUNNING] = "running",
    [WAIT_FOR_CONSOLE] = "console",
    [WAIT_FOR_READY] = "ready",
    [WAIT_FOR_IP] = "ip",
    [WAIT_FOR_AGENT] = "agent",
};

int wait_for_read(const struct request *req, const char *name, const char *pattern_name,
                  struct wait_request *ret, struct error *err)
{
    const char *what = request_query(req, name), *text = request_query(req, pattern_name);

    *ret = (struct wait_request){.what = WAIT_FOR_NOTHING, .seconds = DEFAULT_SECONDS};
    if (request_query_int(req, "timeout", 1, WAIT_MAX_SECONDS, &ret->seconds, err))
        return -1;
    if (what && text)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, pattern_name, "%s does not go with %s",
                            pattern_name, name);
    if (text) {
        auto_pattern struct pattern *tried = NULL;

        ret->what = WAIT_FOR_PATTERN;
        ret->pattern = text;
        return pattern_new(text, pattern_name, &tried, err);
    }
    for (int i = 0; what && i < WAIT_FOR_COUNT; i++) {
        if (names[i] && str_eq(what, names[i])) {
            ret->what = (enum wait_for)i;
            return 0;
        }
    }
    return what ? error_set_at(err, ERROR_INVALID_ARGUMENT, name,
                               "%s must be running, console, ready, ip or agent", name)
                : 0;
}

int wait_for_guest(struct request *req, const char *vm_id, const struct wait_request *wait,
                   int64_t timeout_ms, struct guest_task **ret, struct error *err)
{
    enum guest_wait_for what = wait->what == WAIT_FOR_IP      ? GUEST_WAIT_IP
                               : wait->what == WAIT_FOR_AGENT ? GUEST_WAIT_AGENT
                                                              : GUEST_WAIT_PATTERN;
    struct guest_wait *w = guest_wait_new(vm_id, what, timeout_ms);

    if (wait->what == WAIT_FOR_PATTERN &&
        pattern_new(wait->pattern, "pattern", &w->pattern, err)) {
        guest_wait_free(w);
        return -1;
    }
    return guest_task_start(req->core, vm_id, guest_wait_run, w, guest_wait_free, ret, err);
}

/* ---- GET /v1/vms/{vm}/wait ---- */

static int answer(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);

    if (!vm)
        return -1;
    answer_etag(res, vm);
    response_blob(res, 200, codec_vm(vm));
    return 0;
}

static int guest_done(struct request *req, struct response *res, struct error *err)
{
    if (request_wait_result(req) == WAIT_STOPPING)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    return guest_task_result(request_kept(req), err) ? -1 : answer(req, res, err);
}

static int vm_done(struct request *req, struct response *res, struct error *err)
{
    const char *what = request_query(req, "for");
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);

    if (!vm)
        return -1;
    if (str_eq(what, "console") ? console_has_output(core_consoles(req->core), vm->id, "console")
        : str_eq(what, "ready") ? vm->state == VM_STATE_RUNNING && vm->marks[VM_MARK_READY] != 0
                                : vm->state == VM_STATE_RUNNING)
        return answer(req, res, err);
    if (request_wait_result(req) == WAIT_STOPPING)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    return error_set(err,
                     request_wait_result(req) == WAIT_TIMEOUT ? ERROR_TIMEOUT
                                                              : ERROR_VM_STATE_CONFLICT,
                     "VM %s is %s%s%s", vm->spec->name, vm_state_name(vm->state),
                     *vm->state_reason ? ": " : "", vm->state_reason);
}

int handle_vm_wait(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);
    struct wait_request wait;
    struct guest_task *task = NULL;

    (void)res;
    if (!vm || wait_for_read(req, "for", "pattern", &wait, err))
        return -1;
    if (wait.what == WAIT_FOR_NOTHING)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "for", "for or pattern is needed");
    if (wait.what <= WAIT_FOR_READY)
        return request_park_vm(req, vm->id,
                               wait.what == WAIT_FOR_RUNNING   ? WAIT_VM_RUNNING
                               : wait.what == WAIT_FOR_CONSOLE ? WAIT_VM_CONSOLE
                                                               : WAIT_VM_READY,
                               wait.seconds * 1000, vm_done);
    if (wait_for_guest(req, vm->id, &wait, wait.seconds * 1000, &task, err))
        return -1;
    request_keep(req, task, guest_task_drop);
    return request_park_on(req, guest_task_park, task, guest_done);
}
