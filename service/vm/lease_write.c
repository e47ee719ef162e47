/*
 * Committing a lease: its row, its event and its Idempotency-Key in one transaction, which is the
 * VM's own when the VM changes with it.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/lease_internal.h"
#include "service/vm/quota_internal.h"

static int append_event(struct db_tx *tx, const struct lease_write *w, struct error *err)
{
    const struct lease *l = w->lease;
    auto_json json_t *data =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "state", lease_state_name(l->state), "pool",
                  l->pool_name, "vm_id", l->vm_id, "vm_name", l->vm_name, "holder", l->holder,
                  "warm", l->warm);

    if (l->state == LEASE_ENDED)
        json_object_set_new(data, "reason", json_string(l->end_reason));
    return event_append(w->core, tx, l->project_id, w->actor, w->event, "lease", l->id, l->vm_name, data, err);
}

/* Within the transaction of the VM's change, or of none. */
static int write_lease(struct db_tx *tx, void *arg, struct error *err)
{
    struct lease_write *w = arg;
    struct lease_row row;

    if (idem_race(tx, w->actor, w->idem, err))
        return -1;
    if (w->insert && quota_check_lease(w->core, tx, w->lease->project_id, w->lease->owner_token, err))
        return -1;
    lease_to_row(w->lease, &row);
    if (w->insert ? store_lease_insert(tx, &row, &w->lease->seq, err)
                  : store_lease_update(tx, &row, err))
        return -1;
    if (w->leaves_pool && store_pool_member_delete(tx, w->lease->vm_id, err))
        return -1;
    return idem_put(tx, w->actor, w->idem, 201, "lease", w->lease->id, err) ||
                   (w->event && append_event(tx, w, err))
               ? -1
               : 0;
}

/* What is shown as the time a claim took includes the disk; the row has it without. */
static void lease_committed(void *arg)
{
    struct lease_write *w = arg;

    if (w->asked_ns && w->lease->state == LEASE_ACTIVE) {
        w->lease->claim_us = (clock_monotonic_ns() - w->asked_ns) / 1000;
        book_claimed(w->core->leases, w->lease);
    }
    book_put(w->core->leases, w->lease);
    wait_wake_lease(w->core->waits, w->lease->id);
}

void lease_write_with(struct lease_write *w, struct change *change)
{
    change->actor = w->actor;
    change->also = write_lease;
    change->also_committed = lease_committed;
    change->also_arg = w;
}

int lease_write_alone(struct lease_write *w, struct error *err)
{
    return db_write(w->core->db, write_lease, lease_committed, w, err);
}
