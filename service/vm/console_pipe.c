/*
 * Streams that pass through: a display, a vsock connection. No ring: the carrier's thread reads and
 * writes the socket itself; the console thread only waits for it to become ready, once each time it
 * was not (EPOLLONESHOT), so an idle pipe costs nothing and a busy one no change of thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "service/base/cleanup.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/vm/console_internal.h"
#include "service/vm/console_rfb.h"

#define PIPE_MAGIC  0x50495045u
#define FILTER_STEP 4096

struct pipe {
    struct source source; /* first */
    uint32_t magic;
    struct watch watch;
    struct console_hub *hub; /* a reference */
    char *vm_id, *stream, *who, *name;
    enum console_kind kind;
    enum console_mode mode;
    enum console_protocol protocol;
    uint64_t id;
    LIST_ENTRY(pipe) link; /* hub->lock */
    STAILQ_ENTRY(pipe) dead_link;
    pthread_mutex_t lock;
    pthread_cond_t quiet; /* the last call of notify returned */
    /* lock: */
    int fd;
    uint32_t armed; /* what the console thread waits for */
    void (*notify)(void *opaque);
    void *opaque;
    unsigned notifying;
    bool draining, ended; /* what has arrived is still read; nothing is */
    int end_code;
    const char *end_reason;
    bool guest_done, client_done; /* the end of file of each direction */
    /* drover.console.v1 */
    bool hello_sent, eof_sent;
    size_t reply_len;
    char reply[256];
    /* CONSOLE_VIEW of a display: the client's bytes that passed and were not taken yet */
    struct rfb_filter filter;
    size_t passed_at, passed_len;
    unsigned char *passed;
};

static struct pipe *pipe_from(struct source *source)
{
    struct pipe *p = (struct pipe *)source;

    if (p->magic != PIPE_MAGIC)
        abort();
    return p;
}

static ssize_t ended_locked(struct pipe *p)
{
    p->source.close_code = p->end_code;
    str_copy_utf8(p->source.close_reason, sizeof(p->source.close_reason), p->end_reason);
    return -1;
}

static ssize_t end_locked(struct pipe *p, int code, const char *reason)
{
    p->ended = true;
    p->end_code = code;
    p->end_reason = reason;
    return ended_locked(p);
}

/* ---- readiness ---- */

static void arm_locked(struct pipe *p, uint32_t events)
{
    struct epoll_event ev = {.events = (p->armed | events) | EPOLLONESHOT, .data.ptr = &p->watch};

    if ((p->armed & events) == events)
        return;
    p->armed |= events;
    (void)epoll_ctl(p->hub->epoll, EPOLL_CTL_MOD, p->fd, &ev);
}

/* Calls notify; the caller has counted itself in p->notifying, which keeps p. */
static void tell(struct pipe *p)
{
    void (*notify)(void *);
    void *opaque;

    {
        LOCK_SCOPE(&p->lock);
        notify = p->notify;
        opaque = p->opaque;
    }
    if (notify)
        notify(opaque);
    LOCK_SCOPE(&p->lock);
    if (--p->notifying == 0)
        pthread_cond_broadcast(&p->quiet);
}

/* On the console thread. p may be closed already, but it is not freed before this batch is done. */
static void pipe_ready(struct watch *w, uint32_t events)
{
    struct pipe *p = (struct pipe *)(void *)((char *)w - offsetof(struct pipe, watch));

    {
        LOCK_SCOPE(&p->lock);
        p->armed = 0;
        if (p->fd < 0)
            return;
        p->notifying++;
    }
    tell(p);
}

/* ---- to the guest: the socket ---- */

/* How many bytes were taken; 0: none for now. Who is gone takes everything. */
static size_t send_locked(struct pipe *p, const void *data, size_t len)
{
    ssize_t n;

    do
        n = send(p->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        arm_locked(p, EPOLLOUT);
        return 0;
    }
    if (n < 0) /* the reading side finds out why */
        return len;
    count(&p->hub->kinds[p->kind].bytes_in, (uint64_t)n);
    return (size_t)n;
}

