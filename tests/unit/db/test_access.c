/* Tokens, sessions, codes, tickets and the failure gate, on a real database. */
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

static void start_again(void)
{
    db = fixture_open();
    CHECK_OK(access_open(db, settings, fixture_dir, &access_, &err));
}

static void stop(void)
{
    access_close(access_);
    db_close(db);
    access_ = NULL;
    db = NULL;
}

static void read_admin_token(char ret[SECRET_TOKEN_TEXT])
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

static void start(void)
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

static int64_t number(const char *sql)
{
    auto_reader struct reader r = reader_take(db);
    int64_t n = -1;

    CHECK_OK(conn_int(r.conn, sql, &n, &err));
    return n;
}

static void make(const char *name, enum access_role role, unsigned scopes, int64_t seconds,
                 char ret[SECRET_TOKEN_TEXT], struct token_info *ret_info)
{
    struct token_request r = {
        .name = name, .role = role, .scopes = scopes, .expires_in_seconds = seconds};
    struct token_info info;

    CHECK_OK(access_token_create(access_, &admin, &r, ret, ret_info ? ret_info : &info, &err));
}

static bool refused(int rc, enum error_code code)
{
    if (rc == 0 || err.code != code)
        printf("# rc %d code %s, not %s\n", rc, error_slug(err.code), error_slug(code));
    return rc == -1 && err.code == code;
}

/* ---- the first token ---- */

TEST(the_first_start_makes_an_admin_token_that_works)
{
    auto_free char *path = NULL;
    struct stat st;

    start();
    CHECK_INT(admin.role, ACCESS_ADMIN);
    CHECK_INT(admin.scopes, access_role_scopes(ACCESS_ADMIN));
    CHECK_STR(admin.name, "admin");
    CHECK_STR(admin.project_id, PROJECT_DEFAULT);
    CHECK(!admin.by_cookie);
    CHECK(str_starts(admin.id, "token:") && str_eq(admin.id + 6, admin.token_id));
    path = xasprintf("%s/admin.token", fixture_dir);
    CHECK(stat(path, &st) == 0);
    CHECK_INT(st.st_mode & 07777, 0600);
    CHECK_INT(number("SELECT count(*) FROM events WHERE type = 'token.created' AND "
                     "subject_kind = 'token' AND subject_name = 'admin'"),
              1);
    stop();
}

TEST(later_starts_leave_the_admin_token_alone)
{
    char first[SECRET_TOKEN_TEXT], second[SECRET_TOKEN_TEXT];
    auto_free char *path = NULL;

    start();
    read_admin_token(first);
    stop();
    start_again();
    read_admin_token(second);
    CHECK_STR(second, first);
    CHECK_OK(access_by_token(access_, second, &admin, &err));
    stop();
    /* Who takes the file away, or revokes the token, did not ask for another. */
    path = xasprintf("%s/admin.token", fixture_dir);
    CHECK_INT(unlink(path), 0);
    start_again();
    CHECK(!file_exists(path));
    CHECK_OK(access_token_revoke(access_, &admin, admin.token_id, &err));
    stop();
    start_again();
    CHECK(!file_exists(path));
    CHECK_INT(number("SELECT count(*) FROM tokens"), 0);
    stop();
}

TEST(a_crash_between_the_file_and_the_commit_is_made_good)
{
    auto_free char *path = NULL;
    char orphan[SECRET_TOKEN_TEXT], now[SECRET_TOKEN_TEXT], id[SECRET_TOKEN_ID];

    err = ERROR_INIT;
    fixture_new();
    settings_free(settings);
    settings = settings_new();
    secret_token_new(orphan, id);
    path = xasprintf("%s/admin.token", fixture_dir);
    CHECK_OK(file_write_atomic(path, orphan, strlen(orphan), 0644, &err));
    start_again();
    read_admin_token(now);
    CHECK(strcmp(now, orphan) != 0);
    CHECK_OK(access_by_token(access_, now, &admin, &err));
    CHECK(refused(access_by_token(access_, orphan, &admin, &err), ERROR_UNAUTHENTICATED));
    stop();
}

