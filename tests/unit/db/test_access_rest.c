/*
 * What mutation showed that no other test asks: bounds at their last and first value, what is told of a token, who is
 * alive, what is written down and how often.
 */
#include "tests/unit/db/access_rig.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/access_internal.h"

static struct ticket ticket_for(const char *name, bool multi_use, int64_t seconds)
{
    struct ticket t = {.vm_id = "vm-1", .stream = "console", .multi_use = multi_use, .expires_in_seconds = seconds};

    strcpy(t.name, name);
    return t;
}

/* Since the last call; what was posted is waited for. */
static int64_t writes(void)
{
    static int64_t before;
    struct db_stats now;
    int64_t n;

    EVENTUALLY((db_stats_read(db, &now), now.queued == 0), 5000);
    n = (int64_t)now.writes - before;
    before = (int64_t)now.writes;
    return n;
}

/* ---- tokens ---- */

TEST(so_many_tokens_and_not_one_more)
{
    char text[SECRET_TOKEN_TEXT];
    struct token_request r = {.name = "last", .role = ACCESS_VIEWER};
    auto_free char *sql = NULL;
    struct token_info info;

    start();
    stop();
    sql = xasprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
                    "INSERT INTO tokens (id, project_id, name, role, scopes, hash, created_by, created_at, quota) "
                    "SELECT printf('t%%011d', i), 'default', 'n', 'viewer', '', printf('%%064d', i), 'system', 1, '' FROM n",
                    ACCESS_TOKENS_MAX - 2);
    alter(sql);
    start_again();
    CHECK_OK(access_token_create(access_, &admin, &r, text, &info, &err));
    CHECK(refused(access_token_create(access_, &admin, &r, text, &info, &err), ERROR_FORBIDDEN));
    CHECK(strstr(err.detail, "10000"));
    CHECK_OK(access_token_revoke(access_, &admin, info.id, &err));
    CHECK_OK(access_token_create(access_, &admin, &r, text, &info, &err));
    stop();
}

TEST(the_longest_life_and_the_longest_name)
{
    char text[SECRET_TOKEN_TEXT], name[65] = "";
    struct token_request r = {.name = name, .role = ACCESS_VIEWER, .expires_in_seconds = ACCESS_TOKEN_LIFE_MAX_S};
    struct token_info info;

    start();
    memset(name, 'x', 63);
    CHECK_OK(access_token_create(access_, &admin, &r, text, &info, &err));
    CHECK_INT(info.expires_at - info.created_at, ACCESS_TOKEN_LIFE_MAX_S * 1000);
    r.expires_in_seconds++;
    CHECK(refused(access_token_create(access_, &admin, &r, text, &info, &err), ERROR_VALIDATION_FAILED));
    CHECK_STR(err.pointer, "/expires_in_seconds");
    r.expires_in_seconds = 0;
    strcpy(name, "a b");
    CHECK_OK(access_token_create(access_, &admin, &r, text, &info, &err));
    strcpy(name, "a\x7f");
    CHECK(refused(access_token_create(access_, &admin, &r, text, &info, &err), ERROR_VALIDATION_FAILED));
    strcpy(name, "a\x1f");
    CHECK(refused(access_token_create(access_, &admin, &r, text, &info, &err), ERROR_VALIDATION_FAILED));
    strcpy(name, "y");
    CHECK_OK(access_token_create(access_, &admin, &r, text, &info, &err));
    stop();
}