/* What passed the filter before; false: some of it still waits. */
static bool send_passed_locked(struct pipe *p)
{
    while (p->passed_at < p->passed_len) {
        size_t n = send_locked(p, p->passed + p->passed_at, p->passed_len - p->passed_at);

        if (!n)
            return false;
        p->passed_at += n;
    }
    return true;
}

/* ---- from the guest ---- */

static ssize_t guest_end_locked(struct pipe *p, int error, void *buf, size_t max,
                                enum source_kind *ret_kind)
{
    p->guest_done = true;
    if (p->draining)
        return end_locked(p, p->end_code, p->end_reason);
    if (p->protocol == CONSOLE_RAW || error || p->client_done)
        return end_locked(p, 1000, error ? "the connection to the guest broke"
                                         : "the guest closed the connection");
    p->eof_sent = true;
    *ret_kind = SOURCE_TEXT;
    return (ssize_t)console_v1_eof(buf, max);
}

static ssize_t frame_locked(struct pipe *p, void *buf, size_t max, enum source_kind *ret_kind)
{
    size_t n = p->reply_len;

    *ret_kind = SOURCE_TEXT;
    if (!p->hello_sent) {
        p->hello_sent = true;
        return (ssize_t)console_v1_pipe_hello(buf, max, p->id, p->mode);
    }
    memcpy(buf, p->reply, n);
    p->reply_len = 0;
    return (ssize_t)n;
}

static ssize_t read_locked(struct pipe *p, void *buf, size_t max, enum source_kind *ret_kind)
{
    ssize_t n;

    if (p->ended)
        return ended_locked(p);
    if (p->protocol == CONSOLE_V1 && (!p->hello_sent || p->reply_len))
        return frame_locked(p, buf, max, ret_kind);
    *ret_kind = SOURCE_BYTES;
    (void)send_passed_locked(p); /* perhaps that is what we were told for */
    if (p->guest_done)
        return p->client_done || p->draining ? guest_end_locked(p, 0, buf, max, ret_kind) : 0;
    do
        n = recv(p->fd, buf, max, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        count(&p->hub->kinds[p->kind].bytes_out, (uint64_t)n);
        return n;
    }
    if (n < 0 && errno == EAGAIN) {
        if (p->draining)
            return end_locked(p, p->end_code, p->end_reason);
        arm_locked(p, EPOLLIN);
        return 0;
    }
    return guest_end_locked(p, n < 0 ? errno : 0, buf, max, ret_kind);
}

static ssize_t pipe_read(struct source *source, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct pipe *p = pipe_from(source);

    LOCK_SCOPE(&p->lock);
    return read_locked(p, buf, max, ret_kind);
}

/* ---- to the guest: the client's bytes and frames ---- */

static ssize_t filtered_locked(struct pipe *p, const char *data, size_t len)
{
    size_t taken = 0;

    if (!p->passed)
        p->passed = xcalloc(1, FILTER_STEP + RFB_FILTER_EXTRA);
    while (send_passed_locked(p) && taken < len) {
        size_t step = len - taken < FILTER_STEP ? len - taken : FILTER_STEP;

        if (!rfb_filter(&p->filter, data + taken, step, p->passed, &p->passed_len))
            return end_locked(p, 1008, "this display cannot be watched only: its client speaks "
                                       "something else than plain RFB");
        p->passed_at = 0;
        taken += step;
    }
    return (ssize_t)taken;
}

static ssize_t obey_locked(struct pipe *p, const void *data, size_t len)
{
    struct console_v1_frame frame;
    bool wake = false;

    if (p->reply_len)
        return 0;
    console_v1_parse(data, len, &frame);
    if (frame.type == CONSOLE_V1_EOF) {
        if (!p->client_done)
            (void)shutdown(p->fd, SHUT_WR);
        p->client_done = true;
        wake = p->guest_done;
    } else {
        if (frame.type < CONSOLE_V1_EOF)
            frame.type = CONSOLE_V1_UNKNOWN;
        p->reply_len = console_v1_refusal(p->reply, sizeof(p->reply), &frame);
        wake = true;
    }
    if (wake)
        p->notifying++; /* the caller tells */
    return (ssize_t)len;
}