/* ---- tokens ---- */

TEST(unknown_wrong_and_expired_tokens_sound_the_same)
{
    char good[SECRET_TOKEN_TEXT], other[SECRET_TOKEN_TEXT], id[SECRET_TOKEN_ID], want[256];
    struct principal p;

    start();
    make("ci", ACCESS_OPERATOR, 0, 1, good, NULL);
    CHECK_OK(access_by_token(access_, good, &p, &err));
    secret_token_new(other, id);
    CHECK(refused(access_by_token(access_, other, &p, &err), ERROR_UNAUTHENTICATED));
    strcpy(want, err.detail);
    CHECK(refused(access_by_token(access_, "", &p, &err), ERROR_UNAUTHENTICATED));
    CHECK_STR(err.detail, want);
    CHECK(refused(access_by_token(access_, "drover_", &p, &err), ERROR_UNAUTHENTICATED));
    CHECK_STR(err.detail, want);
    EVENTUALLY(access_by_token(access_, good, &p, &err) != 0, 5000);
    CHECK_INT(err.code, ERROR_UNAUTHENTICATED);
    CHECK_STR(err.detail, want);
    stop();
}

/* Between two starts: the file belongs to nobody. */
static void alter(const char *sql)
{
    sqlite3 *sq;

    CHECK(sqlite3_open(fixture_path, &sq) == SQLITE_OK);
    CHECK(sqlite3_exec(sq, sql, NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(sq);
}

TEST(a_known_id_with_another_secret_is_refused)
{
    char good[SECRET_TOKEN_TEXT], other[SECRET_TOKEN_TEXT];
    struct principal p;

    start();
    make("good", ACCESS_OPERATOR, 0, 0, good, NULL);
    make("other", ACCESS_OPERATOR, 0, 0, other, NULL);
    stop();
    /* A well-formed secret that belongs to another hash. */
    alter("UPDATE tokens SET hash = (SELECT hash FROM tokens WHERE name = 'good') "
          "WHERE name = 'other'");
    start_again();
    CHECK(refused(access_by_token(access_, other, &p, &err), ERROR_UNAUTHENTICATED));
    CHECK_OK(access_by_token(access_, good, &p, &err));
    good[30] = good[30] == 'a' ? 'b' : 'a';
    CHECK(refused(access_by_token(access_, good, &p, &err), ERROR_UNAUTHENTICATED));
    stop();
}

TEST(tokens_survive_a_restart_with_their_rights_and_only_as_hashes)
{
    char token[SECRET_TOKEN_TEXT];
    auto_free char *sql = NULL;
    struct token_info info;
    struct principal p;

    start();
    make("ci", ACCESS_OPERATOR, ACCESS_VM_READ | ACCESS_CONSOLE_VIEW, 3600, token, &info);
    CHECK_STR(info.name, "ci");
    CHECK_STR(info.created_by, admin.id);
    CHECK_INT(info.expires_at - info.created_at, 3600000);
    CHECK_INT(info.last_used_at, 0);
    stop();
    start_again();
    CHECK_OK(access_by_token(access_, token, &p, &err));
    CHECK_INT(p.role, ACCESS_OPERATOR);
    CHECK_INT(p.scopes, ACCESS_VM_READ | ACCESS_CONSOLE_VIEW);
    sql =
        xasprintf("SELECT count(*) FROM tokens WHERE hash LIKE '%%%.20s%%' OR id LIKE '%%%.20s%%'",
                  token + 20, token + 20);
    CHECK_INT(number(sql), 0);
    CHECK_INT(number("SELECT count(*) FROM tokens WHERE scopes = 'vm:read console:view'"), 1);
    CHECK_INT(number("SELECT count(*) FROM tokens WHERE scopes = ''"), 1); /* the admin's */
    stop();
}

TEST(uses_are_written_down_at_most_once_a_minute)
{
    char token[SECRET_TOKEN_TEXT];
    struct token_info info;
    struct db_stats before, after;
    auto_free char *sql = NULL;
    struct principal p;

    start();
    make("ci", ACCESS_VIEWER, 0, 0, token, &info);
    sql = xasprintf("SELECT last_used_at FROM tokens WHERE id = '%s'", info.id);
    CHECK_OK(access_by_token(access_, token, &p, &err));
    EVENTUALLY(number(sql) > 0, 5000);
    db_stats_read(db, &before);
    for (int i = 0; i < 1000; i++)
        CHECK_OK(access_by_token(access_, token, &p, &err));
    EVENTUALLY((db_stats_read(db, &after), after.queued == 0), 5000);
    CHECK_INT(after.writes, before.writes);
    stop();
}

TEST(a_token_makes_none_with_more_rights_or_a_longer_life)
{
    char text[SECRET_TOKEN_TEXT];
    struct token_request r = {.name = "x", .role = ACCESS_ADMIN};
    struct token_info info;
    struct principal narrow, operator, brief;

    start();
    make("narrow", ACCESS_ADMIN, ACCESS_TOKEN_WRITE | ACCESS_VM_READ, 0, text, NULL);
    CHECK_OK(access_by_token(access_, text, &narrow, &err));
    make("operator", ACCESS_OPERATOR, 0, 0, text, NULL);
    CHECK_OK(access_by_token(access_, text, &operator, & err));
    make("brief", ACCESS_ADMIN, 0, 600, text, NULL);
    CHECK_OK(access_by_token(access_, text, &brief, &err));

    CHECK(
        refused(access_token_create(access_, &operator, & r, text, &info, &err), ERROR_FORBIDDEN));
    CHECK(strstr(err.detail, "token:write"));
    CHECK(refused(access_token_create(access_, &narrow, &r, text, &info, &err), ERROR_FORBIDDEN));
    r.scopes = ACCESS_VM_WRITE;
    CHECK(refused(access_token_create(access_, &narrow, &r, text, &info, &err), ERROR_FORBIDDEN));
    CHECK(strstr(err.detail, "vm:write"));
    r.scopes = ACCESS_VM_READ;
    CHECK_OK(access_token_create(access_, &narrow, &r, text, &info, &err));
    CHECK_INT(info.scopes, ACCESS_VM_READ);

    r = (struct token_request){.name = "x", .role = ACCESS_VIEWER};
    CHECK(refused(access_token_create(access_, &brief, &r, text, &info, &err), ERROR_FORBIDDEN));
    r.expires_in_seconds = 6000;
    CHECK(refused(access_token_create(access_, &brief, &r, text, &info, &err), ERROR_FORBIDDEN));
    r.expires_in_seconds = 60;
    CHECK_OK(access_token_create(access_, &brief, &r, text, &info, &err));
    stop();
}

TEST(bad_token_requests_name_the_member)
{
    static const struct {
        struct token_request r;
        const char *pointer;
    } bad[] = {
        {{.name = "", .role = ACCESS_VIEWER}, "/name"},
        {{.name = NULL, .role = ACCESS_VIEWER}, "/name"},
        {{.name = "a\nb", .role = ACCESS_VIEWER}, "/name"},
        {{.name = "\xff", .role = ACCESS_VIEWER}, "/name"},
        {{.name = "0123456789012345678901234567890123456789012345678901234567890123",
          .role = ACCESS_VIEWER},
         "/name"},
        {{.name = "x", .role = ACCESS_ROLE_COUNT}, "/role"},
        {{.name = "x", .role = ACCESS_VIEWER, .scopes = ACCESS_VM_WRITE}, "/scopes"},
        {{.name = "x", .role = ACCESS_ADMIN, .scopes = 1U << 20}, "/scopes"},
        {{.name = "x", .role = ACCESS_VIEWER, .expires_in_seconds = -1}, "/expires_in_seconds"},
        {{.name = "x", .role = ACCESS_VIEWER, .expires_in_seconds = INT64_MAX},
         "/expires_in_seconds"},
    };
    char text[SECRET_TOKEN_TEXT];
    struct token_info info;

    start();
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        CHECK(refused(access_token_create(access_, &admin, &bad[i].r, text, &info, &err),
                      ERROR_VALIDATION_FAILED));
        CHECK_STR(err.pointer, bad[i].pointer);
    }
    CHECK_INT(number("SELECT count(*) FROM tokens"), 1);
    stop();
}

TEST(the_list_has_one_projects_tokens_by_age_and_no_secrets)
{
    char text[SECRET_TOKEN_TEXT];
    struct token_info *list;
    size_t n;

    start();
    make("b", ACCESS_VIEWER, 0, 0, text, NULL);
    EVENTUALLY(clock_wall_ms() > number("SELECT max(created_at) FROM tokens"), 1000);
    make("a", ACCESS_VIEWER, 0, 0, text, NULL);
    access_token_list(access_, PROJECT_DEFAULT, &list, &n);
    CHECK_INT(n, 3);
    CHECK_STR(list[2].name, "a");
    CHECK_INT(list[2].scopes, access_role_scopes(ACCESS_VIEWER));
    free(list);
    access_token_list(access_, "other", &list, &n);
    CHECK_INT(n, 0);
    free(list);
    stop();
}

static char revoked_id[SECRET_TOKEN_ID];

static void on_revoked(void *opaque, const char *token_id)
{
    if (opaque != &db)
        abort();
    strcpy(revoked_id, token_id);
}

TEST(revoking_ends_everything_made_with_the_token)
{
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT], code[SECRET_RANDOM_TEXT],
        ticket[SECRET_RANDOM_TEXT], other[SECRET_RANDOM_TEXT];
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .control = true};
    struct token_info info;
    struct principal p, s;
    int64_t expires;

    start();
    access_set_on_revoked(access_, on_revoked, &db);
    make("ci", ACCESS_OPERATOR, 0, 0, token, &info);
    CHECK_OK(access_by_token(access_, token, &p, &err));
    CHECK_OK(access_session_create(access_, token, cookie, &s, &err));
    CHECK_OK(access_code_create(access_, &p, code, &expires, &err));
    CHECK_OK(access_ticket_create(access_, &s, &t, ticket, &expires, &err));
    CHECK_OK(access_ticket_create(access_, &admin, &t, other, &expires, &err));
    CHECK(refused(access_token_revoke(access_, &p, info.id, &err), ERROR_FORBIDDEN));
    CHECK_OK(access_token_revoke(access_, &admin, info.id, &err));
    CHECK_STR(revoked_id, info.id);
    CHECK(refused(access_by_token(access_, token, &p, &err), ERROR_UNAUTHENTICATED));
    CHECK(refused(access_by_session(access_, cookie, &p, &err), ERROR_UNAUTHENTICATED));
    CHECK(refused(access_session_create(access_, code, cookie, &p, &err), ERROR_SIGN_IN_FAILED));
    CHECK(refused(access_ticket_redeem(access_, ticket, &t, &p, &err), ERROR_TICKET_EXPIRED));
    CHECK_OK(access_ticket_redeem(access_, other, &t, &p, &err));
    CHECK(refused(access_token_revoke(access_, &admin, info.id, &err), ERROR_TOKEN_NOT_FOUND));
    CHECK_INT(number("SELECT count(*) FROM sessions"), 0);
    CHECK_INT(number("SELECT count(*) FROM events WHERE type = 'token.revoked' AND "
                     "subject_name = 'ci'"),
              1);
    stop();
    start_again();
    CHECK(refused(access_by_token(access_, token, &p, &err), ERROR_UNAUTHENTICATED));
    stop();
}

