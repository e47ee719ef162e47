/* Fetching from servers that answer, and from those that do anything else; and which addresses are public. */
#include "service/net/fetch.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "tests/support/test.h"
#include "tests/unit/net/receiver.h"

#define ANSWER(more) "HTTP/1.1 200 OK\r\n" more "\r\n"

static struct {
    size_t received;
    int64_t size;
    const char *refusal; /* what on_head() and on_data() say, each when it is theirs */
    bool ends;
} seen;

static int on_head(void *opaque, const struct fetch_head *head, struct error *err)
{
    (void)opaque;
    seen.size = head->size;
    return seen.refusal && !strcmp(seen.refusal, "head") ? error_set(err, ERROR_SYSTEM, "head") : 0;
}

static int on_data(void *opaque, const void *data, size_t len, struct error *err)
{
    (void)opaque, (void)data;
    seen.received += len;
    return seen.refusal && !strcmp(seen.refusal, "data") ? error_set(err, ERROR_SYSTEM, "data") : 0;
}

static bool should_end(void *opaque)
{
    (void)opaque;
    return seen.ends;
}

static struct fetch_options at(const char *url)
{
    memset(&seen, 0, sizeof(seen));
    return (struct fetch_options){.url = url,
                                  .allow_private = true,
                                  .validator = "",
                                  .max_bytes = 1000,
                                  .connect_timeout_ms = EVENTUALLY_MS,
                                  .stall_seconds = EVENTUALLY_MS / 1000,
                                  .timeout_ms = EVENTUALLY_MS,
                                  .on_head = on_head,
                                  .on_data = on_data,
                                  .should_end = should_end};
}

static const char *url_of(const struct receiver *r, const char *scheme)
{
    static char url[64];

    snprintf(url, sizeof(url), "%s://127.0.0.1:%d/x", scheme, r->port);
    return url;
}

static void check_ends(const struct fetch_options *o, enum fetch_result result, enum error_code code, const char *words)
{
    struct error err = ERROR_INIT;

    CHECK_INT(fetch_run(o, &err), result);
    CHECK_STR(error_slug(err.code), error_slug(code));
    if (!strstr(err.detail, words))
        CHECK_STR(err.detail, words);
}

TEST(a_file_comes_whole)
{
    struct receiver r = {.head = ANSWER("Content-Length: 5\r\nETag: \"one\"\r\n") "hello"};
    struct receiver nothing = {.head = ANSWER("Content-Length: 0\r\n")};
    struct fetch_options o;
    struct error err;

    receiver_begin(&r);
    o = at(url_of(&r, "http"));
    CHECK_INT(fetch_run(&o, &err), FETCH_DONE);
    CHECK_INT(seen.received, 5);
    CHECK_INT(seen.size, 5);
    receiver_end(&r);

    receiver_begin(&nothing);
    o = at(url_of(&nothing, "http"));
    CHECK_INT(fetch_run(&o, &err), FETCH_DONE);
    CHECK_INT(seen.received, 0);
    receiver_end(&nothing);
}

TEST(what_is_too_large_is_refused_at_its_head_or_when_it_goes_on)
{
    struct receiver honest = {.head = ANSWER("Content-Length: 262144\r\n"), .body = RECEIVER_LONG};
    struct receiver silent = {.head = ANSWER(""), .body = RECEIVER_LONG};
    struct fetch_options o;

    receiver_begin(&honest);
    o = at(url_of(&honest, "http"));
    check_ends(&o, FETCH_REFUSED, ERROR_BODY_TOO_LARGE, "has 262144 bytes, and 1000 are accepted");
    CHECK_INT(seen.received, 0);
    receiver_end(&honest);

    receiver_begin(&silent);
    o = at(url_of(&silent, "http"));
    check_ends(&o, FETCH_REFUSED, ERROR_BODY_TOO_LARGE, "sends more than 1000 bytes");
    CHECK(seen.received <= 1000);
    receiver_end(&silent);
}

TEST(only_so_many_bytes_are_taken_as_were_wanted)
{
    struct receiver r = {.head = ANSWER("Content-Length: 262144\r\n"), .body = RECEIVER_LONG};
    struct fetch_options o;
    struct error err;

    receiver_begin(&r); /* which does not know ranges */
    o = at(url_of(&r, "http"));
    o.first_bytes = 100;
    o.max_bytes = RECEIVER_LONG;
    CHECK_INT(fetch_run(&o, &err), FETCH_DONE);
    CHECK_INT(seen.received, 100);
    receiver_end(&r);
}

