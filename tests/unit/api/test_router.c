/* Path templates and query strings. */
#include "api/query.h"
#include "api/router.h"
#include "service/base/str.h"
#include "tests/support/test.h"

#define R(method, path)                                                                            \
    {                                                                                              \
        method, path, method " " path, 0, 0, NULL, NULL                                            \
    }
static const struct route table[] = {
    R("GET", "/"),
    R("GET", "/v1"),
    R("GET", "/v1/vms"),
    R("POST", "/v1/vms"),
    R("GET", "/v1/vms/{vm}"),
    R("PATCH", "/v1/vms/{vm}"),
    R("DELETE", "/v1/vms/{vm}"),
    R("GET", "/v1/vms/{vm}/console"),
    R("GET", "/v1/vms/{vm}/console/log"),
    R("GET", "/v1/vms/{vm}/channels/{channel}"),
    R("POST", "/v1/vms/{vm}/{verb}"),
    R("POST", "/v1/vms/{vm}/start"),
    R("GET", "/v1/vms/special"),
    {0},
};

static struct request req;
static char allow[64];

static enum route_match match(const char *method, const char *path)
{
    memset(&req, 0, sizeof(req));
    return router_match(table, method, path, &req, allow, sizeof(allow));
}

static const char *param(const char *name)
{
    for (size_t i = 0; i < req.param_count; i++) {
        if (str_starts(req.params[i].name, name))
            return req.params[i].value;
    }
    return NULL;
}

TEST(every_template_is_reachable_by_itself)
{
    for (const struct route *r = table; r->method; r++) {
        char path[128];
        size_t n = 0;

        for (const char *t = r->path; *t; t++) {
            if (*t != '{' && *t != '}')
                path[n++] = *t;
        }
        path[n] = '\0';
        CHECK_INT(match(r->method, path), ROUTE_FOUND);
        CHECK(req.route == r);
    }
}

TEST(a_template_is_neither_a_prefix_nor_a_suffix_of_what_it_matches)
{
    static const char *const strangers[] = {"/v", "/v1x", "/v1/vm", "/v1/vmss", "/v1/vms/a/consol",
                                            "/v1/vms/a/consoles", "/v1/vms/a/console/logs",
                                            "/v1/vms/a/channels", "/v1/v/a", "/{vm}", "/v1/{vm}"};

    for (size_t i = 0; i < sizeof(strangers) / sizeof(*strangers); i++)
        CHECK(match("GET", strangers[i]) != ROUTE_FOUND);
    CHECK_INT(match("GET", "/v1/vms/specia"), ROUTE_FOUND);
    CHECK_STR(param("vm"), "specia");
    CHECK_INT(match("GET", "/v1/vms/specials"), ROUTE_FOUND);
    CHECK_STR(param("vm"), "specials");
}

TEST(parameters_are_decoded_once)
{
    CHECK_INT(match("GET", "/v1/vms/a%2541/channels/org.x%20y%C3%A4"), ROUTE_FOUND);
    CHECK_INT(req.param_count, 2);
    CHECK_STR(param("vm}"), "a%41");
    CHECK_STR(param("channel}"), "org.x yä");
}

TEST(a_literal_wins_over_a_parameter)
{
    CHECK_INT(match("POST", "/v1/vms/x/start"), ROUTE_FOUND);
    CHECK_STR(req.route->path, "/v1/vms/{vm}/start");
    CHECK_INT(match("POST", "/v1/vms/x/stop"), ROUTE_FOUND);
    CHECK_STR(req.route->path, "/v1/vms/{vm}/{verb}");
    CHECK_INT(match("GET", "/v1/vms/special"), ROUTE_FOUND);
    CHECK_STR(req.route->path, "/v1/vms/special");
}

TEST(head_is_a_get)
{
    CHECK_INT(match("HEAD", "/v1/vms"), ROUTE_FOUND);
    CHECK_STR(req.route->method, "GET");
}

TEST(a_wrong_method_names_the_right_ones)
{
    CHECK_INT(match("PUT", "/v1/vms"), ROUTE_WRONG_METHOD);
    CHECK_STR(allow, "GET, HEAD, POST");
    CHECK_INT(match("get", "/v1/vms"), ROUTE_WRONG_METHOD);
    /* The literal address is its own resource, whatever the parameter's takes. */
    CHECK_INT(match("DELETE", "/v1/vms/special"), ROUTE_WRONG_METHOD);
    CHECK_STR(allow, "GET, HEAD");
}