TEST(another_projects_token_is_not_there)
{
    struct principal stranger;

    start();
    stranger = admin;
    str_copy_utf8(stranger.project_id, sizeof(stranger.project_id), "other");
    CHECK(refused(access_token_revoke(access_, &stranger, admin.token_id, &err),
                  ERROR_TOKEN_NOT_FOUND));
    CHECK_OK(access_token_revoke(access_, &admin, admin.token_id, &err));
    stop();
}

TEST(a_scope_from_the_future_gives_nothing)
{
    char token[SECRET_TOKEN_TEXT];
    struct principal p;

    start();
    make("ci", ACCESS_ADMIN, ACCESS_VM_READ, 0, token, NULL);
    stop();
    alter("UPDATE tokens SET scopes = 'moon:write' WHERE name = 'ci'");
    start_again();
    CHECK_OK(access_by_token(access_, token, &p, &err));
    CHECK_INT(p.scopes, 0);
    CHECK(refused(access_require(&p, ACCESS_VM_READ, &err), ERROR_FORBIDDEN));
    stop();
}

/* ---- sessions and codes ---- */

TEST(a_code_starts_one_session_with_the_rights_of_its_maker)
{
    char code[SECRET_RANDOM_TEXT], cookie[SECRET_RANDOM_TEXT], again[SECRET_RANDOM_TEXT];
    struct principal p, q;
    int64_t expires;

    start();
    CHECK_OK(access_code_create(access_, &admin, code, &expires, &err));
    CHECK(expires > clock_wall_ms() && expires <= clock_wall_ms() + 600000);
    CHECK_OK(access_session_create(access_, code, cookie, &p, &err));
    CHECK(str_starts(p.id, "session:"));
    CHECK_STR(p.token_id, admin.token_id);
    CHECK_INT(p.scopes, admin.scopes);
    CHECK(p.by_cookie);
    CHECK(refused(access_session_create(access_, code, again, &q, &err), ERROR_SIGN_IN_FAILED));
    CHECK_OK(access_by_session(access_, cookie, &q, &err));
    CHECK_STR(q.id, p.id);
    CHECK_STR(q.name, "admin");
    CHECK(q.by_cookie);
    stop();
    start_again(); /* a session survives, and the database knows only its hash */
    CHECK_OK(access_by_session(access_, cookie, &q, &err));
    CHECK_STR(q.id, p.id);
    CHECK_OK(access_session_end(access_, cookie, &err));
    CHECK(refused(access_by_session(access_, cookie, &q, &err), ERROR_UNAUTHENTICATED));
    CHECK_OK(access_session_end(access_, cookie, &err));
    CHECK_INT(number("SELECT count(*) FROM sessions"), 0);
    stop();
}

