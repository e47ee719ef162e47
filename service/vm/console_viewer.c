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

#define VIEWER_MAGIC 0x56494557u

struct viewer *viewer_from(struct source *source)
{
    struct viewer *v = (struct viewer *)source;

    if (v->magic != VIEWER_MAGIC)
        abort();
    return v;
}

ssize_t viewer_ended_locked(struct viewer *v)
{
    v->source.close_code = v->end_code;
    str_copy_utf8(v->source.close_reason, sizeof(v->source.close_reason), v->end_reason);
    return -1;
}

/* The bytes before to are not there; adjacent gaps are told as one. */
static void skip_locked(struct viewer *v, uint64_t to, const char *reason)
{
    if (v->protocol == CONSOLE_V1 && !v->has_gap) {
        v->has_gap = true;
        v->gap_from = v->offset;
        v->gap_reason = reason;
    }
    v->offset = to;
}

/* The ring has overwritten what this viewer had not read. False: it is dropped. */
static bool overtaken_locked(struct viewer *v)
{
    struct stream *s = v->stream;

    if (v->protocol == CONSOLE_V1) {
        skip_locked(v, s->ring.start, "evicted");
        return true;
    }
    if (!v->started) { /* it asked for what there is, and that has changed since */
        v->offset = s->ring.start;
        return true;
    }
    v->end = VIEWER_ENDS;
    v->end_code = 1013;
    v->end_reason = "too slow: output was lost; connect again with ?from=OFFSET";
    count(&s->hub->dropped_viewers, 1);
    return false;
}

static uint64_t end_locked(const struct viewer *v)
{
    return v->end == VIEWER_DRAINS ? v->end_offset : v->stream->ring.next;
}

static size_t copy_locked(struct viewer *v, void *buf, size_t max)
{
    struct stream *s = v->stream;
    uint64_t left = end_locked(v) - v->offset;
    size_t n;

    if (!left)
        return 0;
    n = ring_copy(&s->ring, v->offset, buf, left < max ? (size_t)left : max);
    v->offset += n;
    if (v->offset == s->ring.next)
        pace_caught_up_locked(v);
    return n;
}

/* Offsets of a time when the daemon was away have no bytes. */
static void pass_hole_locked(struct viewer *v)
{
    uint64_t to = ring_solid(&v->stream->ring, v->offset);

    if (to > end_locked(v))
        to = end_locked(v);
    if (to > v->offset)
        skip_locked(v, to, "restart");
}

/* Moves to where there are bytes. False: it has ended. */
static bool advance_locked(struct viewer *v)
{
    const struct stream *s = v->stream;

    if (v->end == VIEWER_ENDS)
        return false;
    if (v->end == VIEWER_DRAINS && s->ring.start > v->end_offset)
        v->offset = v->end_offset; /* the next boot has overwritten the rest of this one */
    else if (v->offset < s->ring.start && !overtaken_locked(v))
        return false;
    if (v->offset < end_locked(v))
        pass_hole_locked(v);
    v->started = true;
    return true;
}

