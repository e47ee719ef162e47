/* Recordings of consoles: what is known of each; the bytes are files. */
#include "db/db_internal.h"

int store_recording_insert(struct db_tx *tx, const struct recording_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_RECORDING_INSERT);

    stmt_text(&s, ":id", row->id);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":vm_id", row->vm_id);
    stmt_text(&s, ":vm_name", row->vm_name);
    stmt_text(&s, ":stream", row->stream);
    stmt_text(&s, ":actor", row->actor);
    stmt_int(&s, ":started_at", row->started_at);
    stmt_int(&s, ":rows", row->rows);
    stmt_int(&s, ":cols", row->cols);
    if (stmt_run(&s, err) == 0)
        return 0;
    if (s.rc != SQLITE_CONSTRAINT_UNIQUE)
        return -1;
    error_set(err, ERROR_RECORDING_STATE_CONFLICT, "the %s of VM %s is being recorded already",
              row->stream, row->vm_name);
    error_remedy(err, "Stop that recording first.");
    return -1;
}

static int not_found(const char *id, struct error *err)
{
    return error_set(err, ERROR_RECORDING_NOT_FOUND, "there is no recording %s", id);
}

int store_recording_finish(struct db_tx *tx, const struct recording_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_RECORDING_FINISH);

    stmt_text(&s, ":state", row->state);
    stmt_text(&s, ":state_reason", row->state_reason);
    stmt_int(&s, ":finished_at", row->finished_at);
    stmt_int(&s, ":duration_ms", row->duration_ms);
    stmt_int(&s, ":size_bytes", row->size_bytes);
    stmt_text(&s, ":id", row->id);
    if (stmt_run(&s, err))
        return -1;
    return stmt_changes(&s) ? 0 : not_found(row->id, err);
}

int store_recording_delete(struct db_tx *tx, const char *id, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_RECORDING_DELETE);

    stmt_text(&s, ":id", id);
    if (stmt_run(&s, err))
        return -1;
    return stmt_changes(&s) ? 0 : not_found(id, err);
}

/* How many were handed to fn, or -1. */
static int each(struct stmt *s, store_recording_fn *fn, void *arg, struct error *err)
{
    int rc, n = 0;

    while ((rc = stmt_row(s, err)) > 0) {
        struct recording_row row;

        row.seq = stmt_next_int(s);
        row.id = stmt_next_text(s);
        row.project_id = stmt_next_text(s);
        row.vm_id = stmt_next_text(s);
        row.vm_name = stmt_next_text(s);
        row.stream = stmt_next_text(s);
        row.state = stmt_next_text(s);
        row.state_reason = stmt_next_text(s);
        row.actor = stmt_next_text(s);
        row.started_at = stmt_next_int(s);
        row.finished_at = stmt_next_int(s);
        row.duration_ms = stmt_next_int(s);
        row.size_bytes = stmt_next_int(s);
        row.rows = stmt_next_int(s);
        row.cols = stmt_next_int(s);
        n++;
        if (fn(arg, &row))
            break;
    }
    return rc < 0 ? -1 : n;
}

int store_recording_get(struct db *db, const char *id, store_recording_fn *fn, void *arg,
                        struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_RECORDING_GET);

    stmt_text(&s, ":id", id);
    return each(&s, fn, arg, err);
}

int store_recording_list(struct db *db, const char *project_id, const char *vm_id,
                         int64_t before_seq, int limit, store_recording_fn *fn, void *arg,
                         struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s =
        stmt_use(r.conn, vm_id ? QUERY_RECORDING_LIST_VM : QUERY_RECORDING_LIST);

    stmt_text(&s, ":project_id", project_id);
    if (vm_id)
        stmt_text(&s, ":vm_id", vm_id);
    stmt_int(&s, ":before_seq", before_seq ? before_seq : INT64_MAX);
    stmt_int(&s, ":limit", limit);
    return each(&s, fn, arg, err) < 0 ? -1 : 0;
}

int store_recording_open(struct db *db, store_recording_fn *fn, void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_RECORDING_OPEN);

    return each(&s, fn, arg, err) < 0 ? -1 : 0;
}

int store_recording_oldest(struct db *db, int64_t finished_before, int limit,
                           store_recording_fn *fn, void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_RECORDING_OLDEST);

    stmt_int(&s, ":finished_before", finished_before);
    stmt_int(&s, ":limit", limit);
    return each(&s, fn, arg, err) < 0 ? -1 : 0;
}

int store_recording_bytes(struct db *db, int64_t *ret, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_RECORDING_BYTES);

    if (stmt_row(&s, err) < 0)
        return -1;
    *ret = stmt_next_int(&s);
    return 0;
}