TEST(a_code_expires_and_does_not_survive_a_restart)
{
    char code[SECRET_RANDOM_TEXT], cookie[SECRET_RANDOM_TEXT];
    struct principal p;
    int64_t expires;

    start();
    settings->sign_in_code_seconds = 0;
    CHECK_OK(access_code_create(access_, &admin, code, &expires, &err));
    CHECK(refused(access_session_create(access_, code, cookie, &p, &err), ERROR_SIGN_IN_FAILED));
    settings->sign_in_code_seconds = 600;
    CHECK_OK(access_code_create(access_, &admin, code, &expires, &err));
    stop();
    start_again();
    CHECK(refused(access_session_create(access_, code, cookie, &p, &err), ERROR_SIGN_IN_FAILED));
    stop();
}

TEST(nonsense_does_not_sign_in)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "drover_",
                                      "drover_AAAAAAAAAAAA_x",
                                      "00000000000000000000000000000000",
                                      "000000000000000000000000000000000000000000000000000000000"};
    char cookie[SECRET_RANDOM_TEXT];
    struct principal p;

    start();
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        CHECK(refused(access_session_create(access_, bad[i], cookie, &p, &err),
                      ERROR_SIGN_IN_FAILED));
        CHECK(refused(access_by_session(access_, bad[i], &p, &err), ERROR_UNAUTHENTICATED));
        CHECK_OK(access_session_end(access_, bad[i], &err));
    }
    stop();
}

