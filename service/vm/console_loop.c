/*
 * The console thread: one epoll loop that reads every guest's output into its ring and hands over
 * typed bytes the guest did not take at once. It alone closes upstream descriptors.
 */
#include "service/vm/console_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/cleanup.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define NS_PER_MS  INT64_C(1000000)
#define EVENTS_MAX 64
#define LAST_READS 16 /* at the end of the drain time: what a socket buffer can still hold */

void loop_wake(struct console_hub *hub)
{
    (void)fd_wake(hub->wake);
}

static void set_deadline(struct upstream *up, int64_t wait_ns)
{
    struct console_hub *hub = up->stream->hub;

    up->deadline_ns = clock_monotonic_ns() + wait_ns;
    if (!up->timed)
        TAILQ_INSERT_TAIL(&hub->timed, up, timed_link);
    up->timed = true;
}

static void upstream_free(struct upstream *up)
{
    struct console_hub *hub = up->stream->hub;

    if (up->timed)
        TAILQ_REMOVE(&hub->timed, up, timed_link);
    {
        /* Posted as ending and then as dead: nobody posts a dead one again. */
        LOCK_SCOPE(&hub->inbox_lock);
        if (up->queued)
            STAILQ_REMOVE(&hub->inbox, up, upstream, inbox_link);
    }
    close(up->fd);
    stream_unref(up->stream);
    free(up);
}

static void take_output(struct upstream *up, size_t len)
{
    struct stream *s = up->stream;
    struct console_hub *hub = s->hub;
    unsigned marks;
    bool first, gathers;

    lock_scope_enter(&s->lock);
    if (up->state == UPSTREAM_DEAD) { /* replaced or ended while we read */
        pthread_mutex_unlock(&s->lock);
        return;
    }
    ring_append(&s->ring, hub->scratch, len);
    first = !s->has_output;
    s->has_output = true;
    marks = console_scan_feed(&s->scan, hub->scratch, len);
    pace_read_locked(s, len);
    gathers = pace_gather_locked(s, len);
    log_note_locked(s);
    stream_wake_idle_locked(s);
    stream_unlock_and_notify(s);
    if (gathers)
        set_deadline(up, CONSOLE_GATHER_NS);
    count(&hub->kinds[s->kind].bytes_out, len);
    if (first && hub->options.on_first_output)
        hub->options.on_first_output(hub->options.opaque, s->vm_id, s->name);
    if (marks && hub->options.on_marks)
        hub->options.on_marks(hub->options.opaque, s->vm_id, s->name, marks);
}

static void take_end(struct upstream *up)
{
    struct stream *s = up->stream;
    struct console_hub *hub = s->hub;
    bool expected;

    lock_scope_enter(&s->lock);
    if (up->state == UPSTREAM_DEAD) {
        pthread_mutex_unlock(&s->lock);
        return;
    }
    expected = up->state == UPSTREAM_ENDING;
    upstream_detach_locked(s);
    if (expected)
        stream_finish_locked(s);
    stream_unlock_and_notify(s);
    if (!expected && hub->options.on_ended)
        hub->options.on_ended(hub->options.opaque, s->vm_id, s->name);
}

