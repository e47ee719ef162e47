/* No guests: what would ask one is refused. */
#include "api/request.h"
#include "service/vm/guest_wait.h"

#include "service/base/str.h"

struct guest_wait *guest_wait_new(const char *vm_id, enum guest_wait_for what, int64_t timeout_ms)
{
    (void)vm_id;
    (void)what;
    (void)timeout_ms;
    return xcalloc(1, sizeof(struct guest_wait));
}

void guest_wait_free(void *wait)
{
    struct guest_wait *w = wait;

    pattern_free(w->pattern);
    free(w);
}

int guest_wait_run(struct core *core, void *wait, struct error *err)
{
    (void)core;
    (void)wait;
    return error_set(err, ERROR_TIMEOUT, "there is no guest");
}

int guest_task_start(struct core *core, const char *vm_id, guest_run_fn *fn, void *arg,
                     void (*arg_free)(void *), struct guest_task **ret, struct error *err)
{
    (void)core;
    (void)vm_id;
    (void)fn;
    (void)ret;
    arg_free(arg);
    return error_set(err, ERROR_TOO_MANY_REQUESTS, "there is no guest");
}

int guest_task_result(const struct guest_task *t, struct error *err)
{
    (void)t;
    return error_set(err, ERROR_TIMEOUT, "there is no guest");
}

void guest_task_unref(struct guest_task *t)
{
    (void)t;
}

void guest_task_park(void *task, wait_fn *done, void *opaque)
{
    (void)task;
    done(opaque, WAIT_DONE);
}

void guest_task_drop(void *task)
{
    (void)task;
}
