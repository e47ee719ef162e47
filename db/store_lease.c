/* Pools, their members, and leases. */
#include "db/store_lease.h"

#include "db/db_internal.h"

/* ---- pools ---- */

static int pool_not_found(const char *id, struct error *err)
{
    return error_set(err, ERROR_POOL_NOT_FOUND, "there is no pool %s", id);
}

int store_pool_insert(struct db_tx *tx, const struct pool_row *row, int64_t *ret_seq,
                      struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_POOL_INSERT);

    stmt_text(&s, ":id", row->id);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":host_id", row->host_id);
    stmt_text(&s, ":name", row->name);
    stmt_text(&s, ":definition", row->definition);
    stmt_int(&s, ":generation", row->generation);
    stmt_int(&s, ":created_at", row->created_at);
    stmt_int(&s, ":updated_at", row->updated_at);
    stmt_text(&s, ":owner_token", row->owner_token ? row->owner_token : "");
    if (stmt_run(&s, err)) {
        if (s.rc == SQLITE_CONSTRAINT_UNIQUE)
            return error_set(err, ERROR_NAME_IN_USE, "there is already a pool called %s",
                             row->name);
        return -1;
    }
    *ret_seq = sqlite3_last_insert_rowid(tx->conn->sq);
    return 0;
}

int store_pool_update(struct db_tx *tx, const struct pool_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_POOL_UPDATE);

    stmt_text(&s, ":id", row->id);
    stmt_text(&s, ":definition", row->definition);
    stmt_int(&s, ":generation", row->generation);
    stmt_int(&s, ":updated_at", row->updated_at);
    if (stmt_run(&s, err))
        return -1;
    return stmt_changes(&s) ? 0 : pool_not_found(row->id, err);
}

int store_pool_delete(struct db_tx *tx, const char *id, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_POOL_DELETE);

    stmt_text(&s, ":id", id);
    if (stmt_run(&s, err))
        return -1;
    return stmt_changes(&s) ? 0 : pool_not_found(id, err);
}

int store_pool_each(struct db *db, int (*fn)(void *, const struct pool_row *), void *arg,
                    struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_POOL_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct pool_row row;

        row.seq = stmt_next_int(&s);
        row.id = stmt_next_text(&s);
        row.project_id = stmt_next_text(&s);
        row.host_id = stmt_next_text(&s);
        row.name = stmt_next_text(&s);
        row.definition = stmt_next_text(&s);
        row.generation = stmt_next_int(&s);
        row.created_at = stmt_next_int(&s);
        row.updated_at = stmt_next_int(&s);
        row.owner_token = stmt_next_text(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

int store_pool_member_put(struct db_tx *tx, const struct pool_member_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_POOL_MEMBER_PUT);

    stmt_text(&s, ":vm_id", row->vm_id);
    stmt_text(&s, ":pool_id", row->pool_id);
    stmt_int(&s, ":generation", row->generation);
    return stmt_run(&s, err);
}

int store_pool_member_delete(struct db_tx *tx, const char *vm_id, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_POOL_MEMBER_DELETE);

    stmt_text(&s, ":vm_id", vm_id);
    return stmt_run(&s, err);
}

int store_pool_member_each(struct db *db, int (*fn)(void *, const struct pool_member_row *),
                           void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_POOL_MEMBER_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct pool_member_row row;

        row.vm_id = stmt_next_text(&s);
        row.pool_id = stmt_next_text(&s);
        row.generation = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

/* ---- leases ---- */

static void bind_changeable(struct stmt *s, const struct lease_row *row)
{
    stmt_text(s, ":id", row->id);
    stmt_text(s, ":vm_id", row->vm_id);
    stmt_text(s, ":vm_name", row->vm_name);
    stmt_text(s, ":state", row->state);
    stmt_text(s, ":end_reason", row->end_reason);
    stmt_int(s, ":warm", row->warm);
    stmt_int(s, ":claim_us", row->claim_us);
    stmt_int(s, ":ttl_seconds", row->ttl_seconds);
    stmt_text(s, ":boot_id", row->boot_id);
    stmt_int(s, ":expires_boot_ms", row->expires_boot_ms);
    stmt_int(s, ":limit_boot_ms", row->limit_boot_ms);
    stmt_int(s, ":expires_at", row->expires_at);
    stmt_int(s, ":limit_at", row->limit_at);
    stmt_int(s, ":claimed_at", row->claimed_at);
    stmt_int(s, ":renewed_at", row->renewed_at);
    stmt_int(s, ":ended_at", row->ended_at);
    stmt_text(s, ":record", row->record);
}

int store_lease_insert(struct db_tx *tx, const struct lease_row *row, int64_t *ret_seq,
                       struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_LEASE_INSERT);

    bind_changeable(&s, row);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":host_id", row->host_id);
    stmt_text(&s, ":pool_id", row->pool_id);
    stmt_text(&s, ":pool_name", row->pool_name);
    stmt_text(&s, ":holder", row->holder);
    stmt_text(&s, ":labels", row->labels);
    stmt_text(&s, ":actor", row->actor);
    stmt_text(&s, ":on_expiry", row->on_expiry);
    stmt_int(&s, ":max_seconds", row->max_seconds);
    stmt_int(&s, ":idle_seconds", row->idle_seconds);
    stmt_int(&s, ":created_at", row->created_at);
    stmt_text(&s, ":owner_token", row->owner_token ? row->owner_token : "");
    if (stmt_run(&s, err))
        return -1;
    *ret_seq = sqlite3_last_insert_rowid(tx->conn->sq);
    return 0;
}

