/*
 * A viewer: the source one client's socket pulls from. Everything it does is a copy out of the
 * stream's ring or into its input buffer, so a viewer can only ever be late for itself.
 */
#include "service/vm/console_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/vm/console_v1.h"

#define VIEWER_MAGIC 0x56494557u

static struct viewer *viewer_from(struct source *source)
{
    struct viewer *v = (struct viewer *)source;

    if (v->magic != VIEWER_MAGIC)
        abort();
    return v;
}

static ssize_t ended_locked(struct viewer *v)
{
    v->source.close_code = v->end_code;
    str_copy_utf8(v->source.close_reason, sizeof(v->source.close_reason), v->end_reason);
    return -1;
}

/* The ring has overwritten what this viewer had not read. False: it is dropped. */
static bool overtaken_locked(struct viewer *v)
{
    struct stream *s = v->stream;

    if (v->protocol == CONSOLE_V1) {
        if (!v->has_gap)
            v->gap_from = v->offset;
        v->has_gap = true;
        v->offset = s->ring.start;
        return true;
    }
    if (!v->started) { /* it asked for what there is, and that has changed since */
        v->offset = s->ring.start;
        return true;
    }
    v->end = VIEWER_ENDS;
    v->end_code = 1013;
    v->end_reason = "too slow: output was lost; connect again with ?from=OFFSET";
    atomic_fetch_add_explicit(&s->hub->dropped_viewers, 1, memory_order_relaxed);
    return false;
}

/* The next text frame that is due, or 0. */
static size_t v1_frame_locked(struct viewer *v, char *buf, size_t max)
{
    struct stream *s = v->stream;

    if (!v->hello_sent) {
        v->hello_sent = true;
        v->viewers_changed = false;
        return console_v1_hello(buf, max, v->has_gap ? v->gap_from : v->offset,
                                stream_oldest_locked(s), s->viewer_count, v->mode);
    }
    if (v->reply) {
        size_t len = v->reply_len;

        assert(len <= max);
        memcpy(buf, v->reply, len);
        free(TAKE_PTR(v->reply));
        return len;
    }
    if (v->has_gap) {
        v->has_gap = false;
        atomic_fetch_add_explicit(&s->hub->gaps, 1, memory_order_relaxed);
        return console_v1_gap(buf, max, v->gap_from, v->offset);
    }
    if (v->viewers_changed) {
        v->viewers_changed = false;
        return console_v1_viewers(buf, max, s->viewer_count);
    }
    return 0;
}

static size_t copy_locked(struct viewer *v, void *buf, size_t max)
{
    struct stream *s = v->stream;
    uint64_t end = v->end == VIEWER_DRAINS ? v->end_offset : s->ring.next;
    uint64_t left = end - v->offset;
    size_t n;

    if (!left)
        return 0;
    n = ring_copy(&s->ring, v->offset, buf, left < max ? (size_t)left : max);
    v->offset += n;
    if (v->offset == s->ring.next)
        pace_caught_up_locked(v);
    return n;
}

static ssize_t read_locked(struct viewer *v, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct stream *s = v->stream;
    size_t n;

    if (v->end == VIEWER_ENDS)
        return ended_locked(v);
    if (v->end == VIEWER_DRAINS && s->ring.start > v->end_offset)
        v->offset = v->end_offset; /* the next boot has overwritten the rest of this one */
    else if (v->offset < s->ring.start && !overtaken_locked(v))
        return ended_locked(v);
    v->started = true;
    if (v->protocol == CONSOLE_V1 && (n = v1_frame_locked(v, buf, max))) {
        /* The next control frame may come now; the carrier reads already, but must be told to
         * write. */
        if (v->wants_room && !v->reply) {
            v->wants_room = false;
            stream_owe_locked(v);
        }
        *ret_kind = SOURCE_TEXT;
        return (ssize_t)n;
    }
    *ret_kind = SOURCE_BYTES;
    n = copy_locked(v, buf, max);
    if (!n && v->end == VIEWER_DRAINS)
        return ended_locked(v);
    return (ssize_t)n;
}

static ssize_t viewer_read(struct source *source, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct viewer *v = viewer_from(source);
    struct stream *s = v->stream;
    ssize_t n;

    lock_scope_enter(&s->lock);
    n = read_locked(v, buf, max, ret_kind);
    if (n == 0 && !v->idle) {
        v->idle = true;
        TAILQ_INSERT_TAIL(&s->idle, v, idle_link);
    }
    pace_moved_locked(s);
    stream_unlock_and_notify(s);
    return n;
}

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
    atomic_fetch_add_explicit(&s->hub->bytes_in, len, memory_order_relaxed);
    /* At once, in this thread: a key press should not wait for another one to be scheduled. */
    stream_flush_input_locked(s);
    return (ssize_t)len;
}

