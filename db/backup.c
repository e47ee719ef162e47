/*
 * Copies of the database that are known to be good. A copy is made by SQLite's backup interface in
 * one step, a read transaction that keeps nobody from writing, under a name that no reader of the
 * folder takes for a copy; it is read page by page, synced and renamed.
 */
#include "db/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "db/db_internal.h"
#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define NAME_FORMAT "drover-%Y%m%dT%H%M%SZ"
#define NAMES_MAX   1000

/* ---- looking ---- */

static int first_row(struct conn *c, const char *sql, char *ret, size_t size, struct error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(c->sq, sql, -1, &s, NULL);
    bool found;

    ret[0] = '\0';
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    found = rc == SQLITE_ROW;
    if (found)
        str_copy_utf8(ret, size, (const char *)sqlite3_column_text(s, 0));
    else if (rc != SQLITE_DONE)
        conn_error(c, rc, err, sql);
    sqlite3_finalize(s);
    return found ? 1 : rc == SQLITE_DONE ? 0 : -1;
}

static int damaged(struct error *err, const char *what)
{
    error_set(err, ERROR_DATABASE_FAILED, "the database is damaged");
    error_cause(err, "%s", what);
    return -1;
}

static int look(struct conn *c, struct backup_facts *ret, struct error *err)
{
    char text[256];
    int rc;

    *ret = (struct backup_facts){.known_version = migration_count};
    if (db_check_identity(c, err) || conn_int(c, "PRAGMA user_version", &ret->version, err))
        return -1;
    if (!ret->version)
        return damaged(err, "it is empty");
    rc = first_row(c, "PRAGMA integrity_check(1)", text, sizeof(text), err);
    if (rc < 0 || !str_eq(text, "ok"))
        return rc < 0 ? -1 : damaged(err, text);
    rc = first_row(c, "PRAGMA foreign_key_check", text, sizeof(text), err);
    if (rc)
        return rc < 0 ? -1 : damaged(err, "a row refers to one that is not there");
    if (db_check_applied(c, ret->version, err))
        return -1;
    if (ret->version < migration_count)
        return 0; /* the tables may be others than the ones counted below */
    /* A bit in the text of a table's definition is part of no page's structure. */
    if (conn_prepare(c, CONN_READER, err)) {
        str_copy_utf8(text, sizeof(text), err->cause);
        return damaged(err, text);
    }
    return conn_int(c, "SELECT count(*) FROM vms WHERE deleted_at = 0", &ret->vms, err) ||
                   conn_int(c, "SELECT count(*) FROM leases WHERE state <> 'ended'", &ret->leases, err) ||
                   conn_int(c, "SELECT count(*) FROM images", &ret->images, err) ||
                   conn_int(c, "SELECT count(*) FROM tokens", &ret->tokens, err)
               ? -1
               : 0;
}

int backup_check(const char *path, struct backup_facts *ret, struct error *err)
{
    struct conn c = {0};
    int rc;

    if (access(path, R_OK))
        return error_errno(err, errno, "cannot read %s", path);
    rc = conn_open(&c, path, CONN_READER, err) || look(&c, ret, err) ? -1 : 0;
    conn_close(&c);
    if (rc && err->code != ERROR_CONFIG)
        err->code = ERROR_DATABASE_FAILED;
    return rc;
}

/* ---- copying ---- */

static int copy_pages(struct conn *from, const char *path, struct error *err)
{
    struct conn to = {0};
    sqlite3_backup *b;
    int rc = sqlite3_open_v2(path, &to.sq, SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE, NULL);

    if (rc != SQLITE_OK) {
        conn_error(&to, rc, err, "open");
        conn_close(&to);
        return -1;
    }
    b = sqlite3_backup_init(to.sq, "main", from->sq, "main");
    rc = b ? sqlite3_backup_step(b, -1) : sqlite3_errcode(to.sq);
    if (b)
        sqlite3_backup_finish(b);
    /* A copy is one file: without a journal beside it. */
    if (rc != SQLITE_DONE)
        conn_error(&to, rc, err, "backup");
    else
        rc = conn_exec(&to, "PRAGMA journal_mode = DELETE", err) ? SQLITE_ERROR : SQLITE_DONE;
    conn_close(&to);
    return rc == SQLITE_DONE ? 0 : -1;
}

static int sync_path(const char *path, struct error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd < 0 || fsync(fd) ? error_errno(err, errno, "cannot sync %s", path) : 0;
}

/* 0600 from the beginning: it holds what the database holds. */
static int make_empty(const char *path, struct error *err)
{
    auto_close int fd = -1;

    if (file_remove(path, err))
        return -1;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? error_errno(err, errno, "cannot create %s", path) : 0;
}

static int copy_checked(const char *path, const char *part, struct error *err)
{
    struct backup_facts facts;
    struct conn from = {0};
    int rc;

    if (make_empty(part, err))
        return -1;
    rc = conn_open(&from, path, CONN_READER, err) || copy_pages(&from, part, err) ? -1 : 0;
    conn_close(&from);
    if (rc)
        return -1;
    CRASH_POINT(DB_BACKUP_WRITTEN);
    return backup_check(part, &facts, err) || sync_path(part, err) ? -1 : 0;
}

/* ---- the folder ---- */

static int is_copy(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return str_starts(entry->d_name, "drover-") && len > 3 && str_eq(entry->d_name + len - 3, ".db");
}

/* Oldest first: their names are their times. */
static int list(const char *dir, struct dirent ***ret)
{
    int n = scandir(dir, ret, is_copy, alphasort);

    return n < 0 ? 0 : n;
}

