/*
 * Streams and WebSockets through a front: a source is read while the front has said that there is room, and gets what
 * the client sent. Nothing is queued for a slow client but what its credit covers.
 */
#include <stdlib.h>
#include <string.h>

#include "api/front_internal.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define READS_A_TURN 16              /* before others have theirs */
#define TELL_ROOM    (32 * 1024)     /* so much is told at once */

void flow_ready(struct call *c)
{
    struct front *f = c->front;
    LOCK_SCOPE(&f->lock);

    if (c->listed)
        return;
    c->listed = true;
    c->next = NULL;
    *f->ready_tail = c;
    f->ready_tail = &c->next;
    f->work = true;
}

/* Any thread: the source's word. */
static void on_notify(void *opaque)
{
    struct call *c = opaque;
    struct http *h = c->front->http;

    flow_ready(c);
    http_wake(h);
}

void flow_begin(struct call *c)
{
    c->flow.credit = FRONT_OUT_FIRST;
    if (c->flow.source) {
        count_add(&c->front->http->count.streams, c->x->res.status != 101);
        c->flow.source->set_notify(c->flow.source, on_notify, c);
    }
    flow_ready(c);
}

void flow_end(struct call *c)
{
    struct flow *w = &c->flow;
    struct flow_input *i;

    if (w->source) {
        count_add(&c->front->http->count.streams, -(unsigned long long)(c->x->res.status != 101));
        w->source->close(w->source); /* no notify after this */
    }
    w->source = NULL;
    blob_unref(w->blob);
    w->blob = NULL;
    while ((i = w->input)) {
        w->input = i->next;
        free(i);
    }
}

static void end(struct call *c, int code, const char *reason)
{
    struct wire_out w = {0};

    wire_u32(&w, (uint32_t)code);
    wire_text(&w, reason);
    front_send(&c->front->link, FRONT_END, 0, c->id, w.data, w.len, false);
    free(w.data);
    call_over(c);
}

/* ---- from the client ---- */

static void taken(struct call *c, size_t len)
{
    struct flow *w = &c->flow;

    w->owed += (uint32_t)len;
    w->waiting -= len;
    if (!w->owed || (w->owed < TELL_ROOM && w->waiting))
        return;
    front_send_u32(&c->front->link, FRONT_ROOM, c->id, w->owed, false);
    w->owed = 0;
}

/* False: the call is over. */
static bool push(struct call *c)
{
    struct flow *w = &c->flow;
    struct flow_input *i;

    while ((i = w->input)) {
        ssize_t n = (ssize_t)(i->len - i->at);

        if (n && w->source && w->source->write)
            n = w->source->write(w->source, i->kind, i->data + i->at, i->len - i->at);
        if (n < 0) {
            end(c, w->source->close_code, w->source->close_reason);
            return false;
        }
        if (n == 0 && i->len > i->at)
            return true;
        i->at += (size_t)n;
        taken(c, (size_t)n);
        if (i->at < i->len)
            continue;
        w->input = i->next;
        if (!w->input)
            w->input_tail = &w->input;
        free(i);
    }
    return true;
}

int flow_take(struct call *c, enum source_kind kind, const char *data, size_t len)
{
    struct flow *w = &c->flow;
    struct flow_input *i;

    if (w->waiting + len > FRONT_IN_WINDOW)
        return -1;
    i = xrealloc_array(NULL, sizeof(*i) + len, 1);
    *i = (struct flow_input){.kind = kind, .len = len};
    memcpy(i->data, data, len);
    *w->input_tail = i;
    w->input_tail = &i->next;
    w->waiting += len;
    push(c);
    return 0;
}

/* ---- to the client ---- */

static ssize_t read_some(struct flow *w, char *buf, size_t max, enum source_kind *ret_kind)
{
    size_t n;

    *ret_kind = SOURCE_BYTES;
    if (w->source)
        return w->source->read(w->source, buf, max, ret_kind);
    if ((int64_t)max > w->credit) /* a message is read whole, a file need not be */
        max = (size_t)w->credit;
    n = w->blob->len - w->at < max ? w->blob->len - w->at : max;
    memcpy(buf, w->blob->data + w->at, n);
    w->at += n;
    return n ? (ssize_t)n : -1;
}

void flow_turn(struct call *c)
{
    struct flow *w = &c->flow;
    char *buf = c->front->stage;

    if (!push(c))
        return;
    for (int i = 0; i < READS_A_TURN; i++) {
        enum source_kind kind;
        ssize_t n;

        if (w->credit <= 0)
            return;
        n = read_some(w, buf, FRONT_READ, &kind);
        if (n < 0) {
            end(c, w->source ? w->source->close_code : 1000, w->source ? w->source->close_reason : "");
            return;
        }
        if (n == 0)
            return;
        w->credit -= n;
        front_send(&c->front->link, FRONT_DATA, kind == SOURCE_TEXT, c->id, buf, (size_t)n, false);
    }
    flow_ready(c);
}
