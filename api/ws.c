/*
 * The WebSocket thread. libwebsockets has no listener here: it only ever sees sockets that the
 * pipeline has authorised, each with a handshake written by us.
 */
#include "api/ws.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/ws_internal.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define GOODBYE_MS 2000

/* Unless told otherwise, libwebsockets sends no more than rx_buffer_size at once. */
#define PROTOCOL(text)                                                                             \
    {                                                                                              \
        .name = (text), .callback = ws_conn_callback, .rx_buffer_size = 4096,                      \
        .tx_packet_size = WS_CHUNK                                                                 \
    }

/* Names are what a handshake may settle on. The first, nameless to clients, is for "none". */
static const struct lws_protocols protocols[] = {
    PROTOCOL("drover"),           PROTOCOL("binary"), PROTOCOL("drover.console.v1"),
    PROTOCOL("drover.events.v1"), PROTOCOL("drover.exec.v1"),
    {0},
};

static bool known_subprotocol(const char *name)
{
    if (!*name)
        return true;
    for (const struct lws_protocols *p = protocols + 1; p->name; p++) {
        if (strcmp(p->name, name) == 0)
            return true;
    }
    return false;
}

static void library_log(int level, const char *line)
{
    if (!log_enabled(LOG_LEVEL_DEBUG))
        return;
    log_debug("libwebsockets: %.*s", (int)strcspn(line, "\n"), line);
}

static void wake(void *opaque)
{
    struct ws *w = opaque;

    LOCK_SCOPE(&w->lock);
    if (!w->closed)
        lws_cancel_service(w->context);
}

static struct ws_conn *take_ready(struct ws *w)
{
    struct ws_conn *c;

    LOCK_SCOPE(&w->lock);
    c = w->ready;
    if (c) {
        w->ready = c->ready_next;
        c->ready = false;
    }
    return c;
}

static void drain(struct ws *w)
{
    struct ws_conn *c;

    while ((c = mailbox_take(w->mailbox)))
        ws_conn_adopt(w, c);
    while ((c = take_ready(w)))
        ws_conn_ready(c);
}

static void end_all(struct ws *w)
{
    for (struct ws_conn *c = w->conns; c; c = c->next)
        ws_conn_end(c, 1001, "The daemon is stopping.");
}

/* Turns the loop while it says goodbye; the deadline is looked at there. */
static void on_timer(lws_sorted_usec_list_t *timer)
{
    struct ws *w = (void *)((char *)timer - offsetof(struct ws, timer));

    lws_sul_schedule(w->context, 0, timer, on_timer, 20 * LWS_US_PER_MS);
}

static void *loop(void *arg)
{
    struct ws *w = arg;
    int64_t until = 0;

    while (lws_service(w->context, 0) >= 0) {
        drain(w);
        if (!atomic_load(&w->stopping))
            continue;
        if (!until) {
            until = clock_monotonic_ms() + GOODBYE_MS;
            end_all(w);
            on_timer(&w->timer);
        }
        if (!w->conns || clock_monotonic_ms() >= until)
            return NULL;
    }
    log_error("libwebsockets gave up");
    return NULL;
}

static void ws_free(struct ws *w)
{
    if (!w)
        return;
    {
        LOCK_SCOPE(&w->lock);
        w->closed = true;
    }
    lws_sul_cancel(&w->timer);
    if (w->context)
        lws_context_destroy(w->context); /* ends what is left, without a word */
    while (w->conns)
        ws_conn_free(w->conns);
    mailbox_free(w->mailbox, ws_conn_drop);
    pthread_mutex_destroy(&w->lock);
    free(w->buffer);
    free(w);
}

DEFINE_CLEANUP(ws, struct ws *, ws_free);

static int make_context(struct ws *w, struct error *err)
{
    struct lws_context_creation_info info = {.port = CONTEXT_PORT_NO_LISTEN_SERVER,
                                             .protocols = protocols,
                                             .vhost_name = "drover",
                                             .user = w,
                                             .uid = (uid_t)-1,
                                             .gid = (gid_t)-1,
                                             .timeout_secs = 10,
                                             .retry_and_idle_policy = &w->idle,
                                             .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                                                        LWS_SERVER_OPTION_VALIDATE_UTF8};

    lws_set_log_level(LLL_ERR | LLL_WARN, library_log);
    w->context = lws_create_context(&info);
    if (w->context)
        w->vhost = lws_create_vhost(w->context, &info);
    if (!w->vhost)
        return error_set(err, ERROR_INTERNAL, "libwebsockets did not start.");
    return 0;
}

int ws_start_with(unsigned ping_seconds, unsigned hangup_seconds, struct ws **ret,
                  struct error *err)
{
    auto_scope(cleanup_ws) struct ws *w = xcalloc(1, sizeof(*w));

    mutex_init(&w->lock);
    w->idle.secs_since_valid_ping = (uint16_t)ping_seconds;
    w->idle.secs_since_valid_hangup = (uint16_t)hangup_seconds;
    w->buffer = xcalloc(1, LWS_PRE + WS_CHUNK);
    w->mailbox = mailbox_new(WS_ADOPT_QUEUE, wake, w);
    if (make_context(w, err) < 0 || thread_start(&w->thread, "ws", loop, w, err) < 0)
        return -1;
    *ret = TAKE_PTR(w);
    return 0;
}

int ws_start(unsigned ping_seconds, struct ws **ret, struct error *err)
{
    return ws_start_with(ping_seconds, ping_seconds + WS_PONG_SECONDS, ret, err);
}

void ws_stop(struct ws *w)
{
    if (!w)
        return;
    atomic_store(&w->stopping, true);
    wake(w);
    pthread_join(w->thread, NULL);
    ws_free(w);
}

int ws_adopt(struct ws *w, const struct ws_adopt *adopt, struct error *err)
{
    struct ws_conn *c = xcalloc(1, sizeof(*c));

    c->magic = WS_MAGIC;
    c->ws = w;
    c->adopt = *adopt;
    str_copy_utf8(c->key, sizeof(c->key), adopt->key);
    str_copy_utf8(c->subprotocol, sizeof(c->subprotocol), adopt->subprotocol);
    if (!known_subprotocol(c->subprotocol)) {
        error_set(err, ERROR_INTERNAL, "The subprotocol %s is not registered.", c->subprotocol);
        ws_conn_drop(c);
        return -1;
    }
    if (atomic_load(&w->stopping) || !mailbox_post(w->mailbox, c)) {
        ws_conn_drop(c);
        return error_set(err, ERROR_UNAVAILABLE, "No further WebSocket can be taken right now.");
    }
    return 0;
}

void ws_stats_read(struct ws *w, struct ws_stats *ret)
{
    *ret = (struct ws_stats){
        .connections = atomic_load_explicit(&w->connections, memory_order_relaxed),
        .bytes_in = atomic_load_explicit(&w->bytes_in, memory_order_relaxed),
        .bytes_out = atomic_load_explicit(&w->bytes_out, memory_order_relaxed)};
}
