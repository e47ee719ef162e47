/*
 * A database, settings and the access module, started and stopped by each test.
 */
#ifndef DROVER_TESTS_ACCESS_RIG_H
#define DROVER_TESTS_ACCESS_RIG_H

#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "db/db_internal.h"
#include "service/base/fd.h"
#include "service/base/thread.h"
#include "service/conf/settings.h"
#include "service/vm/access.h"
#include "tests/unit/db/db_fixture.h"

static struct db *db;
static struct settings *settings;
static struct access *access_;
static struct principal admin;
static struct error err;

static inline void start_again(void)
{
    db = fixture_open();
    CHECK_OK(access_open(db, settings, fixture_dir, &access_, &err));
}

static inline void stop(void)
{
    access_close(access_);
    db_close(db);
    access_ = NULL;
    db = NULL;
}

static inline void read_admin_token(char ret[SECRET_TOKEN_TEXT])
{
    auto_free char *path = xasprintf("%s/admin.token", fixture_dir);
    auto_free char *text = NULL;
    size_t len;

    CHECK_INT(file_read(path, 200, &text, &len, &err), 1);
    CHECK_INT(len, SECRET_TOKEN_TEXT); /* the token and a line feed */
    CHECK_INT(text[len - 1], '\n');
    memcpy(ret, text, SECRET_TOKEN_TEXT - 1);
    ret[SECRET_TOKEN_TEXT - 1] = '\0';
}

static inline void start(void)
{
    char token[SECRET_TOKEN_TEXT];

    err = ERROR_INIT;
    fixture_new();
    settings_free(settings);
    settings = settings_new();
    start_again();
    read_admin_token(token);
    CHECK_OK(access_by_token(access_, token, &admin, &err));
}

static inline int64_t number(const char *sql)
{
    auto_reader struct reader r = reader_take(db);
    int64_t n = -1;

    CHECK_OK(conn_int(r.conn, sql, &n, &err));
    return n;
}

static inline void make(const char *name, enum access_role role, unsigned scopes, int64_t seconds,
                 char ret[SECRET_TOKEN_TEXT], struct token_info *ret_info)
{
    struct token_request r = {
        .name = name, .role = role, .scopes = scopes, .expires_in_seconds = seconds};
    struct token_info info;

    CHECK_OK(access_token_create(access_, &admin, &r, ret, ret_info ? ret_info : &info, &err));
}

static inline int draw(const struct principal *by, const struct ticket *t,
                       char ret[SECRET_RANDOM_TEXT], struct error *e)
{
    struct ticket_info info;

    return access_ticket_create(access_, by, t, ret, &info, e);
}

static inline bool refused(int rc, enum error_code code)
{
    if (rc == 0 || err.code != code)
        printf("# rc %d code %s, not %s\n", rc, error_slug(err.code), error_slug(code));
    return rc == -1 && err.code == code;
}

/* Between two starts: the file belongs to nobody. */
static inline void alter(const char *sql)
{
    sqlite3 *sq;

    CHECK(sqlite3_open(fixture_path, &sq) == SQLITE_OK);
    CHECK(sqlite3_exec(sq, sql, NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(sq);
}

#endif
