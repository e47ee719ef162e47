/* The header gate: what it lets through, and every shape it must not. */
#include <stdarg.h>

#include "api/http_gate.h"
#include "tests/support/test.h"

static struct gate g;
static struct error err;

static void add(const char *name, const char *value)
{
    gate_add(&g, name, strlen(name), value, strlen(value));
}

/* "Name: value" pairs, ended by NULL, after a Host. */
static int with(const char *method, const char *version, ...)
{
    va_list ap;
    const char *name;

    memset(&g, 0, sizeof(g));
    va_start(ap, version);
    while ((name = va_arg(ap, const char *)))
        add(name, va_arg(ap, const char *));
    va_end(ap);
    return gate_finish(&g, method, version, &err);
}
#define PASSES(...) CHECK_OK(with(__VA_ARGS__, NULL))
#define REFUSED(...)                                                                               \
    do {                                                                                           \
        CHECK_INT(with(__VA_ARGS__, NULL), -1);                                                    \
        CHECK_INT(err.code, ERROR_MALFORMED_REQUEST);                                              \
    } while (0)
#define GET  "GET", "HTTP/1.1", "Host", "127.0.0.1:8460"
#define POST "POST", "HTTP/1.1", "Host", "127.0.0.1:8460"

TEST(plain_requests_pass)
{
    PASSES(GET);
    CHECK_INT(g.content_length, 0);
    PASSES(POST, "Content-Length", "17");
    CHECK_INT(g.content_length, 17);
    PASSES(POST, "TRANSFER-encoding", "Chunked");
    CHECK_INT(g.content_length, -1);
    PASSES("GET", "HTTP/1.0", "Host", "x");
    PASSES(POST, "Expect", "100-continue", "Content-Length", "17");
    PASSES(POST, "Expect", "100-Continue", "Transfer-Encoding", "chunked");
    PASSES(GET, "Accept", "a", "Accept", "b");
}

TEST(known_headers_are_kept_whatever_their_case)
{
    PASSES(GET, "AUTHORIZATION", "Bearer x", "cookie", "a=b", "If-Match", "\"7\"");
    CHECK_STR(g.value[GATE_AUTHORIZATION], "Bearer x");
    CHECK_STR(g.value[GATE_COOKIE], "a=b");
    CHECK_STR(g.value[GATE_IF_MATCH], "\"7\"");
    CHECK(!g.value[GATE_ORIGIN]);
}