static ssize_t write_locked(struct pipe *p, enum source_kind kind, const void *data, size_t len)
{
    if (p->ended)
        return ended_locked(p);
    if (p->draining)
        return (ssize_t)len;
    if (p->protocol == CONSOLE_V1 && kind == SOURCE_TEXT)
        return obey_locked(p, data, len);
    if (p->client_done)
        return (ssize_t)len;
    if (p->mode == CONSOLE_VIEW)
        return filtered_locked(p, data, len);
    return (ssize_t)send_locked(p, data, len);
}

static ssize_t pipe_write(struct source *source, enum source_kind kind, const void *data,
                          size_t len)
{
    struct pipe *p = pipe_from(source);
    unsigned before;
    bool owed;
    ssize_t n;

    if (!len)
        return 0;
    {
        LOCK_SCOPE(&p->lock);
        before = p->notifying;
        n = write_locked(p, kind, data, len);
        owed = p->notifying != before;
    }
    if (owed)
        tell(p);
    return n;
}

/* ---- life ---- */

static void pipe_set_notify(struct source *source, void (*notify)(void *opaque), void *opaque)
{
    struct pipe *p = pipe_from(source);

    LOCK_SCOPE(&p->lock);
    p->notify = notify;
    p->opaque = opaque;
}

static void notice(const struct pipe *p, enum console_what what)
{
    const struct console_options *options = &p->hub->options;
    const struct console_notice n = {
        .what = what,
        .vm_id = p->vm_id,
        .stream = p->stream,
        .viewer = p->who,
        .name = p->name,
        .viewer_id = p->id,
        .mode = p->mode,
        .protocol = p->protocol,
    };

    if (options->on_notice)
        options->on_notice(options->opaque, &n);
}

static void pipe_free(struct pipe *p)
{
    struct console_hub *hub = p->hub;

    p->magic = 0;
    pthread_cond_destroy(&p->quiet);
    pthread_mutex_destroy(&p->lock);
    free(p->vm_id);
    free(p->stream);
    free(p->who);
    free(p->name);
    free(p->passed);
    free(p);
    hub_unref(hub);
}

void pipe_reap(struct pipe *p)
{
    pipe_free(p);
}

struct pipe *pipe_next_dead_locked(struct console_hub *hub)
{
    struct pipe *p = STAILQ_FIRST(&hub->dead_pipes);

    if (p)
        STAILQ_REMOVE_HEAD(&hub->dead_pipes, dead_link);
    return p;
}

static void pipe_close(struct source *source)
{
    struct pipe *p = pipe_from(source);
    struct console_hub *hub = p->hub;
    bool stopped;

    {
        LOCK_SCOPE(&hub->lock);
        LIST_REMOVE(p, link);
    }
    {
        LOCK_SCOPE(&p->lock);
        p->notify = NULL;
        (void)epoll_ctl(hub->epoll, EPOLL_CTL_DEL, p->fd, NULL);
        close(p->fd);
        p->fd = -1;
        while (p->notifying)
            pthread_cond_wait(&p->quiet, &p->lock);
    }
    count(&hub->kinds[p->kind].viewers, -1ULL);
    notice(p, CONSOLE_DETACHED);
    {
        /* An event that was fetched already may point to p: the console thread frees it after it. */
        LOCK_SCOPE(&hub->inbox_lock);
        stopped = hub->stopped;
        if (!stopped)
            STAILQ_INSERT_TAIL(&hub->dead_pipes, p, dead_link);
        if (!stopped)
            loop_wake(hub);
    }
    if (stopped)
        pipe_free(p);
}

unsigned pipes_count_locked(struct console_hub *hub, const char *vm_id, const char *stream)
{
    const struct pipe *p;
    unsigned n = 0;

    LIST_FOREACH(p, &hub->pipes, link)
    {
        n += str_eq(p->vm_id, vm_id) && str_eq(p->stream, stream);
    }
    return n;
}