static ssize_t read_locked(struct viewer *v, void *buf, size_t max, enum source_kind *ret_kind)
{
    size_t n;

    if (!advance_locked(v))
        return viewer_ended_locked(v);
    if (v->protocol == CONSOLE_V1 && (n = frames_next_locked(v, buf, max))) {
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
        return viewer_ended_locked(v);
    return (ssize_t)n;
}

static void wait_locked(struct viewer *v)
{
    if (v->idle)
        return;
    v->idle = true;
    TAILQ_INSERT_TAIL(&v->stream->idle, v, idle_link);
}

static ssize_t viewer_read(struct source *source, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct viewer *v = viewer_from(source);
    struct stream *s = v->stream;
    ssize_t n;

    lock_scope_enter(&s->lock);
    n = read_locked(v, buf, max, ret_kind);
    if (n == 0)
        wait_locked(v);
    pace_moved_locked(s);
    stream_unlock_and_notify(s);
    return n;
}

static void tap_locked(struct viewer *v, void *buf, size_t max, struct console_tapped *ret)
{
    const struct stream *s = v->stream;

    *ret = (struct console_tapped){.what = TAP_ENDED, .code = v->end_code};
    if (!advance_locked(v))
        return;
    if (v->has_gap) {
        v->has_gap = false;
        *ret = (struct console_tapped){.what = TAP_GAP, .lost = v->offset - v->gap_from};
    } else if (v->size_changed) {
        v->size_changed = false;
        *ret = (struct console_tapped){.what = TAP_SIZE, .rows = s->rows, .cols = s->cols};
    } else if ((ret->len = copy_locked(v, buf, max))) {
        ret->what = TAP_BYTES;
    } else if (v->end != VIEWER_DRAINS) {
        ret->what = TAP_NOTHING;
        wait_locked(v);
    }
}

void console_tap_read(struct source *recorder, void *buf, size_t max, struct console_tapped *ret)
{
    struct viewer *v = viewer_from(recorder);
    struct stream *s = v->stream;

    lock_scope_enter(&s->lock);
    tap_locked(v, buf, max, ret);
    pace_moved_locked(s);
    stream_unlock_and_notify(s);
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
    free(v->who);
    free(v->rights);
    free(v->name);
    stream_unref(v->stream);
    free(v);
}

static void count_viewer_locked(struct viewer *v, int change)
{
    struct stream *s = v->stream;

    if (v->recorder) {
        s->recorder_count += (unsigned)change;
        return;
    }
    s->viewer_count += (unsigned)change;
    count(&s->hub->kinds[s->kind].viewers, (uint64_t)(int64_t)change);
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
    count_viewer_locked(v, -1);
    while (v->notifying) /* after we return, notify is not called any more */
        pthread_cond_wait(&s->quiet, &s->lock);
    stream_viewers_changed_locked(s);
    if (!v->recorder)
        stream_notice_locked(s, CONSOLE_DETACHED, v, NULL);
    control_left_locked(v);
    pace_moved_locked(s);
    stream_unlock_and_notify(s);
    viewer_free(v);
}

/* Where a newcomer begins. */
static void place_locked(struct viewer *v, const struct console_attach *attach)
{
    const struct stream *s = v->stream;
    uint64_t oldest = stream_oldest_locked(s);

    v->offset = attach->live ? s->ring.next : oldest;
    if (attach->live || !attach->has_from || attach->from > s->ring.next)
        return; /* an offset of the future is one of an earlier daemon: show everything */
    if (attach->from >= oldest) {
        v->offset = attach->from;
    } else if (v->protocol == CONSOLE_V1) {
        v->offset = attach->from;
        skip_locked(v, oldest, "evicted");
    }
}

static const struct source *source_for(const struct console_attach *attach)
{
    static const struct source typist = {.read = viewer_read,
                                         .write = viewer_write,
                                         .set_notify = viewer_set_notify,
                                         .close = viewer_close};
    static const struct source watcher = {.read = viewer_read,
                                          .write = viewer_write_watcher,
                                          .set_notify = viewer_set_notify,
                                          .close = viewer_close};
    static const struct source deaf = {
        .read = viewer_read, .set_notify = viewer_set_notify, .close = viewer_close};

    if (attach->mode == CONSOLE_CONTROL)
        return &typist;
    return attach->protocol == CONSOLE_V1 ? &watcher : &deaf;
}

struct source *viewer_attach_locked(struct stream *s, const struct console_attach *attach)
{
    struct viewer *v = xcalloc(1, sizeof(*v));

    char name[CONSOLE_V1_NAME_MAX];

    v->source = *source_for(attach);
    v->magic = VIEWER_MAGIC;
    v->stream = stream_ref(s);
    v->who = xstrdup(attach->viewer ? attach->viewer : "");
    v->rights = xstrdup(attach->rights ? attach->rights : v->who);
    str_copy_utf8(name, sizeof(name), attach->name ? attach->name : v->who);
    v->name = xstrdup(name);
    v->id = 1 + atomic_fetch_add_explicit(&s->hub->last_id, 1, memory_order_relaxed);
    v->protocol = attach->protocol;
    v->mode = attach->mode;
    v->recorder = attach->recorder;
    v->hello_sent = v->recorder; /* it is told of sizes, and reads no frames */
    place_locked(v, attach);
    stream_viewers_changed_locked(s); /* before we are in the list: our hello says it */
    TAILQ_INSERT_TAIL(&s->viewers, v, link);
    v->idle = true; /* a byte that comes before the first read is worth a notify, too */
    TAILQ_INSERT_TAIL(&s->idle, v, idle_link);
    v->trusted = true; /* until it proves slow; its carrier needs a moment to begin */
    if (v->offset < s->pace_floor)
        s->pace_floor = v->offset;
    count_viewer_locked(v, 1);
    if (!v->recorder) {
        count(&s->hub->kinds[s->kind].connections, 1);
        stream_notice_locked(s, CONSOLE_ATTACHED, v, NULL);
    }
    if (s->ended) {
        v->end = VIEWER_DRAINS;
        v->end_offset = s->ring.next;
        v->end_code = 1000;
        v->end_reason = "the VM stopped";
    }
    control_arrived_locked(v);
    return &v->source;
}
