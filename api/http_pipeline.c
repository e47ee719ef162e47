/*
 * The life of a request: id, gate, route, credential, right, body, handler, answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/front.h"
#include "api/http_internal.h"
#include "api/router.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "service/vm/access.h"
#include "service/vm/core.h"

/* A refused request's body is read to here, so that the client gets to see the answer. */
#define SWALLOW_MAX (1024 * 1024)

static void take_request_id(struct exchange *x)
{
    const char *sent = x->gate.value[GATE_REQUEST_ID];

    if (sent && gate_request_id_valid(sent))
        memcpy(x->req.id, sent, strlen(sent) + 1);
    else
        snprintf(x->req.id, sizeof(x->req.id), "%s-%llx", x->http->id_prefix, ++x->http->id_next);
}

static int check_host(struct exchange *x, struct error *err)
{
    const char *host = x->gate.value[GATE_HOST];

    /* Only processes of this host reach a Unix socket: no page can. */
    if (x->conn->is_unix || http_policy_host(x->http->policy, host))
        return 0;
    error_set(err, ERROR_HOST_REFUSED, "This server does not answer to \"%s\".", host);
    error_remedy(err,
                 "Use its address, or add the name to the setting allowed_hosts or public_url.");
    return -1;
}

static int find_route(struct exchange *x, struct error *err)
{
    struct request *req = &x->req;

    switch (router_match(routes, req->method, req->path, req, x->allow, sizeof(x->allow))) {
    case ROUTE_FOUND:
        return 0;
    case ROUTE_NOT_FOUND:
        return error_set(err, ERROR_NOT_FOUND, "There is no such address.");
    case ROUTE_WRONG_METHOD:
        return error_set(err, ERROR_METHOD_NOT_ALLOWED, "This address takes %s.", x->allow);
    case ROUTE_BAD_PATH:
        break;
    }
    return error_set(err, ERROR_MALFORMED_REQUEST,
                     "The path has an empty, dotted or wrongly encoded segment.");
}

static int parse_query(struct exchange *x, struct error *err)
{
    if (!x->raw_query)
        return 0;
    x->query = xmalloc(sizeof(*x->query));
    return query_parse(x->raw_query, x->query, err);
}

/* Everything that can be decided from the header. */
static int begin(struct exchange *x, const char *url, const char *method, const char *version,
                 struct error *err)
{
    int rc = x->call ? call_headers(x, method, version, err) : headers_read(x, url, method, version, err);

    x->req.method = method;
    x->req.path = url;
    x->req.content_length = x->gate.content_length;
    x->req.tls = x->conn->tls != NULL || call_is_tls(x->call);
    memcpy(x->req.peer, x->conn->peer, sizeof(x->req.peer));
    take_request_id(x);
    if (rc < 0 || *url != '/') {
        x->close_after = true;
        count_add(&x->http->count.malformed, 1);
        return rc < 0 ? -1 : error_set(err, ERROR_MALFORMED_REQUEST, "The address is not a path.");
    }
    if (check_host(x, err) < 0 || find_route(x, err) < 0)
        return -1;
    if (atomic_load_explicit(&x->http->quiescing, memory_order_relaxed))
        return error_set(err, ERROR_SHUTTING_DOWN, "The daemon is stopping.");
    if (parse_query(x, err) < 0 || auth_check(x, err) < 0 || upgrade_check(x, err) < 0)
        return -1;
    return body_expect(x, err);
}

void pipeline_header(struct exchange *x, const char *url, const char *method, const char *version)
{
    x->failed = begin(x, url, method, version, &x->err) < 0;
}

static enum MHD_Result on_header(struct exchange *x, const char *url, const char *method,
                                 const char *version)
{
    bool has_body;

    pipeline_header(x, url, method, version);
    has_body = x->gate.content_length != 0;
    if (x->failed && (x->close_after || (has_body && (x->gate.content_length < 0 ||
                                                      x->gate.content_length > SWALLOW_MAX ||
                                                      x->gate.value[GATE_EXPECT])))) {
        /* Answered before the body: libmicrohttpd closes the connection after it. */
        return answer_send(x);
    }
    x->phase = PHASE_BODY;
    if (has_body)
        conn_expect(x->http, x->conn, CONN_BODY, x->http->limits.body_timeout_ms);
    else
        conn_expect(x->http, x->conn, CONN_SERVED, 0);
    if (!x->failed && x->req.route->flags & ROUTE_UPLOAD) {
        x->conn->wait = CONN_UPLOAD;
        upload_begin(x);
    }
    return MHD_YES;
}

