/*
 * The daemon: starting, the loop, stopping. libmicrohttpd runs without a thread of its own, so that
 * the accept, the deadlines and the sign of life are one loop with it and need no locks.
 */
#include "api/http.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "api/http_internal.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/conf/settings.h"

#define TICK_MS         1000  /* the loop turns at least so often */
#define ACCEPT_EVERY_MS 2     /* while requests keep the loop busy */
#define MEMORY_LIMIT    20480 /* of a connection: headers, read buffer; cleared after each request */
#define QUIESCE_MS      2000
#define STOP_MS         10000
#define FLUSH_MS        1000

__attribute__((format(printf, 2, 0))) static void library_log(void *cls, const char *fmt,
                                                              va_list ap)
{
    char text[512];

    (void)cls;
    if (!log_enabled(LOG_LEVEL_DEBUG))
        return;
    vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_debug("libmicrohttpd: %s", text);
}

/* Paths and queries are decoded by us, once: the library must leave them as they came. */
static size_t no_unescape(void *cls, struct MHD_Connection *mhd, char *text)
{
    (void)cls;
    (void)mhd;
    return strlen(text);
}

static void read_limits(struct http *h)
{
    const struct settings *s = h->settings;

    h->limits = (struct http_limits){
        .header_timeout_ms = s->header_timeout_ms,
        .body_timeout_ms = s->body_timeout_ms,
        .idle_timeout_ms = s->idle_timeout_ms,
        .body_limit = s->body_limit_bytes,
        .user_data_limit = s->user_data_limit_bytes,
        .json_depth = s->json_depth,
        .json_tokens = s->json_tokens,
        .connections = s->max_connections,
        .per_address = s->max_connections_per_address,
    };
}

void http_wake(struct http *h)
{
    if (fd_wake(h->wake_fd))
        log_error("cannot wake the HTTP loop: %s", strerror(errno));
}

/* Known to the thread itself: who started it knows it only a moment later. */
static __thread const struct http *loop_of;

bool http_is_loop(const struct http *h)
{
    return loop_of == h;
}

/* The tls thread. */
static void on_settled(void *opaque)
{
    http_wake(opaque);
}

static void reload(struct http *h)
{
    struct http_policy *policy;
    struct error err;

    read_limits(h);
    if (http_policy_new(h->settings, &policy, &err) < 0) {
        log_failure(LOG_LEVEL_ERROR, &err, "the allowed hosts and origins stay as they were");
        return;
    }
    http_policy_free(h->policy);
    h->policy = policy;
    if (h->side->reload)
        h->side->reload(h);
}

static void quiesce(struct http *h)
{
    http_listen_close(h);
    for (struct conn *c = h->conns; c; c = c->next) {
        if (c->exchange)
            stream_end(c->exchange);
    }
    h->side->quiesce(h);
    atomic_store(&h->quiesced, true);
}

static void obey(struct http *h)
{
    uint64_t count;

    if (read(h->wake_fd, &count, sizeof(count)) < 0)
        return;
    conn_greet(h);
    if (atomic_exchange(&h->reload, false))
        reload(h);
    if (atomic_load(&h->quiescing) && !atomic_load(&h->quiesced))
        quiesce(h);
}

static void turn(struct http *h, int max_ms)
{
    int64_t wait = h->next_deadline_ms - h->now_ms;

    if (wait > max_ms)
        wait = max_ms;
    if (h->accept_paused_until_ms && wait > 50)
        wait = 50;
    if (h->again)
        wait = 0;
    h->again = false;
    h->progress = false;
    MHD_run_wait(h->mhd, wait < 0 ? 0 : (int)wait);
    h->now_ms = clock_monotonic_ms();
    /* What woke the loop is not told; under load, asking every time would cost a call per turn. */
    if (!h->progress || h->now_ms - h->last_tick >= ACCEPT_EVERY_MS) {
        obey(h);
        http_accept(h);
        conn_hangups(h);
        atomic_store_explicit(&h->last_tick, h->now_ms, memory_order_relaxed);
    }
    if (h->side->turn)
        h->side->turn(h);
    conn_reap(h);
    request_log_flush(h);
}

/* Answers that were ready get a moment to leave. */
static void flush(struct http *h)
{
    int64_t until = clock_monotonic_ms() + FLUSH_MS;

    while (atomic_load(&h->count.in_flight) && clock_monotonic_ms() < until)
        turn(h, 5);
}

static void *loop(void *arg)
{
    struct http *h = arg;
    int64_t until;

    loop_of = h;
    if (h->tls)
        tls_sockets_begin();
    while (!atomic_load(&h->stopping))
        turn(h, TICK_MS);
    until = clock_monotonic_ms() + STOP_MS;
    while (atomic_load(&h->count.suspended) && clock_monotonic_ms() < until)
        turn(h, 20);
    if (atomic_load(&h->count.suspended)) {
        /* libmicrohttpd aborts when it is stopped with suspended connections. */
        log_error("%llu requests did not come back in time; leaving them",
                  (unsigned long long)atomic_load(&h->count.suspended));
        h->abandoned = true;
        return NULL;
    }
    flush(h);
    MHD_stop_daemon(h->mhd);
    request_log_flush(h);
    h->mhd = NULL;
    tls_sockets_end();
    return NULL;
}

