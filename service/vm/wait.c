/*
 * Parked waits: a list of conditions, looked at whenever an operation or a VM changes, and one
 * thread that ends those whose time is up.
 */
#include "service/vm/wait.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "service/vm/lease_internal.h"

enum wait_kind { WAIT_KIND_OP, WAIT_KIND_VM, WAIT_KIND_LEASE, WAIT_KIND_TIME };

struct waiter {
    struct waiter *prev, *next;
    enum wait_kind kind;
    char id[UUID_TEXT];
    enum wait_vm what;
    int64_t deadline;
    wait_fn *fn;
    void *opaque;
    enum wait_result result;
};

struct wait_list {
    struct core *core;
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t changed;
    struct waiter *head;
    bool stopping;
    pthread_t thread;
};

static bool op_holds(struct core *core, const char *op_id)
{
    auto_op struct op *op = op_in_memory(core->ops, op_id);

    /* Unfinished operations are in memory; one that is not has finished (or never was). */
    return !op || op_is_finished(op);
}

static bool vm_holds(struct core *core, const char *vm_id, enum wait_vm what)
{
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);

    if (!vm)
        return true;
    switch (vm->state) {
    case VM_STATE_RUNNING:
        if (what == WAIT_VM_READY)
            return vm->marks[VM_MARK_READY] != 0;
        return what == WAIT_VM_RUNNING || console_has_output(core->consoles, vm_id, "console");
    case VM_STATE_STARTING:
        return false;
    case VM_STATE_STOPPED:
    case VM_STATE_SAVED:
        /* Created with start: the operation that will start it is still to come. */
        return !op_vm_busy(core->ops, vm_id);
    default:
        return true;
    }
}

static bool lease_holds(struct core *core, const char *lease_id)
{
    auto_lease struct lease *lease = book_lease(core->leases, lease_id);

    return !lease || lease->state != LEASE_QUEUED;
}

static void unlink_waiter(struct wait_list *l, struct waiter *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        l->head = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->prev = w->next = NULL;
}

static void finish(struct waiter *list)
{
    while (list) {
        struct waiter *next = list->next;

        list->fn(list->opaque, list->result);
        free(list);
        list = next;
    }
}

/* Takes out those whose time is up (or all); returns the earliest deadline left. */
static int64_t expire(struct wait_list *l, struct waiter **ret_out)
{
    int64_t now = clock_monotonic_ms(), earliest = now + 3600000;

    for (struct waiter *w = l->head, *next; w; w = next) {
        next = w->next;
        if (!l->stopping && w->deadline > now) {
            if (w->deadline < earliest)
                earliest = w->deadline;
            continue;
        }
        unlink_waiter(l, w);
        w->result = l->stopping ? WAIT_STOPPING : WAIT_TIMEOUT;
        w->next = *ret_out;
        *ret_out = w;
    }
    return earliest;
}

static void *wait_thread(void *arg)
{
    struct wait_list *l = arg;

    for (;;) {
        struct waiter *out = NULL;
        bool stopping;

        {
            LOCK_SCOPE(&l->lock);
            int64_t next = expire(l, &out);

            stopping = l->stopping;
            if (!out && !stopping)
                cond_wait_until(&l->changed, &l->lock, next);
        }
        finish(out);
        if (stopping)
            return NULL;
    }
}

struct wait_list *wait_list_new(struct core *core, struct error *err)
{
    struct wait_list *l = xcalloc(1, sizeof(*l));

    l->core = core;
    mutex_init(&l->lock);
    cond_init(&l->changed);
    if (thread_start(&l->thread, "waits", wait_thread, l, err)) {
        free(l);
        return NULL;
    }
    return l;
}

void wait_list_stop(struct wait_list *l)
{
    {
        LOCK_SCOPE(&l->lock);
        l->stopping = true;
        pthread_cond_signal(&l->changed);
    }
    pthread_join(l->thread, NULL);
}

