/*
 * Tasks: what waits for a guest does so on a thread of its own, so that a guest that never answers
 * holds up nobody who asks another one. How many there are is bounded, for each VM and altogether.
 */
#include "service/vm/guest_internal.h"

#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/lease.h"

#define THAW_MS 3000 /* for guests that are frozen when the daemon stops */

struct guest_task {
    struct guest_task *next; /* hub->lock, while it runs */
    _Atomic unsigned refs;
    struct guest_hub *hub;
    char vm_id[UUID_TEXT];
    guest_run_fn *fn;
    void *arg;
    void (*arg_free)(void *);
    pthread_mutex_t lock;
    /* lock: */
    bool ended;
    int rc;
    struct error err;
    wait_fn *done;
    void *opaque;
};

void guest_task_unref(struct guest_task *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (t->arg_free)
        t->arg_free(t->arg);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static void end(struct guest_task *t, int rc, const struct error *err)
{
    wait_fn *done;

    {
        LOCK_SCOPE(&t->lock);
        t->rc = rc;
        if (rc)
            t->err = *err;
        t->ended = true;
        done = TAKE_PTR(t->done);
    }
    if (done)
        done(t->opaque, WAIT_DONE);
}

static void *task_thread(void *arg)
{
    struct guest_task *t = arg;
    struct guest_hub *hub = t->hub;
    struct error err = ERROR_INIT;
    int rc = t->fn(hub->core, t->arg, &err);

    end(t, rc, &err);
    {
        LOCK_SCOPE(&hub->lock);
        struct guest_task **at = &hub->tasks;

        while (*at != t)
            at = &(*at)->next;
        *at = t->next;
    }
    guest_task_unref(t); /* its argument may hold on to what the hub owns */
    LOCK_SCOPE(&hub->lock);
    hub->task_count--;
    pthread_cond_broadcast(&hub->fewer);
    return NULL;
}

static int admit_locked(struct guest_hub *hub, const char *vm_id, struct error *err)
{
    unsigned own = 0;

    if (hub->stopping)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    for (const struct guest_task *t = hub->tasks; t; t = t->next)
        own += strcmp(t->vm_id, vm_id) == 0;
    if (own < GUEST_TASKS_PER_VM && hub->task_count < GUEST_TASKS_MAX)
        return 0;
    error_set(err, ERROR_TOO_MANY_REQUESTS, "%s",
              own < GUEST_TASKS_PER_VM ? "too many requests wait for guests"
                                       : "too many requests wait for this guest");
    error_remedy(err, "Try again when one of them has ended.");
    return -1;
}

static int run(struct guest_task *t, struct error *err)
{
    struct guest_hub *hub = t->hub;
    pthread_t thread;

    LOCK_SCOPE(&hub->lock);
    if (admit_locked(hub, t->vm_id, err))
        return -1;
    atomic_fetch_add(&t->refs, 1); /* the thread's */
    if (thread_start(&thread, "guest", task_thread, t, err)) {
        atomic_fetch_sub(&t->refs, 1);
        return -1;
    }
    pthread_detach(thread); /* guest_hub_stop counts them */
    t->next = hub->tasks;
    hub->tasks = t;
    hub->task_count++;
    return 0;
}

int guest_task_start(struct core *core, const char *vm_id, guest_run_fn *fn, void *arg,
                     void (*arg_free)(void *), struct guest_task **ret, struct error *err)
{
    auto_guest_task struct guest_task *t = xcalloc(1, sizeof(*t));

    atomic_init(&t->refs, 1);
    t->hub = core->guests;
    t->fn = fn;
    t->arg = arg;
    t->arg_free = arg_free;
    str_copy_utf8(t->vm_id, sizeof(t->vm_id), vm_id);
    mutex_init(&t->lock);
    if (run(t, err))
        return -1;
    lease_touch(core, vm_id);
    if (ret)
        *ret = TAKE_PTR(t);
    return 0;
}

bool guest_in_use(struct core *core, const char *vm_id)
{
    struct guest_hub *hub = core->guests;

    LOCK_SCOPE(&hub->lock);
    for (const struct guest_task *t = hub->tasks; t; t = t->next) {
        if (str_eq(t->vm_id, vm_id))
            return true;
    }
    return false;
}

void guest_task_wait(struct guest_task *t, wait_fn *done, void *opaque)
{
    {
        LOCK_SCOPE(&t->lock);
        if (!t->ended) {
            t->done = done;
            t->opaque = opaque;
            return;
        }
    }
    done(opaque, WAIT_DONE);
}

int guest_task_result(const struct guest_task *t, struct error *err)
{
    if (t->rc)
        *err = t->err;
    return t->rc;
}

void *guest_task_arg(const struct guest_task *t)
{
    return t->arg;
}

void guest_task_park(void *task, wait_fn *done, void *opaque)
{
    guest_task_wait(task, done, opaque);
}

void guest_task_drop(void *task)
{
    guest_task_unref(task);
}

static void wake(int fd)
{
    if (fd_wake(fd))
        log_warning("cannot wake the tasks of guests");
}

void guest_hub_stop(struct guest_hub *hub)
{
    int64_t until = clock_monotonic_ms() + THAW_MS;

    wake(hub->thaw_fd);
    {
        LOCK_SCOPE(&hub->lock);
        hub->stopping = true;
        while (hub->thaws && cond_wait_until(&hub->fewer, &hub->lock, until))
            ;
    }
    wake(hub->stop_fd);
    LOCK_SCOPE(&hub->lock);
    while (hub->task_count)
        pthread_cond_wait(&hub->fewer, &hub->lock);
}