TEST(a_session_ends_when_idle_when_old_and_with_its_token)
{
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT], last[SECRET_RANDOM_TEXT];
    struct principal p;

    start();
    make("brief", ACCESS_VIEWER, 0, 1, token, NULL);
    CHECK_OK(access_session_create(access_, token, cookie, &p, &err));
    EVENTUALLY(access_by_session(access_, cookie, &p, &err) != 0, 5000);
    CHECK_INT(err.code, ERROR_UNAUTHENTICATED);

    make("ci", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_session_create(access_, token, cookie, &p, &err));
    settings->session_idle_seconds = 0;
    CHECK(refused(access_by_session(access_, cookie, &p, &err), ERROR_UNAUTHENTICATED));
    settings->session_idle_seconds = 60;
    CHECK_OK(access_by_session(access_, cookie, &p, &err));
    settings->session_max_seconds = 0;
    CHECK(refused(access_by_session(access_, cookie, &p, &err), ERROR_UNAUTHENTICATED));
    /* The next sign-in sweeps up. The oldest are over from the millisecond after. */
    EVENTUALLY(clock_wall_ms() > number("SELECT max(created_at) FROM sessions"), 1000);
    CHECK_OK(access_session_create(access_, token, last, &p, &err));
    CHECK_INT(number("SELECT count(*) FROM sessions"), 1);
    stop();
}