TEST(host_is_one_and_valid)
{
    const char *good[] = {"localhost", "a.b-c_d", "127.0.0.1:80", "[::1]:8460", "[::1]", "x:"};
    const char *bad[] = {"",   ":80", "a b", "a/b",   "a@b",     "a,b",   "[::1",
                         "[]", "[x]", "a:b", "a:80x", "[::1]80", "\"a\"", "a\\b"};

    REFUSED("GET", "HTTP/1.1");
    REFUSED(GET, "host", "127.0.0.1:8460");
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        PASSES("GET", "HTTP/1.1", "Host", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        REFUSED("GET", "HTTP/1.1", "Host", bad[i]);
}

TEST(lengths_are_digits)
{
    const char *bad[] = {"",
                         "+3",
                         "-1",
                         "3 ",
                         " 3",
                         "0x3",
                         "3,3",
                         "3, 3",
                         "1e3",
                         "3.0",
                         "3;a",
                         "٣",
                         "9999999999999999999",
                         "18446744073709551617"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        REFUSED(POST, "Content-Length", bad[i]);
    REFUSED(POST, "Content-Length", "3", "Content-Length", "3");
    REFUSED(POST, "Content-Length", "3", "content-length", "30");
}

TEST(transfer_codings_are_chunked_alone)
{
    const char *bad[] = {
        "xchunked", "chunked, chunked", "gzip, chunked", "identity",  "chunked;q=1",
        "",         " chunked",         "chunked ",      "\tchunked", "chunk"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        REFUSED(POST, "Transfer-Encoding", bad[i]);
    REFUSED(POST, "Transfer-Encoding", "chunked", "Content-Length", "3");
    REFUSED(POST, "Content-Length", "3", "Transfer-Encoding", "chunked");
    REFUSED(POST, "Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked");
    REFUSED("POST", "HTTP/1.0", "Host", "x", "Transfer-Encoding", "chunked");
}

TEST(header_names_are_tokens)
{
    const char *bad[] = {"",
                         "Content-Length ",
                         " Content-Length",
                         "Content Length",
                         "A\tB",
                         "A\x01",
                         "A\x7f",
                         "A\x80",
                         "A(B)",
                         "A/B",
                         "A:B",
                         "A\"",
                         "A\\",
                         "A,B",
                         "{A}"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        REFUSED(GET, bad[i], "x");
}

TEST(header_values_have_no_control_bytes)
{
    REFUSED(GET, "X-A", "a\rb");
    REFUSED(GET, "X-A", "a\nb");
    REFUSED(GET, "X-A", "a\x01");
    REFUSED(GET, "X-A", "a\x7f");
    PASSES(GET, "X-A", "a\tb \xc3\xa4");
}

TEST(what_may_occur_once_occurs_once)
{
    const char *names[] = {"Authorization", "Cookie",          "Origin",  "Content-Type",
                           "Expect",        "Idempotency-Key", "Upgrade", "Sec-WebSocket-Key",
                           "X-Request-Id",  "Sec-Fetch-Site",  "If-Match"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        REFUSED(GET, names[i], "100-continue", names[i], "100-continue");
}

TEST(other_oddities)
{
    REFUSED("G ET", "HTTP/1.1", "Host", "x");
    REFUSED("", "HTTP/1.1", "Host", "x");
    REFUSED("AVERYLONGMETHODNAME", "HTTP/1.1", "Host", "x");
    REFUSED("GET", "HTTP/2.0", "Host", "x");
    REFUSED("GET", "", "Host", "x");
    REFUSED("GET", "http/1.1", "Host", "x");
    REFUSED(POST, "Expect", "200-ok", "Content-Length", "17");
    REFUSED(GET, "Expect", "100-continue"); /* there is nothing to wait for */
    REFUSED(POST, "Expect", "100-continue", "Content-Length", "0");
}

TEST(headers_are_counted)
{
    memset(&g, 0, sizeof(g));
    add("Host", "x");
    for (int i = 1; i < GATE_HEADERS_MAX; i++)
        add("X-A", "b");
    CHECK_OK(gate_finish(&g, "GET", "HTTP/1.1", &err));
    memset(&g, 0, sizeof(g));
    add("Host", "x");
    for (int i = 0; i < GATE_HEADERS_MAX; i++)
        add("X-A", "b");
    CHECK_INT(gate_finish(&g, "GET", "HTTP/1.1", &err), -1);
}

TEST(connection_upgrade_is_a_token)
{
    PASSES(GET, "Connection", "keep-alive, Upgrade");
    CHECK(g.connection_upgrade);
    PASSES(GET, "Connection", "keep-alive", "Connection", "upgrade");
    CHECK(g.connection_upgrade);
    PASSES(GET, "Connection", "upgrades, up-grade");
    CHECK(!g.connection_upgrade);
}

TEST(request_ids_and_keys)
{
    CHECK(gate_request_id_valid("a-B_9.z"));
    CHECK(gate_request_id_valid("0b7f6a52-4a3e-4c57-9d0e-5f1c2a8e7b11"));
    CHECK(!gate_request_id_valid(""));
    CHECK(!gate_request_id_valid("a b"));
    CHECK(!gate_request_id_valid("a\n"));
    CHECK(!gate_request_id_valid("0b7f6a52-4a3e-4c57-9d0e-5f1c2a8e7b111"));
    CHECK(gate_ws_key_valid("dGhlIHNhbXBsZSBub25jZQ=="));
    CHECK(!gate_ws_key_valid("dGhlIHNhbXBsZSBub25jZQ="));
    CHECK(!gate_ws_key_valid("dGhlIHNhbXBsZSBub25jZ==="));
    CHECK(!gate_ws_key_valid("dGhlIHNhbXBsZSBub25j\r\n=="));
    CHECK(gate_list_has("a, b ,c", "b", false));
    CHECK(!gate_list_has("a, B", "b", false));
    CHECK(gate_list_has("a, B", "b", true));
    CHECK(!gate_list_has("ab, bc", "b", false));
}

TEST_MAIN();