TEST(what_is_told_of_a_token)
{
    char token[SECRET_TOKEN_TEXT];
    struct token_info made, found;
    struct principal p, stranger;
    int64_t before;

    start();
    make("ci", ACCESS_OPERATOR, ACCESS_VM_READ | ACCESS_VM_WRITE, 3600, token, &made);
    before = clock_wall_ms();
    CHECK_OK(access_by_token(access_, token, &p, &err));
    CHECK_STR(p.project_id, PROJECT_DEFAULT);
    CHECK_OK(access_token_get(access_, PROJECT_DEFAULT, made.id, &found, &err));
    CHECK_STR(found.id, made.id);
    CHECK_STR(found.name, "ci");
    CHECK_STR(found.created_by, admin.id);
    CHECK_INT(found.role, ACCESS_OPERATOR);
    CHECK_INT(found.scopes, ACCESS_VM_READ | ACCESS_VM_WRITE);
    CHECK_INT(found.created_at, made.created_at);
    CHECK_INT(found.expires_at, made.expires_at);
    CHECK(found.last_used_at >= before && found.last_used_at <= clock_wall_ms());
    CHECK(refused(access_token_get(access_, "other", made.id, &found, &err), ERROR_TOKEN_NOT_FOUND));
    CHECK(refused(access_token_get(access_, PROJECT_DEFAULT, "nobody", &found, &err), ERROR_TOKEN_NOT_FOUND));
    (void)writes();
    stop();
    start_again();
    /* What it was is kept, and when it was used, and that this was written down already. */
    CHECK_OK(access_token_get(access_, PROJECT_DEFAULT, made.id, &found, &err));
    CHECK(found.last_used_at >= before);
    CHECK_STR(found.created_by, admin.id);
    CHECK_INT(found.created_at, made.created_at);
    CHECK_INT(found.expires_at, made.expires_at);
    (void)writes();
    CHECK_OK(access_by_token(access_, token, &p, &err));
    CHECK_INT(writes(), 0);
    CHECK_STR(p.name, "ci");
    stranger = admin;
    str_copy_utf8(stranger.project_id, sizeof(stranger.project_id), "other");
    CHECK(refused(access_token_revoke(access_, &stranger, made.id, &err), ERROR_TOKEN_NOT_FOUND));
    CHECK(refused(access_token_revoke(access_, &admin, "nobody", &err), ERROR_TOKEN_NOT_FOUND));
    stop();
}

TEST(tokens_of_one_moment_are_listed_by_their_ids)
{
    char text[SECRET_TOKEN_TEXT];
    struct token_info *list;
    size_t n;

    start();
    for (int i = 0; i < 6; i++)
        make("same", ACCESS_VIEWER, 0, 0, text, NULL);
    stop();
    alter("UPDATE tokens SET created_at = 5");
    start_again();
    access_token_list(access_, PROJECT_DEFAULT, &list, &n);
    CHECK_INT(n, 7);
    for (size_t i = 1; i < n; i++)
        CHECK(strcmp(list[i - 1].id, list[i].id) < 0);
    free(list);
    stop();
}

TEST(limits_are_inherited_changed_kept_and_never_widened)
{
    const struct quota_limits two = quota_limits_parse("vms=2"), three = quota_limits_parse("vms=3"),
                              one = quota_limits_parse("vms=1");
    char text[SECRET_TOKEN_TEXT];
    struct token_request r = {.name = "child", .role = ACCESS_VIEWER};
    struct token_info parent, child;
    struct quota_limits found;
    struct principal p, stranger;

    start();
    make("parent", ACCESS_ADMIN, 0, 0, text, &parent);
    CHECK_OK(access_by_token(access_, text, &p, &err));
    CHECK_OK(access_token_set_limits(access_, &admin, parent.id, &two, &parent, &err));
    CHECK_INT(parent.limits.max[QUOTA_VMS], 2);
    CHECK_STR(parent.name, "parent");
    CHECK_INT(number("SELECT count(*) FROM events WHERE type = 'token.changed' AND subject_name = 'parent'"), 1);
    CHECK(access_token_limits(access_, parent.id, &found));
    CHECK_INT(found.max[QUOTA_VMS], 2);
    CHECK(!access_token_limits(access_, "nobody", &found));

    CHECK_OK(access_token_create(access_, &p, &r, text, &child, &err));
    CHECK_INT(child.limits.max[QUOTA_VMS], 2);
    CHECK_INT(child.limits.max[QUOTA_CPUS], QUOTA_UNLIMITED);
    r.limits = &three;
    CHECK(refused(access_token_create(access_, &p, &r, text, &child, &err), ERROR_FORBIDDEN));
    CHECK(strstr(err.detail, "vms=2"));
    r.limits = &one;
    CHECK_OK(access_token_create(access_, &p, &r, text, &child, &err));
    CHECK_INT(child.limits.max[QUOTA_VMS], 1);
    CHECK(refused(access_token_set_limits(access_, &p, child.id, &three, &child, &err), ERROR_FORBIDDEN));
    CHECK(refused(access_token_set_limits(access_, &admin, "nobody", &one, &parent, &err), ERROR_TOKEN_NOT_FOUND));
    stranger = admin;
    str_copy_utf8(stranger.project_id, sizeof(stranger.project_id), "other");
    CHECK(refused(access_token_set_limits(access_, &stranger, parent.id, &one, &parent, &err), ERROR_TOKEN_NOT_FOUND));
    stranger = admin;
    stranger.scopes &= ~(unsigned)ACCESS_TOKEN_WRITE;
    CHECK(refused(access_token_set_limits(access_, &stranger, parent.id, &one, &parent, &err), ERROR_FORBIDDEN));
    stop();
    start_again();
    CHECK(access_token_limits(access_, parent.id, &found));
    CHECK_INT(found.max[QUOTA_VMS], 2);
    stop();
}

