/*
 * Answers: from a struct response, or a problem, on their way to the client; the log line and the counters.
 */
#include <stdio.h>
#include <string.h>

#include "api/front.h"
#include "api/http_internal.h"
#include "api/problem.h"
#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"

const double http_latency_bounds[HTTP_LATENCY_BUCKETS] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.025,
                                                          0.05,   0.1,   0.25,  1.0,   5.0,  30.0};

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

static bool is_upgrade(const struct exchange *x)
{
    return !x->failed && x->wants_upgrade && x->res.stream &&
           (x->res.status == 101 || x->res.status == 0);
}

/* False: it cannot be; x->err says why. */
static bool hand_over(struct exchange *x)
{
    int fd = x->call ? -1 : upgrade_socket(x, &x->err);

    if (fd < 0 && !x->call)
        return false;
    answer_count(x, 101);
    x->res.status = 101;
    if (x->call)
        call_answer(x);
    else
        upgrade_hand_over(x, fd);
    return true;
}

enum MHD_Result answer_send(struct exchange *x)
{
    if (!x->failed && x->res.stream && atomic_load(&x->http->quiescing)) {
        x->failed = true;
        error_set(&x->err, ERROR_SHUTTING_DOWN, "The daemon is stopping.");
    }
    if (is_upgrade(x)) {
        if (hand_over(x))
            return MHD_YES;
        x->failed = true;
    }
    if (x->failed) {
        log_outcome(x);
        problem_response(x);
    }
    if (!x->res.status)
        x->res.status = 200;
    if (x->res.body && !x->res.content_type)
        x->res.content_type = "application/json";
    answer_count(x, x->res.status);
    if (!x->failed && strcmp(x->req.method, "GET") != 0)
        CRASH_POINT(API_ANSWER);
    if (!x->call)
        return reply_send(x);
    call_answer(x);
    return MHD_YES;
}