TEST(who_takes_it_has_the_last_word)
{
    struct receiver r = {.head = ANSWER("Content-Length: 5\r\n") "hello"}, deaf = {.keeps = true};
    struct fetch_options o;
    struct error err;

    receiver_begin(&r);
    o = at(url_of(&r, "http"));
    seen.refusal = "head";
    check_ends(&o, FETCH_REFUSED, ERROR_SYSTEM, "head");
    o = at(url_of(&r, "http"));
    seen.refusal = "data";
    check_ends(&o, FETCH_REFUSED, ERROR_SYSTEM, "data");
    receiver_end(&r);

    receiver_begin(&deaf);
    o = at(url_of(&deaf, "http"));
    seen.ends = true;
    CHECK_INT(fetch_run(&o, &err), FETCH_ENDED);
    receiver_end(&deaf);
}

TEST(a_redirect_stays_where_it_must)
{
    struct receiver target = {.head = ANSWER("Content-Length: 5\r\n") "hello"};
    struct receiver first;
    struct fetch_options o;
    struct error err;
    char head[128], origin[64];

    receiver_begin(&target);
    snprintf(head, sizeof(head), "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/y\r\nContent-Length: 0\r\n\r\n",
             target.port);
    first = (struct receiver){.head = head};
    receiver_begin(&first);
    snprintf(origin, sizeof(origin), "http://127.0.0.1:%d/", first.port);

    o = at(url_of(&first, "http"));
    CHECK_INT(fetch_run(&o, &err), FETCH_DONE);
    CHECK_INT(seen.received, 5);
    o = at(url_of(&first, "http"));
    o.origin = origin;
    check_ends(&o, FETCH_REFUSED, ERROR_SOURCE_REFUSED, "another server");
    CHECK_INT(seen.received, 0);
    o = at(url_of(&first, "http"));
    o.origin = "nonsense://";
    check_ends(&o, FETCH_REFUSED, ERROR_SOURCE_REFUSED, "another server");
    receiver_end(&first);
    receiver_end(&target);
}

TEST(each_way_not_to_answer_has_its_words)
{
    struct receiver mute = {.head = NULL}, deaf = {.keeps = true}, plain = {.head = ANSWER("")};
    struct receiver busy = {.head = "HTTP/1.1 503 Busy\r\nContent-Length: 1\r\n\r\n."};
    struct receiver range = {.head = "HTTP/1.1 206 Some\r\nContent-Range: bytes 7-7/9\r\nContent-Length: 1\r\n\r\n."};
    struct receiver cut = {.head = ANSWER("Content-Length: 10\r\n") "short"};
    struct receiver away = {.head = "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"};
    struct {
        struct receiver *receiver;
        const char *scheme, *words;
        enum fetch_result result;
        enum error_code code;
    } cases[] = {
        {&mute, "http", "broke", FETCH_BROKEN, ERROR_SOURCE_UNREACHABLE},
        {&plain, "https", "certificate", FETCH_REFUSED, ERROR_SOURCE_UNREACHABLE},
        {&busy, "http", "status 503", FETCH_BROKEN, ERROR_SOURCE_UNREACHABLE},
        {&range, "http", "another range", FETCH_BROKEN, ERROR_SOURCE_UNREACHABLE},
        {&cut, "http", "before its last byte", FETCH_BROKEN, ERROR_SOURCE_UNREACHABLE},
        {&away, "http", "something else than http", FETCH_REFUSED, ERROR_SOURCE_REFUSED},
    };
    struct fetch_options o;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        receiver_begin(cases[i].receiver);
        o = at(url_of(cases[i].receiver, cases[i].scheme));
        check_ends(&o, cases[i].result, cases[i].code, cases[i].words);
        receiver_end(cases[i].receiver);
    }
    /* Nobody has the port now. */
    o = at(url_of(&mute, "http"));
    check_ends(&o, FETCH_BROKEN, ERROR_SOURCE_UNREACHABLE, "does not accept");
    o.allow_private = false;
    check_ends(&o, FETCH_REFUSED, ERROR_SOURCE_REFUSED, "at 127.0.0.1, which is not a public address");
    receiver_begin(&deaf);
    o = at(url_of(&deaf, "http"));
    o.timeout_ms = 50;
    check_ends(&o, FETCH_BROKEN, ERROR_SOURCE_UNREACHABLE, "too slow");
    receiver_end(&deaf);
    o = at("http://nobody.invalid/");
    check_ends(&o, FETCH_BROKEN, ERROR_SOURCE_UNREACHABLE, "not known");
}