TEST(a_token_that_is_gone_makes_none)
{
    char text[SECRET_TOKEN_TEXT];
    struct token_request r = {.name = "late", .role = ACCESS_VIEWER};
    struct token_info info;
    struct principal p;

    start();
    make("maker", ACCESS_ADMIN, 0, 0, text, &info);
    CHECK_OK(access_by_token(access_, text, &p, &err));
    CHECK_OK(access_token_revoke(access_, &admin, info.id, &err));
    CHECK(refused(access_token_create(access_, &p, &r, text, &info, &err), ERROR_UNAUTHENTICATED));
    stop();
}

TEST(a_token_of_another_project_has_no_rights_to_the_host)
{
    char text[SECRET_TOKEN_TEXT];
    struct token_request r = {.name = "x", .role = ACCESS_ADMIN, .scopes = ACCESS_VM_READ | ACCESS_HOST_WRITE};
    struct token_info info;
    struct principal by;

    start();
    by = admin;
    by.token_id[0] = '\0';
    str_copy_utf8(by.project_id, sizeof(by.project_id), "other");
    CHECK(refused(access_token_create(access_, &by, &r, text, &info, &err), ERROR_VALIDATION_FAILED));
    CHECK_STR(err.pointer, "/scopes");
    CHECK_INT(access_scopes_in("other", access_role_scopes(ACCESS_ADMIN)) & ACCESS_HOST_ONLY, 0);
    CHECK_INT(access_scopes_in(PROJECT_DEFAULT, ACCESS_HOST_WRITE), ACCESS_HOST_WRITE);
    stop();
}

TEST(a_certificate_is_as_good_as_its_token)
{
    char text[SECRET_TOKEN_TEXT];
    auto_free char *used = NULL;
    struct token_info info, found;
    struct principal p;

    start();
    make("cert", ACCESS_OPERATOR, 0, 1, text, &info);
    used = xasprintf("SELECT last_used_at FROM tokens WHERE id = '%s'", info.id);
    CHECK_OK(access_by_certificate(access_, info.id, &p, &err));
    CHECK_STR(p.token_id, info.id);
    CHECK_INT(p.role, ACCESS_OPERATOR);
    EVENTUALLY(number(used) > 0, 5000);
    (void)writes();
    CHECK_OK(access_token_get(access_, PROJECT_DEFAULT, info.id, &found, &err));
    CHECK(found.last_used_at >= info.created_at);
    CHECK_OK(access_by_certificate(access_, info.id, &p, &err));
    CHECK_INT(writes(), 0);
    CHECK(refused(access_by_certificate(access_, "nobody", &p, &err), ERROR_UNAUTHENTICATED));
    EVENTUALLY(access_by_certificate(access_, info.id, &p, &err) != 0, 5000);
    CHECK_INT(err.code, ERROR_UNAUTHENTICATED);
    CHECK(!access_is_alive(access_, &p));
    stop();
}

/* ---- what one who came in may do, and for how long ---- */

