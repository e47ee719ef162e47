/*
 * One WebSocket: frames to and from a source. Nothing is queued here but one message that the
 * source did not take; then the client is not read until the source speaks again.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/ws_internal.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"

static void count(_Atomic unsigned long long *c, unsigned long long n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* Any thread: the source's word. */
static void on_notify(void *opaque)
{
    struct ws_conn *c = opaque;
    struct ws *w = c->ws;

    LOCK_SCOPE(&w->lock);
    if (c->ready)
        return;
    c->ready = true;
    c->ready_next = w->ready;
    w->ready = c;
    if (!w->closed)
        lws_cancel_service(w->context);
}

static void forget_ready(struct ws_conn *c)
{
    struct ws_conn **at;

    LOCK_SCOPE(&c->ws->lock);
    if (!c->ready)
        return;
    for (at = &c->ws->ready; *at != c; at = &(*at)->ready_next)
        ;
    *at = c->ready_next;
}

/* Gives everything back but the descriptor, which is libwebsockets' or closed. */
static void release(struct ws_conn *c)
{
    c->adopt.source->close(c->adopt.source); /* no notify after this */
    forget_ready(c);
    free(c->input);
    c->magic = 0;
    c->adopt.done(c->adopt.opaque);
    free(c);
}

void ws_conn_drop(void *message)
{
    struct ws_conn *c = message;

    close(c->adopt.fd);
    release(c);
}

void ws_conn_free(struct ws_conn *c)
{
    struct ws *w = c->ws;

    if (w->adopting == c)
        w->adopting = NULL;
    if (c->lws)
        lws_set_opaque_user_data(c->lws, NULL);
    if (c->prev)
        c->prev->next = c->next;
    else
        w->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    count(&w->connections, -1ULL);
    release(c);
}

/*
 * Autotuned send buffers hold megabytes: a Ctrl-C would be seen after all of them. Throughput needs
 * no more than this beyond what is on its way. A Unix socket has no such option, and no need.
 */
