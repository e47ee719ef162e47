/*
 * In a front: the link to the core, what it says, and what the main thread is to do about it.
 */
#include "api/front_core.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "api/ws.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/conf/settings.h"

struct core_link *core_link_new(int fd, struct front_counts *counts)
{
    struct core_link *core = xcalloc(1, sizeof(*core));

    front_link_init(&core->link, fd);
    core->counts = counts;
    core->settings = settings_new();
    mutex_init(&core->lock);
    cond_init(&core->more);
    return core;
}

void core_link_free(struct core_link *core)
{
    struct errand *e, *next;

    HASH_ITER(hh, core->errands, e, next) {
        e->refs = 1;
        errand_unref(e);
    }
    front_link_done(&core->link);
    settings_free(core->settings);
    pthread_mutex_destroy(&core->lock);
    pthread_cond_destroy(&core->more);
    free(core);
}

static void order(struct core_link *core, unsigned orders)
{
    LOCK_SCOPE(&core->lock);

    core->orders |= orders;
    pthread_cond_signal(&core->more);
}

int core_link_wait(struct core_link *core)
{
    unsigned orders;
    LOCK_SCOPE(&core->lock);

    while (!core->orders)
        cond_wait_until(&core->more, &core->lock, clock_monotonic_ms() + 60000);
    orders = core->orders;
    core->orders = 0;
    return (int)orders;
}

/* ---- settings ---- */

static int read_settings(const char *data, size_t len, struct settings *into, struct error *err)
{
    struct wire_in in = {.at = data, .end = data + len};

    while (in.at < in.end && !in.bad) {
        const char *name = wire_take_text(&in), *value = wire_take_text(&in);

        if (!in.bad && settings_set(into, name, value, err) < 0)
            return -1;
    }
    return in.bad ? error_set(err, ERROR_INTERNAL, "The settings are cut off.") : 0;
}

struct first {
    struct settings *into;
    struct error *err;
    bool done;
};

static int on_first(void *opaque, const struct front_head *head, const char *data)
{
    struct first *f = opaque;

    if (head->type != FRONT_SETTINGS || f->done)
        return error_set(f->err, ERROR_INTERNAL, "The core did not begin with the settings.");
    f->done = true;
    return read_settings(data, head->len, f->into, f->err);
}

int core_link_settings(struct core_link *core, struct error *err)
{
    struct first first = {.into = core->settings, .err = err};

    error_set(err, ERROR_INTERNAL, "The core has gone.");
    while (!first.done) {
        struct pollfd p = {.fd = core->link.fd, .events = POLLIN};

        if (poll(&p, 1, -1) > 0 && front_read(&core->link, on_first, &first) < 0)
            return -1;
    }
    log_set_level_named(core->settings->log_level);
    return 0;
}

void core_link_failed(struct core_link *core, const struct error *err)
{
    struct wire_out w = {0};

    wire_text(&w, err->detail);
    wire_text(&w, err->pointer);
    wire_text(&w, err->remedy);
    wire_text(&w, err->cause);
    front_send(&core->link, FRONT_FAILED, 0, 0, w.data, w.len, true);
    free(w.data);
}

/* ---- serving ---- */

int core_link_serve(struct core_link *core, const int *listeners, int count, unsigned ping_seconds,
                    unsigned hangup_seconds, struct error *err)
{
    struct http_options options = {
        .settings = core->settings, .passed_fds = listeners, .passed_count = count, .held = true};
    struct http *started;

    if (ws_start_with(ping_seconds, hangup_seconds, &core->ws, err) < 0)
        return -1;
    options.ws = core->ws;
    options.core_link = core;
    return http_start_as(&front_side, &options, &started, err); /* which core->http is already */
}

void core_link_ready(struct core_link *core)
{
    front_send_u32(&core->link, FRONT_READY, 0, FRONT_VERSION, true);
    http_let_in(core->http);
}

