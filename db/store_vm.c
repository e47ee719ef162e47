/* VMs and the vsock CIDs they hold. */
#include "db/db_internal.h"
#include "service/base/fault.h"

#include <stdio.h>

#define CID_GAP  1000 /* some may have been handed out since, to VMs that nothing is known of any more */
#define CID_LAST 4294967295

static void bind_changeable(struct stmt *s, const struct vm_row *row)
{
    stmt_text(s, ":id", row->id);
    stmt_text(s, ":host_id", row->host_id);
    stmt_text(s, ":name", row->name);
    stmt_text(s, ":spec", row->spec);
    stmt_text(s, ":state", row->state);
    stmt_text(s, ":state_reason", row->state_reason);
    stmt_text(s, ":acceleration", row->acceleration);
    stmt_text(s, ":acceleration_reason", row->acceleration_reason);
    stmt_text(s, ":image_id", row->image_id);
    stmt_int(s, ":generation", row->generation);
    stmt_int(s, ":defined_generation", row->defined_generation);
    stmt_int(s, ":running_generation", row->running_generation);
    stmt_int(s, ":vsock_cid", row->vsock_cid);
    stmt_int(s, ":updated_at", row->updated_at);
    stmt_int(s, ":started_at", row->started_at);
    stmt_int(s, ":deleted_at", row->deleted_at);
    stmt_int(s, ":first_output_at", row->first_output_at);
    stmt_int(s, ":kernel_at", row->kernel_at);
    stmt_int(s, ":userland_at", row->userland_at);
    stmt_int(s, ":ready_at", row->ready_at);
    stmt_int(s, ":rebooted_at", row->rebooted_at);
    stmt_int(s, ":last_attached_at", row->last_attached_at);
    stmt_text(s, ":boot_status", row->boot_status ? row->boot_status : "");
    stmt_int(s, ":set_step", row->set_step);
    stmt_int(s, ":reimaged", row->reimaged);
    stmt_text(s, ":owner_token", row->owner_token ? row->owner_token : "");
    stmt_int(s, ":cpus", row->cpus);
    stmt_int(s, ":memory_mib", row->memory_mib);
    stmt_int(s, ":disk_bytes", row->disk_bytes);
    stmt_text(s, ":template_id", row->template_id ? row->template_id : "");
    stmt_text(s, ":template_key", row->template_key ? row->template_key : "");
    stmt_int(s, ":merges", row->merges);
}

static int name_in_use(const char *name, struct error *err)
{
    return error_set(err, ERROR_NAME_IN_USE, "there is already a VM called %s", name);
}

static bool has_image(const struct vm_row *row)
{
    return row->image_id && *row->image_id;
}

static int unknown_image(struct error *err)
{
    return error_set(err, ERROR_UNKNOWN_IMAGE, "the image has gone");
}

int store_vm_name_taken(struct db_tx *tx, const char *project_id, const char *name, const char *id,
                        struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_VM_NAME_TAKEN);

    stmt_text(&s, ":project_id", project_id);
    stmt_text(&s, ":name", name);
    stmt_text(&s, ":id", id);
    return stmt_row(&s, err);
}

/* A conflict over the name or over an id that was drawn twice? */
static int explain_conflict(struct db_tx *tx, const struct vm_row *row, struct error *err)
{
    struct error ignored;

    return store_vm_name_taken(tx, row->project_id, row->name, row->id, &ignored) > 0
               ? name_in_use(row->name, err)
               : -1;
}

int store_vm_insert(struct db_tx *tx, const struct vm_row *row, int64_t *ret_seq, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_VM_INSERT);

    bind_changeable(&s, row);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_int(&s, ":created_at", row->created_at);
    stmt_text(&s, ":set_id", row->set_id ? row->set_id : "");
    stmt_text(&s, ":set_name", row->set_name ? row->set_name : "");
    stmt_text(&s, ":set_machine", row->set_machine ? row->set_machine : "");
    stmt_int(&s, ":set_member", row->set_member);
    if (stmt_run(&s, err)) {
        if (s.rc == SQLITE_CONSTRAINT_UNIQUE)
            return explain_conflict(tx, row, err);
        if (s.rc == SQLITE_CONSTRAINT_FOREIGNKEY && has_image(row))
            return unknown_image(err);
        return -1;
    }
    *ret_seq = sqlite3_last_insert_rowid(tx->conn->sq);
    return 0;
}

int store_vm_update(struct db_tx *tx, const struct vm_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_VM_UPDATE);

    bind_changeable(&s, row);
    if (stmt_run(&s, err)) {
        if (s.rc == SQLITE_CONSTRAINT_UNIQUE) /* of what changes, only the name is unique */
            return name_in_use(row->name, err);
        if (s.rc == SQLITE_CONSTRAINT_FOREIGNKEY && has_image(row))
            return unknown_image(err);
        return -1;
    }
    if (stmt_changes(&s) == 0)
        return error_set(err, ERROR_VM_NOT_FOUND, "there is no VM %s any more", row->id);
    return 0;
}

