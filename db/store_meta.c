/* Small facts about the installation. */
#include "db/db_internal.h"

#include "service/base/str.h"

int store_meta_get(struct db *db, const char *key, char **ret, struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_META_GET);
    int rc;

    stmt_text(&s, ":key", key);
    rc = stmt_row(&s, err);
    if (rc > 0)
        *ret = xstrdup(stmt_next_text(&s));
    return rc;
}

int store_meta_set(struct db_tx *tx, const char *key, const char *value, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_META_SET);

    stmt_text(&s, ":key", key);
    stmt_text(&s, ":value", value);
    return stmt_run(&s, err);
}

int store_install_id(struct db *db, char ret[UUID_TEXT], struct error *err)
{
    auto_free char *id = NULL;
    int rc = store_meta_get(db, "install_id", &id, err);

    if (rc < 0)
        return -1;
    if (rc == 0 || !uuid_is_valid(id))
        return error_set(err, ERROR_DATABASE_FAILED, "the database has lost its installation id");
    str_copy_utf8(ret, UUID_TEXT, id);
    return 0;
}
