/*
 * One request and its answer as an object: from where it comes, what is cleared for the next, who has it. libmicrohttpd
 * calls the access handler at the header, for each piece of the body and at the end, and again whenever a suspended
 * connection comes back; the phase tells which it is.
 */
#include <stdlib.h>
#include <string.h>

#include "api/http_internal.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define SPARE_MAX 64

static struct conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct conn *c = info ? info->socket_context : NULL;

    if (!c || c->magic != CONN_MAGIC)
        abort();
    return c;
}

struct exchange *exchange_new(struct http *h)
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
    if (x->call)
        x->http->side->call_free(x);
    free(x->raw_query);
    free(x->query);
    free(x->body);
    if (x->upload.release)
        x->upload.release(x);
}

/* The HTTP thread. Clears what the next request must not see; the rest is overwritten by it. */
void exchange_recycle(struct exchange *x)
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
    x->res.stream_length = 0;
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
    if (!x->call)
        MHD_suspend_connection(x->mhd);
}

void exchange_resume(struct exchange *x)
{
    struct http *h = x->http;

    if (x->call)
        h->side->call_back(x);
    else
        MHD_resume_connection(x->mhd);
    /* x may be answered and gone by now. The library's own wake-up needs a thread of its own. */
    if (http_is_loop(h))
        h->again = true;
    else
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
void *exchange_begin(void *cls, const char *uri, struct MHD_Connection *mhd)
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

enum MHD_Result exchange_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                const char *version, const char *data, size_t *size, void **con_cls)
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
        return h->side->header(x, url, method, version);
    case PHASE_BEGUN:
        return h->side->begun(x);
    case PHASE_BODY:
        return *size ? h->side->data(x, data, size) : h->side->complete(x);
    case PHASE_READY:
        return h->side->answer(x);
    case PHASE_ANSWERED:
        *size = 0;
        return MHD_YES;
    case PHASE_WORKING:
    case PHASE_SOCKET: /* came back: the WebSocket is over */
        return MHD_NO;
    }
    return MHD_NO;
}

void exchange_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode why)
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
    h->side->over(x);
}
