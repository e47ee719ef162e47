/*
 * Connections and prepared statements: opening with the right pragmas, binding, stepping, and what
 * SQLite's result codes mean. Knows nothing of transactions or subjects.
 */
#include "db/db_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/log.h"
#include "service/base/str.h"

/*
 * foreign_keys is not here: it is switched on after the migrations, which may have to rebuild a
 * table others refer to. wal_autocheckpoint is off everywhere: the writer thread checkpoints when
 * nobody waits for it. temp_store: the journals of savepoints stay in memory.
 */
static const char writer_pragmas[] = "PRAGMA synchronous = FULL;"
                                     "PRAGMA wal_autocheckpoint = 0;"
                                     "PRAGMA journal_size_limit = 67108864;"
                                     "PRAGMA temp_store = MEMORY;"
                                     "PRAGMA cache_size = -4096;";
static const char reader_pragmas[] = "PRAGMA query_only = ON;"
                                     "PRAGMA wal_autocheckpoint = 0;"
                                     "PRAGMA temp_store = MEMORY;"
                                     "PRAGMA cache_size = -1024;";

static bool is_disk_trouble(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
        return true;
    default:
        return false;
    }
}

/* The statement or a value in it is at fault: ours, since what clients send was checked before. */
static bool is_our_fault(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
    case SQLITE_MISUSE:
    case SQLITE_ERROR:
        return true;
    default:
        return false;
    }
}

static bool is_damage(int rc)
{
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

static void report_damage(struct conn *c, struct error *err)
{
    if (c->damaged)
        atomic_store(c->damaged, true);
    error_set(err, ERROR_DATABASE_FAILED, "the database is damaged");
    error_remedy(err, DB_DAMAGE_REMEDY);
}

int conn_error(struct conn *c, int rc, struct error *err, const char *doing)
{
    int system = c->sq ? sqlite3_system_errno(c->sq) : 0;

    if ((rc & 0xff) == SQLITE_NOMEM)
        out_of_memory();
    if (is_disk_trouble(rc))
        c->disk_refused = true;
    if ((rc & 0xff) == SQLITE_FULL ||
        ((rc & 0xff) == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT)))
        error_set(err, ERROR_INSUFFICIENT_STORAGE, "there is no space left for the database");
    else if (is_damage(rc))
        report_damage(c, err);
    else if (is_our_fault(rc))
        error_set(err, ERROR_INTERNAL, "the database does not accept a value");
    else
        error_set(err, ERROR_DATABASE_FAILED, "the database cannot do that right now");
    error_cause(err, "%s: %s (%d)", doing, c->sq ? sqlite3_errmsg(c->sq) : sqlite3_errstr(rc), rc);
    return -1;
}

