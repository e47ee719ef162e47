/*
 * In a front: a stream or a WebSocket whose other end is in the core, as a source that http_stream and ws carry to the
 * client like any other. Credit bounds what lies here for a slow one.
 */
#include <stdlib.h>
#include <string.h>

#include "api/front_core.h"
#include "service/base/str.h"
#include "service/base/thread.h"

static struct errand *errand_of(struct source *s)
{
    return (struct errand *)s;
}

/* The HTTP thread writes at the end of each turn; others at once. */
static bool now(const struct errand *e)
{
    return !http_is_loop(e->core->http);
}

static void pop(struct errand *e)
{
    struct source_piece *p = e->pieces;

    e->pieces = p->next;
    if (!e->pieces)
        e->pieces_tail = &e->pieces;
    free(p);
}

/* A client that does not read holds no more than the first window: it grows for one who waits for more. */
static void grow(struct errand *e)
{
    if (e->taken < FRONT_OUT_PROOF || e->window == FRONT_OUT_WINDOW)
        return;
    e->owed += FRONT_OUT_WINDOW - e->window;
    e->window = FRONT_OUT_WINDOW;
}

static void tell_room(struct errand *e)
{
    if (!e->owed || (e->pieces && e->owed < e->window / 4))
        return;
    front_send_u32(&e->core->link, FRONT_ROOM, e->id, e->owed, now(e));
    e->owed = 0;
}

static ssize_t on_read(struct source *s, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct errand *e = errand_of(s);
    struct source_piece *p;
    size_t n;
    LOCK_SCOPE(&e->lock);

    p = e->pieces;
    if (!p && e->ended)
        return -1;
    if (!p) {
        grow(e);
        tell_room(e);
        return 0;
    }
    n = p->len - p->at < max ? p->len - p->at : max;
    memcpy(buf, p->data + p->at, n);
    *ret_kind = p->kind;
    p->at += n;
    if (p->at == p->len)
        pop(e);
    e->owed += (uint32_t)n;
    e->taken += e->taken < FRONT_OUT_PROOF ? (uint32_t)n : 0;
    tell_room(e);
    return (ssize_t)n;
}

static ssize_t on_write(struct source *s, enum source_kind kind, const void *data, size_t len)
{
    struct errand *e = errand_of(s);
    size_t n = len < FRONT_DATA_MAX ? len : FRONT_DATA_MAX;
    LOCK_SCOPE(&e->lock);

    if (e->ended)
        return -1;
    if (e->room <= 0 || (kind == SOURCE_TEXT && (int64_t)n > e->room))
        return 0;
    if ((int64_t)n > e->room)
        n = (size_t)e->room;
    e->room -= (int64_t)n;
    front_send(&e->core->link, FRONT_DATA, kind == SOURCE_TEXT, e->id, data, n, now(e));
    return (ssize_t)n;
}

static void on_set_notify(struct source *s, void (*notify)(void *opaque), void *opaque)
{
    struct errand *e = errand_of(s);
    LOCK_SCOPE(&e->lock);

    e->notify = notify;
    e->opaque = opaque;
    if (notify && (e->pieces || e->ended))
        notify(opaque);
}

static void on_close(struct source *s)
{
    struct errand *e = errand_of(s);
    struct core_link *core = e->core;

    {
        LOCK_SCOPE(&e->lock);
        e->notify = NULL;
        e->closed = true;
        if (!e->ended)
            front_send(&core->link, FRONT_GONE, 0, e->id, NULL, 0, now(e));
    }
    {
        LOCK_SCOPE(&core->lock);
        e->next = core->closed;
        core->closed = e;
    }
    http_wake(core->http); /* which forgets it */
}

void source_init(struct errand *e)
{
    e->source = (struct source){
        .read = on_read, .write = on_write, .set_notify = on_set_notify, .close = on_close, .close_code = 1000};
    mutex_init(&e->lock);
    e->pieces_tail = &e->pieces;
    e->room = FRONT_IN_WINDOW;
    e->window = FRONT_OUT_FIRST;
}

void source_done(struct errand *e)
{
    while (e->pieces)
        pop(e);
    pthread_mutex_destroy(&e->lock);
}

/* A carrier waits for this lock at most while it reads: it never calls here with one of its own. */
static void tell(struct errand *e)
{
    if (e->notify)
        e->notify(e->opaque);
}

void source_deliver(struct errand *e, enum source_kind kind, const char *data, size_t len)
{
    struct source_piece *p = xrealloc_array(NULL, sizeof(*p) + len, 1);
    LOCK_SCOPE(&e->lock);

    *p = (struct source_piece){.kind = kind, .len = len};
    memcpy(p->data, data, len);
    *e->pieces_tail = p;
    e->pieces_tail = &p->next;
    tell(e);
}

void source_finish(struct errand *e, int code, const char *reason)
{
    LOCK_SCOPE(&e->lock);

    e->ended = true;
    e->source.close_code = code;
    str_copy_utf8(e->source.close_reason, sizeof(e->source.close_reason), reason);
    tell(e);
}
