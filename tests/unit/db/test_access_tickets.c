/* Share links: stored tickets, their expiry and revocation, on a real database. */
#include "tests/unit/db/access_rig.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"

static struct ticket link_for(const char *name, bool multi_use, int64_t seconds)
{
    struct ticket t = {.vm_id = "vm-1",
                       .stream = "console",
                       .multi_use = multi_use,
                       .expires_in_seconds = seconds};

    strcpy(t.name, name);
    return t;
}

static size_t listed(const char *vm_id)
{
    struct ticket_info *list;
    size_t n;

    access_ticket_list(access_, PROJECT_DEFAULT, vm_id, &list, &n);
    free(list);
    return n;
}

static atomic_int ended_count;
static char ended[ACCESS_RIGHT_SIZE];

static void on_ended(void *opaque, const char *right)
{
    if (opaque != &db)
        abort();
    strcpy(ended, right);
    atomic_fetch_add(&ended_count, 1);
}

static void listen_for_ends(void)
{
    atomic_store(&ended_count, 0);
    access_set_on_revoked(access_, on_ended, &db);
}

TEST(a_share_link_opens_its_stream_again_and_again_and_after_a_restart)
{
    struct ticket t = link_for("review", true, 3600), w = link_for("", false, 0);
    char secret[SECRET_RANDOM_TEXT], right[ACCESS_RIGHTS_SIZE], want[ACCESS_RIGHTS_SIZE];
    struct ticket_info info, found;
    struct principal p;

    start();
    CHECK_OK(access_ticket_create(access_, &admin, &t, secret, &info, &err));
    CHECK_INT(strlen(info.id), 12);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(access_ticket_lookup(access_, secret, &found, &err));
        CHECK_STR(found.id, info.id);
        CHECK_OK(access_ticket_redeem(access_, secret, &w, &p, &err));
        CHECK_OK(access_ticket_redeem(access_, secret, &w, &p, &err));
        CHECK(str_starts(p.id, "ticket:"));
        CHECK_STR(p.name, "review");
        CHECK_STR(p.ticket_id, info.id);
        CHECK(access_is_alive(access_, &p));
        access_rights(&p, right);
        snprintf(want, sizeof(want), "token:%s  ticket:%s", admin.token_id, info.id);
        CHECK_STR(right, want);
        w.control = true;
        CHECK(refused(access_ticket_redeem(access_, secret, &w, &p, &err), ERROR_TICKET_EXPIRED));
        w.control = false;
        CHECK_INT(listed(NULL), 1);
        CHECK_INT(listed("vm-1"), 1);
        CHECK_INT(listed("vm-2"), 0);
        stop();
        start_again();
    }
    CHECK_INT(number("SELECT count(*) FROM tickets WHERE hash LIKE '%' || name || '%'"), 0);
    CHECK_INT(number("SELECT count(*) FROM events WHERE type = 'ticket.created'"), 1);
    stop();
}

TEST(a_link_of_the_hosts_administrator_has_his_rights_after_a_restart)
{
    struct ticket t = link_for("", true, 3600), w = link_for("", false, 0);
    char secret[SECRET_RANDOM_TEXT];
    struct principal root, p;
    struct ticket_info info;

    start();
    access_by_socket(access_, 0, &root);
    CHECK_STR(root.name, "root");
    CHECK_OK(access_ticket_create(access_, &root, &t, secret, &info, &err));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(access_ticket_redeem(access_, secret, &w, &p, &err));
        CHECK_STR(p.name, "guest of root");
        CHECK_INT(p.role, ACCESS_ADMIN);
        CHECK_INT(p.scopes, root.scopes);
        stop();
        start_again();
    }
    stop();
}

