/*
 * The life of a request in a front: it is parsed and gated here, then the core is asked; its body goes there as it
 * comes, the answer comes from there. What may be answered, and what with, the core alone knows.
 */
#include <stdlib.h>
#include <string.h>

#include "api/front_core.h"
#include "api/problem.h"
#include "service/base/str.h"
#include "service/base/thread.h"

/* A refused request's body is read to here, so that the client gets to see the answer. */
#define SWALLOW_MAX (1024 * 1024)

/* ---- errands ---- */

static struct errand *errand_new(struct core_link *core, struct exchange *x)
{
    struct errand *e = xcalloc(1, sizeof(*e));

    e->core = core;
    e->id = ++core->last_id;
    e->x = x;
    e->refs = 1;
    e->credit = FRONT_IN_WINDOW;
    source_init(e);
    x->errand = e;
    HASH_ADD(hh, core->errands, id, sizeof(e->id), e);
    return e;
}

void errand_unref(struct errand *e)
{
    if (--e->refs)
        return;
    HASH_DEL(e->core->errands, e);
    source_done(e);
    free(e->text);
    free(e);
}

static void tell(struct errand *e, enum front_type type, unsigned flags, const void *data, size_t len)
{
    front_send(&e->core->link, type, flags, e->id, data, len, false);
}

/* ---- asking ---- */

struct headers {
    struct wire_out *out;
    unsigned count;
};

static enum MHD_Result each(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct headers *h = cls;

    (void)kind;
    if (h->count == GATE_HEADERS_MAX)
        return MHD_NO; /* refused already */
    wire_text(h->out, name);
    wire_text(h->out, value);
    h->count++;
    return MHD_YES;
}

static void ask(struct exchange *x, const char *url, const char *method, const char *version, bool bad)
{
    struct errand *e = x->errand;
    struct wire_out w = {0}, list = {0};
    struct headers headers = {.out = &list};

    MHD_get_connection_values(x->mhd, MHD_HEADER_KIND, each, &headers);
    wire_text(&w, method);
    wire_text(&w, url);
    wire_text(&w, version);
    wire_text(&w, x->raw_query);
    wire_text(&w, x->conn->peer);
    wire_text(&w, x->conn->tls ? tls_link_name(x->conn->tls) : "");
    wire_text(&w, bad ? x->gate.fault : "");
    wire_u32(&w, headers.count);
    wire_raw(&w, list.data, list.len);
    tell(e, FRONT_CALL, (e->has_body ? FRONT_BODY : 0u) | (x->conn->tls ? FRONT_TLS : 0u), w.data, w.len);
    free(w.data);
    free(list.data);
}

static enum MHD_Result on_header(struct exchange *x, const char *url, const char *method, const char *version)
{
    struct errand *e = errand_new(x->http->core_link, x);
    struct error ignored; /* the core finds the same */
    bool bad = headers_read(x, url, method, version, &ignored) < 0;

    x->req.method = method;
    x->req.path = url;
    x->close_after = bad;
    e->has_body = !bad && x->gate.content_length != 0;
    if (bad)
        count_add(&x->http->count.malformed, 1);
    ask(x, url, method, version, bad);
    if (bad || e->has_body) {
        exchange_suspend(x);
        return MHD_YES;
    }
    /* Answered now, libmicrohttpd would close the connection after it: it asks once more, at the end of no body. */
    e->stage = ERRAND_WHOLE;
    x->phase = PHASE_BODY;
    return MHD_YES;
}

/* ---- the body ---- */

static enum MHD_Result begin_body(struct exchange *x)
{
    x->phase = PHASE_BODY;
    conn_expect(x->http, x->conn, x->errand->upload ? CONN_UPLOAD : CONN_BODY, x->http->limits.body_timeout_ms);
    return MHD_YES;
}

static void send_body(struct exchange *x, const char *data, size_t *size)
{
    struct errand *e = x->errand;

    while (*size && e->credit > 0) {
        size_t n = *size < FRONT_DATA_MAX ? *size : FRONT_DATA_MAX;

        if ((int64_t)n > e->credit)
            n = (size_t)e->credit;
        tell(e, FRONT_DATA, 0, data, n);
        e->credit -= (int64_t)n;
        x->upload.received += n;
        data += n;
        *size -= n;
    }
    if (*size)
        exchange_suspend(x); /* until there is room again */
}

static enum MHD_Result on_data(struct exchange *x, const char *data, size_t *size)
{
    if (!x->failed) {
        send_body(x, data, size);
        return MHD_YES;
    }
    x->swallowed += *size;
    *size = 0;
    if (x->swallowed <= SWALLOW_MAX)
        return MHD_YES;
    /* Chunked without an end: libmicrohttpd takes no answer here, so it goes past it. */
    reply_raw(x);
    return MHD_NO;
}

static enum MHD_Result on_complete(struct exchange *x)
{
    conn_expect(x->http, x->conn, CONN_SERVED, 0);
    if (x->failed)
        return reply_send(x);
    if (x->errand->stage == ERRAND_BODY)
        tell(x->errand, FRONT_DATA, FRONT_LAST, NULL, 0);
    x->errand->stage = ERRAND_WHOLE;
    exchange_suspend(x);
    return MHD_YES;
}

/* ---- the answer ---- */

static enum MHD_Result hand_over(struct exchange *x)
{
    struct error err;
    int fd = upgrade_socket(x, &err);

    if (fd < 0)
        return MHD_NO;
    upgrade_hand_over(x, fd);
    return MHD_YES;
}

static enum MHD_Result on_answer(struct exchange *x)
{
    int64_t length = x->gate.content_length;
    bool early = x->errand->stage == ERRAND_HEADER && x->errand->has_body;