/* One read of at most max bytes; false when there is nothing more for now. */
static bool read_once(struct upstream *up, size_t max)
{
    ssize_t n = read(up->fd, up->stream->hub->scratch, max);

    if (n > 0) {
        take_output(up, (size_t)n);
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    take_end(up);
    return false;
}

void upstream_ready(struct watch *w, uint32_t events)
{
    struct upstream *up = (struct upstream *)w;
    struct stream *s = up->stream;
    int64_t wait_ms;
    size_t room = 0;

    lock_scope_enter(&s->lock);
    if (up->state != UPSTREAM_DEAD) {
        int64_t now = clock_monotonic_ms();

        if (events & EPOLLOUT)
            stream_flush_input_locked(s);
        room = pace_room_locked(s, now, &wait_ms);
        if (!room) {
            up->paused = true;
            upstream_watch_locked(up, false);
            if (up->state == UPSTREAM_LIVE)
                set_deadline(up, wait_ms * NS_PER_MS);
        }
    }
    stream_unlock_and_notify(s);
    if (room && events & ~(uint32_t)EPOLLOUT)
        read_once(up, room);
}

static void drain_inbox(struct console_hub *hub)
{
    for (;;) {
        struct upstream *up;
        int state;

        {
            LOCK_SCOPE(&hub->inbox_lock);
            up = STAILQ_FIRST(&hub->inbox);
            if (!up)
                return;
            STAILQ_REMOVE_HEAD(&hub->inbox, inbox_link);
            up->queued = false;
        }
        {
            LOCK_SCOPE(&up->stream->lock);
            state = up->state;
            if (state == UPSTREAM_ENDING)
                pace_gathered_locked(up); /* its end is to be seen when it comes */
        }
        if (state == UPSTREAM_DEAD)
            upstream_free(up);
        else if (state == UPSTREAM_ENDING)
            set_deadline(up, CONSOLE_DRAIN_MS * NS_PER_MS);
    }
}

static void reap_pipes(struct console_hub *hub)
{
    for (;;) {
        struct pipe *p;

        {
            LOCK_SCOPE(&hub->inbox_lock);
            p = pipe_next_dead_locked(hub);
        }
        if (!p)
            return;
        pipe_reap(p);
    }
}

/* The pause or the drain of an upstream is over. */
static void run_deadline(struct upstream *up)
{
    struct stream *s = up->stream;
    bool ending;

    {
        LOCK_SCOPE(&s->lock);
        if (up->state == UPSTREAM_DEAD)
            return;
        ending = up->state == UPSTREAM_ENDING;
        if (up->paused && !up->over_rate && !up->gathering)
            pace_give_up_locked(s, clock_monotonic_ms());
        up->paused = up->over_rate = up->gathering = false;
        upstream_watch_locked(up, s->input_len > 0);
        if (up->state == UPSTREAM_LIVE && !up->events) /* no memory for it; see there */
            set_deadline(up, CONSOLE_PATIENCE_MS * NS_PER_MS);
    }
    if (!ending)
        return;
    for (int i = 0; i < LAST_READS && read_once(up, CONSOLE_CHUNK); i++)
        ;
    take_end(up);
}

/* Until the next deadline, in nanoseconds; -1: there is none. */
static int64_t run_timed(struct console_hub *hub)
{
    int64_t now, next = INT64_MAX;
    struct upstream *up, *following;

    if (TAILQ_EMPTY(&hub->timed))
        return -1;
    now = clock_monotonic_ns();
    for (up = TAILQ_FIRST(&hub->timed); up; up = following) {
        following = TAILQ_NEXT(up, timed_link);
        if (up->deadline_ns <= now) {
            TAILQ_REMOVE(&hub->timed, up, timed_link);
            up->timed = false;
            run_deadline(up);
        }
        if (up->timed && up->deadline_ns < next)
            next = up->deadline_ns;
    }
    return next == INT64_MAX ? -1 : next - now;
}

/* epoll_wait() knows whole milliseconds only. */
static int wait_for_events(struct console_hub *hub, struct epoll_event *events, int64_t wait_ns)
{
    struct pollfd p = {.fd = hub->epoll, .events = POLLIN};
    struct timespec ts = {.tv_nsec = wait_ns};

    if (wait_ns < 0 || wait_ns >= NS_PER_MS)
        return epoll_wait(hub->epoll, events, EVENTS_MAX, wait_ns < 0 ? -1 : (int)(wait_ns / NS_PER_MS));
    (void)ppoll(&p, 1, &ts, NULL);
    return epoll_wait(hub->epoll, events, EVENTS_MAX, 0);
}

void *console_loop(void *opaque)
{
    struct console_hub *hub = opaque;
    int64_t wait_ns = -1;

    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int n = wait_for_events(hub, events, wait_ns);
        bool stop;

        for (int i = 0; i < n; i++) {
            uint64_t count;

            struct watch *w = events[i].data.ptr;

            if (w)
                w->ready(w, events[i].events);
            else if (read(hub->wake, &count, sizeof(count)) < 0)
                continue; /* somebody else's wake-up was read with the one before */
        }
        /* After the events: they may still point to an upstream that is freed here. */
        drain_inbox(hub);
        reap_pipes(hub);
        wait_ns = run_timed(hub);
        {
            LOCK_SCOPE(&hub->inbox_lock);
            stop = hub->stop && STAILQ_EMPTY(&hub->inbox) && STAILQ_EMPTY(&hub->dead_pipes);
            hub->stopped = stop; /* pipes that are closed from now on free themselves */
        }
        if (stop)
            return NULL;
    }
}