/* One control frame; 0 while the answer to the one before is still unread. */
static ssize_t control_locked(struct viewer *v, const void *data, size_t len)
{
    char type[64], detail[160], frame[CONSOLE_V1_TEXT_MAX];

    if (v->reply) {
        v->wants_room = true;
        return 0;
    }
    switch (console_v1_parse(data, len, type, sizeof(type))) {
    case CONSOLE_V1_MALFORMED:
        v->reply_len = console_v1_error(frame, sizeof(frame), "malformed-control",
                                        "a text frame is a JSON object with a string \"type\"; "
                                        "typed bytes go in binary frames");
        break;
    case CONSOLE_V1_TOO_LARGE:
        v->reply_len = console_v1_error(frame, sizeof(frame), "control-too-large",
                                        "a control frame has at most 4096 bytes");
        break;
    case CONSOLE_V1_UNKNOWN:
        snprintf(detail, sizeof(detail), "this server knows no control \"%s\"", type);
        v->reply_len = console_v1_error(frame, sizeof(frame), "unknown-control", detail);
        break;
    }
    v->reply = xcalloc(1, v->reply_len);
    memcpy(v->reply, frame, v->reply_len);
    stream_wake_locked(v);
    return (ssize_t)len;
}

static ssize_t write_locked(struct viewer *v, enum source_kind kind, const void *data, size_t len)
{
    if (v->end == VIEWER_ENDS)
        return ended_locked(v);
    if (v->end == VIEWER_DRAINS) /* the guest is gone; reading goes on to its last byte */
        return (ssize_t)len;
    if (v->protocol == CONSOLE_V1 && kind == SOURCE_TEXT)
        return control_locked(v, data, len);
    return type_locked(v, data, len);
}

static ssize_t viewer_write(struct source *source, enum source_kind kind, const void *data,
                            size_t len)
{
    struct viewer *v = viewer_from(source);
    ssize_t n;

    lock_scope_enter(&v->stream->lock);
    n = len ? write_locked(v, kind, data, len) : 0;
    stream_unlock_and_notify(v->stream);
    return n;
}

static void viewer_set_notify(struct source *source, void (*notify)(void *opaque), void *opaque)
{
    struct viewer *v = viewer_from(source);

    LOCK_SCOPE(&v->stream->lock);
    v->notify = notify;
    v->opaque = opaque;
}

static void viewer_free(struct viewer *v)
{
    v->magic = 0;
    free(v->reply);
    free(v->name);
    stream_unref(v->stream);
    free(v);
}

static void viewer_close(struct source *source)
{
    struct viewer *v = viewer_from(source);
    struct stream *s = v->stream;

    lock_scope_enter(&s->lock);
    TAILQ_REMOVE(&s->viewers, v, link);
    if (v->idle)
        TAILQ_REMOVE(&s->idle, v, idle_link);
    if (v->due)
        TAILQ_REMOVE(&s->due, v, due_link);
    v->idle = v->due = false;
    s->viewer_count--;
    atomic_fetch_sub_explicit(&s->hub->viewers, 1, memory_order_relaxed);
    while (v->notifying) /* after we return, notify is not called any more */
        pthread_cond_wait(&s->quiet, &s->lock);
    stream_viewers_changed_locked(s);
    pace_moved_locked(s);
    stream_unlock_and_notify(s);
    viewer_free(v);
}

/* Where a newcomer begins. */
static void place_locked(struct viewer *v, const struct console_attach *attach)
{
    const struct stream *s = v->stream;
    uint64_t oldest = stream_oldest_locked(s);

    v->offset = oldest;
    if (!attach->has_from || attach->from > s->ring.next)
        return; /* an offset of the future is one of an earlier daemon: show everything */
    if (attach->from >= oldest) {
        v->offset = attach->from;
    } else {
        v->has_gap = true;
        v->gap_from = attach->from;
    }
}

struct source *viewer_attach_locked(struct stream *s, const struct console_attach *attach)
{
    struct viewer *v = xcalloc(1, sizeof(*v));

    v->source = (struct source){
        .read = viewer_read,
        .write = attach->mode == CONSOLE_CONTROL ? viewer_write : NULL,
        .set_notify = viewer_set_notify,
        .close = viewer_close,
    };
    v->magic = VIEWER_MAGIC;
    v->stream = stream_ref(s);
    v->name = xstrdup(attach->viewer ? attach->viewer : "");
    v->protocol = attach->protocol;
    v->mode = attach->mode;
    place_locked(v, attach);
    stream_viewers_changed_locked(s); /* before we are in the list: our hello says it */
    TAILQ_INSERT_TAIL(&s->viewers, v, link);
    v->idle = true; /* a byte that comes before the first read is worth a notify, too */
    TAILQ_INSERT_TAIL(&s->idle, v, idle_link);
    v->trusted = true; /* until it proves slow; its carrier needs a moment to begin */
    if (v->offset < s->pace_floor)
        s->pace_floor = v->offset;
    s->viewer_count++;
    atomic_fetch_add_explicit(&s->hub->viewers, 1, memory_order_relaxed);
    if (s->ended) {
        v->end = VIEWER_DRAINS;
        v->end_offset = s->ring.next;
        v->end_code = 1000;
        v->end_reason = "the VM stopped";
    }
    return &v->source;
}
