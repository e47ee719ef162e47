/* The last shutdown of the host's guests, VM by VM. */
#include "db/db_internal.h"

int store_guest_shutdown_put(struct db_tx *tx, const struct guest_shutdown_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_GUEST_SHUTDOWN_PUT);

    stmt_text(&s, ":vm_id", row->vm_id);
    stmt_text(&s, ":operation_id", row->operation_id);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":name", row->name);
    stmt_text(&s, ":action", row->action);
    stmt_int(&s, ":seconds", row->seconds);
    stmt_text(&s, ":outcome", row->outcome);
    stmt_text(&s, ":detail", row->detail);
    stmt_int(&s, ":forced", row->forced);
    stmt_int(&s, ":restart", row->restart);
    stmt_int(&s, ":started_at", row->started_at);
    stmt_int(&s, ":finished_at", row->finished_at);
    return stmt_run(&s, err);
}

int store_guest_shutdown_clear(struct db_tx *tx, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_GUEST_SHUTDOWN_CLEAR);

    return stmt_run(&s, err);
}

int store_guest_shutdown_settle(struct db_tx *tx, bool due, int64_t now, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_GUEST_SHUTDOWN_SETTLE);

    stmt_int(&s, ":due", due);
    stmt_int(&s, ":now", now);
    return stmt_run(&s, err);
}

int store_guest_shutdown_each(struct db *db, int (*fn)(void *, const struct guest_shutdown_row *), void *arg,
                              struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_GUEST_SHUTDOWN_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct guest_shutdown_row row;

        row.vm_id = stmt_next_text(&s);
        row.operation_id = stmt_next_text(&s);
        row.project_id = stmt_next_text(&s);
        row.name = stmt_next_text(&s);
        row.action = stmt_next_text(&s);
        row.seconds = stmt_next_int(&s);
        row.outcome = stmt_next_text(&s);
        row.detail = stmt_next_text(&s);
        row.forced = stmt_next_int(&s) != 0;
        row.restart = (int)stmt_next_int(&s);
        row.started_at = stmt_next_int(&s);
        row.finished_at = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}
