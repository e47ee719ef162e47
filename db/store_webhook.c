/* Webhooks and their deliveries. */
#include "db/store_webhook.h"

#include "db/db_internal.h"

static int not_found(const char *id, struct error *err)
{
    return error_set(err, ERROR_WEBHOOK_NOT_FOUND, "there is no webhook %s", id);
}

static void bind_config(struct stmt *s, const struct webhook_row *row)
{
    stmt_text(s, ":id", row->id);
    stmt_text(s, ":url", row->url);
    stmt_text(s, ":events", row->events);
    stmt_text(s, ":labels", row->labels);
    stmt_text(s, ":secret", row->secret);
    stmt_int(s, ":enabled", row->enabled);
    stmt_int(s, ":updated_at", row->updated_at);
}

int store_webhook_insert(struct db_tx *tx, const struct webhook_row *row, int64_t *ret_seq,
                         struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_WEBHOOK_INSERT);

    bind_config(&s, row);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":created_by", row->created_by);
    stmt_int(&s, ":created_at", row->created_at);
    stmt_int(&s, ":last_seq", row->last_seq);
    if (stmt_run(&s, err))
        return -1;
    *ret_seq = sqlite3_last_insert_rowid(tx->conn->sq);
    return 0;
}

int store_webhook_update(struct db_tx *tx, const struct webhook_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_WEBHOOK_UPDATE);

    bind_config(&s, row);
    stmt_text(&s, ":disabled_reason", row->disabled_reason);
    if (stmt_run(&s, err))
        return -1;
    return stmt_changes(&s) ? 0 : not_found(row->id, err);
}

int store_webhook_progress(struct db_tx *tx, const struct webhook_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_WEBHOOK_PROGRESS);

    stmt_text(&s, ":id", row->id);
    stmt_int(&s, ":enabled", row->enabled);
    stmt_text(&s, ":disabled_reason", row->disabled_reason);
    stmt_int(&s, ":last_seq", row->last_seq);
    stmt_int(&s, ":next_attempt_at", row->next_attempt_at);
    stmt_int(&s, ":failures", row->failures);
    stmt_int(&s, ":failing_since", row->failing_since);
    stmt_int(&s, ":last_status", row->last_status);
    stmt_text(&s, ":last_error", row->last_error);
    stmt_int(&s, ":last_attempt_at", row->last_attempt_at);
    stmt_int(&s, ":last_success_at", row->last_success_at);
    return stmt_run(&s, err);
}

int store_webhook_delete(struct db_tx *tx, const char *id, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_WEBHOOK_DELETE);

    stmt_text(&s, ":id", id);
    if (stmt_run(&s, err))
        return -1;
    return stmt_changes(&s) ? 0 : not_found(id, err);
}

int store_webhook_each(struct db *db, store_webhook_fn *fn, void *arg, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_WEBHOOK_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct webhook_row row;

        row.seq = stmt_next_int(&s);
        row.id = stmt_next_text(&s);
        row.project_id = stmt_next_text(&s);
        row.url = stmt_next_text(&s);
        row.events = stmt_next_text(&s);
        row.labels = stmt_next_text(&s);
        row.secret = stmt_next_text(&s);
        row.enabled = stmt_next_int(&s) != 0;
        row.disabled_reason = stmt_next_text(&s);
        row.created_by = stmt_next_text(&s);
        row.created_at = stmt_next_int(&s);
        row.updated_at = stmt_next_int(&s);
        row.last_seq = stmt_next_int(&s);
        row.next_attempt_at = stmt_next_int(&s);
        row.failures = stmt_next_int(&s);
        row.failing_since = stmt_next_int(&s);
        row.last_status = stmt_next_int(&s);
        row.last_error = stmt_next_text(&s);
        row.last_attempt_at = stmt_next_int(&s);
        row.last_success_at = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

int store_webhook_delivery_add(struct db_tx *tx, const struct webhook_delivery_row *row, int64_t keep,
                               struct error *err)
{
    auto_stmt struct stmt add = stmt_use(tx->conn, QUERY_WEBHOOK_DELIVERY_INSERT);
    auto_stmt struct stmt prune = stmt_use(tx->conn, QUERY_WEBHOOK_DELIVERY_PRUNE);

    stmt_text(&add, ":webhook_id", row->webhook_id);
    stmt_int(&add, ":at", row->at);
    stmt_text(&add, ":message_id", row->message_id);
    stmt_text(&add, ":type", row->type);
    stmt_int(&add, ":seq", row->seq);
    stmt_int(&add, ":attempt", row->attempt);
    stmt_int(&add, ":status", row->status);
    stmt_text(&add, ":error", row->error);
    stmt_int(&add, ":took_ms", row->took_ms);
    stmt_text(&prune, ":webhook_id", row->webhook_id);
    stmt_int(&prune, ":keep", keep);
    return stmt_run(&add, err) ? -1 : stmt_run(&prune, err);
}

int store_webhook_delivery_list(struct db *db, const char *webhook_id, int64_t before_id, int limit,
                                int (*fn)(void *, const struct webhook_delivery_row *), void *arg,
                                struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_WEBHOOK_DELIVERY_LIST);
    int rc;

    stmt_text(&s, ":webhook_id", webhook_id);
    stmt_int(&s, ":before_id", before_id ? before_id : INT64_MAX);
    stmt_int(&s, ":limit", limit);
    while ((rc = stmt_row(&s, err)) > 0) {
        struct webhook_delivery_row row;

        row.id = stmt_next_int(&s);
        row.webhook_id = stmt_next_text(&s);
        row.at = stmt_next_int(&s);
        row.message_id = stmt_next_text(&s);
        row.type = stmt_next_text(&s);
        row.seq = stmt_next_int(&s);
        row.attempt = stmt_next_int(&s);
        row.status = stmt_next_int(&s);
        row.error = stmt_next_text(&s);
        row.took_ms = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}
