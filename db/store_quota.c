/* What rows count against a limit. */
#include "db/db_internal.h"

int store_token_set_quota(struct db_tx *tx, const char *id, const char *quota, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_TOKEN_SET_QUOTA);

    stmt_text(&s, ":id", id);
    stmt_text(&s, ":quota", quota);
    if (stmt_run(&s, err))
        return -1;
    if (stmt_changes(&s) == 0)
        return error_set(err, ERROR_TOKEN_NOT_FOUND, "there is no token %s", id);
    return 0;
}

int store_quota_vms(struct db_tx *tx, const char *project_id, const char *owner_token,
                    struct quota_vms *ret, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_QUOTA_VMS);

    stmt_text(&s, ":project_id", project_id);
    stmt_text_or_null(&s, ":owner_token", owner_token);
    if (stmt_row(&s, err) < 0)
        return -1;
    ret->count = stmt_next_int(&s);
    ret->cpus = stmt_next_int(&s);
    ret->memory_mib = stmt_next_int(&s);
    ret->disk_bytes = stmt_next_int(&s);
    return 0;
}

int store_quota_leases(struct db_tx *tx, const char *project_id, const char *owner_token,
                       int64_t *ret, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_QUOTA_LEASES);

    stmt_text(&s, ":project_id", project_id);
    stmt_text_or_null(&s, ":owner_token", owner_token);
    if (stmt_row(&s, err) < 0)
        return -1;
    *ret = stmt_next_int(&s);
    return 0;
}
