/* Sessions, codes, tickets and the failure gate, on a real database. */
#include "service/vm/access_internal.h"
#include "tests/unit/db/access_rig.h"

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

TEST(a_sessions_use_is_written_down)
{
    static const char ago[] = "UPDATE sessions SET last_used_at = last_used_at - 120000";
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT];
    sqlite3 *file = NULL;
    struct principal p;
    int64_t before;

    start();
    make("ci", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_session_create(access_, token, cookie, &p, &err));
    stop();
    CHECK_INT(sqlite3_open(fixture_path, &file), SQLITE_OK);
    CHECK_INT(sqlite3_exec(file, ago, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(file);
    start_again();
    before = clock_wall_ms();
    CHECK_OK(access_by_session(access_, cookie, &p, &err));
    EVENTUALLY(number("SELECT last_used_at FROM sessions") >= before, 5000);
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
    struct ticket_info info;
    struct principal p;

    start();
    CHECK_OK(access_ticket_create(access_, &admin, &t, ticket, &info, &err));
    CHECK(info.expires_at > clock_wall_ms() && info.expires_at <= clock_wall_ms() + 30000);
    CHECK_OK(access_ticket_redeem(access_, ticket, &t, &p, &err));
    CHECK_STR(p.id, admin.id);
    CHECK(!p.by_cookie);
    CHECK(refused(access_ticket_redeem(access_, ticket, &t, &p, &err), ERROR_TICKET_EXPIRED));
    CHECK(refused(access_ticket_redeem(access_, "", &t, &p, &err), ERROR_TICKET_EXPIRED));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(draw(&admin, &t, ticket, &err));
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
    CHECK_OK(draw(&admin, &t, ticket, &err));
    CHECK(refused(access_ticket_redeem(access_, ticket, &t, &p, &err), ERROR_TICKET_EXPIRED));
    stop();
}

TEST(a_ticket_needs_the_scope_of_its_mode)
{
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .control = true};
    char token[SECRET_TOKEN_TEXT], ticket[SECRET_RANDOM_TEXT];
    struct principal viewer;

    start();
    make("v", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_by_token(access_, token, &viewer, &err));
    CHECK(refused(draw(&viewer, &t, ticket, &err), ERROR_FORBIDDEN));
    CHECK(strstr(err.detail, "console:control"));
    t.control = false;
    CHECK_OK(draw(&viewer, &t, ticket, &err));
    stop();
}

TEST(signing_out_takes_the_sessions_tickets_along)
{
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .control = false};
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT], ticket[SECRET_RANDOM_TEXT];
    struct principal p;

    start();
    make("ci", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_session_create(access_, token, cookie, &p, &err));
    CHECK_OK(draw(&p, &t, ticket, &err));
    CHECK_OK(access_session_end(access_, cookie, &err));
    CHECK(refused(access_ticket_redeem(access_, ticket, &t, &p, &err), ERROR_TICKET_EXPIRED));
    stop();
}

TEST(signing_out_takes_the_sessions_codes_along_and_no_others)
{
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT], code[SECRET_RANDOM_TEXT], other[SECRET_RANDOM_TEXT];
    struct principal p, q;
    int64_t expires;

    start();
    make("ci", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_session_create(access_, token, cookie, &p, &err));
    CHECK_OK(access_code_create(access_, &p, code, &expires, &err));
    CHECK_OK(access_code_create(access_, &admin, other, &expires, &err));
    CHECK_OK(access_session_end(access_, cookie, &err));
    CHECK(refused(access_session_create(access_, code, cookie, &q, &err), ERROR_SIGN_IN_FAILED));
    CHECK_OK(access_session_create(access_, other, cookie, &q, &err));
    CHECK_STR(q.token_id, admin.token_id);
    stop();
}

TEST(waiting_tickets_are_bounded_per_holder_and_expired_ones_make_room)
{
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .control = false};
    char token[SECRET_TOKEN_TEXT], ticket[SECRET_RANDOM_TEXT];
    struct principal other;
    int n = 0;

    start();
    while (draw(&admin, &t, ticket, &err) == 0)
        n++;
    CHECK_INT(err.code, ERROR_TOO_MANY_REQUESTS);
    CHECK_INT(n, 512);
    make("v", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_by_token(access_, token, &other, &err));
    CHECK_OK(draw(&other, &t, ticket, &err));
    CHECK_OK(access_ticket_redeem(access_, ticket, &t, &other, &err));
    stop();
    start_again();
    settings->ticket_seconds = 0;
    for (int i = 0; i < 2000; i++)
        CHECK_OK(draw(&admin, &t, ticket, &err));
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
    CHECK_INT(HASH_COUNT(access_->addresses), ACCESS_ADDRESSES_MAX);
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
    size_t n;

    for (int i = 0; i < 10; i++) {
        if (access_token_create(access_, &admin, &r, token, &info, &e) ||
            access_by_token(access_, token, &p, &e) ||
            access_session_create(access_, token, cookie, &s, &e) ||
            access_by_session(access_, cookie, &s, &e) ||
            draw(&s, &t, ticket, &e) ||
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
    int64_t expires;
    struct principal p;

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
    CHECK_STR(access_scope_name(10), "ksm:read");
    for (int i = 0; i < ACCESS_ROLE_COUNT - 1; i++) {
        unsigned lower = access_role_scopes((enum access_role)i);
        unsigned higher = access_role_scopes((enum access_role)(i + 1));

        CHECK((lower & ~higher) == 0 && lower != higher);
    }
    settings_free(settings);
    settings = NULL;
}

TEST_MAIN();
