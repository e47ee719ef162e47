/*
 * Requests that came through a front: each is an exchange like any other, with this instead of a connection of
 * libmicrohttpd's. What was parsed there is looked at here again, by the same gate and the same router.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/front_internal.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/base/thread.h"

/* ---- a call ---- */

const char *call_header(const struct call *c, const char *name)
{
    for (size_t i = 0; i < c->header_count; i++) {
        if (strcasecmp(c->headers[i].name, name) == 0)
            return c->headers[i].value;
    }
    return NULL;
}

const char *call_certificate(const struct call *c)
{
    return c->certificate;
}

bool call_is_tls(const struct call *c)
{
    return c && c->tls;
}

int call_headers(struct exchange *x, const char *method, const char *version, struct error *err)
{
    const struct call *c = x->call;

    for (size_t i = 0; i < c->header_count; i++)
        gate_add(&x->gate, c->headers[i].name, strlen(c->headers[i].name), c->headers[i].value,
                 strlen(c->headers[i].value));
    if (*c->fault)
        x->gate.fault = c->fault; /* what only the parser could see */
    return gate_finish(&x->gate, method, version, err);
}

void call_free(struct exchange *x)
{
    struct call *c = x->call;

    free(c->text);
    free(c->rest);
    free(c);
}

/* It is written into logs. And only a Unix socket's peer has a user, which no front has. */
static bool is_address(const char *peer)
{
    return strspn(peer, "0123456789abcdefABCDEF.:") == strlen(peer);
}

/* False: it cannot have been said. */
static bool parse(struct call *c, struct wire_in *in)
{
    const char *peer;
    uint32_t count;

    c->method = wire_take_text(in);
    c->url = wire_take_text(in);
    c->version = wire_take_text(in);
    c->x->raw_query = xstrdup(wire_take_text(in));
    peer = wire_take_text(in);
    c->certificate = wire_take_text(in);
    c->fault = wire_take_text(in);
    count = wire_take_u32(in);
    if (in->bad || count > GATE_HEADERS_MAX || strlen(peer) >= sizeof(c->conn.peer))
        return false;
    memcpy(c->conn.peer, peer, strlen(peer) + 1);
    for (uint32_t i = 0; i < count; i++) {
        c->headers[i].name = wire_take_text(in);
        c->headers[i].value = wire_take_text(in);
    }
    c->header_count = count;
    return !in->bad && in->at == in->end && is_address(peer);
}

static struct call *call_new(struct front *f, const struct front_head *head, const char *data)
{
    struct exchange *x = exchange_new(f->http);
    struct call *c = xcalloc(1, sizeof(*c));

    c->id = head->id;
    c->front = f;
    c->x = x;
    c->tls = head->flags & FRONT_TLS;
    c->has_body = head->flags & FRONT_BODY;
    c->text = xrealloc_array(NULL, head->len + 1, 1);
    memcpy(c->text, data, head->len);
    c->conn = (struct conn){.magic = CONN_MAGIC, .exchange = x, .fd = -1};
    c->flow.input_tail = &c->flow.input;
    x->call = c;
    x->conn = &c->conn;
    x->started_ns = clock_monotonic_ns();
    f->http->now_ms = x->started_ns / 1000000;
    HASH_ADD(hh, f->calls, id, sizeof(c->id), c);
    return c;
}

static void unlist(struct call *c)
{
    struct front *f = c->front;
    struct call **at;
    LOCK_SCOPE(&f->lock);

    if (!c->listed)
        return;
    for (at = &f->ready; *at != c; at = &(*at)->next)
        ;
    *at = c->next;
    if (!c->next)
        f->ready_tail = at;
    c->listed = false;
}

/* Its number means nothing from here on. */
static void forget(struct call *c)
{
    if (!c->gone)
        HASH_DEL(c->front->calls, c);
    c->gone = true;
}

void call_over(struct call *c)
{
    struct exchange *x = c->x;

    forget(c);
    flow_end(c);
    unlist(c);
    count_add(&x->http->count.in_flight, -1ULL);
    if (!upload_gone(x))
        exchange_recycle(x);
}