TEST(what_is_no_address_is_never_looked_up)
{
    static char longest[FETCH_URL_MAX + 2];
    static const char *const bad[] = {"",
                                      "no address",
                                      "http://",
                                      "file:///etc/passwd",
                                      "ftp://example.org/x",
                                      "http://user@example.org/",
                                      "http://:secret@example.org/",
                                      "http://example.org/\r\nHost: x",
                                      "http://example.org/\x7f",
                                      "http://ex\xc3\xa4mple.org/"};
    struct error err;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_INT(fetch_check_url(bad[i], &err), -1);
        CHECK_STR(error_slug(err.code), error_slug(ERROR_SOURCE_REFUSED));
    }
    memset(longest, 'a', sizeof(longest) - 1);
    memcpy(longest, "http://h/", 9);
    CHECK_INT(fetch_check_url(longest, &err), -1);
    longest[FETCH_URL_MAX] = '\0';
    CHECK_OK(fetch_check_url(longest, &err));
    CHECK_OK(fetch_check_url("HTTPS://example.org:8443/a?b#c", &err));
}

static bool is_public(const char *text)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {0};

    if (strchr(text, ':')) {
        a.v6.sin6_family = AF_INET6;
        CHECK_INT(inet_pton(AF_INET6, text, &a.v6.sin6_addr), 1);
    } else {
        a.v4.sin_family = AF_INET;
        CHECK_INT(inet_pton(AF_INET, text, &a.v4.sin_addr), 1);
    }
    return fetch_address_is_public(&a.any);
}

/* IANA's registries of special-purpose addresses, the first and the last of each range and who lives beside it. */
TEST(what_is_special_is_not_public)
{
    static const char *const special[] = {
        "0.0.0.0",         "0.255.255.255",   "10.0.0.0",        "10.255.255.255",  "100.64.0.0",  "100.127.255.255",
        "127.0.0.1",       "127.255.255.255", "169.254.0.0",     "169.254.169.254", "172.16.0.0",  "172.31.255.255",
        "192.0.0.0",       "192.0.2.1",       "192.168.0.0",     "192.168.255.255", "198.18.0.0",  "198.19.255.255",
        "198.51.100.1",    "203.0.113.1",     "224.0.0.1",       "239.255.255.255", "240.0.0.1",   "255.255.255.255",
        "::",              "::1",             "::ffff:127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::a00:1", "64:ff9b::7f00:1",
        "100::1",          "fc00::1",         "fdff::1",         "fe80::1",         "fec0::1",     "ff02::1",
        "2001::1",         "2001:10::1",      "2001:1ff:ffff::1", "2001:db8::1",    "2002:a00:1::1", "2002:7f00:1::1",
        "2002:c0a8:1::1",  "4000::1",
    };
    static const char *const common[] = {
        "1.1.1.1",      "9.255.255.255", "11.0.0.0",         "100.63.255.255",    "100.128.0.0",
        "169.253.0.1",  "169.255.0.1",   "172.15.255.255",   "172.32.0.0",        "192.167.255.255",
        "192.169.0.0",  "198.17.0.1",    "198.20.0.0",       "223.255.255.255",   "2000::1",
        "2001:200::1",  "2001:db7::1",   "2001:db9::1",      "2606:4700::1111",   "2002:101:101::1",
        "::ffff:1.1.1.1", "64:ff9b::101:101",
    };
    struct sockaddr_un other = {.sun_family = AF_UNIX};

    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
        if (is_public(special[i]))
            CHECK_STR(special[i], "not public");
    }
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
        if (!is_public(common[i]))
            CHECK_STR(common[i], "public");
    }
    CHECK(!fetch_address_is_public((const struct sockaddr *)&other));
}

TEST_MAIN();