TEST(the_hosts_administrator_signs_in_without_a_token)
{
    char code[SECRET_RANDOM_TEXT], cookie[SECRET_RANDOM_TEXT];
    struct principal root, nobody, p;
    int64_t expires;

    start();
    access_by_socket(access_, 0, &root);
    CHECK_STR(root.id, "socket:0");
    CHECK_STR(root.token_id, "");
    CHECK_INT(root.role, ACCESS_ADMIN);
    CHECK_OK(access_code_create(access_, &root, code, &expires, &err));
    CHECK_OK(access_session_create(access_, code, cookie, &p, &err));
    CHECK_INT(p.scopes, access_role_scopes(ACCESS_ADMIN));
    stop();
    start_again();
    CHECK_OK(access_by_session(access_, cookie, &p, &err));
    CHECK_INT(p.role, ACCESS_ADMIN);
    access_by_socket(access_, 65534, &nobody);
    CHECK_STR(nobody.id, "socket:65534");
    CHECK_INT(nobody.scopes, 0);
    CHECK(refused(access_require(&nobody, ACCESS_VM_READ, &err), ERROR_FORBIDDEN));
    CHECK(refused(access_code_create(access_, &nobody, code, &expires, &err), ERROR_FORBIDDEN));
    stop();
}

/* ---- tickets ---- */

TEST(a_ticket_opens_one_stream_once)
{
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .control = false}, w;
    char ticket[SECRET_RANDOM_TEXT];
    struct principal p;
    int64_t expires;

    start();
    CHECK_OK(access_ticket_create(access_, &admin, &t, ticket, &expires, &err));
    CHECK(expires > clock_wall_ms() && expires <= clock_wall_ms() + 30000);
    CHECK_OK(access_ticket_redeem(access_, ticket, &t, &p, &err));
    CHECK_STR(p.id, admin.id);
    CHECK(!p.by_cookie);
    CHECK(refused(access_ticket_redeem(access_, ticket, &t, &p, &err), ERROR_TICKET_EXPIRED));
    CHECK(refused(access_ticket_redeem(access_, "", &t, &p, &err), ERROR_TICKET_EXPIRED));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(access_ticket_create(access_, &admin, &t, ticket, &expires, &err));
        w = t;
        if (i == 0)
            strcpy(w.vm_id, "vm-2");
        else if (i == 1)
            strcpy(w.stream, "channels/x");
        else
            w.control = true;
        CHECK(refused(access_ticket_redeem(access_, ticket, &w, &p, &err), ERROR_TICKET_EXPIRED));
        /* And is gone. */
        CHECK(refused(access_ticket_redeem(access_, ticket, &t, &p, &err), ERROR_TICKET_EXPIRED));
    }
    settings->ticket_seconds = 0;
    CHECK_OK(access_ticket_create(access_, &admin, &t, ticket, &expires, &err));
    CHECK(refused(access_ticket_redeem(access_, ticket, &t, &p, &err), ERROR_TICKET_EXPIRED));
    stop();
}

