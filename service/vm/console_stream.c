/*
 * One byte stream of one VM: its ring, what was typed and not taken yet, and who is owed a notify.
 * Does not read from the guest; that is console_loop.c.
 */
#include "service/vm/console_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/base/thread.h"

int stream_new(struct console_hub *hub, const char *vm_id, const char *name, struct stream **ret,
               struct error *err)
{
    struct stream *s = xcalloc(1, sizeof(*s));

    if (ring_init(&s->ring, hub->options.ring_bytes, err)) {
        free(s);
        return -1;
    }
    atomic_init(&s->refs, 1);
    atomic_fetch_add(&hub->refs, 1);
    s->hub = hub;
    s->vm_id = xstrdup(vm_id);
    s->name = xstrdup(name);
    s->kind = console_kind_of(name);
    mutex_init(&s->lock);
    mutex_init(&s->file_lock);
    cond_init(&s->quiet);
    TAILQ_INIT(&s->viewers);
    TAILQ_INIT(&s->idle);
    TAILQ_INIT(&s->due);
    STAILQ_INIT(&s->notices);
    *ret = s;
    return 0;
}

struct stream *stream_ref(struct stream *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void stream_unref(struct stream *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    assert(!s->up && TAILQ_EMPTY(&s->viewers) && STAILQ_EMPTY(&s->notices));
    ring_done(&s->ring);
    console_file_done(&s->file);
    pthread_mutex_destroy(&s->file_lock);
    pthread_cond_destroy(&s->quiet);
    pthread_mutex_destroy(&s->lock);
    free(s->viewers_frame);
    free(s->input);
    free(s->vm_id);
    free(s->name);
    hub_unref(s->hub);
    free(s);
}

uint64_t stream_oldest_locked(const struct stream *s)
{
    return s->ring.start > s->boot_offset ? s->ring.start : s->boot_offset;
}

void stream_owe_locked(struct viewer *v)
{
    if (v->due)
        return;
    v->due = true;
    TAILQ_INSERT_TAIL(&v->stream->due, v, due_link);
}

void stream_wake_locked(struct viewer *v)
{
    if (!v->idle)
        return;
    v->idle = false;
    TAILQ_REMOVE(&v->stream->idle, v, idle_link);
    stream_owe_locked(v);
}

void stream_wake_idle_locked(struct stream *s)
{
    struct viewer *v;

    while ((v = TAILQ_FIRST(&s->idle)))
        stream_wake_locked(v);
}

void stream_notice_locked(struct stream *s, enum console_what what, const struct viewer *v,
                          const char *how)
{
    struct notice *n;

    if (!s->hub->options.on_notice)
        return;
    n = xcalloc(1, sizeof(*n));
    n->viewer = xstrdup(v ? v->who : "");
    n->name = xstrdup(v ? v->name : "");
    n->body = (struct console_notice){
        .what = what,
        .vm_id = s->vm_id,
        .stream = s->name,
        .viewer = n->viewer,
        .name = n->name,
        .viewer_id = v ? v->id : 0,
        .mode = v ? v->mode : CONSOLE_VIEW,
        .protocol = v ? v->protocol : CONSOLE_RAW,
        .how = how,
    };
    STAILQ_INSERT_TAIL(&s->notices, n, link);
}

/* One thread at a time, so that they are told in the order in which they happened. */
static void tell_notices_locked(struct stream *s)
{
    struct notice *n;

    if (s->noticing)
        return;
    s->noticing = true;
    while ((n = STAILQ_FIRST(&s->notices))) {
        STAILQ_REMOVE_HEAD(&s->notices, link);
        pthread_mutex_unlock(&s->lock);
        s->hub->options.on_notice(s->hub->options.opaque, &n->body);
        free(n->viewer);
        free(n->name);
        free(n);
        lock_scope_enter(&s->lock);
    }
    s->noticing = false;
}

void stream_unlock_and_notify(struct stream *s)
{
    struct viewer *v;

    while ((v = TAILQ_FIRST(&s->due))) {
        void (*notify)(void *) = v->notify;
        void *opaque = v->opaque;

        TAILQ_REMOVE(&s->due, v, due_link);
        v->due = false;
        if (!notify)
            continue;
        v->notifying++; /* keeps v: its close waits for us */
        pthread_mutex_unlock(&s->lock);
        notify(opaque);
        lock_scope_enter(&s->lock);
        if (--v->notifying == 0)
            pthread_cond_broadcast(&s->quiet);
    }
    if (!STAILQ_EMPTY(&s->notices))
        tell_notices_locked(s);
    pthread_mutex_unlock(&s->lock);
}

static ssize_t write_some(const struct upstream *up, struct iovec *iov, int count)
{
    const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};

    /* A guest that is gone must not raise SIGPIPE, whoever runs us. */
    return up->is_socket ? sendmsg(up->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT)
                         : writev(up->fd, iov, count);
}

static void room_made_locked(struct stream *s)
{
    struct viewer *v;

    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->wants_room) {
            v->wants_room = false;
            stream_owe_locked(v);
        }
    }
}

void stream_flush_input_locked(struct stream *s)
{
    struct upstream *up = s->up;

    if (!up || up->state != UPSTREAM_LIVE)
        return;
    while (s->input_len) {
        size_t head = CONSOLE_CHUNK - s->input_head;
        struct iovec iov[2] = {
            {s->input + s->input_head, s->input_len < head ? s->input_len : head},
            {s->input, s->input_len < head ? 0 : s->input_len - head},
        };
        ssize_t n = write_some(up, iov, iov[1].iov_len ? 2 : 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) /* nobody will ever take it; the reading side finds out why */
            n = (ssize_t)s->input_len;
        s->input_head = (s->input_head + (size_t)n) % CONSOLE_CHUNK;
        s->input_len -= (size_t)n;
    }
    upstream_watch_locked(up, s->input_len > 0);
    if (s->input_len < CONSOLE_CHUNK / 2)
        room_made_locked(s);
}

void stream_finish_locked(struct stream *s)
{
    struct viewer *v;

    s->ended = true;
    s->input_len = 0;
    s->state_changed = true;
    log_note_locked(s);
    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->end != VIEWER_STAYS)
            continue;
        v->end = VIEWER_DRAINS;
        v->end_offset = s->ring.next;
        v->end_code = 1000;
        v->end_reason = "the VM stopped";
    }
    stream_wake_idle_locked(s);
    room_made_locked(s);
}

void stream_end_viewers_locked(struct stream *s, const char *right, int code, const char *reason)
{
    struct viewer *v;

    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->end == VIEWER_ENDS || (right && !str_has_word(v->rights, right)))
            continue;
        /* A recording has all that was printed, however fast its VM is deleted; a disk may be slow. */
        if (v->recorder && !right && v->end == VIEWER_STAYS)
            v->end_offset = s->ring.next;
        v->end = v->recorder && !right ? VIEWER_DRAINS : VIEWER_ENDS;
        v->end_code = code;
        v->end_reason = reason;
        stream_wake_locked(v);
        if (v->wants_room) {
            v->wants_room = false;
            stream_owe_locked(v);
        }
    }
    pace_moved_locked(s);
}

void stream_viewers_changed_locked(struct stream *s)
{
    struct viewer *v;

    free(TAKE_PTR(s->viewers_frame));
    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->protocol != CONSOLE_V1 || !v->hello_sent)
            continue;
        v->viewers_changed = true;
        stream_wake_locked(v);
    }
}