static void list_done(struct dirent **names, int n)
{
    for (int i = 0; i < n; i++)
        free(names[i]);
    if (n)
        free(names);
}

static void prune(const char *dir, int keep)
{
    struct dirent **names = NULL;
    int n = list(dir, &names);

    for (int i = 0; i < n - keep; i++) {
        auto_free char *path = xasprintf("%s/%s", dir, names[i]->d_name);
        struct error err;

        if (file_remove(path, &err))
            log_failure(LOG_LEVEL_WARNING, &err, "an old copy of the database stays");
    }
    list_done(names, n);
}

int64_t backup_newest_time(const char *dir)
{
    struct dirent **names = NULL;
    int n = list(dir, &names);
    int64_t at = 0;

    if (n) {
        auto_free char *path = xasprintf("%s/%s", dir, names[n - 1]->d_name);
        struct stat st;

        if (stat(path, &st) == 0)
            at = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    }
    list_done(names, n);
    return at;
}

int backup_newest(const char *dir, char ret_path[BACKUP_PATH_MAX], struct error *err)
{
    struct dirent **names = NULL;
    int n = list(dir, &names), rc = -1;

    error_set(err, ERROR_DATABASE_FAILED, "there is no copy of the database in %s", dir);
    for (int i = n - 1; i >= 0 && rc; i--) {
        struct backup_facts facts;

        snprintf(ret_path, BACKUP_PATH_MAX, "%s/%s", dir, names[i]->d_name);
        rc = backup_check(ret_path, &facts, err);
        if (rc)
            log_failure(LOG_LEVEL_WARNING, err, "%s cannot be used", ret_path);
    }
    list_done(names, n);
    return rc;
}

static void stamp(char ret[64])
{
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(ret, 64, NAME_FORMAT, &tm);
}

/* Several in one second follow one another, also in the order of their names. */
static int give_name(const char *dir, const char *part, char ret_path[BACKUP_PATH_MAX], struct error *err)
{
    char base[64];

    stamp(base);
    for (int n = 0; n < NAMES_MAX; n++) {
        snprintf(ret_path, BACKUP_PATH_MAX, "%s/%s-%03d.db", dir, base, n);
        if (link(part, ret_path) == 0) {
            unlink(part);
            return dir_sync(ret_path, err);
        }
        if (errno != EEXIST)
            break;
    }
    return error_errno(err, errno, "cannot store the copy in %s", dir);
}

int backup_make(const char *path, const char *dir, int keep, char ret_path[BACKUP_PATH_MAX],
                struct error *err)
{
    auto_free char *part = xasprintf("%s/making.part", dir);
    struct error ignored;

    if (dir_ensure(dir, 0700, err))
        return -1;
    if (copy_checked(path, part, err) || give_name(dir, part, ret_path, err)) {
        (void)file_remove(part, &ignored);
        return -1;
    }
    CRASH_POINT(DB_BACKUP_RENAMED);
    prune(dir, keep);
    return 0;
}

/* ---- bringing one back ---- */

static int move_aside(const char *path, const char *suffix, const char *aside, struct error *err)
{
    auto_free char *from = xasprintf("%s%s", path, suffix), *to = xasprintf("%s%s", aside, suffix);

    if (rename(from, to) && errno != ENOENT)
        return error_errno(err, errno, "cannot move %s aside", from);
    return 0;
}

static int replace(const char *part, const char *path, struct error *err)
{
    char at[64];
    auto_free char *aside = NULL, *shm = xasprintf("%s-shm", path);

    stamp(at);
    aside = xasprintf("%s.before-%s", path, at + strlen("drover-"));
    /* The journal first: it must never be applied to another database than its own. */
    if (move_aside(path, "-wal", aside, err) || file_remove(shm, err))
        return -1;
    if (link(path, aside) && errno != ENOENT && errno != EEXIST)
        return error_errno(err, errno, "cannot keep %s", path);
    if (rename(part, path))
        return error_errno(err, errno, "cannot replace %s", path);
    return dir_sync(path, err);
}

/* *ret: with the lock, or -1 where there is no database. */
static int lock_unused(const char *path, int *ret, struct error *err)
{
    auto_close int lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (lock < 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot open %s", path);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB)) {
        error_set(err, ERROR_DATABASE_FAILED, "another process has the database open");
        error_remedy(err, "Stop droverd first: systemctl stop droverd. Guests keep running.");
        return -1;
    }
    *ret = TAKE_FD(lock);
    return 0;
}

int backup_restore(const char *copy, const char *path, struct error *err)
{
    auto_free char *part = xasprintf("%s.part", path);
    auto_close int lock = -1;
    struct backup_facts facts;

    if (lock_unused(path, &lock, err) || backup_check(copy, &facts, err) || copy_checked(copy, part, err))
        return -1;
    return replace(part, path, err);
}

/* ---- making one anew ---- */

int backup_refuse_in_use(const char *path, struct error *err)
{
    auto_close int lock = -1;

    return lock_unused(path, &lock, err);
}

bool backup_read_install_id(const char *path, char ret[UUID_TEXT])
{
    struct conn c = {0};
    char text[64] = "";
    struct error ignored;
    bool found = access(path, R_OK) == 0 && conn_open(&c, path, CONN_READER, &ignored) == 0 &&
                 first_row(&c, "SELECT value FROM meta WHERE key = 'install_id'", text, sizeof(text), &ignored) == 1 &&
                 uuid_is_valid(text);

    conn_close(&c);
    if (found)
        str_copy_utf8(ret, UUID_TEXT, text);
    return found;
}