static void on_settings(struct core_link *core, const struct front_head *head, const char *data)
{
    auto_settings struct settings *fresh = settings_new();
    struct error err;

    if (read_settings(data, head->len, fresh, &err) < 0) {
        log_failure(LOG_LEVEL_ERROR, &err, "the settings stay as they are");
        return;
    }
    settings_reload(core->settings, fresh);
    log_set_level_named(core->settings->log_level);
    order(core, ORDER_RELOAD);
}

static void refuse_all(struct core_link *core)
{
    struct errand *e, *next;

    HASH_ITER(hh, core->errands, e, next)
        errand_refuse(e);
}

static int on_stream(struct errand *e, const struct front_head *head, const char *data)
{
    struct wire_in in = {.at = data, .end = data + head->len};

    if (head->type == FRONT_DATA) {
        source_deliver(e, head->flags & 1 ? SOURCE_TEXT : SOURCE_BYTES, data, head->len);
    } else {
        int code = (int)wire_take_u32(&in);

        source_finish(e, code, wire_take_text(&in));
    }
    return in.bad ? -1 : 0;
}

static int on_errand(struct core_link *core, const struct front_head *head, const char *data)
{
    struct wire_in in = {.at = data, .end = data + head->len};
    struct errand *e;

    HASH_FIND(hh, core->errands, &head->id, sizeof(head->id), e);
    if (!e)
        return 0; /* its client left, and the core will hear of it */
    switch ((enum front_type)head->type) {
    case FRONT_GO:
        return errand_go(e, head->flags & FRONT_UPLOAD);
    case FRONT_ANSWER:
        return errand_answer(e, head, data);
    case FRONT_ROOM:
        errand_room(e, wire_take_u32(&in));
        return in.bad ? -1 : 0;
    case FRONT_DATA:
    case FRONT_END:
        return on_stream(e, head, data);
    default:
        return -1;
    }
}

static int on_frame(void *opaque, const struct front_head *head, const char *data)
{
    struct core_link *core = opaque;

    switch ((enum front_type)head->type) {
    case FRONT_SETTINGS:
        on_settings(core, head, data);
        return 0;
    case FRONT_QUIESCE:
        order(core, ORDER_QUIESCE);
        return 0;
    case FRONT_STOP:
        refuse_all(core);
        order(core, ORDER_STOP);
        return 0;
    default:
        return on_errand(core, head, data);
    }
}

/* Sources that were closed: nothing more goes to them. */
static void forget_closed(struct core_link *core)
{
    struct errand *e;

    {
        LOCK_SCOPE(&core->lock);
        e = TAKE_PTR(core->closed);
    }
    while (e) {
        struct errand *next = e->next;

        errand_unref(e);
        e = next;
    }
}

static void publish(struct core_link *core)
{
    struct front_counts *to = core->counts;
    struct counters *from = &core->http->count;
    struct ws_stats ws;

    to->tick_ms = (unsigned long long)core->http->now_ms;
    if (atomic_load(&core->http->quiescing)) /* afterwards the WebSocket side may be gone */
        return;
    ws_stats_read(core->ws, &ws);
    to->accepted = from->accepted;
    to->refused = from->refused;
    to->connections = from->connections;
    to->timed_out = from->timed_out;
    to->sockets = ws.connections;
    to->socket_bytes_in = ws.bytes_in;
    to->socket_bytes_out = ws.bytes_out;
}

static void watch(struct core_link *core)
{
    uint32_t want = EPOLLIN | (front_link_waits(&core->link) ? EPOLLOUT : 0u);
    struct epoll_event ev = {.events = want};

    if (core->watched == want)
        return;
    if (epoll_ctl(core->http->epoll_fd, core->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, core->link.fd, &ev) < 0)
        log_error("cannot watch the core: %s", strerror(errno));
    core->watched = want;
}

int core_link_pass(struct core_link *core)
{
    int n;

    forget_closed(core);
    n = front_read(&core->link, on_frame, core);
    if (n < 0)
        return -1;
    publish(core);
    front_flush(&core->link);
    watch(core);
    return n;
}

void core_link_turn(struct http *h)
{
    int n = core_link_pass(h->core_link);

    if (n < 0) /* nothing can be served any more: what is open ends with the process */
        _exit(0);
    h->progress |= n > 0;
}