static void bound_unsent(int fd)
{
    const int bytes = WS_UNSENT;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

/*
 * Synchronous: before the adoption returns, libwebsockets has read the handshake and sent the 101,
 * or given up. The callbacks find the connection through w->adopting.
 */
void ws_conn_adopt(struct ws *w, struct ws_conn *c)
{
    char handshake[512];
    int n = snprintf(handshake, sizeof(handshake),
                     "GET / HTTP/1.1\r\nHost: drover\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                     "Sec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                     c->key, *c->subprotocol ? "Sec-WebSocket-Protocol: " : "", c->subprotocol,
                     *c->subprotocol ? "\r\n" : "");

    c->next = w->conns;
    if (c->next)
        c->next->prev = c;
    w->conns = c;
    count(&w->connections, 1);
    w->adopting = c;
    bound_unsent(c->adopt.fd);
    lws_adopt_socket_vhost_readbuf(w->vhost, c->adopt.fd, handshake, (size_t)n);
    /* Still there and without an lws: it failed before any callback; the descriptor is closed. */
    if (w->adopting && !c->lws)
        ws_conn_free(c);
    w->adopting = NULL;
}

void ws_conn_end(struct ws_conn *c, int code, const char *reason)
{
    if (c->ended)
        return;
    c->ended = true;
    c->close_code = code ? code : 1000;
    str_copy_utf8(c->close_reason, sizeof(c->close_reason), reason);
    if (c->lws)
        lws_callback_on_writable(c->lws);
}

static void end_by_source(struct ws_conn *c)
{
    ws_conn_end(c, c->adopt.source->close_code, c->adopt.source->close_reason);
}

/* ---- towards the source ---- */

static size_t offer(struct ws_conn *c, enum source_kind kind, const unsigned char *data, size_t len)
{
    struct source *s = c->adopt.source;
    size_t taken = 0;

    if (!s->write)
        return len; /* a viewer may type; nobody listens */
    while (taken < len) {
        ssize_t n = s->write(s, kind, data + taken, len - taken);

        if (n < 0) {
            end_by_source(c);
            return len;
        }
        if (n == 0)
            break;
        taken += (size_t)n;
    }
    return taken;
}

static void keep(struct ws_conn *c, const void *data, size_t len)
{
    if (c->input_len + len > c->input_cap) {
        c->input_cap = c->input_len + len;
        c->input = xrealloc_array(c->input, c->input_cap, 1);
    }
    memcpy(c->input + c->input_len, data, len);
    c->input_len += len;
}

static void push_kept(struct ws_conn *c)
{
    c->input_at += offer(c, c->input_kind, c->input + c->input_at, c->input_len - c->input_at);
    if (c->input_at < c->input_len) {
        c->blocked = true;
        lws_rx_flow_control(c->lws, 0);
        return;
    }
    free(c->input);
    c->input = NULL;
    c->input_at = c->input_len = c->input_cap = 0;
    c->input_whole = false;
    if (c->blocked) {
        c->blocked = false;
        lws_rx_flow_control(c->lws, 1);
    }
}

static void receive(struct ws_conn *c, const void *data, size_t len)
{
    enum source_kind kind = lws_frame_is_binary(c->lws) ? SOURCE_BYTES : SOURCE_TEXT;
    bool whole = kind == SOURCE_BYTES || lws_is_final_fragment(c->lws);
    size_t taken = 0;

    count(&c->ws->bytes_in, len);
    if (c->ended)
        return;
    if (len + lws_remaining_packet_payload(c->lws) > WS_FRAME_MAX ||
        c->input_len + len > WS_FRAME_MAX) {
        ws_conn_end(c, 1009, "A frame is larger than 64 KiB.");
        return;
    }
    /* Bytes may pass in pieces; a text message is one thing. */
    if (whole && !c->input_len) {
        taken = offer(c, kind, data, len);
        if (taken == len)
            return;
    }
    c->input_kind = kind;
    keep(c, (const unsigned char *)data + taken, len - taken);
    c->input_whole = whole;
    if (whole && !c->blocked)
        push_kept(c);
}

/* ---- towards the client ---- */

/*
 * Who makes room in a full socket is alive, though our ping may still be behind a lot of output on a
 * slow line. That the kernel takes something at once proves nothing: it does so for the dead, too.
 */
static void note_progress(struct ws_conn *c)
{
    if (c->wrote_ms && clock_monotonic_ms() - c->wrote_ms >= WS_CHOKED_MS)
        lws_validity_confirmed(c->lws);
    c->wrote_ms = 0;
}

static int write_some(struct ws_conn *c)
{
    struct source *s = c->adopt.source;
    unsigned char *data = c->ws->buffer + LWS_PRE;
    enum source_kind kind = SOURCE_BYTES;
    ssize_t n = 0;

    note_progress(c);
    if (!c->ended) {
        n = s->read(s, data, WS_CHUNK, &kind);
        if (n < 0)
            end_by_source(c);
    }
    if (c->ended) {
        lws_close_reason(c->lws, (enum lws_close_status)c->close_code,
                         (unsigned char *)c->close_reason, strlen(c->close_reason));
        return -1;
    }
    if (n == 0)
        return 0;
    if (lws_write(c->lws, data, (size_t)n,
                  kind == SOURCE_TEXT ? LWS_WRITE_TEXT : LWS_WRITE_BINARY) < 0)
        return -1;
    c->wrote_ms = clock_monotonic_ms();
    count(&c->ws->bytes_out, (unsigned long long)n);
    lws_callback_on_writable(c->lws);
    return 0;
}

void ws_conn_ready(struct ws_conn *c)
{
    if (!c->established || c->ended)
        return;
    if (c->input_len && c->input_whole)
        push_kept(c);
    lws_callback_on_writable(c->lws);
}

static struct ws_conn *conn_of(struct lws *wsi)
{
    struct ws_conn *c = lws_get_opaque_user_data(wsi);

    if (c && c->magic != WS_MAGIC)
        abort();
    return c;
}

static int attach(struct lws *wsi)
{
    struct ws *w = lws_context_user(lws_get_context(wsi));
    struct ws_conn *c = w->adopting;

    if (!c || c->lws)
        return -1; /* not one that we brought */
    c->lws = wsi;
    lws_set_opaque_user_data(wsi, c);
    return 0;
}

static int established(struct ws_conn *c)
{
    c->established = true;
    c->adopt.source->set_notify(c->adopt.source, on_notify, c);
    lws_callback_on_writable(c->lws);
    return 0;
}

int ws_conn_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                     size_t len)
{
    struct ws_conn *c;

    (void)user;
    switch (reason) {
    case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
        return attach(wsi);
    case LWS_CALLBACK_HTTP:
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return conn_of(wsi) && reason != LWS_CALLBACK_HTTP ? 0 : -1;
    case LWS_CALLBACK_ESTABLISHED:
        c = conn_of(wsi);
        return c ? established(c) : -1;
    case LWS_CALLBACK_RECEIVE:
        c = conn_of(wsi);
        if (!c)
            return -1;
        receive(c, in, len);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        c = conn_of(wsi);
        return c ? write_some(c) : -1;
    case LWS_CALLBACK_WSI_DESTROY:
        c = conn_of(wsi);
        if (c)
            ws_conn_free(c);
        return 0;
    default:
        return 0;
    }
}