TEST(scopes_have_names_and_a_refusal_tells_the_first)
{
    struct principal p = {.role = ACCESS_VIEWER, .scopes = ACCESS_VM_READ};
    auto_free char *text = access_scopes_text(ACCESS_ADMIN, ACCESS_VM_READ | ACCESS_VM_WRITE);
    auto_free char *all = access_scopes_text(ACCESS_VIEWER, access_role_scopes(ACCESS_VIEWER));

    err = ERROR_INIT;
    CHECK_STR(text, "vm:read vm:write");
    CHECK_STR(all, "");
    CHECK_INT(access_scopes_parse(ACCESS_ADMIN, text), ACCESS_VM_READ | ACCESS_VM_WRITE);
    CHECK_INT(access_scopes_parse(ACCESS_VIEWER, "vm:write"), 0);
    CHECK_INT(access_scopes_parse(ACCESS_ADMIN, "vm:rea vm:reads"), 0);
    CHECK_INT(access_role_scopes(ACCESS_ROLE_COUNT), 0);
    CHECK_OK(access_require(&p, ACCESS_VM_READ, &err));
    CHECK_OK(access_require(&p, 0, &err));
    CHECK(refused(access_require(&p, ACCESS_VM_READ | ACCESS_VM_WRITE, &err), ERROR_FORBIDDEN));
    CHECK_STR(err.detail, "this needs the scope vm:write");
    CHECK(strstr(err.remedy, "vm:write"));
}

TEST(projects_are_entered_by_who_may)
{
    struct principal p = {.scopes = ACCESS_VM_READ, .project_id = "one"}, master = {.scopes = ACCESS_PROJECT_WRITE,
                                                                                 .project_id = PROJECT_DEFAULT};

    CHECK(access_enter_project(&p, "one"));
    CHECK(!access_enter_project(&p, "two"));
    CHECK_STR(p.project_id, "one");
    CHECK(!access_is_of_host(&p));
    CHECK(access_enter_project(&master, "two"));
    CHECK_STR(master.project_id, "two");
    CHECK(access_is_of_host(&master));
    master.scopes = 0;
    CHECK(!access_is_of_host(&master));
    str_copy_utf8(master.project_id, sizeof(master.project_id), PROJECT_DEFAULT);
    CHECK(access_is_of_host(&master));
}

TEST(whose_socket_it_is)
{
    struct principal p;

    start();
    access_by_socket(access_, 0, &p);
    CHECK_STR(p.id, "socket:0");
    CHECK_STR(p.name, "root");
    CHECK_INT(p.role, ACCESS_ADMIN);
    CHECK_INT(p.scopes, access_role_scopes(ACCESS_ADMIN));
    CHECK_STR(p.project_id, PROJECT_DEFAULT);
    CHECK(access_is_alive(access_, &p));
    access_by_socket(access_, 65533, &p);
    CHECK_STR(p.id, "socket:65533");
    CHECK_STR(p.name, "user 65533");
    CHECK_INT(p.role, ACCESS_VIEWER);
    CHECK_INT(p.scopes, 0);
    CHECK(access_uid_is_admin(0) && access_uid_is_admin(geteuid()) && !access_uid_is_admin(65533));
    stop();
}

