/*
 * Migrations: each in one transaction with its row and the file's version number. Never goes back:
 * a file from a newer Drover, or one made by other migrations than ours, is refused untouched.
 */
#include "db/db_internal.h"

#include <stdio.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"

int db_check_identity(struct conn *c, struct error *err)
{
    int64_t version, id, tables;

    if (conn_int(c, "PRAGMA user_version", &version, err) ||
        conn_int(c, "PRAGMA application_id", &id, err) ||
        conn_int(c, "SELECT count(*) FROM sqlite_schema", &tables, err))
        return -1;
    if (id == 0 && version == 0 && tables == 0)
        return 0; /* new */
    if (id != DB_APPLICATION_ID) {
        error_set(err, ERROR_CONFIG, "the file is a database, but not one of Drover's");
        error_remedy(err, "If it was, it is damaged: `drover db restore` or `drover db rebuild`. If not, choose "
                          "another state directory.");
        return -1;
    }
    if (version > migration_count) {
        error_set(err, ERROR_CONFIG, "the database has version %lld, this Drover knows %d",
                  (long long)version, migration_count);
        error_remedy(err, "Install the newer Drover again, or restore the backup made before it.");
        return -1;
    }
    return 0;
}

static int prepare(struct conn *c, enum query query, struct stmt *ret, struct error *err)
{
    int rc = sqlite3_prepare_v2(c->sq, query_texts[query].sql, -1, &ret->s, NULL);

    ret->conn = c;
    return rc == SQLITE_OK ? 0 : conn_error(c, rc, err, query_texts[query].name);
}

/* The table did not exist when the connection was opened, so these are prepared when needed. */
static void finalise(struct stmt *s)
{
    sqlite3_finalize(s->s);
}
#define auto_finalise auto_scope(finalise)

static int check_applied(struct conn *c, int version, struct error *err)
{
    const struct migration *m = &migrations[version - 1];
    auto_finalise struct stmt s = {0};
    int rc;

    if (prepare(c, QUERY_MIGRATION_GET, &s, err))
        return -1;
    stmt_int(&s, ":version", version);
    rc = stmt_row(&s, err);
    if (rc < 0)
        return -1;
    if (rc == 0 || !str_eq(stmt_next_text(&s), m->checksum)) {
        error_set(err, ERROR_CONFIG, "the database was made by another migration %d than ours",
                  version);
        error_cause(err, "%s: checksum differs", m->name);
        error_remedy(err, "Install the Drover that made it, or restore a backup.");
        return -1;
    }
    return 0;
}

int db_check_applied(struct conn *c, int64_t version, struct error *err)
{
    int64_t last;

    if (conn_int(c, "SELECT coalesce(max(version), 0) FROM migrations", &last, err))
        return -1;
    if (last != version) {
        error_set(err, ERROR_DATABASE_FAILED, "the database is damaged");
        error_cause(err, "it says that it has version %lld, and went through %lld", (long long)version,
                    (long long)last);
        return -1;
    }
    for (int i = 1; i <= version; i++) {
        if (check_applied(c, i, err))
            return -1;
    }
    return 0;
}

static int record(struct conn *c, int version, struct error *err)
{
    const struct migration *m = &migrations[version - 1];
    auto_finalise struct stmt s = {0};

    if (prepare(c, QUERY_MIGRATION_INSERT, &s, err))
        return -1;
    stmt_int(&s, ":version", version);
    stmt_text(&s, ":name", m->name);
    stmt_text(&s, ":checksum", m->checksum);
    stmt_int(&s, ":applied_at", clock_wall_ms());
    return stmt_run(&s, err);
}

static int check_references(struct conn *c, struct error *err)
{
    int64_t broken;

    if (conn_int(c, "SELECT count(*) FROM pragma_foreign_key_check", &broken, err))
        return -1;
    if (broken)
        return error_set(err, ERROR_DATABASE_FAILED, "a migration left %lld broken references",
                         (long long)broken);
    return 0;
}

static int apply_in_transaction(struct conn *c, int version, struct error *err)
{
    char numbers[96];

    snprintf(numbers, sizeof(numbers), "PRAGMA application_id = %d; PRAGMA user_version = %d",
             DB_APPLICATION_ID, version);
    if (conn_exec(c, migrations[version - 1].sql, err) || check_references(c, err) ||
        record(c, version, err) || conn_exec(c, numbers, err))
        return -1;
    CRASH_POINT(DB_MIGRATION);
    return conn_exec(c, "COMMIT", err);
}

static int apply(struct conn *c, int version, struct error *err)
{
    struct error ignored;

    if (conn_exec(c, "BEGIN IMMEDIATE", err))
        return -1;
    if (apply_in_transaction(c, version, err)) {
        error_prefix(err, "%s", migrations[version - 1].name);
        /* What failed may have rolled back already. */
        if (!sqlite3_get_autocommit(c->sq))
            (void)conn_exec(c, "ROLLBACK", &ignored);
        return -1;
    }
    log_info("database: applied migration %s", migrations[version - 1].name);
    CRASH_POINT(DB_MIGRATED);
    return 0;
}

int db_migrate(struct conn *c, struct error *err)
{
    int64_t version;

    if (conn_int(c, "PRAGMA user_version", &version, err))
        return -1;
    for (int v = 1; v <= version; v++) {
        if (check_applied(c, v, err))
            return -1;
    }
    for (int v = (int)version + 1; v <= migration_count; v++) {
        if (apply(c, v, err))
            return -1;
    }
    return 0;
}