TEST(a_ticket_needs_the_scope_of_its_mode)
{
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .control = true};
    char token[SECRET_TOKEN_TEXT], ticket[SECRET_RANDOM_TEXT];
    struct principal viewer;
    int64_t expires;

    start();
    make("v", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_by_token(access_, token, &viewer, &err));
    CHECK(refused(access_ticket_create(access_, &viewer, &t, ticket, &expires, &err),
                  ERROR_FORBIDDEN));
    CHECK(strstr(err.detail, "console:control"));
    t.control = false;
    CHECK_OK(access_ticket_create(access_, &viewer, &t, ticket, &expires, &err));
    stop();
}

TEST(signing_out_takes_the_sessions_tickets_along)
{
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .control = false};
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT], ticket[SECRET_RANDOM_TEXT];
    struct principal p;
    int64_t expires;

    start();
    make("ci", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_session_create(access_, token, cookie, &p, &err));
    CHECK_OK(access_ticket_create(access_, &p, &t, ticket, &expires, &err));
    CHECK_OK(access_session_end(access_, cookie, &err));
    CHECK(refused(access_ticket_redeem(access_, ticket, &t, &p, &err), ERROR_TICKET_EXPIRED));
    stop();
}

TEST(waiting_tickets_are_bounded_per_holder_and_expired_ones_make_room)
{
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .control = false};
    char token[SECRET_TOKEN_TEXT], ticket[SECRET_RANDOM_TEXT];
    struct principal other;
    int64_t expires;
    int n = 0;

    start();
    while (access_ticket_create(access_, &admin, &t, ticket, &expires, &err) == 0)
        n++;
    CHECK_INT(err.code, ERROR_TOO_MANY_REQUESTS);
    CHECK_INT(n, 512);
    make("v", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_by_token(access_, token, &other, &err));
    CHECK_OK(access_ticket_create(access_, &other, &t, ticket, &expires, &err));
    CHECK_OK(access_ticket_redeem(access_, ticket, &t, &other, &err));
    stop();
    start_again();
    settings->ticket_seconds = 0;
    for (int i = 0; i < 2000; i++)
        CHECK_OK(access_ticket_create(access_, &admin, &t, ticket, &expires, &err));
    stop();
}

/* ---- the failure gate ---- */

TEST(an_address_that_fails_too_often_has_to_wait)
{
    start();
    settings->auth_failures_per_minute = 3;
    for (int i = 0; i < 3; i++) {
        CHECK_OK(access_failure_gate(access_, "192.0.2.1", &err));
        access_failure_count(access_, "192.0.2.1");
    }
    CHECK(refused(access_failure_gate(access_, "192.0.2.1", &err), ERROR_TOO_MANY_REQUESTS));
    CHECK(strstr(err.remedy, "seconds"));
    CHECK(refused(access_failure_gate(access_, "::ffff:192.0.2.1", &err), ERROR_TOO_MANY_REQUESTS));
    CHECK_OK(access_failure_gate(access_, "192.0.2.2", &err));
    CHECK_OK(access_failure_gate(access_, "", &err));
    stop();
}

TEST(one_ipv6_network_counts_as_one_address)
{
    start();
    settings->auth_failures_per_minute = 2;
    access_failure_count(access_, "2001:db8:1:2::1");
    access_failure_count(access_, "2001:db8:1:2:ffff::2");
    CHECK(refused(access_failure_gate(access_, "2001:db8:1:2::3", &err), ERROR_TOO_MANY_REQUESTS));
    CHECK_OK(access_failure_gate(access_, "2001:db8:1:3::1", &err));
    stop();
}

