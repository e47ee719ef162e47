/*
 * The life of a request: id, gate, route, credential, right, body, handler, answer. libmicrohttpd
 * calls the access handler at the header, for each piece of the body and at the end, and again
 * whenever a suspended connection comes back; the phase tells which it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_internal.h"
#include "api/router.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define SPARE_MAX 64
/* A refused request's body is read to here, so that the client gets to see the answer. */
#define SWALLOW_MAX (1024 * 1024)

static struct conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct conn *c = info ? info->socket_context : NULL;

    if (!c || c->magic != CONN_MAGIC)
        abort();
    return c;
}

static struct exchange *exchange_new(struct http *h)
{
    struct exchange *x = h->spare;

    if (x) {
        h->spare = x->next;
        h->spare_count--;
    } else {
        x = xcalloc(1, sizeof(*x));
    }
    x->magic = EXCHANGE_MAGIC;
    x->http = h;
    x->req.http = x;
    x->req.core = h->core;
    count_add(&h->count.in_flight, 1);
    return x;
}

static void release(struct exchange *x)
{
    stream_detach(x);
    if (x->kept_free)
        x->kept_free(x->kept);
    if (x->res.stream)
        x->res.stream->close(x->res.stream);
    blob_unref(x->res.body);
    json_decref(x->req.json);
    free(x->raw_query);
    free(x->query);
    free(x->body);
    upload_release(x);
}

/* The HTTP thread. Clears what the next request must not see; the rest is overwritten by it. */
static void exchange_recycle(struct exchange *x)
{
    struct http *h = x->http;

    release(x);
    if (h->spare_count == SPARE_MAX) {
        x->magic = 0;
        free(x);
        return;
    }
    /* The next request must not see this one's. */
    memset(x, 0, offsetof(struct exchange, req.params));
    memset(&x->req.param_count, 0,
           offsetof(struct exchange, err) - offsetof(struct exchange, req.param_count));
    x->res.status = 0;
    x->res.content_type = NULL;
    x->res.body = NULL;
    x->res.header_count = 0;
    x->res.stream = NULL;
    x->res.subprotocol[0] = '\0';
    x->next = h->spare;
    h->spare = x;
    h->spare_count++;
}

/* A worker, once the client has gone. */
void exchange_free(struct exchange *x)
{
    release(x);
    x->magic = 0;
    free(x);
}

void exchange_suspend(struct exchange *x)
{
    x->suspended = true;
    x->phase = PHASE_WORKING;
    atomic_fetch_add(&x->http->count.suspended, 1);
    if (x->conn->wait != CONN_UPLOAD)
        conn_expect(x->http, x->conn, CONN_SERVED, 0);
    MHD_suspend_connection(x->mhd);
}

void exchange_resume(struct exchange *x)
{
    struct http *h = x->http;

    MHD_resume_connection(x->mhd);
    /* x may be answered and gone by now. The library's own wake-up needs a thread of its own. */
    http_wake(h);
    atomic_fetch_sub(&h->count.suspended, 1);
}

void exchange_outcome(struct exchange *x, int rc)
{
    x->failed = rc != 0;
    x->phase = PHASE_READY;
}

/*
 * libmicrohttpd talks to the socket by calls that the program defines (tls_socket.c). Were one not ours, a client's
 * words would be read, or ours sent, in clear.
 */
static void check_sealed(const struct conn *c, bool (*passed)(const struct tls_link *l))
{
    if (!c->tls || passed(c->tls))
        return;
    log_error("tls: bytes of a connection went past TLS");
    abort();
}

/* The request line is in: the first moment at which libmicrohttpd tells of a request. */
void *pipeline_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http *h = cls;
    struct exchange *x = exchange_new(h);
    const char *query = uri ? strchr(uri, '?') : NULL;

    x->mhd = mhd;
    x->conn = conn_of(mhd);
    x->conn->exchange = x;
    check_sealed(x->conn, tls_link_has_spoken);
    x->started_ns = clock_monotonic_ns();
    h->now_ms = x->started_ns / 1000000;
    x->uri_len = uri ? strlen(uri) : 0;
    if (query && query[1])
        x->raw_query = xstrdup(query + 1);
    /* A first request's header began with the connection, and that deadline stands. */
    if (x->conn->wait != CONN_HEADER)
        conn_expect(h, x->conn, CONN_HEADER, h->limits.header_timeout_ms);
    h->progress = true;
    return x;
}

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
    x->query = malloc(sizeof(*x->query));
    if (!x->query)
        abort();
    return query_parse(x->raw_query, x->query, err);
}

/* Everything that can be decided from the header. */
static int begin(struct exchange *x, const char *url, const char *method, const char *version,
                 struct error *err)
{
    int rc = headers_read(x, url, method, version, err);

    x->req.method = method;
    x->req.path = url;
    x->req.content_length = x->gate.content_length;
    x->req.tls = x->conn->tls != NULL;
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

static enum MHD_Result on_header(struct exchange *x, const char *url, const char *method,
                                 const char *version)
{
    bool has_body;

    x->failed = begin(x, url, method, version, &x->err) < 0;
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

static enum MHD_Result on_complete(struct exchange *x)
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

/* True while another thread has it: libmicrohttpd may call again when a chunk was left over. */
static bool is_away(struct exchange *x)
{
    const union MHD_ConnectionInfo *info;

    if (!x->suspended)
        return false;
    info = MHD_get_connection_info(x->mhd, MHD_CONNECTION_INFO_CONNECTION_SUSPENDED);
    x->suspended = info && info->suspended == MHD_YES;
    return x->suspended;
}

enum MHD_Result pipeline_access(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **con_cls)
{
    struct http *h = cls;
    struct exchange *x = *con_cls;

    (void)mhd;
    h->progress = true;
    if (!x || x->magic != EXCHANGE_MAGIC)
        return MHD_NO;
    if (is_away(x))
        return MHD_YES;
    if (x->conn->cut)
        return MHD_NO;
    switch (x->phase) {
    case PHASE_NEW:
        return on_header(x, url, method, version);
    case PHASE_BEGUN:
        x->phase = PHASE_BODY;
        return MHD_YES;
    case PHASE_BODY:
        if (!*size)
            return on_complete(x);
        return on_data(x, data, size);
    case PHASE_READY:
        return answer_send(x);
    case PHASE_ANSWERED:
        *size = 0;
        return MHD_YES;
    case PHASE_WORKING:
    case PHASE_SOCKET: /* came back: the WebSocket is over */
        return MHD_NO;
    }
    return MHD_NO;
}

void pipeline_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                        enum MHD_RequestTerminationCode why)
{
    struct http *h = cls;
    struct exchange *x = *con_cls;

    (void)mhd;
    if (!x || x->magic != EXCHANGE_MAGIC)
        return;
    *con_cls = NULL;
    if (why == MHD_REQUEST_TERMINATED_COMPLETED_OK)
        check_sealed(x->conn, tls_link_has_answered);
    x->conn->exchange = NULL;
    count_add(&h->count.in_flight, -1ULL);
    conn_expect(h, x->conn, CONN_IDLE,
                why == MHD_REQUEST_TERMINATED_COMPLETED_OK ? h->limits.idle_timeout_ms : 1000);
    if (!upload_gone(x))
        exchange_recycle(x);
}