int store_lease_update(struct db_tx *tx, const struct lease_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_LEASE_UPDATE);

    bind_changeable(&s, row);
    if (stmt_run(&s, err))
        return -1;
    if (stmt_changes(&s) == 0)
        return error_set(err, ERROR_LEASE_NOT_FOUND, "there is no lease %s any more", row->id);
    return 0;
}

static struct lease_row read_lease(struct stmt *s)
{
    struct lease_row row;

    row.seq = stmt_next_int(s);
    row.id = stmt_next_text(s);
    row.project_id = stmt_next_text(s);
    row.host_id = stmt_next_text(s);
    row.pool_id = stmt_next_text(s);
    row.pool_name = stmt_next_text(s);
    row.vm_id = stmt_next_text(s);
    row.vm_name = stmt_next_text(s);
    row.holder = stmt_next_text(s);
    row.labels = stmt_next_text(s);
    row.actor = stmt_next_text(s);
    row.state = stmt_next_text(s);
    row.end_reason = stmt_next_text(s);
    row.on_expiry = stmt_next_text(s);
    row.warm = stmt_next_int(s) != 0;
    row.claim_us = stmt_next_int(s);
    row.ttl_seconds = stmt_next_int(s);
    row.max_seconds = stmt_next_int(s);
    row.idle_seconds = stmt_next_int(s);
    row.boot_id = stmt_next_text(s);
    row.expires_boot_ms = stmt_next_int(s);
    row.limit_boot_ms = stmt_next_int(s);
    row.expires_at = stmt_next_int(s);
    row.limit_at = stmt_next_int(s);
    row.created_at = stmt_next_int(s);
    row.claimed_at = stmt_next_int(s);
    row.renewed_at = stmt_next_int(s);
    row.ended_at = stmt_next_int(s);
    row.record = stmt_next_text(s);
    row.owner_token = stmt_next_text(s);
    return row;
}

/* Hands rows over until fn has enough; returns how many, or -1. */
static int each_lease(struct stmt *s, int (*fn)(void *, const struct lease_row *), void *arg,
                      struct error *err)
{
    int rc, count = 0;

    while ((rc = stmt_row(s, err)) > 0) {
        struct lease_row row = read_lease(s);

        count++;
        if (fn(arg, &row))
            return count;
    }
    return rc < 0 ? -1 : count;
}

int store_lease_living(struct db *db, int (*fn)(void *, const struct lease_row *), void *arg,
                       struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_LEASE_LIVING);

    return each_lease(&s, fn, arg, err) < 0 ? -1 : 0;
}

int store_lease_get(struct db *db, const char *project_id, const char *id,
                    int (*fn)(void *, const struct lease_row *), void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_LEASE_GET);

    stmt_text(&s, ":project_id", project_id);
    stmt_text(&s, ":id", id);
    return each_lease(&s, fn, arg, err);
}

int store_lease_list(struct db *db, const struct lease_list_filter *filter,
                     int (*fn)(void *, const struct lease_row *), void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_LEASE_LIST);

    stmt_text(&s, ":project_id", filter->project_id);
    stmt_int(&s, ":before_seq", filter->before_seq ? filter->before_seq : INT64_MAX);
    stmt_text_or_null(&s, ":state", filter->state);
    stmt_text_or_null(&s, ":pool_id", filter->pool_id);
    stmt_text(&s, ":labels", filter->labels ? filter->labels : "{}");
    stmt_int(&s, ":limit", filter->limit);
    return each_lease(&s, fn, arg, err) < 0 ? -1 : 0;
}

int store_lease_vm_gone(struct db_tx *tx, const char *vm_id, int64_t at, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_LEASE_VM_GONE);

    stmt_text(&s, ":vm_id", vm_id);
    stmt_int(&s, ":at", at);
    return stmt_run(&s, err);
}

int store_lease_prune(struct db_tx *tx, int64_t ended_before, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_LEASE_PRUNE);

    stmt_int(&s, ":ended_before", ended_before);
    return stmt_run(&s, err);
}
