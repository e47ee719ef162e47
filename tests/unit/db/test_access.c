/* Tokens, sessions, codes, tickets and the failure gate, on a real database. */
#include "tests/unit/db/access_rig.h"

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

static char ended_right[ACCESS_RIGHT_SIZE];

static void on_revoked(void *opaque, const char *right)
{
    if (opaque != &db)
        abort();
    strcpy(ended_right, right);
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
    CHECK_OK(draw(&s, &t, ticket, &err));
    CHECK_OK(draw(&admin, &t, other, &err));
    CHECK(refused(access_token_revoke(access_, &p, info.id, &err), ERROR_FORBIDDEN));
    CHECK_OK(access_token_revoke(access_, &admin, info.id, &err));
    CHECK(str_starts(ended_right, "token:"));
    CHECK_STR(ended_right + strlen("token:"), info.id);
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

TEST_MAIN();
