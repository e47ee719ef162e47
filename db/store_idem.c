/* Answers already given, by Idempotency-Key. */
#include "db/db_internal.h"

int store_idem_get(struct db_tx *tx, const char *actor, const char *key,
                   int (*fn)(void *, const struct idem_row *), void *arg, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IDEM_GET);
    struct idem_row row;
    int rc;

    stmt_text(&s, ":actor", actor);
    stmt_text(&s, ":key", key);
    rc = stmt_row(&s, err);
    if (rc > 0) {
        row.actor = stmt_next_text(&s);
        row.key = stmt_next_text(&s);
        row.request_sha256 = stmt_next_text(&s);
        row.status = (int)stmt_next_int(&s);
        row.resource_kind = stmt_next_text(&s);
        row.resource_id = stmt_next_text(&s);
        row.created_at = stmt_next_int(&s);
        fn(arg, &row);
    }
    return rc;
}

int store_idem_put(struct db_tx *tx, const struct idem_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IDEM_PUT);

    stmt_text(&s, ":actor", row->actor);
    stmt_text(&s, ":key", row->key);
    stmt_text(&s, ":request_sha256", row->request_sha256);
    stmt_int(&s, ":status", row->status);
    stmt_text(&s, ":resource_kind", row->resource_kind);
    stmt_text(&s, ":resource_id", row->resource_id);
    stmt_int(&s, ":created_at", row->created_at);
    return stmt_run(&s, err);
}

int store_idem_prune(struct db_tx *tx, int64_t created_before, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_IDEM_PRUNE);

    stmt_int(&s, ":created_before", created_before);
    return stmt_run(&s, err);
}
