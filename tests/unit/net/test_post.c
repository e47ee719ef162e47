/* Posting to receivers that answer, and to those that do anything else: what is told of each. */
#include "service/net/post.h"

#include "service/base/clock.h"
#include "tests/support/test.h"
#include "tests/unit/net/receiver.h"

static struct {
    struct post_result result;
    unsigned told;
} last;

static void on_done(void *context, void *opaque, const struct post_result *result)
{
    (void)context;
    (void)opaque;
    last.result = *result;
    last.told++;
}

static void begin(struct poster *p, const char *scheme, const char *host, int port,
                  bool allow_private, int64_t timeout_ms)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    static int key;
    struct error err;
    char url[128];

    snprintf(url, sizeof(url), "%s://%s:%d/", scheme, host, port);
    CHECK_OK(poster_begin(p,
                          &(struct post_request){.url = url,
                                                 .body = "{}",
                                                 .len = 2,
                                                 .headers = headers,
                                                 .allow_private = allow_private,
                                                 .connect_timeout_ms = EVENTUALLY_MS,
                                                 .timeout_ms = timeout_ms},
                          &key, &err));
}

static const struct post_result *post(const char *scheme, const char *host, int port,
                                      bool allow_private, int64_t timeout_ms)
{
    struct poster *p = NULL;
    struct error err;
    unsigned told = last.told;

    CHECK_OK(poster_new(&p, &err));
    begin(p, scheme, host, port, allow_private, timeout_ms);
    for (int64_t until = clock_monotonic_ms() + EVENTUALLY_MS;
         last.told == told && clock_monotonic_ms() < until;)
        poster_run(p, 100, on_done, NULL);
    poster_free(p);
    CHECK_INT(last.told, told + 1);
    return &last.result;
}

TEST(an_answer_is_told_and_its_body_thrown_away)
{
    struct receiver busy = {.head =
                                "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"};
    struct receiver chatty = {.head = "HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n",
                              .body = RECEIVER_LONG};
    struct receiver cut = {.head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"};
    const struct post_result *r;

    receiver_begin(&busy);
    r = post("http", "127.0.0.1", busy.port, true, EVENTUALLY_MS);
    CHECK_INT(r->status, 503);
    CHECK_INT(r->retry_after_s, 7);
    receiver_end(&busy);

    receiver_begin(&chatty);
    CHECK_INT(post("http", "127.0.0.1", chatty.port, true, EVENTUALLY_MS)->status, 200);
    receiver_end(&chatty);

    receiver_begin(&cut);
    CHECK_INT(post("http", "127.0.0.1", cut.port, true, EVENTUALLY_MS)->status, 200);
    receiver_end(&cut);
}

static void check_told(const struct post_result *r, enum error_code code, const char *words)
{
    CHECK_INT(r->status, 0);
    CHECK_STR(error_slug(r->err.code), error_slug(code));
    if (!strstr(r->err.detail, words))
        CHECK_STR(r->err.detail, words);
}

TEST(each_way_not_to_answer_has_its_words)
{
    struct receiver mute = {.head = NULL}, deaf = {.keeps = true},
                    plain = {.head = "HTTP/1.1 200 OK\r\n\r\n"};

    receiver_begin(&mute);
    check_told(post("http", "127.0.0.1", mute.port, true, EVENTUALLY_MS), ERROR_SOURCE_UNREACHABLE,
               "broke");
    check_told(post("http", "127.0.0.1", mute.port, false, EVENTUALLY_MS), ERROR_SOURCE_REFUSED,
               "not a public address");
    receiver_end(&mute);
    /* Nobody has the port now. */
    check_told(post("http", "127.0.0.1", mute.port, true, EVENTUALLY_MS), ERROR_SOURCE_UNREACHABLE,
               "does not accept");

    receiver_begin(&plain);
    check_told(post("https", "127.0.0.1", plain.port, true, EVENTUALLY_MS),
               ERROR_SOURCE_UNREACHABLE, "certificate");
    receiver_end(&plain);

    receiver_begin(&deaf);
    check_told(post("http", "127.0.0.1", deaf.port, true, 50), ERROR_SOURCE_UNREACHABLE, "in time");
    receiver_end(&deaf);

    check_told(post("http", "nobody.invalid", 80, true, EVENTUALLY_MS), ERROR_SOURCE_UNREACHABLE,
               "not known");
}

TEST(what_is_broken_off_is_told_to_nobody)
{
    struct receiver deaf = {.keeps = true};
    struct poster *p = NULL;
    struct error err;
    unsigned told = last.told;
    static int other;

    receiver_begin(&deaf);
    CHECK_OK(poster_new(&p, &err));
    begin(p, "http", "127.0.0.1", deaf.port, true, EVENTUALLY_MS);
    poster_run(p, 0, on_done, NULL);
    poster_cancel(p, &other); /* of which there is none */
    poster_wake(p);
    poster_run(p, EVENTUALLY_MS, on_done, NULL); /* returns at once */
    poster_free(p);
    CHECK_INT(last.told, told);
    receiver_end(&deaf);
}

TEST(an_address_that_is_no_http_is_refused_before_anything_is_sent)
{
    static const char *const none[] = {NULL};
    struct poster *p = NULL;
    struct error err;

    CHECK_OK(poster_new(&p, &err));
    CHECK_INT(poster_begin(
                  p,
                  &(struct post_request){.url = "file:///etc/passwd", .body = "", .headers = none},
                  p, &err),
              -1);
    poster_free(p);
    poster_free(NULL);
    CHECK(post_host_is_private("http://[::1]:1/") && post_host_is_private("https://10.1.2.3/"));
    CHECK(!post_host_is_private("http://192.0.43.7/") &&
          !post_host_is_private("http://localhost/"));
    CHECK(!post_host_is_private("no address"));
}

TEST_MAIN();
