/*
 * Answers: from a struct response, or a problem, to libmicrohttpd; the headers every answer has;
 * the log line and the counters.
 */
#include <stdio.h>
#include <string.h>

#include "api/http_internal.h"
#include "api/problem.h"
#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define ANSWER_MS           60000
#define ANSWER_BYTES_PER_MS 16 /* the slowest reader that is waited for: 16 kB/s */
#define RETRY_AFTER_SECONDS "1"

const double http_latency_bounds[HTTP_LATENCY_BUCKETS] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.025,
                                                          0.05,   0.1,   0.25,  1.0,   5.0,  30.0};

static void free_blob(void *cls)
{
    blob_unref(cls);
}

/* Takes the reference. */
static struct MHD_Response *blob_response(struct blob *body)
{
    struct MHD_Response *r;

    if (!body)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    r = MHD_create_response_from_buffer_with_free_callback_cls(body->len, body->data, free_blob,
                                                               body);
    if (!r)
        blob_unref(body);
    return r;
}

/* The error in x->err as x->res, so that both kinds of answer leave the same way. */
static void problem_response(struct exchange *x)
{
    struct response *res = &x->res;
    enum error_code code = x->err.code;

    if (res->stream)
        res->stream->close(res->stream);
    blob_unref(res->body);
    *res = (struct response){.status = error_status(code),
                             .content_type = PROBLEM_CONTENT_TYPE,
                             .body = problem_render(&x->err, x->req.id)};
    if (res->status == 401)
        response_header(res, "WWW-Authenticate", "Bearer realm=\"drover\"");
    if (res->status == 405)
        response_header(res, "Allow", "%s", x->allow);
    if (res->status == 429 || res->status == 503)
        response_header(res, "Retry-After", RETRY_AFTER_SECONDS);
    if (res->status == 426) {
        response_header(res, "Upgrade", "websocket");
        response_header(res, "Sec-WebSocket-Version", "13");
    }
}

static bool has_header(const struct response *res, const char *name)
{
    for (size_t i = 0; i < res->header_count; i++) {
        if (strcmp(res->headers[i].name, name) == 0)
            return true;
    }
    return false;
}

static void add_headers(struct exchange *x, struct MHD_Response *r)
{
    const struct response *res = &x->res;
    const char *type = res->content_type;

    if (!type && x->stream)
        type = "text/event-stream";
    if (type)
        MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "X-Request-Id", x->req.id);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    /* Only the dashboard's files may be kept, and their handler says so. */
    if (!has_header(res, "Cache-Control"))
        MHD_add_response_header(r, "Cache-Control", "no-store");
    for (size_t i = 0; i < res->header_count; i++)
        MHD_add_response_header(r, res->headers[i].name, res->headers[i].value);
    /* libmicrohttpd writes "Connection: Upgrade" only when asked; RFC 9110 wants it beside Upgrade.
     */
    if (x->close_after || res->status == 426)
        MHD_add_response_header(r, "Connection", x->close_after ? "close" : "Upgrade");
}

static size_t latency_bucket(double seconds)
{
    size_t i = 0;

    while (i < HTTP_LATENCY_BUCKETS && seconds > http_latency_bounds[i])
        i++;
    return i;
}

void answer_count(struct exchange *x, int status)
{
    struct counters *c = &x->http->count;
    const struct route *route = x->req.route;
    int64_t now = clock_monotonic_ns();
    int64_t ns = now - x->started_ns;
    size_t row = route ? (size_t)(route - routes) : c->route_count;

    x->http->now_ms = now / 1000000;
    count_add(&c->routes[row][status / 100 < 6 ? status / 100 : 0], 1);
    count_add(&c->latency[row].bucket[latency_bucket((double)ns / 1e9)], 1);
    count_add(&c->latency[row].ns, (unsigned long long)ns);
    request_log(x, status, ns);
    request_audit(x, status, ns);
}

static void log_outcome(struct exchange *x)
{
    if (error_status(x->err.code) < 500)
        return;
    log_set_request(x->req.id);
    /* A guest must not be able to fill the log with what it calls errors. */
    log_failure(x->err.code == ERROR_TIMEOUT || x->err.code == ERROR_SHUTTING_DOWN ||
                        x->err.code == ERROR_AGENT_FAILED
                    ? LOG_LEVEL_INFO
                    : LOG_LEVEL_ERROR,
                &x->err, "%s %s", x->req.method, x->req.route ? x->req.route->path : "(no route)");
    log_set_request(NULL);
}

static struct MHD_Response *make_response(struct exchange *x)
{
    if (x->res.stream && strcmp(x->req.method, "HEAD") != 0)
        return stream_response(x);
    return blob_response(TAKE_PTR(x->res.body));
}

static bool is_upgrade(const struct exchange *x)
{
    return !x->failed && x->wants_upgrade && x->res.stream &&
           (x->res.status == 101 || x->res.status == 0);
}

enum MHD_Result answer_send(struct exchange *x)
{
    struct MHD_Response *r;
    enum MHD_Result rc;
    size_t len;

    if (!x->failed && x->res.stream && atomic_load(&x->http->quiescing)) {
        x->failed = true;
        error_set(&x->err, ERROR_SHUTTING_DOWN, "The daemon is stopping.");
    }
    if (is_upgrade(x))
        return upgrade_hand_over(x);
    if (x->failed) {
        log_outcome(x);
        problem_response(x);
    }
    if (!x->res.status)
        x->res.status = 200;
    x->phase = PHASE_ANSWERED;
    len = x->res.body ? x->res.body->len : 0;
    if (x->res.body && !x->res.content_type)
        x->res.content_type = "application/json";
    r = make_response(x);
    if (!r)
        return MHD_NO;
    add_headers(x, r);
    if (x->stream)
        stream_tick(x);
    else
        conn_expect(x->http, x->conn, CONN_ANSWER, ANSWER_MS + (int64_t)len / ANSWER_BYTES_PER_MS);
    answer_count(x, x->res.status);
    if (!x->failed && strcmp(x->req.method, "GET") != 0)
        CRASH_POINT(API_ANSWER);
    rc = MHD_queue_response(x->mhd, (unsigned)x->res.status, r);
    MHD_destroy_response(r);
    return rc;
}

void answer_raw(int fd, const struct error *err, const char *request_id)
{
    auto_blob struct blob *body = problem_render(err, request_id);
    auto_free char *text = NULL;
    int status = error_status(err->code);

    text =
        xasprintf("HTTP/1.1 %d %s\r\nContent-Type: " PROBLEM_CONTENT_TYPE
                  "\r\nContent-Length: %zu\r\nConnection: close\r\nCache-Control: no-store\r\n"
                  "X-Content-Type-Options: nosniff\r\n%s\r\n%s",
                  status, error_title(err->code), body->len,
                  status == 429 || status == 503 ? "Retry-After: " RETRY_AFTER_SECONDS "\r\n" : "",
                  body->data);
    /* Best effort: whoever does not read it is being cut off anyway. */
    (void)!send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}