static void run_inline(struct exchange *x)
{
    int rc = body_parse(x, &x->err);

    if (rc == 0)
        rc = x->req.route->handler(&x->req, &x->res, &x->err);
    if (rc == HANDLER_PARKED)
        rc = error_set(&x->err, ERROR_INTERNAL, "An inline handler tried to wait.");
    exchange_outcome(x, rc);
}

enum MHD_Result pipeline_complete(struct exchange *x)
{
    conn_expect(x->http, x->conn, CONN_SERVED, 0);
    if (x->failed)
        return answer_send(x);
    if (x->req.route->flags & ROUTE_UPLOAD) {
        upload_end(x);
        return MHD_YES;
    }
    if (x->req.route->flags & ROUTE_INLINE) {
        run_inline(x);
        return answer_send(x);
    }
    exchange_suspend(x);
    workers_post(x, workers_run_handler);
    return MHD_YES;
}

static enum MHD_Result on_data(struct exchange *x, const char *data, size_t *size)
{
    if (!x->failed && x->req.route->flags & ROUTE_UPLOAD) {
        upload_data(x, data, size);
        if (!x->failed)
            return MHD_YES;
        conn_expect(x->http, x->conn, CONN_BODY, x->http->limits.body_timeout_ms);
    }
    if (x->failed)
        x->swallowed += *size;
    else if (body_add(x, data, *size, &x->err) < 0)
        x->failed = true;
    *size = 0;
    if (x->swallowed <= SWALLOW_MAX)
        return MHD_YES;
    /* Chunked without an end: libmicrohttpd takes no answer here, so it goes past it. */
    answer_raw(x->conn->fd, &x->err, x->req.id);
    answer_count(x, error_status(x->err.code));
    return MHD_NO;
}

static enum MHD_Result on_begun(struct exchange *x)
{
    x->phase = PHASE_BODY;
    return MHD_YES;
}

static void on_over(struct exchange *x)
{
    if (!upload_gone(x))
        exchange_recycle(x);
}

static size_t elsewhere(struct http *h)
{
    return (size_t)front_counts(h->front)->connections;
}

static int start(struct http *h, const struct http_options *options, struct error *err)
{
    while (routes[h->count.route_count].method)
        h->count.route_count++;
    h->count.routes = xcalloc(h->count.route_count + 1, sizeof(*h->count.routes));
    h->count.latency = xcalloc(h->count.route_count + 1, sizeof(*h->count.latency));
    if (workers_start(h, (size_t)h->settings->request_workers, err) < 0)
        return -1;
    return front_start(h, options, err);
}

static void quiesce(struct http *h)
{
    front_quiesce(h->front);
    workers_end_parked(h);
}

static void reload(struct http *h)
{
    front_reload(h->front);
}

static void turn(struct http *h)
{
    if (h->front)
        front_turn(h->front);
}

static void end(struct http *h)
{
    front_stop(h->front);
}

static void stop(struct http *h)
{
    workers_stop(h);
    front_free(TAKE_PTR(h->front));
    free((void *)h->count.routes);
    free((void *)h->count.latency);
}

const struct http_side pipeline_side = {.header = on_header,
                                        .begun = on_begun,
                                        .data = on_data,
                                        .complete = pipeline_complete,
                                        .answer = answer_send,
                                        .over = on_over,
                                        .is_admin = access_uid_is_admin,
                                        .elsewhere = elsewhere,
                                        .start = start,
                                        .turn = turn,
                                        .reload = reload,
                                        .quiesce = quiesce,
                                        .is_idle = workers_idle,
                                        .end = end,
                                        .stop = stop,
                                        .call_back = call_back,
                                        .call_free = call_free};

int http_start(const struct http_options *options, struct http **ret, struct error *err)
{
    struct http_options all = *options;

    all.settings = core_settings(options->core);
    return http_start_as(&pipeline_side, &all, ret, err);
}