void wait_list_free(struct wait_list *l)
{
    if (!l)
        return;
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static void add(struct core *core, struct waiter *w)
{
    struct wait_list *l = core->waits;
    enum wait_kind kind = w->kind; /* once it is in the list, w may end and be freed */
    char id[UUID_TEXT];
    bool stopping;

    memcpy(id, w->id, sizeof(id));
    {
        LOCK_SCOPE(&l->lock);
        stopping = l->stopping;
        if (!stopping) {
            w->next = l->head;
            if (l->head)
                l->head->prev = w;
            l->head = w;
            pthread_cond_signal(&l->changed);
        }
    }
    if (stopping) {
        w->result = WAIT_STOPPING;
        finish(w);
        return;
    }
    /* Looked at only after it is in the list, so that a change in between is not missed. */
    if (kind == WAIT_KIND_TIME)
        return;
    if (kind == WAIT_KIND_OP)
        wait_wake_op(l, id);
    else if (kind == WAIT_KIND_LEASE)
        wait_wake_lease(l, id);
    else
        wait_wake_vm(l, id);
}

static void wake(struct wait_list *l, enum wait_kind kind, const char *id)
{
    char wanted[UUID_TEXT];
    struct waiter *out = NULL;
    bool holds[WAIT_VM_COUNT] = {false}, any = false;

    str_copy_utf8(wanted, sizeof(wanted), id);
    {
        LOCK_SCOPE(&l->lock);
        for (struct waiter *w = l->head; w && !any; w = w->next)
            any = w->kind == kind && strcmp(w->id, wanted) == 0;
    }
    if (!any)
        return;
    /* The conditions take other leaf locks, so they are evaluated outside this one. */
    for (int what = 0; what < WAIT_VM_COUNT; what++)
        holds[what] = kind == WAIT_KIND_OP      ? op_holds(l->core, wanted)
                      : kind == WAIT_KIND_LEASE ? lease_holds(l->core, wanted)
                                                : vm_holds(l->core, wanted, (enum wait_vm)what);
    {
        LOCK_SCOPE(&l->lock);
        for (struct waiter *w = l->head, *next; w; w = next) {
            next = w->next;
            if (w->kind != kind || strcmp(w->id, wanted) != 0 ||
                !holds[kind == WAIT_KIND_VM ? w->what : WAIT_VM_RUNNING])
                continue;
            unlink_waiter(l, w);
            w->result = WAIT_DONE;
            w->next = out;
            out = w;
        }
    }
    finish(out);
}

void wait_wake_op(struct wait_list *l, const char *op_id)
{
    wake(l, WAIT_KIND_OP, op_id);
}

void wait_wake_vm(struct wait_list *l, const char *vm_id)
{
    wake(l, WAIT_KIND_VM, vm_id);
}

void wait_wake_lease(struct wait_list *l, const char *lease_id)
{
    wake(l, WAIT_KIND_LEASE, lease_id);
}

static struct waiter *waiter_new(enum wait_kind kind, const char *id, int64_t deadline, wait_fn *fn,
                                 void *opaque)
{
    struct waiter *w = xcalloc(1, sizeof(*w));

    w->kind = kind;
    str_copy_utf8(w->id, sizeof(w->id), id);
    w->deadline = deadline;
    w->fn = fn;
    w->opaque = opaque;
    return w;
}

void wait_for_time(struct core *core, int64_t deadline, wait_fn *fn, void *opaque)
{
    add(core, waiter_new(WAIT_KIND_TIME, "", deadline, fn, opaque));
}

void wait_for_op(struct core *core, const char *op_id, int64_t deadline_monotonic_ms, wait_fn *fn,
                 void *opaque)
{
    add(core, waiter_new(WAIT_KIND_OP, op_id, deadline_monotonic_ms, fn, opaque));
}

void wait_for_vm(struct core *core, const char *vm_id, enum wait_vm what,
                 int64_t deadline_monotonic_ms, wait_fn *fn, void *opaque)
{
    struct waiter *w = waiter_new(WAIT_KIND_VM, vm_id, deadline_monotonic_ms, fn, opaque);

    w->what = what;
    add(core, w);
}

void wait_for_lease(struct core *core, const char *lease_id, int64_t deadline_monotonic_ms,
                    wait_fn *fn, void *opaque)
{
    add(core, waiter_new(WAIT_KIND_LEASE, lease_id, deadline_monotonic_ms, fn, opaque));
}
