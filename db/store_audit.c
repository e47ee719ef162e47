/* The audit log. */
#include "db/db_internal.h"

int store_audit_append(struct db_tx *tx, const struct audit_row *row, int64_t *ret_seq, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_AUDIT_APPEND);

    stmt_int(&s, ":at", row->at);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":principal", row->principal);
    stmt_text(&s, ":name", row->name);
    stmt_text(&s, ":address", row->address);
    stmt_text(&s, ":method", row->method);
    stmt_text(&s, ":operation", row->operation);
    stmt_text(&s, ":params", row->params);
    stmt_int(&s, ":status", row->status);
    stmt_text(&s, ":code", row->code);
    stmt_text(&s, ":request_id", row->request_id);
    stmt_int(&s, ":duration_us", row->duration_us);
    if (stmt_run(&s, err))
        return -1;
    if (ret_seq)
        *ret_seq = sqlite3_last_insert_rowid(tx->conn->sq);
    return 0;
}

int store_audit_answer(struct db_tx *tx, const struct audit_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_AUDIT_ANSWER);

    stmt_int(&s, ":seq", row->seq);
    stmt_text(&s, ":principal", row->principal);
    stmt_text(&s, ":name", row->name);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_int(&s, ":status", row->status);
    stmt_text(&s, ":code", row->code);
    stmt_int(&s, ":duration_us", row->duration_us);
    return stmt_run(&s, err);
}

static struct audit_row read_row(struct stmt *s)
{
    struct audit_row row;

    row.seq = stmt_next_int(s);
    row.at = stmt_next_int(s);
    row.project_id = stmt_next_text(s);
    row.principal = stmt_next_text(s);
    row.name = stmt_next_text(s);
    row.address = stmt_next_text(s);
    row.method = stmt_next_text(s);
    row.operation = stmt_next_text(s);
    row.params = stmt_next_text(s);
    row.status = (int)stmt_next_int(s);
    row.code = stmt_next_text(s);
    row.request_id = stmt_next_text(s);
    row.duration_us = stmt_next_int(s);
    return row;
}

int store_audit_list(struct db *db, const struct audit_filter *filter,
                     int (*fn)(void *, const struct audit_row *), void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s =
        stmt_use(r.conn, filter->project_id ? QUERY_AUDIT_LIST : QUERY_AUDIT_LIST_ALL);
    int rc;

    if (filter->project_id)
        stmt_text(&s, ":project_id", filter->project_id);
    stmt_int(&s, ":before_seq", filter->before_seq ? filter->before_seq : INT64_MAX);
    stmt_int(&s, ":since", filter->since);
    stmt_int(&s, ":until", filter->until ? filter->until : INT64_MAX);
    stmt_text(&s, ":principal", filter->principal ? filter->principal : "");
    stmt_text(&s, ":operation", filter->operation ? filter->operation : "");
    stmt_int(&s, ":min_status", filter->min_status);
    stmt_int(&s, ":limit", filter->limit);
    while ((rc = stmt_row(&s, err)) > 0) {
        struct audit_row row = read_row(&s);

        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

int store_audit_prune(struct db_tx *tx, int64_t before, int64_t keep, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_AUDIT_PRUNE);

    stmt_int(&s, ":before", before);
    stmt_int(&s, ":keep", keep);
    return stmt_run(&s, err);
}
