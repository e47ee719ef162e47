/*
 * What a viewer sends: bytes for the guest, control frames for us. What the guest does not take at
 * once waits in the stream's one input buffer; when that is full, the client is not read.
 */
#include <string.h>

#include "service/base/str.h"
#include "service/vm/console_internal.h"

/* Typed bytes, as many as fit. */
static ssize_t type_locked(struct viewer *v, const char *data, size_t len)
{
    struct stream *s = v->stream;
    size_t room = CONSOLE_CHUNK - s->input_len;
    size_t tail = (s->input_head + s->input_len) % CONSOLE_CHUNK;
    size_t head;

    /* Nobody feeds the stream (libvirt is away): what is typed now must not run later. */
    if (!s->up || s->up->state != UPSTREAM_LIVE || !room) {
        v->wants_room = true;
        return 0;
    }
    if (!s->input)
        s->input = xcalloc(1, CONSOLE_CHUNK);
    if (len > room)
        len = room;
    head = len < CONSOLE_CHUNK - tail ? len : CONSOLE_CHUNK - tail;
    memcpy(s->input + tail, data, head);
    memcpy(s->input, data + head, len - head);
    s->input_len += len;
    count(&s->hub->kinds[s->kind].bytes_in, len);
    s->up->typed = true;
    pace_gathered_locked(s->up);
    /* At once, in this thread: a key press should not wait for another one to be scheduled. */
    stream_flush_input_locked(s);
    return (ssize_t)len;
}

static void reply_locked(struct viewer *v, const char *frame, size_t len)
{
    v->reply_len = len;
    v->reply = xcalloc(1, len);
    memcpy(v->reply, frame, len);
    stream_wake_locked(v);
}

/* One control frame; 0 while the answer to the one before is still unread. */
static ssize_t obey_locked(struct viewer *v, const void *data, size_t len)
{
    char answer[CONSOLE_V1_TEXT_MAX];
    struct console_v1_frame frame;
    size_t n;

    if (v->reply) {
        v->wants_room = true;
        return 0;
    }
    console_v1_parse(data, len, &frame);
    n = control_obey_locked(v, &frame, answer, sizeof(answer));
    if (n)
        reply_locked(v, answer, n);
    return (ssize_t)len;
}

/* Typed bytes that must not reach the guest; said once until the client has read it. */
static ssize_t refuse_locked(struct viewer *v, const char *code, const char *detail, size_t len)
{
    char frame[CONSOLE_V1_TEXT_MAX];

    if (v->protocol == CONSOLE_V1 && !v->reply)
        reply_locked(v, frame, console_v1_error(frame, sizeof(frame), code, detail));
    return (ssize_t)len;
}

static ssize_t write_locked(struct viewer *v, enum source_kind kind, const void *data, size_t len)
{
    if (v->end == VIEWER_ENDS)
        return viewer_ended_locked(v);
    if (v->end == VIEWER_DRAINS) /* the guest is gone; reading goes on to its last byte */
        return (ssize_t)len;
    if (v->protocol == CONSOLE_V1 && kind == SOURCE_TEXT)
        return obey_locked(v, data, len);
    if (!control_may_type_locked(v))
        return refuse_locked(v, "not-holder",
                             "another viewer holds this console; request-control or take-control",
                             len);
    return type_locked(v, data, len);
}

/* The write function of a viewer that may only watch: there is no way from here to the guest. */
ssize_t viewer_write_watcher(struct source *source, enum source_kind kind, const void *data,
                             size_t len)
{
    struct viewer *v = viewer_from(source);
    ssize_t n = (ssize_t)len;

    lock_scope_enter(&v->stream->lock);
    if (v->end == VIEWER_ENDS)
        n = viewer_ended_locked(v);
    else if (kind == SOURCE_TEXT && len)
        n = obey_locked(v, data, len);
    else if (len)
        n = refuse_locked(v, "view-only", "this viewer was let in to watch only", len);
    stream_unlock_and_notify(v->stream);
    return n;
}

ssize_t viewer_write(struct source *source, enum source_kind kind, const void *data,
                            size_t len)
{
    struct viewer *v = viewer_from(source);
    ssize_t n;

    lock_scope_enter(&v->stream->lock);
    n = len ? write_locked(v, kind, data, len) : 0;
    stream_unlock_and_notify(v->stream);
    return n;
}
