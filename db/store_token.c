/* API tokens and the browser sessions made with them. */
#include "db/db_internal.h"

int store_token_insert(struct db_tx *tx, const struct token_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_TOKEN_INSERT);

    stmt_text(&s, ":id", row->id);
    stmt_text(&s, ":project_id", row->project_id);
    stmt_text(&s, ":name", row->name);
    stmt_text(&s, ":role", row->role);
    stmt_text(&s, ":scopes", row->scopes);
    stmt_text(&s, ":hash", row->hash);
    stmt_text(&s, ":created_by", row->created_by);
    stmt_int(&s, ":created_at", row->created_at);
    stmt_int(&s, ":expires_at", row->expires_at);
    stmt_int(&s, ":last_used_at", row->last_used_at);
    stmt_text(&s, ":quota", row->quota ? row->quota : "");
    return stmt_run(&s, err);
}

static int token_not_found(const char *id, struct error *err)
{
    return error_set(err, ERROR_TOKEN_NOT_FOUND, "there is no token %s", id);
}

int store_token_delete(struct db_tx *tx, const char *id, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_TOKEN_DELETE);

    stmt_text(&s, ":id", id);
    if (stmt_run(&s, err))
        return -1;
    return stmt_changes(&s) ? 0 : token_not_found(id, err);
}

static int touch(struct db_tx *tx, enum query query, const char *key, const char *value,
                 int64_t last_used_at, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, query);

    stmt_text(&s, key, value);
    stmt_int(&s, ":last_used_at", last_used_at);
    return stmt_run(&s, err);
}

int store_token_touch(struct db_tx *tx, const char *id, int64_t last_used_at, struct error *err)
{
    return touch(tx, QUERY_TOKEN_TOUCH, ":id", id, last_used_at, err);
}

int store_token_each(struct db *db, int (*fn)(void *, const struct token_row *), void *arg,
                     struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_TOKEN_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct token_row row;

        row.id = stmt_next_text(&s);
        row.project_id = stmt_next_text(&s);
        row.name = stmt_next_text(&s);
        row.role = stmt_next_text(&s);
        row.scopes = stmt_next_text(&s);
        row.hash = stmt_next_text(&s);
        row.created_by = stmt_next_text(&s);
        row.created_at = stmt_next_int(&s);
        row.expires_at = stmt_next_int(&s);
        row.last_used_at = stmt_next_int(&s);
        row.quota = stmt_next_text(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

int store_session_insert(struct db_tx *tx, const struct session_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_SESSION_INSERT);

    stmt_text(&s, ":hash", row->hash);
    stmt_text(&s, ":token_id", row->token_id);
    stmt_int(&s, ":created_at", row->created_at);
    stmt_int(&s, ":last_used_at", row->last_used_at);
    if (stmt_run(&s, err)) {
        if (s.rc == SQLITE_CONSTRAINT_FOREIGNKEY)
            return token_not_found(row->token_id, err);
        return -1;
    }
    return 0;
}

int store_session_delete(struct db_tx *tx, const char *hash, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_SESSION_DELETE);

    stmt_text(&s, ":hash", hash);
    return stmt_run(&s, err);
}

int store_session_touch(struct db_tx *tx, const char *hash, int64_t last_used_at, struct error *err)
{
    return touch(tx, QUERY_SESSION_TOUCH, ":hash", hash, last_used_at, err);
}

int store_session_each(struct db *db, int (*fn)(void *, const struct session_row *), void *arg,
                       struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_SESSION_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct session_row row;

        row.hash = stmt_next_text(&s);
        row.token_id = stmt_next_text(&s);
        row.created_at = stmt_next_int(&s);
        row.last_used_at = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

int store_session_prune(struct db_tx *tx, int64_t created_before, int64_t used_before,
                        struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_SESSION_PRUNE);

    stmt_int(&s, ":created_before", created_before);
    stmt_int(&s, ":used_before", used_before);
    return stmt_run(&s, err);
}