int conn_exec(struct conn *c, const char *sql, struct error *err)
{
    int rc = sqlite3_exec(c->sq, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : conn_error(c, rc, err, "exec");
}

int conn_int(struct conn *c, const char *sql, int64_t *ret, struct error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(c->sq, sql, -1, &s, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(s, 0);
    else
        conn_error(c, rc, err, sql);
    sqlite3_finalize(s);
    return rc == SQLITE_ROW ? 0 : -1;
}

static int set_wal(struct conn *c, struct error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(c->sq, "PRAGMA journal_mode = WAL", -1, &s, NULL);
    const char *mode = NULL;

    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        mode = (const char *)sqlite3_column_text(s, 0);
    if (rc != SQLITE_ROW)
        conn_error(c, rc, err, "journal_mode");
    else if (!str_eq(mode, "wal"))
        error_set(err, ERROR_DATABASE_FAILED, "the database's disk does not support its journal");
    else
        rc = SQLITE_OK;
    sqlite3_finalize(s);
    return rc == SQLITE_OK ? 0 : -1;
}

/*
 * SQLite's way out when it may not write the file, or its journal: every change would fail, for as long as this
 * connection lives. A disk that is full is another matter, and may become better.
 */
static bool is_read_only(struct conn *c)
{
    int rc;

    if (sqlite3_db_readonly(c->sq, "main") == 1)
        return true;
    rc = sqlite3_exec(c->sq, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        (void)sqlite3_exec(c->sq, "ROLLBACK", NULL, NULL, NULL);
    return (rc & 0xff) == SQLITE_READONLY;
}

int conn_open(struct conn *c, const char *path, enum conn_mode mode, struct error *err)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc;

    flags |=
        mode == CONN_WRITER ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    rc = sqlite3_open_v2(path, &c->sq, flags, NULL);
    if (rc != SQLITE_OK)
        return conn_error(c, rc, err, "open");
    sqlite3_busy_timeout(c->sq, DB_BUSY_MS);
    if (mode == CONN_READER) {
        sqlite3_db_config(c->sq, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        return conn_exec(c, reader_pragmas, err);
    }
    if (db_check_identity(c, err) || set_wal(c, err))
        return -1;
    if (is_read_only(c))
        return error_set(err, ERROR_DATABASE_FAILED, "the database %s can only be read", path);
    return conn_exec(c, writer_pragmas, err);
}

int conn_prepare(struct conn *c, enum conn_mode mode, struct error *err)
{
    for (int i = 0; i < QUERY_COUNT; i++) {
        int rc = sqlite3_prepare_v3(c->sq, query_texts[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                    &c->stmts[i], NULL);

        if (rc != SQLITE_OK)
            return conn_error(c, rc, err, query_texts[i].name);
        if (mode == CONN_READER && !sqlite3_stmt_readonly(c->stmts[i])) {
            sqlite3_finalize(c->stmts[i]);
            c->stmts[i] = NULL;
        }
    }
    return 0;
}

void conn_close(struct conn *c)
{
    for (int i = 0; i < QUERY_COUNT; i++) {
        sqlite3_finalize(c->stmts[i]);
        c->stmts[i] = NULL;
    }
    if (c->sq && sqlite3_close(c->sq) != SQLITE_OK)
        abort(); /* a statement is still in use */
    c->sq = NULL;
}

/* Mistakes of the programmer: they show on the first run of the query in question. */
static void __attribute__((noreturn)) misuse(const struct stmt *s, const char *what)
{
    log_error("database: %s in: %s", what, s->s ? sqlite3_sql(s->s) : "a query that writes");
    abort();
}

struct stmt stmt_use(struct conn *c, enum query query)
{
    struct stmt s = {.conn = c, .s = c->stmts[query]};

    if (!s.s)
        misuse(&s, "a reader cannot run this");
    if (sqlite3_stmt_busy(s.s))
        misuse(&s, "used inside its own callback");
    return s;
}

void stmt_done(struct stmt *s)
{
    /* The result repeats that of the last step, which has been reported. */
    (void)sqlite3_reset(s->s);
    sqlite3_clear_bindings(s->s);
}

static int parameter(const struct stmt *s, const char *name)
{
    int i = sqlite3_bind_parameter_index(s->s, name);

    if (!i)
        misuse(s, name);
    return i;
}

void stmt_text(struct stmt *s, const char *name, const char *value)
{
    stmt_text_or_null(s, name, value ? value : "");
}

void stmt_text_or_null(struct stmt *s, const char *name, const char *value)
{
    if (sqlite3_bind_text(s->s, parameter(s, name), value, -1, SQLITE_STATIC) != SQLITE_OK)
        misuse(s, name);
}

void stmt_int(struct stmt *s, const char *name, int64_t value)
{
    if (sqlite3_bind_int64(s->s, parameter(s, name), value) != SQLITE_OK)
        misuse(s, name);
}

int stmt_row(struct stmt *s, struct error *err)
{
    s->column = 0;
    s->rc = sqlite3_step(s->s);
    if (s->rc == SQLITE_ROW)
        return 1;
    if (s->rc == SQLITE_DONE)
        return 0;
    return conn_error(s->conn, s->rc, err, "step");
}

int stmt_run(struct stmt *s, struct error *err)
{
    int rc = stmt_row(s, err);

    if (rc > 0)
        misuse(s, "unexpected row");
    return rc;
}

int stmt_changes(const struct stmt *s)
{
    return sqlite3_changes(s->conn->sq);
}

const char *stmt_next_text(struct stmt *s)
{
    const char *text = (const char *)sqlite3_column_text(s->s, s->column++);

    return text ? text : "";
}

int64_t stmt_next_int(struct stmt *s)
{
    return sqlite3_column_int64(s->s, s->column++);
}
