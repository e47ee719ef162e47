/* See history.h. */
#include "db/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db/db_internal.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"

/* Larger pages than usual: blocks have about a kilobyte. Only a new file heeds it. */
static const char pragmas[] = "PRAGMA page_size = 16384;"
                              "PRAGMA journal_mode = WAL;"
                              "PRAGMA wal_autocheckpoint = 250;"
                              "PRAGMA synchronous = NORMAL;"
                              "PRAGMA temp_store = MEMORY;"
                              "PRAGMA cache_size = -1024;";

struct history_db {
    char *path;
    pthread_mutex_t lock; /* held across one call into SQLite: its only connection */
    sqlite3 *sq;
    sqlite3_stmt *stmts[HISTORY_QUERY_COUNT];
};

static int fail(struct history_db *db, int rc, struct error *err, const char *doing)
{
    error_set(err, (rc & 0xff) == SQLITE_FULL ? ERROR_INSUFFICIENT_STORAGE : ERROR_DATABASE_FAILED,
              "the history of figures cannot be %s", doing);
    error_cause(err, "%s (%d)", db->sq ? sqlite3_errmsg(db->sq) : sqlite3_errstr(rc), rc);
    return -1;
}

static int prepare_all(struct history_db *db)
{
    int rc = sqlite3_open_v2(db->path, &db->sq,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                 SQLITE_OPEN_EXRESCODE,
                             NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db->sq, pragmas, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db->sq, history_schema, NULL, NULL, NULL);
    for (int i = 0; i < HISTORY_QUERY_COUNT && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(db->sq, history_texts[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                &db->stmts[i], NULL);
    return rc;
}

static void close_all(struct history_db *db)
{
    for (int i = 0; i < HISTORY_QUERY_COUNT; i++) {
        sqlite3_finalize(db->stmts[i]);
        db->stmts[i] = NULL;
    }
    sqlite3_close(db->sq);
    db->sq = NULL;
}

static bool is_damaged(int rc)
{
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

static void put_aside(struct history_db *db)
{
    auto_free char *bad = xasprintf("%s.damaged", db->path), *wal = xasprintf("%s-wal", db->path);
    auto_free char *shm = xasprintf("%s-shm", db->path);

    log_warning("the history of figures is damaged and begins anew; the old file is %s", bad);
    if (rename(db->path, bad) && errno != ENOENT)
        unlink(db->path);
    unlink(wal);
    unlink(shm);
}

static void create_private(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd >= 0)
        close(fd);
}

int history_db_open(const char *path, struct history_db **ret, struct error *err)
{
    struct history_db *db = xcalloc(1, sizeof(*db));
    int rc;

    db->path = xstrdup(path);
    mutex_init(&db->lock);
    create_private(path);
    rc = prepare_all(db);
    if (is_damaged(rc)) {
        close_all(db);
        put_aside(db);
        create_private(path);
        rc = prepare_all(db);
    }
    if (rc != SQLITE_OK) {
        fail(db, rc, err, "opened");
        history_db_close(db);
        return -1;
    }
    *ret = db;
    return 0;
}

void history_db_close(struct history_db *db)
{
    if (!db)
        return;
    close_all(db);
    pthread_mutex_destroy(&db->lock);
    free(db->path);
    free(db);
}

/* ---- statements; the lock is held ---- */

static sqlite3_stmt *use(struct history_db *db, enum history_query query, const char *series)
{
    sqlite3_stmt *s = db->stmts[query];
    int i = sqlite3_bind_parameter_index(s, ":name");

    if (i)
        sqlite3_bind_text(s, i, series, -1, SQLITE_STATIC);
    return s;
}

static void bind(sqlite3_stmt *s, const char *name, int64_t value)
{
    sqlite3_bind_int64(s, sqlite3_bind_parameter_index(s, name), value);
}

static int done(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);

    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int put_row(struct history_db *db, const struct history_row *row)
{
    int rc = done(use(db, HISTORY_SERIES_ADD, row->series));
    sqlite3_stmt *s;

    if (rc != SQLITE_OK)
        return rc;
    s = use(db, HISTORY_PUT, row->series);
    bind(s, ":level", row->level);
    bind(s, ":start", row->start);
    sqlite3_bind_blob64(s, sqlite3_bind_parameter_index(s, ":data"), row->data, row->len,
                        SQLITE_STATIC);
    rc = done(s);
    if (rc != SQLITE_OK)
        return rc;
    s = use(db, HISTORY_PRUNE, row->series);
    bind(s, ":level", row->level);
    bind(s, ":before", row->keep_after);
    return done(s);
}

static int end(struct history_db *db, int rc)
{
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db->sq, "COMMIT", NULL, NULL, NULL);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(db->sq))
        sqlite3_exec(db->sq, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int history_db_put(struct history_db *db, const struct history_row *rows, size_t count,
                   struct error *err)
{
    LOCK_SCOPE(&db->lock);
    int rc = sqlite3_exec(db->sq, "BEGIN IMMEDIATE", NULL, NULL, NULL);

    for (size_t i = 0; i < count && rc == SQLITE_OK; i++)
        rc = put_row(db, &rows[i]);
    rc = end(db, rc);
    return rc == SQLITE_OK ? 0 : fail(db, rc, err, "written");
}

int history_db_read(struct history_db *db, const char *series, int level, int64_t since,
                    int64_t until, void (*fn)(void *, int64_t start, const void *data, size_t len),
                    void *arg, struct error *err)
{
    LOCK_SCOPE(&db->lock);
    sqlite3_stmt *s = use(db, HISTORY_READ, series);
    int rc;

    bind(s, ":level", level);
    bind(s, ":since", since);
    bind(s, ":until", until);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        fn(arg, sqlite3_column_int64(s, 0), sqlite3_column_blob(s, 1),
           (size_t)sqlite3_column_bytes(s, 1));
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return rc == SQLITE_DONE ? 0 : fail(db, rc, err, "read");
}

int history_db_sweep(struct history_db *db, bool (*keep)(void *, const char *series), void *arg,
                     struct error *err)
{
    char **names = NULL;
    size_t count = 0;
    int rc;

    LOCK_SCOPE(&db->lock);
    sqlite3_stmt *s = use(db, HISTORY_SERIES_EACH, NULL);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(s, 0);

        if (!name || keep(arg, name))
            continue;
        names = xrealloc_array(names, count + 1, sizeof(*names));
        names[count++] = xstrdup(name);
    }
    sqlite3_reset(s);
    rc = rc == SQLITE_DONE ? sqlite3_exec(db->sq, "BEGIN IMMEDIATE", NULL, NULL, NULL) : rc;
    for (size_t i = 0; i < count; i++) {
        if (rc == SQLITE_OK)
            rc = done(use(db, HISTORY_BLOCKS_DELETE, names[i]));
        if (rc == SQLITE_OK)
            rc = done(use(db, HISTORY_SERIES_DELETE, names[i]));
        free(names[i]);
    }
    free(names);
    rc = end(db, rc);
    return rc == SQLITE_OK ? 0 : fail(db, rc, err, "cleaned");
}

uint64_t history_db_bytes(struct history_db *db)
{
    auto_free char *wal = xasprintf("%s-wal", db->path);
    struct stat st;
    uint64_t bytes = 0;

    if (stat(db->path, &st) == 0)
        bytes += (uint64_t)st.st_size;
    if (stat(wal, &st) == 0)
        bytes += (uint64_t)st.st_size;
    return bytes;
}
