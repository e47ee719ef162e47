/* Streamed programs, for the next daemon. */
#include "db/db_internal.h"

int store_exec_put(struct db_tx *tx, const struct exec_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_EXEC_PUT);

    stmt_text(&s, ":id", row->id);
    stmt_text(&s, ":vm_id", row->vm_id);
    stmt_text(&s, ":actor", row->actor);
    stmt_text(&s, ":note", row->note);
    return stmt_run(&s, err);
}

int store_exec_delete(struct db_tx *tx, const char *id, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_EXEC_DELETE);

    stmt_text(&s, ":id", id);
    return stmt_run(&s, err);
}

int store_exec_each(struct db *db, int (*fn)(void *, const struct exec_row *), void *arg,
                    struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_EXEC_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct exec_row row;

        row.id = stmt_next_text(&s);
        row.vm_id = stmt_next_text(&s);
        row.actor = stmt_next_text(&s);
        row.note = stmt_next_text(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}