TEST(allow_is_cut_to_its_buffer)
{
    char small[6];

    CHECK_INT(router_match(table, "PUT", "/v1/vms", &req, small, sizeof(small)),
              ROUTE_WRONG_METHOD);
    CHECK(strlen(small) < sizeof(small));
}

TEST(unknown_paths_are_not_found)
{
    const char *paths[] = {"/v2",
                           "/v1/vm",
                           "/v1/vmsx",
                           "/v1/vms/a/b/c/d",
                           "/v1/vms/a/console/log/x",
                           "/a/b/c/d/e/f/g/h/i/j"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
        CHECK_INT(match("GET", paths[i]), ROUTE_NOT_FOUND);
}

TEST(bad_paths_are_told_from_unknown_ones)
{
    const char *paths[] = {"",          "v1",          "//",         "/v1/",       "/v1//vms",
                           "/v1/vms/",  "/v1/vms/.",   "/v1/vms/..", "/v1/%2e%2E", "/v1/vms/a%2fb",
                           "/v1/a%00b", "/v1/a%0ab",   "/v1/a%7f",   "/v1/a%",     "/v1/a%4",
                           "/v1/a%zz",  "/v1/a b",     "/v1/a\tb",   "/v1/\x80",   "/v1/%ff",
                           "/v1/a\"b",  "/v1/a<b",     "/v1/a\\b",   "/v1/a%5cb",  "/v1/a#b",
                           "*",         "http://x/v1", "/v1/a?b",    "/v1/{vm}",   "/v1/%c0%af"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        if (match("GET", paths[i]) != ROUTE_BAD_PATH) {
            printf("# path %s\n", paths[i]);
            CHECK(!"bad path accepted");
        }
    }
}

TEST(a_segment_has_a_length)
{
    char path[600] = "/v1/vms/";

    memset(path + 8, 'a', 255);
    CHECK_INT(match("GET", path), ROUTE_FOUND);
    CHECK_INT(strlen(param("vm}")), 255);
    path[8 + 255] = 'a';
    CHECK_INT(match("GET", path), ROUTE_BAD_PATH);
}

static struct query q;
static struct error err;

TEST(a_query_is_split_then_decoded)
{
    CHECK_OK(query_parse("a=1&label=k%3Dv+w&label=x&flag&e=&=v&&c=%26%3d", &q, &err));
    CHECK_INT(q.count, 7);
    CHECK_STR(q.args[0].name, "a");
    CHECK_STR(q.args[0].value, "1");
    CHECK_STR(q.args[1].value, "k=v w");
    CHECK_STR(q.args[2].name, "label");
    CHECK_STR(q.args[2].value, "x");
    CHECK_STR(q.args[3].name, "flag");
    CHECK_STR(q.args[3].value, "");
    CHECK_STR(q.args[5].name, "");
    CHECK_STR(q.args[6].value, "&=");
    CHECK_OK(query_parse("label=a=b", &q, &err));
    CHECK_STR(q.args[0].value, "a=b");
    CHECK_OK(query_parse("", &q, &err));
    CHECK_INT(q.count, 0);
}

TEST(bad_queries_are_refused)
{
    const char *bad[] = {"a=%",    "a=%4",   "a=%zz", "a=%00", "a=%0a",
                         "a=\x01", "a=\xff", "a=%ff", "%c3=1", "a b"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        CHECK_INT(query_parse(bad[i], &q, &err), -1);
        CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
    }
}

TEST(a_query_has_limits)
{
    char text[QUERY_TEXT_MAX + 2];

    memset(text, 'a', sizeof(text));
    text[QUERY_TEXT_MAX - QUERY_ARGS_MAX] = '\0';
    CHECK_OK(query_parse(text, &q, &err));
    text[QUERY_TEXT_MAX - QUERY_ARGS_MAX] = 'a';
    text[QUERY_TEXT_MAX - QUERY_ARGS_MAX + 1] = '\0';
    CHECK_INT(query_parse(text, &q, &err), -1);
    text[0] = '\0';
    for (int i = 0; i < QUERY_ARGS_MAX; i++)
        strcat(text, "a&");
    CHECK_OK(query_parse(text, &q, &err));
    strcat(text, "a");
    CHECK_INT(query_parse(text, &q, &err), -1);
}

TEST_MAIN();
