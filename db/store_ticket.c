/* Share links: tickets that outlive the daemon. */
#include "db/db_internal.h"

int store_ticket_insert(struct db_tx *tx, const struct ticket_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_TICKET_INSERT);

    stmt_text(&s, ":id", row->id);
    stmt_text(&s, ":hash", row->hash);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":vm_id", row->vm_id);
    stmt_text(&s, ":stream", row->stream);
    stmt_text(&s, ":mode", row->mode);
    stmt_int(&s, ":single_use", row->single_use);
    stmt_text(&s, ":name", row->name);
    stmt_text(&s, ":token_id", row->token_id);
    stmt_text(&s, ":created_by", row->created_by);
    stmt_text(&s, ":maker_name", row->maker_name);
    stmt_int(&s, ":created_at", row->created_at);
    stmt_int(&s, ":expires_at", row->expires_at);
    if (stmt_run(&s, err)) {
        if (s.rc == SQLITE_CONSTRAINT_FOREIGNKEY)
            return error_set(err, ERROR_TOKEN_NOT_FOUND, "there is no token %s", row->token_id);
        return -1;
    }
    return 0;
}

int store_ticket_delete(struct db_tx *tx, const char *id, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_TICKET_DELETE);

    stmt_text(&s, ":id", id);
    if (stmt_run(&s, err))
        return -1;
    return stmt_changes(&s) ? 0
                            : error_set(err, ERROR_TICKET_NOT_FOUND, "there is no ticket %s", id);
}

int store_ticket_touch(struct db_tx *tx, const char *id, int64_t last_used_at, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_TICKET_TOUCH);

    stmt_text(&s, ":id", id);
    stmt_int(&s, ":last_used_at", last_used_at);
    if (stmt_run(&s, err))
        return -1;
    return stmt_changes(&s) ? 0
                            : error_set(err, ERROR_TICKET_NOT_FOUND, "there is no ticket %s", id);
}

int store_ticket_each(struct db *db, int (*fn)(void *, const struct ticket_row *), void *arg,
                      struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_TICKET_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct ticket_row row;

        row.id = stmt_next_text(&s);
        row.hash = stmt_next_text(&s);
        row.project_id = stmt_next_text(&s);
        row.vm_id = stmt_next_text(&s);
        row.stream = stmt_next_text(&s);
        row.mode = stmt_next_text(&s);
        row.single_use = stmt_next_int(&s) != 0;
        row.name = stmt_next_text(&s);
        row.token_id = stmt_next_text(&s);
        row.created_by = stmt_next_text(&s);
        row.maker_name = stmt_next_text(&s);
        row.created_at = stmt_next_int(&s);
        row.expires_at = stmt_next_int(&s);
        row.last_used_at = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

int store_ticket_prune(struct db_tx *tx, const char *id, int64_t expired_before, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_TICKET_PRUNE);

    stmt_text(&s, ":id", id);
    stmt_int(&s, ":expired_before", expired_before);
    return stmt_run(&s, err);
}