static struct vm_row read_vm(struct stmt *s)
{
    struct vm_row row;

    row.seq = stmt_next_int(s);
    row.id = stmt_next_text(s);
    row.project_id = stmt_next_text(s);
    row.host_id = stmt_next_text(s);
    row.name = stmt_next_text(s);
    row.spec = stmt_next_text(s);
    row.state = stmt_next_text(s);
    row.state_reason = stmt_next_text(s);
    row.acceleration = stmt_next_text(s);
    row.acceleration_reason = stmt_next_text(s);
    row.image_id = stmt_next_text(s);
    row.generation = stmt_next_int(s);
    row.defined_generation = stmt_next_int(s);
    row.running_generation = stmt_next_int(s);
    row.vsock_cid = (uint32_t)stmt_next_int(s);
    row.created_at = stmt_next_int(s);
    row.updated_at = stmt_next_int(s);
    row.started_at = stmt_next_int(s);
    row.deleted_at = stmt_next_int(s);
    row.first_output_at = stmt_next_int(s);
    row.kernel_at = stmt_next_int(s);
    row.userland_at = stmt_next_int(s);
    row.ready_at = stmt_next_int(s);
    row.rebooted_at = stmt_next_int(s);
    row.last_attached_at = stmt_next_int(s);
    row.boot_status = stmt_next_text(s);
    row.set_id = stmt_next_text(s);
    row.set_name = stmt_next_text(s);
    row.set_machine = stmt_next_text(s);
    row.set_member = stmt_next_int(s);
    row.set_step = stmt_next_int(s);
    row.reimaged = stmt_next_int(s);
    row.owner_token = stmt_next_text(s);
    row.cpus = stmt_next_int(s);
    row.memory_mib = stmt_next_int(s);
    row.disk_bytes = stmt_next_int(s);
    row.template_id = stmt_next_text(s);
    row.template_key = stmt_next_text(s);
    row.merges = stmt_next_int(s);
    return row;
}

int store_vm_each(struct db *db, int (*fn)(void *, const struct vm_row *), void *arg,
                  struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_VM_LIVING);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct vm_row row = read_vm(&s);

        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

int store_vm_project(struct db_tx *tx, const char *id, char ret[37], struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_VM_PROJECT);
    int rc;

    stmt_text(&s, ":id", id);
    rc = stmt_row(&s, err);
    if (rc > 0)
        snprintf(ret, 37, "%s", stmt_next_text(&s));
    return rc;
}

int store_vm_purge_tombstones(struct db_tx *tx, int64_t deleted_before, struct error *err)
{
    auto_stmt struct stmt cids = stmt_use(tx->conn, QUERY_CID_PURGE);
    auto_stmt struct stmt vms = stmt_use(tx->conn, QUERY_VM_PURGE);

    stmt_int(&cids, ":deleted_before", deleted_before);
    stmt_int(&vms, ":deleted_before", deleted_before);
    return stmt_run(&cids, err) ? -1 : stmt_run(&vms, err);
}

static int draw_cid(struct db_tx *tx, const char *host_id, uint32_t *ret, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_CID_NEXT);
    int rc;

    stmt_text(&s, ":host_id", host_id);
    rc = stmt_row(&s, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return error_set(err, ERROR_UNAVAILABLE, "the host has no vsock CID left");
    *ret = (uint32_t)stmt_next_int(&s);
    return 0;
}

static int bind_cid(struct db_tx *tx, const char *host_id, const char *vm_id, uint32_t cid, int64_t now,
                    struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_CID_INSERT);

    stmt_text(&s, ":host_id", host_id);
    stmt_int(&s, ":cid", cid);
    stmt_text(&s, ":vm_id", vm_id);
    stmt_int(&s, ":allocated_at", now);
    return stmt_run(&s, err);
}

int store_cid_allocate(struct db_tx *tx, const char *host_id, const char *vm_id, int64_t now,
                       uint32_t *ret, struct error *err)
{
    uint32_t cid;

    if (draw_cid(tx, host_id, &cid, err) || bind_cid(tx, host_id, vm_id, cid, now, err))
        return -1;
    *ret = SEEDED_BUG(SAME_CID) ? 5000 : cid;
    return 0;
}

int store_cid_restore(struct db_tx *tx, const char *host_id, const char *vm_id, uint32_t cid, int64_t now,
                      struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_CID_RESERVE);
    int64_t above = (int64_t)cid + CID_GAP;

    if (bind_cid(tx, host_id, vm_id, cid, now, err))
        return -1;
    stmt_text(&s, ":host_id", host_id);
    stmt_int(&s, ":above", above < CID_LAST ? above : CID_LAST);
    return stmt_run(&s, err);
}

int store_cid_release(struct db_tx *tx, const char *vm_id, int64_t now, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_CID_RELEASE);

    if (SEEDED_BUG(KEEP_CID))
        return 0;
    stmt_text(&s, ":vm_id", vm_id);
    stmt_int(&s, ":now", now);
    return stmt_run(&s, err);
}