TEST(a_single_use_is_spent_on_the_disk)
{
    struct ticket t = link_for("once", false, 3600);
    char secret[SECRET_RANDOM_TEXT];
    struct ticket_info info;
    struct principal p;

    start();
    CHECK_OK(access_ticket_create(access_, &admin, &t, secret, &info, &err));
    stop();
    start_again();
    CHECK_OK(access_ticket_redeem(access_, secret, &t, &p, &err));
    CHECK(access_is_alive(access_, &p));
    CHECK(refused(access_ticket_redeem(access_, secret, &t, &p, &err), ERROR_TICKET_EXPIRED));
    CHECK(refused(access_ticket_lookup(access_, secret, &info, &err), ERROR_TICKET_EXPIRED));
    stop();
    start_again();
    CHECK(refused(access_ticket_redeem(access_, secret, &t, &p, &err), ERROR_TICKET_EXPIRED));
    CHECK_INT(listed(NULL), 1); /* so that its socket can still be closed */
    stop();
}

TEST(who_comes_by_a_link_without_a_name_is_a_guest)
{
    struct ticket t = link_for("", true, 0);
    char secret[SECRET_RANDOM_TEXT];
    struct ticket_info info;
    struct principal p;

    start();
    CHECK_OK(access_ticket_create(access_, &admin, &t, secret, &info, &err));
    CHECK_OK(access_ticket_redeem(access_, secret, &t, &p, &err));
    CHECK_STR(p.name, "guest of admin");
    stop();
}

TEST(revoking_a_link_is_told_and_lasts)
{
    struct ticket t = link_for("", true, 3600);
    char secret[SECRET_RANDOM_TEXT], token[SECRET_TOKEN_TEXT], want[ACCESS_RIGHT_SIZE];
    struct principal p, viewer;
    struct ticket_info info;

    start();
    listen_for_ends();
    make("v", ACCESS_VIEWER, 0, 0, token, NULL);
    CHECK_OK(access_by_token(access_, token, &viewer, &err));
    CHECK_OK(access_ticket_create(access_, &admin, &t, secret, &info, &err));
    CHECK_OK(access_ticket_redeem(access_, secret, &t, &p, &err));
    CHECK(refused(access_ticket_revoke(access_, &viewer, info.id, &err), ERROR_FORBIDDEN));
    CHECK(refused(access_ticket_revoke(access_, &admin, secret, &err), ERROR_TICKET_NOT_FOUND));
    CHECK_INT(atomic_load(&ended_count), 0);
    CHECK_OK(access_ticket_revoke(access_, &admin, info.id, &err));
    snprintf(want, sizeof(want), "ticket:%s", info.id);
    CHECK_STR(ended, want);
    CHECK(!access_is_alive(access_, &p));
    CHECK(refused(access_ticket_redeem(access_, secret, &t, &p, &err), ERROR_TICKET_EXPIRED));
    CHECK(refused(access_ticket_revoke(access_, &admin, info.id, &err), ERROR_TICKET_NOT_FOUND));
    CHECK_INT(number("SELECT count(*) FROM tickets"), 0);
    CHECK_OK(access_ticket_create(access_, &viewer, &t, secret, &info, &err));
    CHECK_OK(access_ticket_revoke(access_, &viewer, info.id, &err)); /* its own */
    stop();
}

TEST(a_link_outlives_its_session_but_not_its_token)
{
    struct ticket t = link_for("", true, 3600), own = {.vm_id = "vm-1", .stream = "console"};
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT], shared[SECRET_RANDOM_TEXT],
        drawn[SECRET_RANDOM_TEXT];
    struct token_info token_info;
    struct ticket_info info;
    struct principal p, s;

    start();
    listen_for_ends();
    make("o", ACCESS_OPERATOR, 0, 0, token, &token_info);
    CHECK_OK(access_session_create(access_, token, cookie, &s, &err));
    CHECK_OK(access_ticket_create(access_, &s, &t, shared, &info, &err));
    CHECK_OK(access_ticket_create(access_, &s, &own, drawn, &info, &err));
    CHECK(access_is_alive(access_, &s));
    CHECK_OK(access_session_end(access_, cookie, &err));
    CHECK_STR(ended, s.id);
    CHECK(!access_is_alive(access_, &s));
    CHECK(refused(access_ticket_redeem(access_, drawn, &own, &p, &err), ERROR_TICKET_EXPIRED));
    CHECK_OK(access_ticket_redeem(access_, shared, &t, &p, &err));
    CHECK_OK(access_token_revoke(access_, &admin, token_info.id, &err));
    CHECK(!access_is_alive(access_, &p));
    CHECK(refused(access_ticket_redeem(access_, shared, &t, &p, &err), ERROR_TICKET_EXPIRED));
    CHECK_INT(number("SELECT count(*) FROM tickets"), 0);
    stop();
}

