/* Operations. */
#include "db/db_internal.h"

static void bind_progress(struct stmt *s, const struct op_row *row)
{
    stmt_text(s, ":id", row->id);
    stmt_text(s, ":state", row->state);
    stmt_text(s, ":error_code", row->error_code);
    stmt_text(s, ":error_detail", row->error_detail);
    stmt_text(s, ":error_remedy", row->error_remedy);
    stmt_text(s, ":error_pointer", row->error_pointer);
    stmt_int(s, ":started_at", row->started_at);
    stmt_int(s, ":finished_at", row->finished_at);
    stmt_int(s, ":done_bytes", row->done_bytes);
    stmt_int(s, ":total_bytes", row->total_bytes);
}

int store_op_insert(struct db_tx *tx, const struct op_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_OP_INSERT);

    bind_progress(&s, row);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":host_id", row->host_id);
    stmt_text(&s, ":vm_id", row->vm_id);
    stmt_text(&s, ":image_id", row->image_id);
    stmt_text(&s, ":set_id", row->set_id ? row->set_id : "");
    stmt_text(&s, ":kind", row->kind);
    stmt_text(&s, ":params", row->params);
    stmt_text(&s, ":actor", row->actor);
    stmt_text(&s, ":request_id", row->request_id);
    stmt_int(&s, ":created_at", row->created_at);
    return stmt_run(&s, err);
}

int store_op_update(struct db_tx *tx, const struct op_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_OP_UPDATE);

    bind_progress(&s, row);
    if (stmt_run(&s, err))
        return -1;
    if (stmt_changes(&s) == 0)
        return error_set(err, ERROR_OPERATION_NOT_FOUND, "there is no operation %s", row->id);
    return 0;
}

static struct op_row read_op(struct stmt *s)
{
    struct op_row row;

    row.seq = stmt_next_int(s);
    row.id = stmt_next_text(s);
    row.project_id = stmt_next_text(s);
    row.host_id = stmt_next_text(s);
    row.vm_id = stmt_next_text(s);
    row.image_id = stmt_next_text(s);
    row.kind = stmt_next_text(s);
    row.state = stmt_next_text(s);
    row.params = stmt_next_text(s);
    row.actor = stmt_next_text(s);
    row.request_id = stmt_next_text(s);
    row.error_code = stmt_next_text(s);
    row.error_detail = stmt_next_text(s);
    row.error_remedy = stmt_next_text(s);
    row.error_pointer = stmt_next_text(s);
    row.created_at = stmt_next_int(s);
    row.started_at = stmt_next_int(s);
    row.finished_at = stmt_next_int(s);
    row.done_bytes = stmt_next_int(s);
    row.total_bytes = stmt_next_int(s);
    row.set_id = stmt_next_text(s);
    return row;
}

static int each(struct stmt *s, int (*fn)(void *, const struct op_row *), void *arg,
                struct error *err)
{
    int rc;

    while ((rc = stmt_row(s, err)) > 0) {
        struct op_row row = read_op(s);

        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

static int get(struct db *db, enum query query, const char *parameter, const char *id,
               int (*fn)(void *, const struct op_row *), void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, query);
    struct op_row row;
    int rc;

    stmt_text(&s, parameter, id);
    rc = stmt_row(&s, err);
    if (rc > 0) {
        row = read_op(&s);
        fn(arg, &row);
    }
    return rc;
}

int store_op_get(struct db *db, const char *id, int (*fn)(void *, const struct op_row *), void *arg,
                 struct error *err)
{
    return get(db, QUERY_OP_GET, ":id", id, fn, arg, err);
}

int store_op_created(struct db *db, const char *vm_id, int (*fn)(void *, const struct op_row *), void *arg,
                     struct error *err)
{
    return get(db, QUERY_OP_CREATED, ":vm_id", vm_id, fn, arg, err);
}

static enum query list_query(const struct op_filter *filter)
{
    if (filter->vm_id)
        return QUERY_OP_LIST_VM;
    return filter->state ? QUERY_OP_LIST_STATE : QUERY_OP_LIST;
}

int store_op_list(struct db *db, const struct op_filter *filter,
                  int (*fn)(void *, const struct op_row *), void *arg, struct error *err)
{
    enum query query = list_query(filter);
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, query);

    stmt_text(&s, ":project_id", filter->project_id);
    stmt_int(&s, ":before_seq", filter->before_seq ? filter->before_seq : INT64_MAX);
    stmt_int(&s, ":limit", filter->limit);
    if (query == QUERY_OP_LIST_VM)
        stmt_text(&s, ":vm_id", filter->vm_id);
    if (query != QUERY_OP_LIST)
        stmt_text_or_null(&s, ":state", filter->state);
    return each(&s, fn, arg, err);
}

int store_op_unfinished(struct db *db, int (*fn)(void *, const struct op_row *), void *arg,
                        struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_OP_UNFINISHED);

    return each(&s, fn, arg, err);
}

int store_op_prune(struct db_tx *tx, int64_t finished_before, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_OP_PRUNE);

    stmt_int(&s, ":finished_before", finished_before);
    return stmt_run(&s, err);
}
