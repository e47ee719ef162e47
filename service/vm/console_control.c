/*
 * Many viewers, one keyboard.
 *
 * At most one viewer holds a console. The first that comes with mode control and speaks
 * drover.console.v1 holds it; when nobody does, whoever types next. From the others of mode control
 * typed bytes are refused until they get it: they may ask (the holder sees it and may grant), or
 * take it, which always works and is written to the audit log. What the holder releases, or leaves
 * behind, goes to who has asked longest. A raw client cannot ask and never holds, so it is not asked
 * either: it may type, unless the holder took the console for itself alone (exclusive).
 */
#include "service/base/cleanup.h"
#include "service/base/clock.h"
#include "service/vm/console_internal.h"

/* A client that hands control around in a loop must not fill the audit log. */
#define CONTROL_COST_MS  500
#define CONTROL_BURST_MS (20 * CONTROL_COST_MS)

static bool can_hold(const struct viewer *v)
{
    return v->protocol == CONSOLE_V1 && v->mode == CONSOLE_CONTROL && v->end == VIEWER_STAYS;
}

static void changed_locked(struct stream *s)
{
    struct viewer *v;

    free(TAKE_PTR(s->viewers_frame)); /* the list names the holder */
    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->protocol != CONSOLE_V1 || !v->hello_sent)
            continue;
        v->control_changed = true;
        stream_wake_locked(v);
    }
}

/* how NULL: not worth an entry in the audit log. */
static void hand_locked(struct stream *s, struct viewer *to, bool exclusive, const char *how)
{
    if (s->holder == to && s->exclusive == exclusive)
        return;
    s->holder = to;
    s->exclusive = exclusive;
    if (to)
        to->requested = 0;
    changed_locked(s);
    if (how)
        stream_notice_locked(s, CONSOLE_HANDED, to, how);
}

static struct viewer *longest_asking_locked(struct stream *s)
{
    struct viewer *v, *first = NULL;

    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->requested && can_hold(v) && (!first || v->requested < first->requested))
            first = v;
    }
    return first;
}

void control_arrived_locked(struct viewer *v)
{
    if (!v->stream->holder && can_hold(v))
        hand_locked(v->stream, v, false, NULL);
}

void control_left_locked(struct viewer *v)
{
    struct stream *s = v->stream;
    struct viewer *next;

    if (s->holder == v) {
        next = longest_asking_locked(s);
        hand_locked(s, next, false, next ? "left" : NULL);
    } else if (v->requested) {
        changed_locked(s);
    }
}

bool control_may_type_locked(struct viewer *v)
{
    struct stream *s = v->stream;

    if (v->protocol == CONSOLE_RAW)
        return !s->holder || !s->exclusive;
    if (!s->holder)
        hand_locked(s, v, false, "typed");
    return s->holder == v;
}

/* ---- control frames ---- */

static size_t refuse_not_holder(char *buf, size_t max)
{
    return console_v1_error(buf, max, "not-holder",
                            "another viewer holds this console; request-control or take-control");
}

static void request_locked(struct viewer *v)
{
    struct stream *s = v->stream;

    if (!s->holder) {
        hand_locked(s, v, false, "requested");
    } else if (s->holder != v && !v->requested) {
        v->requested = ++s->last_request;
        changed_locked(s);
    }
}

static size_t grant_locked(struct viewer *v, uint64_t to, char *buf, size_t max)
{
    struct viewer *other;

    if (v->stream->holder != v)
        return refuse_not_holder(buf, max);
    TAILQ_FOREACH(other, &v->stream->viewers, link)
    {
        if (other->id != to || !can_hold(other))
            continue;
        if (other != v)
            hand_locked(v->stream, other, false, "granted");
        return 0;
    }
    return console_v1_error(buf, max, "no-such-viewer",
                            "no viewer of this console with that id can hold it");
}

static void release_locked(struct viewer *v)
{
    struct stream *s = v->stream;

    if (s->holder == v) {
        hand_locked(s, longest_asking_locked(s), false, "released");
    } else if (v->requested) {
        v->requested = 0;
        changed_locked(s);
    }
}

static size_t size_locked(struct viewer *v, unsigned rows, unsigned cols, char *buf, size_t max)
{
    struct stream *s = v->stream;
    struct viewer *other;

    if (s->holder && s->holder != v)
        return refuse_not_holder(buf, max);
    if (s->rows == rows && s->cols == cols)
        return 0;
    s->rows = rows;
    s->cols = cols;
    s->state_changed = true;
    log_note_locked(s);
    TAILQ_FOREACH(other, &s->viewers, link)
    {
        if (other->protocol != CONSOLE_V1 || !other->hello_sent)
            continue;
        other->size_changed = true;
        stream_wake_locked(other);
    }
    return 0;
}

static bool afford_locked(struct viewer *v)
{
    int64_t now = clock_monotonic_ms();

    if (v->controls_paid_ms - now > CONTROL_BURST_MS)
        return false;
    v->controls_paid_ms = (v->controls_paid_ms > now ? v->controls_paid_ms : now) + CONTROL_COST_MS;
    return true;
}

size_t control_obey_locked(struct viewer *v, const struct console_v1_frame *f, char *buf,
                           size_t max)
{
    if (f->type > CONSOLE_V1_SIZE)
        return console_v1_refusal(buf, max, f);
    if (v->mode == CONSOLE_VIEW)
        return console_v1_error(buf, max, "view-only", "this viewer was let in to watch only");
    if (!afford_locked(v))
        return console_v1_error(buf, max, "too-many-controls", "at most two a second for long");
    switch (f->type) {
    case CONSOLE_V1_REQUEST_CONTROL:
        request_locked(v);
        return 0;
    case CONSOLE_V1_GRANT_CONTROL:
        return grant_locked(v, f->to, buf, max);
    case CONSOLE_V1_RELEASE_CONTROL:
        release_locked(v);
        return 0;
    case CONSOLE_V1_TAKE_CONTROL:
        hand_locked(v->stream, v, f->exclusive, "taken");
        return 0;
    default:
        return size_locked(v, f->rows, f->cols, buf, max);
    }
}