static int start_library(struct http *h, struct error *err)
{
    const union MHD_DaemonInfo *info;
    struct epoll_event ev = {.events = EPOLLIN};

    h->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, exchange_access, h, MHD_OPTION_EXTERNAL_LOGGER, library_log, NULL,
        MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_URI_LOG_CALLBACK, exchange_begin,
        h, MHD_OPTION_NOTIFY_COMPLETED, exchange_completed, h, MHD_OPTION_NOTIFY_CONNECTION,
        conn_notify, h, MHD_OPTION_CONNECTION_LIMIT, 131072U, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)MEMORY_LIMIT, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!h->mhd)
        return error_errno(err, errno, "libmicrohttpd did not start");
    info = MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || info->epoll_fd < 0)
        return error_set(err, ERROR_INTERNAL, "libmicrohttpd has no epoll descriptor.");
    h->epoll_fd = info->epoll_fd;
    if (epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, h->wake_fd, &ev) < 0 ||
        epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, h->hangup_fd, &ev) < 0)
        return error_errno(err, errno, "cannot watch the wake-up descriptor");
    /* Later versions refuse bare LF and folded lines by themselves. */
    h->strict_layout = str_starts(MHD_get_version(), "0.9.7");
    return 0;
}

static void http_free(struct http *h)
{
    struct exchange *x;

    if (!h)
        return;
    http_listen_close(h);
    h->side->stop(h);
    if (h->mhd)
        MHD_stop_daemon(h->mhd);
    tls_stop(h->tls);
    while ((x = h->spare)) {
        h->spare = x->next;
        free(x);
    }
    if (h->wake_fd >= 0)
        close(h->wake_fd);
    if (h->hangup_fd >= 0)
        close(h->hangup_fd);
    http_policy_free(h->policy);
    free(h);
}

DEFINE_CLEANUP(http, struct http *, http_free);

static struct http *http_new(const struct http_side *side, const struct http_options *o)
{
    struct http *h = xcalloc(1, sizeof(*h));
    char random[SECRET_RANDOM_TEXT];

    h->side = side;
    h->settings = o->settings;
    h->core = o->core;
    h->core_link = o->core_link;
    h->held = o->held;
    h->ws = o->ws;
    h->next_deadline_ms = INT64_MAX;
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    h->hangup_fd = epoll_create1(EPOLL_CLOEXEC);
    secret_random_text(random);
    snprintf(h->id_prefix, sizeof(h->id_prefix), "%.10s", random);
    h->now_ms = clock_monotonic_ms();
    h->last_tick = h->now_ms;
    read_limits(h);
    return h;
}

int http_start_as(const struct http_side *side, const struct http_options *options, struct http **ret,
                  struct error *err)
{
    auto_scope(cleanup_http) struct http *h = http_new(side, options);

    if (h->wake_fd < 0 || h->hangup_fd < 0)
        return error_errno(err, errno, "cannot make an event descriptor");
    if (http_policy_new(h->settings, &h->policy, err) < 0 || start_library(h, err) < 0 ||
        http_listen_open(h, options, err) < 0 || h->side->start(h, options, err) < 0 ||
        (!h->front && tls_start(h->settings, on_settled, h, &h->tls, err) < 0))
        return -1;
    if (!h->held)
        http_listen_watch(h, true);
    if (thread_start(&h->thread, "http", loop, h, err) < 0)
        return -1;
    h->thread_started = true;
    *ret = TAKE_PTR(h);
    return 0;
}

void http_let_in(struct http *h)
{
    atomic_store(&h->held, false);
    http_wake(h);
}

const char *http_address(const struct http *h)
{
    return h->address;
}

long long http_last_tick(const struct http *h)
{
    return atomic_load_explicit(&h->last_tick, memory_order_relaxed);
}

void http_reload(struct http *h)
{
    struct error err;

    if (h->tls && tls_reload(h->tls, &err))
        log_failure(LOG_LEVEL_ERROR, &err, "the certificate stays as it was");
    atomic_store(&h->reload, true);
    http_wake(h);
}

void http_quiesce(struct http *h)
{
    int64_t until = clock_monotonic_ms() + QUIESCE_MS;

    atomic_store(&h->quiescing, true);
    http_wake(h);
    while (!(atomic_load(&h->quiesced) && h->side->is_idle(h))) {
        if (clock_monotonic_ms() > until) {
            log_warning("requests are still being served; going on without them");
            return;
        }
        usleep(1000);
    }
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    if (!atomic_load(&h->quiesced))
        http_quiesce(h);
    if (h->side->end)
        h->side->end(h);
    atomic_store(&h->stopping, true);
    http_wake(h);
    pthread_join(h->thread, NULL);
    if (!h->abandoned)
        http_free(h);
}