/* Nobody waits for the answer. Whoever has the request meanwhile brings it back first. */
static void drop(struct call *c)
{
    forget(c);
    if (!c->x->suspended)
        call_over(c);
}

/* ---- the body ---- */

static void go(struct call *c, unsigned flags)
{
    front_send(&c->front->link, FRONT_GO, flags, c->id, NULL, 0, false);
}

static void room(struct call *c, size_t len)
{
    if (len)
        front_send_u32(&c->front->link, FRONT_ROOM, c->id, (uint32_t)len, false);
}

static void keep(struct call *c, const char *data, size_t len)
{
    c->rest = xrealloc_array(c->rest, c->rest_len + len, 1);
    memcpy(c->rest + c->rest_len, data, len);
    c->rest_len += len;
}

/* Takes what there is room for and keeps the rest. The call may be over afterwards. */
static void feed(struct call *c, const char *data, size_t len)
{
    struct exchange *x = c->x;
    size_t left = len;

    if (x->req.route->flags & ROUTE_UPLOAD)
        upload_data(x, data, &left);
    else if (body_add(x, data, len, &x->err) < 0)
        x->failed = true;
    else
        left = 0;
    if (x->failed) {
        answer_send(x);
        return;
    }
    room(c, len - left);
    if (left)
        keep(c, data + len - left, left);
    else if (c->ended && !x->suspended)
        pipeline_complete(x);
}

static int take_body(struct call *c, const char *data, size_t len, bool last)
{
    if (!c->has_body || c->ended || c->rest_len + len > FRONT_IN_WINDOW)
        return -1;
    c->ended = last;
    if (c->x->suspended || c->rest_len)
        keep(c, data, len);
    else
        feed(c, data, len);
    return 0;
}

/* ---- the answer ---- */

static unsigned answer_flags(const struct exchange *x, const struct call *c)
{
    return (x->close_after ? FRONT_CLOSES : 0u) | (c->flow.source || c->flow.blob ? FRONT_STREAM : 0u) |
           (x->res.status == 101 ? FRONT_UPGRADE : 0u);
}

/* What is large, or comes bit by bit, goes as the client has room: else a slow one's would lie in the front. */
static void choose_flow(struct call *c, struct response *res)
{
    bool head = strcmp(c->method, "HEAD") == 0;

    if (res->stream && !head) {
        c->flow.source = TAKE_PTR(res->stream);
    } else if (res->body && res->body->len > FRONT_INLINE_MAX) {
        res->stream_length = (int64_t)res->body->len;
        if (!head)
            c->flow.blob = blob_ref(res->body);
        blob_unref(TAKE_PTR(res->body));
    }
}

void call_answer(struct exchange *x)
{
    struct call *c = x->call;
    struct response *res = &x->res;
    struct wire_out w = {0};

    choose_flow(c, res);
    wire_u32(&w, (uint32_t)res->status);
    wire_u64(&w, (uint64_t)res->stream_length);
    wire_text(&w, res->content_type ? res->content_type : c->flow.source ? "text/event-stream" : "");
    wire_text(&w, x->req.id);
    wire_text(&w, res->subprotocol);
    wire_u32(&w, (uint32_t)res->header_count);
    for (size_t i = 0; i < res->header_count; i++) {
        wire_text(&w, res->headers[i].name);
        wire_text(&w, res->headers[i].value);
    }
    wire_bytes(&w, res->body ? res->body->data : "", res->body ? res->body->len : 0);
    front_send(&c->front->link, FRONT_ANSWER, answer_flags(x, c), c->id, w.data, w.len, false);
    free(w.data);
    x->phase = PHASE_ANSWERED;
    c->answered = true;
    if (c->flow.source || c->flow.blob)
        flow_begin(c);
    else
        call_over(c);
}

/* ---- given back ---- */

void call_back(struct exchange *x)
{
    struct call *c = x->call;
    struct front *f = c->front;
    LOCK_SCOPE(&f->lock);

    c->next = NULL;
    *f->back_tail = c;
    f->back_tail = &c->next;
    f->work = true;
}

