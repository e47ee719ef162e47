/*
 * The guest's end of a stream, as any thread sees it: attached, watched, detached. Reading and
 * closing it is the console thread's; see console_loop.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/vm/console_internal.h"

void upstream_post(struct upstream *up)
{
    struct console_hub *hub = up->stream->hub;

    {
        LOCK_SCOPE(&hub->inbox_lock);
        if (!up->queued) {
            up->queued = true;
            STAILQ_INSERT_TAIL(&hub->inbox, up, inbox_link);
        }
    }
    loop_wake(hub);
}

void upstream_watch_locked(struct upstream *up, bool want_write)
{
    /*
     * A paused upstream is taken out of epoll altogether: a hang-up is reported even to those who
     * ask for nothing, and would keep the thread spinning.
     */
    uint32_t events = up->paused ? 0 : EPOLLIN | (want_write ? (uint32_t)EPOLLOUT : 0);
    struct epoll_event ev = {.events = events, .data.ptr = &up->watch};
    int op = !events ? EPOLL_CTL_DEL : up->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (events == up->events)
        return;
    /* Only memory can be short here (for an ADD); the thread tries again at the deadline. */
    if (epoll_ctl(up->stream->hub->epoll, op, up->fd, &ev) == 0)
        up->events = events;
}

int upstream_attach_locked(struct stream *s, int fd, struct error *err)
{
    struct upstream *up;
    socklen_t len = sizeof(int);
    int type;

    if (fd_set_nonblock(fd, err)) {
        close(fd);
        return -1;
    }
    up = xcalloc(1, sizeof(*up));
    up->watch.ready = upstream_ready;
    up->fd = fd;
    up->stream = stream_ref(s);
    up->is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
    upstream_watch_locked(up, s->input_len > 0);
    if (!up->events) {
        error_errno(err, errno, "cannot watch the console");
        close(fd);
        free(up);
        stream_unref(s); /* never the last one: the caller holds its own */
        return -1;
    }
    s->up = up;
    return 0;
}

void upstream_detach_locked(struct stream *s)
{
    struct upstream *up = TAKE_PTR(s->up);

    up->state = UPSTREAM_DEAD;
    if (up->events)
        epoll_ctl(s->hub->epoll, EPOLL_CTL_DEL, up->fd, NULL);
    up->events = 0;
    upstream_post(up);
}
