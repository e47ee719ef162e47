/*
 * A program's stream as its one client sees it: drover.exec.v1 frames out of the windows, stdin and
 * control frames in. Called by the carrier's thread; the program's task tells it what is new.
 */
#include "service/vm/exec_internal.h"

#include <string.h>

#include "service/base/str.h"

#define VIEWER_MAGIC 0x65786563u /* "exec" */

struct exec_viewer {
    struct source source; /* first */
    uint32_t magic;
    struct exec *exec;
    char *rights;
    pthread_cond_t quiet;
    /* the exec's lock: */
    uint64_t at[EXEC_OUTPUTS], told_input;
    bool hello_sent, exit_sent, ended;
    unsigned notifying;
    unsigned turn; /* whose bytes go next */
    const char *problem; /* to be told, or NULL */
    void (*notify)(void *opaque);
    void *opaque;
};

static struct exec_viewer *viewer_of(struct source *s)
{
    struct exec_viewer *v = (struct exec_viewer *)s;

    if (v->magic != VIEWER_MAGIC)
        abort();
    return v;
}

/* ---- telling ---- */

void exec_tell(struct exec *e)
{
    struct exec_viewer *v;
    void (*notify)(void *) = NULL;
    void *opaque = NULL;

    {
        LOCK_SCOPE(&e->lock);
        v = e->viewer;
        if (v && v->notify) {
            notify = v->notify;
            opaque = v->opaque;
            v->notifying++; /* it stays until it is told */
        }
    }
    if (!notify)
        return;
    notify(opaque);
    LOCK_SCOPE(&e->lock);
    v->notifying--;
    pthread_cond_signal(&v->quiet);
}

void exec_end_viewer_locked(struct exec *e, int code, const char *reason)
{
    struct exec_viewer *v = e->viewer;

    if (!v || v->ended)
        return;
    v->ended = true;
    v->source.close_code = code;
    str_copy_utf8(v->source.close_reason, sizeof(v->source.close_reason), reason);
}

bool exec_viewer_has_right_locked(const struct exec *e, const char *right)
{
    return e->viewer && str_has_word(e->viewer->rights, right);
}

/* ---- to the client ---- */

static size_t hello_locked(struct exec_viewer *v, char *buf, size_t max)
{
    struct exec *e = v->exec;
    const struct exec_v1_hello hello = {.id = e->id,
                                        .state = exec_state_name(e->state),
                                        .next = {v->at[EXEC_STDOUT], v->at[EXEC_STDERR]},
                                        .input = e->input_taken + e->input_len};

    v->hello_sent = true;
    v->told_input = hello.input;
    return exec_v1_hello(buf, max, &hello);
}

static size_t exit_locked(struct exec_viewer *v, char *buf, size_t max)
{
    const struct exec *e = v->exec;
    bool failed = e->state == EXEC_FAILED;
    const struct exec_v1_exit exit = {
        .state = exec_state_name(e->state),
        .exit_code = e->exit_code,
        .signal = e->signal,
        .timed_out = e->timed_out,
        .cut = e->cut,
        .duration_ms = e->duration_ms,
        .total = {e->out[EXEC_STDOUT].end, e->out[EXEC_STDERR].end},
        .code = failed ? error_slug(e->error.code) : NULL,
        .detail = failed ? e->error.detail : NULL,
    };

    v->exit_sent = true;
    return exec_v1_exit(buf, max, &exit);
}

/* A text frame, if one is due before more bytes; 0: none. */
static size_t text_locked(struct exec_viewer *v, char *buf, size_t max)
{
    const struct exec *e = v->exec;
    const char *problem = TAKE_PTR(v->problem);

    if (!v->hello_sent) {
        v->problem = problem;
        return hello_locked(v, buf, max);
    }
    if (problem)
        return exec_v1_error(buf, max, "invalid-frame", problem);
    for (int i = 0; i < EXEC_OUTPUTS; i++) {
        uint64_t from = v->at[i];

        if (from >= e->out[i].base)
            continue;
        v->at[i] = e->out[i].base;
        return exec_v1_gap(buf, max, (enum exec_v1_output)i, from, v->at[i]);
    }
    if (v->told_input != e->input_taken && !e->input_len) {
        v->told_input = e->input_taken;
        return exec_v1_stdin(buf, max, e->input_taken);
    }
    return 0;
}