TEST(an_expired_link_ends_what_was_opened_with_it)
{
    struct ticket t = link_for("", true, 3), once = link_for("once", false, 3);
    char secret[SECRET_RANDOM_TEXT], other[SECRET_RANDOM_TEXT], want[ACCESS_RIGHT_SIZE];
    struct ticket_info info, second;
    struct principal p;

    start();
    listen_for_ends();
    CHECK_OK(access_ticket_create(access_, &admin, &t, secret, &info, &err));
    CHECK_OK(access_ticket_create(access_, &admin, &once, other, &second, &err));
    CHECK_OK(access_ticket_redeem(access_, secret, &t, &p, &err));
    EVENTUALLY(number("SELECT count(*) FROM tickets") == 0, 20000);
    CHECK_INT(atomic_load(&ended_count), 1); /* who used the single use may stay */
    snprintf(want, sizeof(want), "ticket:%s", info.id);
    CHECK_STR(ended, want);
    CHECK(refused(access_ticket_redeem(access_, secret, &t, &p, &err), ERROR_TICKET_EXPIRED));
    CHECK_INT(listed(NULL), 0);
    stop();
}

TEST(an_expired_token_ends_its_sockets_and_its_links)
{
    struct ticket t = link_for("", true, 3600);
    char token[SECRET_TOKEN_TEXT], secret[SECRET_RANDOM_TEXT];
    struct token_info token_info;
    struct ticket_info info;
    struct principal p;

    start();
    listen_for_ends();
    make("short", ACCESS_OPERATOR, 0, 3, token, &token_info);
    CHECK_OK(access_by_token(access_, token, &p, &err));
    CHECK_OK(access_ticket_create(access_, &p, &t, secret, &info, &err));
    CHECK_INT(info.expires_at, token_info.expires_at); /* not longer than its maker */
    EVENTUALLY(atomic_load(&ended_count) == 2, 20000);
    CHECK(refused(access_ticket_redeem(access_, secret, &t, &p, &err), ERROR_TICKET_EXPIRED));
    stop();
}

TEST(what_is_asked_for_is_checked)
{
    static const char *const bad[] = {"bell\a", "last\x1f", "delete\x7f", "half \xc3"};
    struct ticket t;
    char secret[SECRET_RANDOM_TEXT];
    struct ticket_info info;

    start();
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        t = link_for(bad[i], true, 60);
        CHECK(refused(access_ticket_create(access_, &admin, &t, secret, &info, &err),
                      ERROR_VALIDATION_FAILED));
        CHECK_STR(err.pointer, "/name");
    }
    t = link_for("", true, settings->ticket_max_seconds + 1);
    CHECK(refused(access_ticket_create(access_, &admin, &t, secret, &info, &err),
                  ERROR_VALIDATION_FAILED));
    CHECK_STR(err.pointer, "/expires_in_seconds");
    CHECK_INT(number("SELECT count(*) FROM tickets"), 0);
    t = link_for("a name ~", true, 60);
    CHECK_OK(access_ticket_create(access_, &admin, &t, secret, &info, &err));
    stop();
}

TEST_MAIN();
