/* Projects: what they may use, whom they trust with their memory. */
#include "db/db_internal.h"

#include <stdio.h>

int store_project_each(struct db *db, int (*fn)(void *, const struct project_row *), void *arg,
                       struct error *err)
{
    auto_reader struct reader r = reader_take(db);
    auto_stmt struct stmt s = stmt_use(r.conn, QUERY_PROJECT_EACH);
    int rc;

    while ((rc = stmt_row(&s, err)) > 0) {
        struct project_row row;

        row.id = stmt_next_text(&s);
        row.name = stmt_next_text(&s);
        row.quota = stmt_next_text(&s);
        row.memory_merge = stmt_next_int(&s) != 0;
        row.merge_with = stmt_next_text(&s);
        row.created_at = stmt_next_int(&s);
        if (fn(arg, &row))
            return 0;
    }
    return rc;
}

static void bind_changeable(struct stmt *s, const struct project_row *row)
{
    stmt_text(s, ":id", row->id);
    stmt_text(s, ":quota", row->quota);
    stmt_int(s, ":memory_merge", row->memory_merge);
    stmt_text(s, ":merge_with", row->merge_with);
}

int store_project_insert(struct db_tx *tx, const struct project_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_PROJECT_INSERT);

    bind_changeable(&s, row);
    stmt_text(&s, ":name", row->name);
    stmt_int(&s, ":created_at", row->created_at);
    if (stmt_run(&s, err) == 0)
        return 0;
    if (s.rc != SQLITE_CONSTRAINT_UNIQUE)
        return -1;
    return error_set_at(err, ERROR_NAME_IN_USE, "/name", "there is already a project named %s",
                        row->name);
}

int store_project_update(struct db_tx *tx, const struct project_row *row, struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_PROJECT_UPDATE);

    bind_changeable(&s, row);
    if (stmt_run(&s, err))
        return -1;
    if (stmt_changes(&s) == 0)
        return error_set(err, ERROR_PROJECT_NOT_FOUND, "there is no project %s", row->name);
    return 0;
}

/* "3 VMs, 1 image"; empty: nothing is left in it. */
static int holdings(struct db_tx *tx, const char *id, char *ret, size_t size, struct error *err)
{
    static const char *const names[] = {"VM",    "image",     "pool",    "set",
                                        "lease", "recording", "webhook", "token"};
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_PROJECT_HOLDINGS);
    size_t len = 0;

    *ret = '\0';
    stmt_text(&s, ":project_id", id);
    if (stmt_row(&s, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int64_t n = stmt_next_int(&s);

        if (n && len < size)
            len += (size_t)snprintf(ret + len, size - len, "%s%lld %s%s", len ? ", " : "",
                                    (long long)n, names[i], n == 1 ? "" : "s");
    }
    return 0;
}

int store_project_delete(struct db_tx *tx, const char *id, const char *name, int64_t now,
                         struct error *err)
{
    auto_stmt struct stmt s = stmt_use(tx->conn, QUERY_PROJECT_DELETE);
    char left[160];

    if (holdings(tx, id, left, sizeof(left), err))
        return -1;
    if (*left) {
        error_set(err, ERROR_PROJECT_NOT_EMPTY, "the project %s still has %s", name, left);
        error_remedy(err, "Delete what is in it first; revoke its tokens.");
        return -1;
    }
    stmt_text(&s, ":id", id);
    stmt_int(&s, ":now", now);
    if (stmt_run(&s, err))
        return -1;
    if (stmt_changes(&s) == 0)
        return error_set(err, ERROR_PROJECT_NOT_FOUND, "there is no project %s", name);
    return 0;
}
