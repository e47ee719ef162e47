/* Sets. Which VM belongs to which is in the VMs' own rows. */
#include "db/store_set.h"

#include "db/db_internal.h"

static void bind_changeable(struct stmt *s, const struct set_row *row)
{
    stmt_text(s, ":id", row->id);
    stmt_text(s, ":definition", row->definition);
    stmt_int(s, ":step", row->step);
    stmt_int(s, ":deleting", row->deleting);
    stmt_text(s, ":boot_id", row->boot_id);
    stmt_int(s, ":expires_boot_ms", row->expires_boot_ms);
    stmt_int(s, ":expires_at", row->expires_at);
    stmt_int(s, ":updated_at", row->updated_at);
}

int store_set_insert(struct db_tx *tx, const struct set_row *row, int64_t *ret_seq,
                     struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_SET_INSERT);

    bind_changeable(&s, row);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":host_id", row->host_id);
    stmt_text(&s, ":name", row->name);
    stmt_text(&s, ":actor", row->actor);
    stmt_int(&s, ":created_at", row->created_at);
    stmt_text(&s, ":owner_token", row->owner_token);
    if (stmt_run(&s, err)) {
        if (s.rc == SQLITE_CONSTRAINT_UNIQUE)
            return error_set_at(err, ERROR_NAME_IN_USE, "/name", "there is already a set called %s",
                                row->name);
        return -1;
    }
    *ret_seq = sqlite3_last_insert_rowid(tx->conn->sq);
    return 0;
}

int store_set_update(struct db_tx *tx, const struct set_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_SET_UPDATE);

    bind_changeable(&s, row);
    if (stmt_run(&s, err))
        return -1;
    if (stmt_changes(&s) == 0)
        return error_set(err, ERROR_SET_NOT_FOUND, "there is no set %s any more", row->id);
    return 0;
}

int store_set_delete(struct db_tx *tx, const char *id, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_SET_DELETE);

    stmt_text(&s, ":id", id);
    return stmt_run(&s, err);
}

int store_set_each(struct db *db, int (*fn)(void *, const struct set_row *), void *arg,
                   struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_SET_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct set_row row;

        row.seq = stmt_next_int(&s);
        row.id = stmt_next_text(&s);
        row.project_id = stmt_next_text(&s);
        row.host_id = stmt_next_text(&s);
        row.name = stmt_next_text(&s);
        row.definition = stmt_next_text(&s);
        row.actor = stmt_next_text(&s);
        row.step = stmt_next_int(&s);
        row.deleting = stmt_next_int(&s) != 0;
        row.boot_id = stmt_next_text(&s);
        row.expires_boot_ms = stmt_next_int(&s);
        row.expires_at = stmt_next_int(&s);
        row.created_at = stmt_next_int(&s);
        row.updated_at = stmt_next_int(&s);
        row.owner_token = stmt_next_text(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}
