/*
 * A pipe's bytes, moved on the carrier's thread between its buffer and the socket.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/vm/console_pipe.h"

#define FILTER_STEP 4096

struct pipe *pipe_from(struct source *source)
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

static void arm_locked(struct pipe *p, uint32_t events)
{
    struct epoll_event ev = {.events = (p->armed | events) | EPOLLONESHOT, .data.ptr = &p->watch};

    if ((p->armed & events) == events)
        return;
    p->armed |= events;
    (void)epoll_ctl(p->hub->epoll, EPOLL_CTL_MOD, p->fd, &ev);
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

ssize_t pipe_read(struct source *source, void *buf, size_t max, enum source_kind *ret_kind)
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

ssize_t pipe_write(struct source *source, enum source_kind kind, const void *data, size_t len)
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
        pipe_tell(p);
    return n;
}