/* A binary frame of one of the two, which take turns; 0: there is nothing. */
static size_t bytes_locked(struct exec_viewer *v, char *buf, size_t max, bool *ret_room)
{
    for (int n = 0; n < EXEC_OUTPUTS; n++) {
        unsigned i = v->turn++ % EXEC_OUTPUTS;
        struct exec_output *o = &v->exec->out[i];
        size_t at = (size_t)(v->at[i] % EXEC_WINDOW), len;

        if (v->at[i] >= o->end) /* ahead: an earlier daemon sent it what this one reads again */
            continue;
        len = (size_t)(o->end - v->at[i]);
        if (len > max - 1)
            len = max - 1;
        if (len > EXEC_WINDOW - at)
            len = EXEC_WINDOW - at;
        buf[0] = (char)(i + 1);
        memcpy(buf + 1, o->data + at, len);
        v->at[i] += len;
        /* Who never acknowledges has what was sent. */
        if (!v->exec->acks && o->acked < v->at[i]) {
            o->acked = v->at[i];
            *ret_room = true;
        }
        return len + 1;
    }
    return 0;
}

static bool all_is_sent_locked(const struct exec_viewer *v)
{
    const struct exec *e = v->exec;

    return e->ended_at && v->at[EXEC_STDOUT] >= e->out[EXEC_STDOUT].end &&
           v->at[EXEC_STDERR] >= e->out[EXEC_STDERR].end;
}

static ssize_t read_locked(struct exec_viewer *v, char *buf, size_t max, enum source_kind *ret_kind,
                           bool *ret_room)
{
    size_t n;

    if (v->ended)
        return -1;
    *ret_kind = SOURCE_TEXT;
    n = text_locked(v, buf, max);
    if (n)
        return (ssize_t)n;
    *ret_kind = SOURCE_BYTES;
    n = bytes_locked(v, buf, max, ret_room);
    if (n || !all_is_sent_locked(v))
        return (ssize_t)n;
    if (!v->exit_sent) {
        *ret_kind = SOURCE_TEXT;
        return (ssize_t)exit_locked(v, buf, max);
    }
    exec_end_viewer_locked(v->exec, 1000, "the program has ended");
    return -1;
}

static ssize_t viewer_read(struct source *s, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct exec_viewer *v = viewer_of(s);
    bool room = false;
    ssize_t n;

    {
        LOCK_SCOPE(&v->exec->lock);
        n = read_locked(v, buf, max, ret_kind, &room);
    }
    if (room)
        exec_wake(v->exec);
    return n;
}

/* ---- from the client ---- */

/* What is not here any more cannot be asked for again. */
static void set_acked(struct exec_output *o, uint64_t to)
{
    o->acked = to > o->base ? to : o->base;
}

static void ack_locked(struct exec_viewer *v, const struct exec_v1_frame *frame)
{
    struct exec *e = v->exec;

    for (int i = 0; i < EXEC_OUTPUTS; i++) {
        if (frame->ack[i] > v->at[i]) {
            v->problem = "an ack is beyond what was sent";
            return;
        }
    }
    /* Until the first one, what was sent counted as received: this client says what it really has. */
    for (int i = 0; i < EXEC_OUTPUTS; i++) {
        if (!e->acks || e->out[i].acked < frame->ack[i])
            set_acked(&e->out[i], frame->ack[i]);
    }
    e->acks = true;
}

static void obey_locked(struct exec_viewer *v, const void *data, size_t len)
{
    struct exec_v1_frame frame;

    exec_v1_parse(data, len, &frame);
    switch (frame.type) {
    case EXEC_V1_ACK:
        ack_locked(v, &frame);
        break;
    case EXEC_V1_EOF:
        v->exec->input_eof = true;
        break;
    case EXEC_V1_KILL:
        v->exec->killed = true;
        break;
    case EXEC_V1_BAD:
        v->problem = frame.problem;
        break;
    }
}

