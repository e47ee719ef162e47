/*
 * Committing a set: its row, the rows of new VMs, the operation, events and the Idempotency-Key in
 * one transaction, so that a crash leaves all of it or nothing.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/quota_internal.h"
#include "service/vm/set_internal.h"

static int write_row(struct db_tx *tx, struct set *set, bool insert, struct error *err)
{
    auto_json json_t *definition = set_spec_encode(set->spec, true);
    auto_free char *text = doc_text(definition);
    const struct set_row row = {.seq = set->seq,
                                .id = set->id,
                                .project_id = set->project_id,
                                .host_id = set->host_id,
                                .name = set->name,
                                .definition = text,
                                .actor = set->actor,
                                .owner_token = set->owner_token,
                                .step = set->step,
                                .deleting = set->deleting,
                                .boot_id = set->boot_id,
                                .expires_boot_ms = set->expires_boot_ms,
                                .expires_at = set->expires_at,
                                .created_at = set->created_at,
                                .updated_at = set->updated_at};

    return insert ? store_set_insert(tx, &row, &set->seq, err) : store_set_update(tx, &row, err);
}

static int write_op(struct db_tx *tx, const struct set_write *w, struct error *err)
{
    struct op_row row;

    if (!w->op)
        return 0;
    op_to_row(w->op, &row);
    return store_op_insert(tx, &row, err);
}

/* Of the set or of the operation, whichever the key's request made. */
static int write_key(struct db_tx *tx, const struct set_write *w, struct error *err)
{
    if (!w->idem || !w->idem->key)
        return 0;
    return idem_put(tx, w->actor, w->idem, w->idem_status, w->idem_kind,
                    str_eq(w->idem_kind, "set") ? w->set->id : w->op->id, err);
}

static int write_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct set_write *w = arg;

    if (idem_race(tx, w->actor, w->idem, err))
        return -1;
    if (w->remove ? store_set_delete(tx, w->set->id, err) : write_row(tx, w->set, w->insert, err))
        return -1;
    if (quota_check_new(w->core, tx, w->vms, w->vm_count, err))
        return -1;
    for (size_t i = 0; i < w->vm_count; i++) {
        if (vm_write_new(w->core, tx, w->vms[i], w->actor, err))
            return -1;
    }
    if (write_op(tx, w, err) || write_key(tx, w, err))
        return -1;
    return w->event ? event_append(w->core, tx, w->set->project_id, w->actor, w->event, "set", w->set->id, w->set->name,
                                   w->event_data, err)
                    : 0;
}

static void committed_fn(void *arg)
{
    struct set_write *w = arg;

    if (w->remove)
        set_book_remove(w->core->sets, w->set->id);
    else
        set_book_put(w->core->sets, w->set);
    for (size_t i = 0; i < w->vm_count; i++)
        vm_publish_new(w->core, w->vms[i]);
    if (w->op)
        op_enqueue(w->core->ops, w->op); /* in the order of the commits */
}

int set_write(struct set_write *w, struct error *err)
{
    if (db_write(w->core->db, write_fn, committed_fn, w, err))
        return -1;
    set_keeper_poke(w->core->sets);
    return 0;
}