TEST(a_crowd_of_strangers_frees_nobody)
{
    char address[32];

    start();
    settings->auth_failures_per_minute = 3;
    for (int i = 0; i < 3; i++)
        access_failure_count(access_, "192.0.2.1");
    for (int i = 0; i < 5000; i++) {
        snprintf(address, sizeof(address), "198.51.%d.%d", i / 250, i % 250);
        access_failure_count(access_, address);
    }
    CHECK(refused(access_failure_gate(access_, "192.0.2.1", &err), ERROR_TOO_MANY_REQUESTS));
    stop();
}

/* ---- many at once ---- */

static atomic_int oddities;

static void *use_everything(void *arg)
{
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .control = true};
    struct token_request r = {.name = "t", .role = ACCESS_OPERATOR};
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT], ticket[SECRET_RANDOM_TEXT];
    struct error e = ERROR_INIT;
    struct token_info info, *list;
    struct principal p, s;
    int64_t expires;
    size_t n;

    for (int i = 0; i < 10; i++) {
        if (access_token_create(access_, &admin, &r, token, &info, &e) ||
            access_by_token(access_, token, &p, &e) ||
            access_session_create(access_, token, cookie, &s, &e) ||
            access_by_session(access_, cookie, &s, &e) ||
            access_ticket_create(access_, &s, &t, ticket, &expires, &e) ||
            access_ticket_redeem(access_, ticket, &t, &p, &e) ||
            access_token_revoke(access_, &admin, info.id, &e) ||
            access_by_session(access_, cookie, &s, &e) == 0)
            atomic_fetch_add(&oddities, 1);
        access_failure_count(access_, "192.0.2.1");
        access_token_list(access_, PROJECT_DEFAULT, &list, &n);
        free(list);
    }
    return NULL;
}

TEST(threads_do_not_disturb_each_other)
{
    pthread_t threads[6];

    start();
    for (int i = 0; i < 6; i++)
        CHECK_OK(thread_start(&threads[i], "user", use_everything, NULL, &err));
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(atomic_load(&oddities), 0);
    CHECK_INT(number("SELECT count(*) FROM tokens"), 1);
    CHECK_INT(number("SELECT count(*) FROM sessions"), 0);
    CHECK_INT(number("SELECT count(*) FROM events"), 121);
    stop();
}

TEST(a_disk_that_refuses_does_not_cost_the_code)
{
    char code[SECRET_RANDOM_TEXT], cookie[SECRET_RANDOM_TEXT];
    struct rlimit old, small;
    struct principal p;
    int64_t expires;

    start();
    CHECK_OK(access_code_create(access_, &admin, code, &expires, &err));
    log_set_level((enum log_level)0); /* what follows is expected */
    signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = old;
    small.rlim_cur = 1;
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK_INT(access_session_create(access_, code, cookie, &p, &err), -1);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    CHECK_INT(err.code, ERROR_DATABASE_FAILED);
    CHECK_OK(access_session_create(access_, code, cookie, &p, &err));
    CHECK_OK(access_by_session(access_, cookie, &p, &err));
    stop();
}

TEST(names_of_roles_and_scopes_go_both_ways)
{
    for (int i = 0; i < ACCESS_ROLE_COUNT; i++)
        CHECK_INT(access_role_from_name(access_role_name((enum access_role)i)), i);
    CHECK_INT(access_role_from_name("emperor"), ACCESS_ROLE_COUNT);
    CHECK_STR(access_scope_name(0), "vm:read");
    CHECK_STR(access_scope_name(9), "token:write");
    for (int i = 0; i < ACCESS_ROLE_COUNT - 1; i++) {
        unsigned lower = access_role_scopes((enum access_role)i);
        unsigned higher = access_role_scopes((enum access_role)(i + 1));

        CHECK((lower & ~higher) == 0 && lower != higher);
    }
    settings_free(settings);
    settings = NULL;
}

TEST_MAIN();
