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

static int store_key(struct db_tx *tx, const struct lease_write *w, struct error *err)
{
    if (!w->idem || !w->idem->key)
        return 0;
    return store_idem_put(tx,
                          &(struct idem_row){
                              .actor = w->actor->id,
                              .key = w->idem->key,
                              .request_sha256 = w->idem->request_sha256,
                              .status = 201,
                              .resource_kind = "lease",
                              .resource_id = w->lease->id,
                              .created_at = clock_wall_ms(),
                          },
                          err);
}

static int append_event(struct db_tx *tx, const struct lease_write *w, struct error *err)
{
    const struct lease *l = w->lease;
    auto_json json_t *data =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "state", lease_state_name(l->state), "pool",
                  l->pool_name, "vm_id", l->vm_id, "vm_name", l->vm_name, "holder", l->holder,
                  "warm", l->warm);

    if (l->state == LEASE_ENDED)
        json_object_set_new(data, "reason", json_string(l->end_reason));
    return event_append(w->core, tx, w->actor, w->event, "lease", l->id, l->vm_name, data, err);
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
    return store_key(tx, w, err) || append_event(tx, w, err) ? -1 : 0;
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

/* ---- the end ---- */

static void add_time(json_t *timeline, const char *what, int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];

    if (wall_ms)
        json_array_append_new(timeline,
                              json_pack("{s:s, s:s}", "what", what, "at",
                                        clock_format(wall_ms, text)));
}

static json_t *usage(struct lease_keeper *k, const char *id)
{
    struct lease_entry *e;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->leases, id, e);
    if (!e || !e->has_usage)
        return json_object();
    return json_pack("{s:f, s:I, s:I}", "cpu_seconds", e->cpu_seconds, "peak_resident_bytes",
                     (json_int_t)e->peak_resident_bytes, "merging_bytes",
                     (json_int_t)e->merging_bytes);
}

json_t *lease_record(struct core *core, const struct lease *l)
{
    auto_vm struct vm *vm = *l->vm_id ? registry_get(core->registry, l->vm_id) : NULL;
    json_t *timeline;

    if (l->state == LEASE_ENDED)
        return json_loads(l->record, 0, NULL);
    timeline = json_array();
    add_time(timeline, "asked", l->created_at);
    if (vm) {
        add_time(timeline, "vm-created", vm->created_at);
        add_time(timeline, "vm-started", vm->started_at);
    }
    add_time(timeline, "claimed", l->claimed_at);
    add_time(timeline, "renewed", l->renewed_at);
    return json_pack("{s:o, s:o}", "timeline", timeline, "usage", usage(core->leases, l->id));
}

void lease_close(struct core *core, struct lease *lease, const char *reason)
{
    auto_json json_t *record = lease_record(core, lease);

    lease->ended_at = clock_wall_ms();
    add_time(json_object_get(record, "timeline"), "ended", lease->ended_at);
    free(lease->record);
    lease->record = doc_text(record);
    lease->state = LEASE_ENDED;
    str_copy_utf8(lease->end_reason, sizeof(lease->end_reason), reason);
}
