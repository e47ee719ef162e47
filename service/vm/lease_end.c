/*
 * How a lease ends: the row says so and the VM's fate is decided in the same transaction. Ending
 * is repeated by the keeper until it has happened, and is harmless when it has.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/lease_internal.h"

struct ending {
    struct lease *lease;
    struct lease_write *write;
    bool erase;
};

static void add_op(struct change *change, const struct actor *actor, struct vm *vm,
                   const char *kind, const char *params)
{
    change->op_insert = op_new(actor, vm, kind, params);
}

/* The VM becomes an ordinary one, off or paused, for people to look at. */
static void let_go(struct ending *e, struct vm *next, struct change *change)
{
    bool stop = e->lease->on_expiry == LEASE_STOP;

    next->lease_id[0] = next->pool_id[0] = '\0';
    next->pool_generation = 0;
    e->write->leaves_pool = true;
    if (next->state == VM_STATE_RUNNING || next->state == VM_STATE_STARTING ||
        (stop && (next->state == VM_STATE_PAUSED || next->state == VM_STATE_STOPPING)))
        add_op(change, e->write->actor, next, stop ? "vm.stop" : "vm.pause", "{}");
}

static int end_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                      struct error *err)
{
    struct ending *e = arg;

    (void)core;
    if (!str_eq(next->lease_id, e->lease->id))
        return error_set(err, ERROR_VM_NOT_FOUND, "the VM is not the lease's");
    lease_write_with(e->write, change);
    if (!e->erase && e->lease->on_expiry != LEASE_DELETE) {
        let_go(e, next, change);
        return 0;
    }
    if (next->state == VM_STATE_DELETING)
        return 0;
    add_op(change, e->write->actor, next, "vm.delete", "{\"force\":true}");
    change->event_type = "vm.state";
    change->event_data = json_pack("{s:s, s:s, s:s}", "state", "deleting", "previous",
                                   vm_state_name(next->state), "reason", e->lease->end_reason);
    next->state = VM_STATE_DELETING;
    str_copy_utf8(next->state_reason, sizeof(next->state_reason), e->lease->end_reason);
    return 0;
}

static void count(struct lease_keeper *k, const char *reason)
{
    LOCK_SCOPE(&k->lock);
    if (str_eq(reason, "released"))
        k->counts.released++;
    else if (str_eq(reason, "expired"))
        k->counts.expired++;
}

int lease_end(struct core *core, const struct actor *actor, const char *id, const char *reason,
              bool erase, struct error *err)
{
    struct lease_keeper *k = core->leases;
    auto_lease struct lease *current = NULL, *next = NULL;
    struct lease_write write = {.core = core, .actor = actor, .event = "lease.ended"};
    struct change change = {0};
    int rc = -1;

    LOCK_SCOPE(lease_lock(k, id));
    current = book_lease(k, id);
    if (!current)
        return 0; /* it has ended */
    next = lease_copy(current);
    lease_close(core, next, reason);
    write.lease = next;
    struct ending e = {next, &write, erase};
    CRASH_POINT(LEASE_END_DECIDED);
    if (*next->vm_id) {
        rc = vm_change(core, next->vm_id, end_mutate, &e, &change, NULL, err);
        json_decref(change.event_data);
        op_unref(change.op_insert);
        if (rc && err->code != ERROR_VM_NOT_FOUND)
            return -1;
    }
    if (rc && lease_write_alone(&write, err))
        return -1;
    CRASH_POINT(LEASE_END_STORED);
    count(k, reason);
    return 0;
}