static void go_on(struct call *c)
{
    struct exchange *x = c->x;
    char *rest = TAKE_PTR(c->rest);
    size_t len = c->rest_len;

    x->suspended = false;
    c->rest_len = 0;
    if (c->gone) {
        call_over(c);
    } else if (x->phase == PHASE_READY) {
        answer_send(x);
    } else if (x->phase == PHASE_BEGUN) {
        x->phase = PHASE_BODY;
        if (c->ended)
            pipeline_complete(x);
        else
            go(c, FRONT_UPLOAD);
    } else {
        feed(c, rest, len);
    }
    free(rest);
}

void calls_work(struct front *f)
{
    struct call *back, *ready;

    if (!f->work)
        return;
    {
        LOCK_SCOPE(&f->lock);
        back = TAKE_PTR(f->back);
        f->back_tail = &f->back;
        f->work = false;
    }
    while (back) {
        struct call *c = back;

        back = c->next;
        go_on(c);
    }
    /* One at a time: a turn may end others. Who speaks meanwhile is for the next time. */
    for (size_t most = HASH_COUNT(f->calls); most; most--) {
        {
            LOCK_SCOPE(&f->lock);
            ready = f->ready;
            if (ready) {
                f->ready = ready->next;
                if (!f->ready)
                    f->ready_tail = &f->ready;
                ready->listed = false;
            }
        }
        if (!ready)
            return;
        flow_turn(ready);
    }
    f->work = true;
}

/* ---- what the front said ---- */

static int on_call(struct front *f, const struct front_head *head, const char *data)
{
    struct wire_in in = {.at = data, .end = data + head->len};
    struct call *c;
    struct exchange *x;

    HASH_FIND(hh, f->calls, &head->id, sizeof(head->id), c);
    if (c)
        return -1;
    c = call_new(f, head, data);
    x = c->x;
    in.at = c->text;
    in.end = c->text + head->len;
    if (!parse(c, &in)) {
        drop(c);
        return -1;
    }
    pipeline_header(x, c->url, c->method, c->version);
    if (x->failed) {
        answer_send(x);
        return 0;
    }
    if (c->has_body != (x->gate.content_length != 0)) {
        drop(c);
        return -1;
    }
    x->phase = PHASE_BODY;
    c->ended = !c->has_body;
    if (x->req.route->flags & ROUTE_UPLOAD)
        upload_begin(x);
    else if (c->has_body)
        go(c, 0);
    else
        pipeline_complete(x);
    return 0;
}

static int on_data(struct call *c, const struct front_head *head, const char *data)
{
    if (c->answered)
        return flow_take(c, head->flags & 1 ? SOURCE_TEXT : SOURCE_BYTES, data, head->len);
    return take_body(c, data, head->len, head->flags & FRONT_LAST);
}

static int on_room(struct call *c, const struct front_head *head, const char *data)
{
    struct wire_in in = {.at = data, .end = data + head->len};

    c->flow.credit += wire_take_u32(&in);
    if (in.bad || !c->answered || c->flow.credit > FRONT_OUT_WINDOW)
        return -1;
    flow_ready(c);
    return 0;
}

int calls_frame(void *opaque, const struct front_head *head, const char *data)
{
    struct front *f = opaque;
    struct call *c;

    if (head->type == FRONT_CALL)
        return on_call(f, head, data);
    HASH_FIND(hh, f->calls, &head->id, sizeof(head->id), c);
    if (!c) /* answered, or ended, while this was on its way */
        return head->type == FRONT_DATA || head->type == FRONT_ROOM || head->type == FRONT_GONE ? 0 : -1;
    switch ((enum front_type)head->type) {
    case FRONT_DATA:
        return on_data(c, head, data);
    case FRONT_ROOM:
        return on_room(c, head, data);
    case FRONT_GONE:
        drop(c);
        return 0;
    default:
        return -1;
    }
}

void calls_lose(struct front *f)
{
    struct call *c, *next;

    HASH_ITER(hh, f->calls, c, next)
        drop(c);
}