TEST(rights_are_those_whose_end_ends_it)
{
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT], secret[SECRET_RANDOM_TEXT], right[ACCESS_RIGHTS_SIZE];
    struct ticket one = ticket_for("", false, 0), link = ticket_for("link", true, 3600);
    auto_free char *want = NULL, *of_session = NULL, *of_link = NULL;
    struct ticket_info shared, *list;
    struct token_info info;
    struct principal p, s, guest;
    size_t n;

    start();
    make("ci", ACCESS_OPERATOR, 0, 0, token, &info);
    CHECK_OK(access_by_token(access_, token, &p, &err));
    access_rights(&p, right);
    want = xasprintf("token:%s ", info.id);
    CHECK_STR(right, want);
    CHECK_OK(access_session_create(access_, token, cookie, &s, &err));
    access_rights(&s, right);
    of_session = xasprintf("token:%s %s", info.id, s.id);
    CHECK_STR(right, of_session);
    CHECK(access_is_alive(access_, &s));
    CHECK_OK(access_ticket_create(access_, &s, &link, secret, &shared, &err));
    CHECK_OK(access_ticket_redeem(access_, secret, &one, &guest, &err));
    access_rights(&guest, right);
    of_link = xasprintf("token:%s  ticket:%s", info.id, shared.id);
    CHECK_STR(right, of_link);
    CHECK(access_is_alive(access_, &guest));
    CHECK_OK(access_session_end(access_, cookie, &err));
    CHECK(!access_is_alive(access_, &s));
    CHECK(access_is_alive(access_, &guest));
    access_ticket_list(access_, PROJECT_DEFAULT, "vm-1", &list, &n);
    free(list);
    CHECK_INT(n, 1);
    CHECK_OK(access_token_revoke(access_, &admin, info.id, &err));
    access_ticket_list(access_, PROJECT_DEFAULT, "vm-1", &list, &n);
    free(list);
    CHECK_INT(n, 0);
    CHECK(!access_is_alive(access_, &guest));
    CHECK(!access_is_alive(access_, &p));
    stop();
}

TEST(a_link_and_a_session_are_written_down_at_most_once_a_minute)
{
    struct ticket link = ticket_for("link", true, 3600), wanted = ticket_for("", false, 0);
    char token[SECRET_TOKEN_TEXT], cookie[SECRET_RANDOM_TEXT], secret[SECRET_RANDOM_TEXT];
    struct ticket_info info;
    struct principal p;

    start();
    make("ci", ACCESS_OPERATOR, 0, 0, token, NULL);
    CHECK_OK(access_session_create(access_, token, cookie, &p, &err));
    CHECK_OK(access_ticket_create(access_, &admin, &link, secret, &info, &err));
    CHECK_OK(access_ticket_redeem(access_, secret, &wanted, &p, &err));
    EVENTUALLY(number("SELECT max(last_used_at) FROM tickets") > 0, 5000);
    (void)writes();
    for (int i = 0; i < 5; i++)
        CHECK_OK(access_ticket_redeem(access_, secret, &wanted, &p, &err));
    CHECK_INT(writes(), 0);
    for (int i = 0; i < 5; i++)
        CHECK_OK(access_by_session(access_, cookie, &p, &err));
    CHECK_INT(writes(), 0); /* its beginning was written down */
    stop();
}

/* ---- those that work once ---- */

TEST(codes_that_wait_are_bounded_for_each_who_makes_them)
{
    char text[SECRET_TOKEN_TEXT], code[SECRET_RANDOM_TEXT], first[SECRET_RANDOM_TEXT], cookie[SECRET_RANDOM_TEXT];
    struct principal p, other;
    int64_t expires = 0, before;

    start();
    make("one", ACCESS_OPERATOR, 0, 0, text, NULL);
    CHECK_OK(access_by_token(access_, text, &p, &err));
    make("other", ACCESS_OPERATOR, 0, 0, text, NULL);
    CHECK_OK(access_by_token(access_, text, &other, &err));
    before = clock_wall_ms();
    CHECK_OK(access_code_create(access_, &p, first, &expires, &err));
    CHECK(expires >= before + settings->sign_in_code_seconds * 1000);
    for (int i = 1; i < ACCESS_ONCE_MAX_PER_HOLDER; i++)
        CHECK_OK(access_code_create(access_, &p, code, &expires, &err));
    CHECK(refused(access_code_create(access_, &p, code, &expires, &err), ERROR_TOO_MANY_REQUESTS));
    CHECK_OK(access_code_create(access_, &other, code, &expires, &err));
    CHECK_OK(access_session_create(access_, first, cookie, &other, &err));
    CHECK_STR(other.token_id, p.token_id);
    CHECK_OK(access_code_create(access_, &p, code, &expires, &err));
    CHECK(refused(access_code_create(access_, &p, code, &expires, &err), ERROR_TOO_MANY_REQUESTS));
    stop();
}

TEST_MAIN();