    if (x->res.status == 101 && x->res.stream)
        return hand_over(x);
    /* Answered before the body, libmicrohttpd closes the connection after it. */
    if (!early || x->close_after || length < 0 || length > SWALLOW_MAX || x->gate.value[GATE_EXPECT])
        return reply_send(x);
    x->failed = true; /* the body is of no use to anybody */
    return begin_body(x);
}

static void on_over(struct exchange *x)
{
    struct errand *e = x->errand;

    exchange_recycle(x); /* which closes a stream that nobody took */
    if (!e)
        return;
    e->x = NULL;
    if (!e->answered)
        tell(e, FRONT_GONE, 0, NULL, 0);
    errand_unref(e);
}

/* ---- what the core said ---- */

int errand_go(struct errand *e, bool upload)
{
    if (!e->x || e->answered)
        return 0; /* refused meanwhile */
    if (!e->has_body || e->stage != ERRAND_HEADER)
        return -1;
    e->stage = ERRAND_BODY;
    e->upload = upload;
    e->x->phase = PHASE_BEGUN;
    exchange_resume(e->x);
    return 0;
}

void errand_room(struct errand *e, uint32_t n)
{
    bool waited = e->stage == ERRAND_BODY && e->credit <= 0;

    if (e->answered) {
        LOCK_SCOPE(&e->lock);
        e->room += n;
        if (e->notify)
            e->notify(e->opaque);
        return;
    }
    e->credit += n;
    if (e->x && waited && e->x->phase == PHASE_WORKING) {
        begin_body(e->x); /* which has its time again: it was the core that was waited for */
        exchange_resume(e->x);
    }
}

/* The exchange has an answer: it leaves now, or when what still comes of the body has been read. */
static void answered(struct errand *e)
{
    struct exchange *x = e->x;

    e->answered = true;
    if (e->stage == ERRAND_BODY)
        x->failed = true;
    if (x->phase != PHASE_WORKING)
        return;
    x->phase = e->stage == ERRAND_BODY ? PHASE_BODY : PHASE_READY;
    exchange_resume(x);
}

/* A WebSocket is only for who asked for one. */
static bool is_answer_to(const struct exchange *x, int status, unsigned flags)
{
    const char *key = x->gate.value[GATE_WS_KEY];

    if (status == 101)
        return flags & FRONT_STREAM && !x->errand->has_body && key && gate_ws_key_valid(key);
    return status >= 200 && status <= 599;
}

int errand_answer(struct errand *e, const struct front_head *head, const char *data)
{
    struct exchange *x = e->x;
    struct wire_in in;
    struct response *res;
    const char *text, *id;
    uint32_t count;
    size_t len;

    if (!x || e->answered)
        return 0; /* nobody waits for it, and the core has been told; or refused meanwhile */
    res = &x->res;
    e->text = xrealloc_array(NULL, head->len + 1, 1);
    memcpy(e->text, data, head->len);
    in = (struct wire_in){.at = e->text, .end = e->text + head->len};
    res->status = (int)wire_take_u32(&in);
    res->stream_length = (int64_t)wire_take_u64(&in);
    text = wire_take_text(&in);
    res->content_type = *text ? text : NULL;
    id = wire_take_text(&in);
    str_copy_utf8(x->req.id, sizeof(x->req.id), id);
    str_copy_utf8(res->subprotocol, sizeof(res->subprotocol), wire_take_text(&in));
    count = wire_take_u32(&in);
    if (in.bad || count > RESPONSE_HEADERS_MAX || !is_answer_to(x, res->status, head->flags))
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        res->headers[i].name = wire_take_text(&in);
        str_copy_utf8(res->headers[i].value, sizeof(res->headers[i].value), wire_take_text(&in));
    }
    res->header_count = count;
    text = wire_take_bytes(&in, &len);
    if (in.bad)
        return -1;
    if (len)
        res->body = blob_new(text, len);
    x->close_after |= (head->flags & FRONT_CLOSES) != 0;
    if (head->flags & FRONT_STREAM) {
        res->stream = &e->source;
        e->refs++;
    }
    answered(e);
    return 0;
}

void errand_refuse(struct errand *e)
{
    struct error err;

    if (!e->x || e->answered)
        return;
    error_set(&err, ERROR_SHUTTING_DOWN, "The daemon is stopping.");
    e->x->res.status = error_status(err.code);
    e->x->res.content_type = PROBLEM_CONTENT_TYPE;
    e->x->res.body = problem_render(&err, e->x->req.id);
    e->x->res.headers[0].name = "Retry-After";
    memcpy(e->x->res.headers[0].value, RETRY_AFTER_SECONDS, sizeof(RETRY_AFTER_SECONDS));
    e->x->res.header_count = 1;
    answered(e);
}

/* ---- as a side ---- */

static bool nobody(unsigned uid)
{
    (void)uid;
    return false;
}

static int start(struct http *h, const struct http_options *options, struct error *err)
{
    (void)options, (void)err;
    h->core_link->http = h; /* before its thread looks */
    return 0;
}

static void nothing(struct http *h)
{
    (void)h;
}

static bool is_idle(struct http *h)
{
    (void)h;
    return true;
}

const struct http_side front_side = {.header = on_header,
                                     .begun = begin_body,
                                     .data = on_data,
                                     .complete = on_complete,
                                     .answer = on_answer,
                                     .over = on_over,
                                     .is_admin = nobody,
                                     .start = start,
                                     .turn = core_link_turn,
                                     .quiesce = nothing,
                                     .is_idle = is_idle,
                                     .stop = nothing};