void pipes_end(struct console_hub *hub, const char *vm_id, const char *prefix, bool drain, int code,
               const char *reason)
{
    auto_free struct pipe **told = NULL;
    size_t n = 0, all = 0;
    struct pipe *p;

    {
        LOCK_SCOPE(&hub->lock);
        LIST_FOREACH(p, &hub->pipes, link)
        {
            all++;
        }
        told = xcalloc(all + 1, sizeof(struct pipe *));
        LIST_FOREACH(p, &hub->pipes, link)
        {
            if ((vm_id && !str_eq(p->vm_id, vm_id)) || (prefix && !str_starts(p->who, prefix)))
                continue;
            LOCK_SCOPE(&p->lock);
            if (p->ended)
                continue;
            p->end_code = code;
            p->end_reason = reason;
            p->draining = true;
            p->ended = !drain;
            p->notifying++; /* keeps it */
            told[n++] = p;
        }
    }
    for (size_t i = 0; i < n; i++)
        tell(told[i]);
}

static int check(struct console_hub *hub, const struct console_pipe *pipe, struct error *err)
{
    enum console_kind kind = console_kind_of(pipe->stream);

    if (pipe->mode == CONSOLE_VIEW && kind != CONSOLE_KIND_DISPLAY) {
        error_set_at(err, ERROR_INVALID_ARGUMENT, "mode", "%s has no view mode", pipe->stream);
        error_remedy(err, "Ask for mode control; the connection is for you alone.");
        return -1;
    }
    return fd_set_nonblock(pipe->fd, err);
}

static int enter(struct pipe *p, struct error *err)
{
    struct console_hub *hub = p->hub;
    struct epoll_event ev = {.events = EPOLLONESHOT, .data.ptr = &p->watch};
    unsigned max = atomic_load_explicit(&hub->viewers_max, memory_order_relaxed);

    LOCK_SCOPE(&hub->lock);
    if (hub->stopping)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    if (pipes_count_locked(hub, p->vm_id, p->stream) >= max) {
        error_set(err, ERROR_TOO_MANY_VIEWERS, "%u clients use this stream already", max);
        error_remedy(err, "close one of them, or raise the setting console_viewers");
        return -1;
    }
    if (epoll_ctl(hub->epoll, EPOLL_CTL_ADD, p->fd, &ev))
        return error_errno(err, errno, "cannot watch %s", p->stream);
    LIST_INSERT_HEAD(&hub->pipes, p, link);
    hub_seen_locked(hub, p->vm_id);
    return 0;
}

int console_pipe(struct console_hub *hub, const struct console_pipe *pipe, struct source **ret,
                 struct error *err)
{
    auto_close int owned = pipe->fd;
    char name[CONSOLE_V1_NAME_MAX];
    struct pipe *p;

    if (check(hub, pipe, err))
        return -1;
    p = xcalloc(1, sizeof(*p));
    p->source = (struct source){.read = pipe_read,
                                .write = pipe_write,
                                .set_notify = pipe_set_notify,
                                .close = pipe_close};
    p->magic = PIPE_MAGIC;
    p->watch.ready = pipe_ready;
    p->hub = hub_ref(hub);
    p->vm_id = xstrdup(pipe->vm_id);
    p->stream = xstrdup(pipe->stream);
    p->who = xstrdup(pipe->viewer ? pipe->viewer : "");
    str_copy_utf8(name, sizeof(name), pipe->name ? pipe->name : p->who);
    p->name = xstrdup(name);
    p->kind = console_kind_of(pipe->stream);
    p->mode = pipe->mode;
    p->protocol = pipe->protocol;
    p->id = 1 + atomic_fetch_add_explicit(&hub->last_id, 1, memory_order_relaxed);
    p->fd = pipe->fd;
    mutex_init(&p->lock);
    cond_init(&p->quiet);
    if (enter(p, err)) {
        pipe_free(p);
        return -1;
    }
    (void)TAKE_FD(owned);
    count(&hub->kinds[p->kind].viewers, 1);
    count(&hub->kinds[p->kind].connections, 1);
    notice(p, CONSOLE_ATTACHED);
    *ret = &p->source;
    return 0;
}
