/*
 * What a viewer of drover.console.v1 is told, and in which order. Nothing is queued: what changed is
 * a mark, and the frame is made from the state when it is read, so a slow client gets the newest.
 */
#include <assert.h>
#include <string.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/vm/console_internal.h"

static size_t hello_locked(struct viewer *v, char *buf, size_t max)
{
    const struct stream *s = v->stream;
    const struct console_v1_hello hello = {
        .id = v->id,
        .offset = v->has_gap ? v->gap_from : v->offset,
        .oldest = stream_oldest_locked(s),
        .next = v->end == VIEWER_DRAINS ? v->end_offset : s->ring.next,
        .viewers = s->viewer_count,
        .mode = v->mode,
        .holder = s->holder ? s->holder->id : 0,
        .exclusive = s->exclusive,
        .rows = s->rows,
        .cols = s->cols,
        .recording = s->recorder_count > 0,
    };

    v->hello_sent = true;
    v->viewers_changed = true; /* who they are comes next */
    v->control_changed = v->size_changed = false;
    return console_v1_hello(buf, max, &hello);
}

/* The same for everybody, so made once: a crowd that comes in would else cost its square. */
static size_t viewers_locked(struct viewer *to, char *buf, size_t max)
{
    struct stream *s = to->stream;
    struct console_v1_viewer listed[CONSOLE_V1_LISTED];
    const struct viewer *v;
    size_t n = 0;

    assert(max >= CONSOLE_V1_VIEWERS_MAX);
    if (!s->viewers_frame) {
        TAILQ_FOREACH(v, &s->viewers, link)
        {
            if (n == CONSOLE_V1_LISTED)
                break;
            if (v->recorder)
                continue;
            listed[n++] = (struct console_v1_viewer){
                .id = v->id,
                .name = v->name,
                .mode = v->mode,
                .protocol = v->protocol,
                .holder = v == s->holder,
            };
        }
        s->viewers_frame_len =
            console_v1_viewers(buf, CONSOLE_V1_VIEWERS_MAX, s->viewer_count,
                               s->recorder_count > 0, listed, n);
        s->viewers_frame = xcalloc(1, s->viewers_frame_len);
        memcpy(s->viewers_frame, buf, s->viewers_frame_len);
        return s->viewers_frame_len;
    }
    assert(s->viewers_frame_len <= max);
    memcpy(buf, s->viewers_frame, s->viewers_frame_len);
    return s->viewers_frame_len;
}

static size_t control_locked(const struct viewer *to, char *buf, size_t max)
{
    const struct stream *s = to->stream;
    uint64_t requests[CONSOLE_V1_REQUESTS], after = 0;
    const struct viewer *v;
    size_t n = 0;

    /* By age; eight passes over a few viewers, and only when somebody asks. */
    while (n < CONSOLE_V1_REQUESTS) {
        const struct viewer *next = NULL;

        TAILQ_FOREACH(v, &s->viewers, link)
        {
            if (v->requested > after && (!next || v->requested < next->requested))
                next = v;
        }
        if (!next)
            break;
        after = next->requested;
        requests[n++] = next->id;
    }
    return console_v1_control(buf, max, s->holder ? s->holder->id : 0, s->exclusive, requests, n);
}

static size_t reply_locked(struct viewer *v, char *buf, size_t max)
{
    size_t len = v->reply_len;

    assert(len <= max);
    memcpy(buf, v->reply, len);
    free(TAKE_PTR(v->reply));
    return len;
}

size_t frames_next_locked(struct viewer *v, char *buf, size_t max)
{
    struct stream *s = v->stream;

    if (!v->hello_sent)
        return hello_locked(v, buf, max);
    if (v->reply)
        return reply_locked(v, buf, max);
    if (v->has_gap) {
        v->has_gap = false;
        count(&s->hub->gaps, 1);
        return console_v1_gap(buf, max, v->gap_from, v->offset, v->gap_reason);
    }
    if (v->control_changed) {
        v->control_changed = false;
        return control_locked(v, buf, max);
    }
    if (v->viewers_changed) {
        v->viewers_changed = false;
        return viewers_locked(v, buf, max);
    }
    if (v->size_changed) {
        v->size_changed = false;
        return console_v1_size(buf, max, s->rows, s->cols);
    }
    return 0;
}
