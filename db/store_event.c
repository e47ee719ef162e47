/* The event log. */
#include "db/db_internal.h"

int store_event_append(struct db_tx *tx, const struct event_row *row, int64_t *ret_seq,
                       struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_EVENT_APPEND);
    struct event_row stored = *row;

    stmt_int(&s, ":at", row->at);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":host_id", row->host_id);
    stmt_text(&s, ":type", row->type);
    stmt_text(&s, ":subject_kind", row->subject_kind);
    stmt_text(&s, ":subject_id", row->subject_id);
    stmt_text(&s, ":subject_name", row->subject_name);
    stmt_text(&s, ":actor", row->actor);
    stmt_text(&s, ":request_id", row->request_id);
    stmt_text(&s, ":data", row->data);
    if (stmt_run(&s, err))
        return -1;
    stored.seq = sqlite3_last_insert_rowid(tx->conn->sq);
    tx_capture_event(tx, &stored);
    *ret_seq = stored.seq;
    return 0;
}

static struct event_row read_event(struct stmt *s)
{
    struct event_row row;

    row.seq = stmt_next_int(s);
    row.at = stmt_next_int(s);
    row.project_id = stmt_next_text(s);
    row.host_id = stmt_next_text(s);
    row.type = stmt_next_text(s);
    row.subject_kind = stmt_next_text(s);
    row.subject_id = stmt_next_text(s);
    row.subject_name = stmt_next_text(s);
    row.actor = stmt_next_text(s);
    row.request_id = stmt_next_text(s);
    row.data = stmt_next_text(s);
    return row;
}

int store_event_list(struct db *db, const char *project_id, int64_t since_seq, int limit,
                     int (*fn)(void *, const struct event_row *), void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_EVENT_LIST);
    int rc;

    stmt_text(&s, ":project_id", project_id);
    stmt_int(&s, ":since_seq", since_seq);
    stmt_int(&s, ":limit", limit);
    while ((rc = stmt_row(&s, err)) > 0) {
        struct event_row row = read_event(&s);

        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

int store_event_last(struct db *db, int64_t *ret_seq, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_EVENT_LAST);

    if (stmt_row(&s, err) < 0)
        return -1;
    *ret_seq = stmt_next_int(&s);
    return 0;
}

int store_event_first(struct db *db, int64_t *ret_seq, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_EVENT_FIRST);

    if (stmt_row(&s, err) < 0)
        return -1;
    *ret_seq = stmt_next_int(&s);
    return 0;
}

int store_event_prune(struct db_tx *tx, int64_t before, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_EVENT_PRUNE);

    stmt_int(&s, ":before", before);
    return stmt_run(&s, err);
}