static ssize_t take_input_locked(struct exec *e, const void *data, size_t len)
{
    size_t room = EXEC_INPUT - e->input_len;

    if (e->ended_at || e->input_eof)
        return (ssize_t)len; /* nobody reads it */
    if (!e->input)
        e->input = xcalloc(1, EXEC_INPUT);
    if (len > room)
        len = room;
    memcpy(e->input + e->input_len, data, len);
    e->input_len += len;
    return (ssize_t)len;
}

static ssize_t viewer_write(struct source *s, enum source_kind kind, const void *data, size_t len)
{
    struct exec_viewer *v = viewer_of(s);
    struct exec *e = v->exec;
    ssize_t n = (ssize_t)len;
    bool answer;

    {
        LOCK_SCOPE(&e->lock);
        if (v->ended)
            return -1;
        if (kind == SOURCE_TEXT)
            obey_locked(v, data, len);
        else
            n = take_input_locked(e, data, len);
        answer = v->problem != NULL;
    }
    exec_wake(e);
    if (answer)
        exec_tell(e);
    return n;
}

static void viewer_set_notify(struct source *s, void (*notify)(void *opaque), void *opaque)
{
    struct exec_viewer *v = viewer_of(s);

    LOCK_SCOPE(&v->exec->lock);
    v->notify = notify;
    v->opaque = opaque;
}

static void viewer_close(struct source *s)
{
    struct exec_viewer *v = viewer_of(s);
    struct exec *e = v->exec;

    {
        LOCK_SCOPE(&e->lock);
        v->notify = NULL;
        if (e->viewer == v)
            e->viewer = NULL;
        while (v->notifying)
            pthread_cond_wait(&v->quiet, &e->lock);
    }
    pthread_cond_destroy(&v->quiet);
    free(v->rights);
    free(v);
    exec_unref(e);
}

/* ---- attaching ---- */

static int start_at_locked(struct exec *e, const uint64_t *from, struct exec_viewer *v,
                           struct error *err)
{
    for (int i = 0; i < EXEC_OUTPUTS; i++) {
        struct exec_output *o = &e->out[i];
        bool may_come = e->restored && !e->ended_at;

        if (from && from[i] > o->end + (may_come ? EXEC_WINDOW : 0))
            return error_set_at(err, ERROR_INVALID_ARGUMENT, "from",
                                "only %llu bytes of %s were printed",
                                (unsigned long long)o->end, i == EXEC_STDOUT ? "stdout" : "stderr");
        v->at[i] = from ? from[i] : o->base;
    }
    for (int i = 0; from && i < EXEC_OUTPUTS; i++)
        set_acked(&e->out[i], from[i]);
    return 0;
}

int exec_attach(struct exec *e, const char *rights, const uint64_t from[EXEC_OUTPUTS],
                struct source **ret, struct error *err)
{
    struct exec_viewer *v = NULL;

    if (!e->stream) {
        error_set(err, ERROR_STREAM_NOT_FOUND, "the program is not streamed");
        error_remedy(err, "Begin it with \"stream\": true.");
        return -1;
    }
    v = xcalloc(1, sizeof(*v));
    v->source = (struct source){.read = viewer_read,
                                .write = viewer_write,
                                .set_notify = viewer_set_notify,
                                .close = viewer_close};
    v->magic = VIEWER_MAGIC;
    v->exec = e;
    {
        LOCK_SCOPE(&e->lock);
        if (start_at_locked(e, from, v, err)) {
            free(v);
            return -1;
        }
        v->rights = xstrdup(rights);
        cond_init(&v->quiet);
        atomic_fetch_add(&e->refs, 1);
        if (e->viewer) {
            exec_end_viewer_locked(e, 1008, "another client took over");
            /* Told here, under the lock that its close waits for, so that it is still there. */
            if (e->viewer->notify)
                e->viewer->notify(e->viewer->opaque);
        }
        e->viewer = v;
    }
    exec_wake(e);
    *ret = &v->source;
    return 0;
}
