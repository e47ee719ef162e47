/*
 * Event streams, and files: a source pulled by libmicrohttpd's content reader. With nothing to read the
 * connection is suspended until the source notifies or a keep-alive is due; a client that does not
 * read holds one message and, after a while, is cut.
 */
#include <string.h>

#include "api/http_internal.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define KEEP_ALIVE_MS 15000
#define STUCK_MS      60000
#define STAGE_SIZE    (20 * 1024) /* a message, whole */
#define FILE_BLOCK    (16 * 1024) /* of what is sent as it is: a record of TLS */

static const char keep_alive[] = ": keep-alive\n\n";

struct http_stream {
    struct http *http;
    struct exchange *exchange;
    struct source *source;
    struct MHD_Connection *mhd;
    int64_t asked_ms; /* when the client last had room */
    bool events; /* comments may be put between them; a file is sent as it is */
    bool comment_due, ending;
    size_t at, len;

    pthread_mutex_t lock; /* guards the two; held while suspending and resuming */
    bool waiting;         /* suspended, for the source */
    bool notified;        /* since the last read */

    char stage[]; /* STAGE_SIZE bytes, of events only */
};

static void wake(struct http_stream *s)
{
    LOCK_SCOPE(&s->lock);
    s->notified = true;
    if (s->waiting) {
        s->waiting = false;
        MHD_resume_connection(s->mhd);
        http_wake(s->http);
    }
}

static void on_notify(void *opaque)
{
    wake(opaque);
}

/* False: the source has spoken since it was read, so read again. */
static bool wait_for_source(struct http_stream *s)
{
    LOCK_SCOPE(&s->lock);
    if (s->notified)
        return false;
    s->waiting = true;
    MHD_suspend_connection(s->mhd);
    return true;
}

/* Bytes that are in buf now, 0: the connection is suspended, -1: the end. */
static ssize_t fill(struct http_stream *s, char *buf, size_t max)
{
    enum source_kind kind;

    while (!s->ending) {
        ssize_t n;

        {
            LOCK_SCOPE(&s->lock);
            s->notified = false;
        }
        n = s->source->read(s->source, buf, max, &kind);
        if (n != 0)
            return n;
        if (s->comment_due && s->events) {
            s->comment_due = false;
            memcpy(buf, keep_alive, sizeof(keep_alive) - 1);
            return sizeof(keep_alive) - 1;
        }
        if (wait_for_source(s))
            return 0;
    }
    return -1;
}

/* What libmicrohttpd is told of the end: half a file must not look like a whole one. */
static ssize_t ended(const struct http_stream *s)
{
    return s->events || (!s->ending && s->source->close_code == 1000) ? MHD_CONTENT_READER_END_OF_STREAM
                                                                      : MHD_CONTENT_READER_END_WITH_ERROR;
}

static ssize_t on_room(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct http_stream *s = cls;
    size_t n;

    (void)pos;
    s->http->progress = true;
    s->asked_ms = clock_monotonic_ms();
    if (s->at == s->len) {
        ssize_t got = s->events ? fill(s, s->stage, STAGE_SIZE) : fill(s, buf, max);

        if (got < 0)
            return ended(s);
        if (got == 0 || !s->events)
            return got;
        s->at = 0;
        s->len = (size_t)got;
    }
    n = s->len - s->at < max ? s->len - s->at : max;
    memcpy(buf, s->stage + s->at, n);
    s->at += n;
    return (ssize_t)n;
}

static void on_free(void *cls)
{
    struct http_stream *s = cls;

    s->source->close(s->source); /* no notify after this */
    if (s->exchange)
        s->exchange->stream = NULL;
    count_add(&s->http->count.streams, -1ULL);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct MHD_Response *stream_response(struct exchange *x)
{
    bool events = !x->res.content_type || str_eq(x->res.content_type, "text/event-stream");
    struct http_stream *s = xcalloc(1, sizeof(*s) + (events ? STAGE_SIZE : 0));
    struct MHD_Response *r =
        MHD_create_response_from_callback(x->res.stream_length ? (uint64_t)x->res.stream_length : MHD_SIZE_UNKNOWN,
                                          events ? STAGE_SIZE : FILE_BLOCK, on_room, s, on_free);

    if (!r) {
        free(s);
        return NULL;
    }
    s->http = x->http;
    s->exchange = x;
    s->mhd = x->mhd;
    s->source = TAKE_PTR(x->res.stream);
    s->events = events;
    s->asked_ms = clock_monotonic_ms();
    s->ending = x->conn->hung;
    mutex_init(&s->lock);
    x->stream = s;
    count_add(&s->http->count.streams, 1);
    s->source->set_notify(s->source, on_notify, s);
    return r;
}

static bool is_stuck(struct http_stream *s)
{
    LOCK_SCOPE(&s->lock);
    return !s->waiting && clock_monotonic_ms() - s->asked_ms > STUCK_MS;
}

void stream_tick(struct exchange *x)
{
    struct http_stream *s = x->stream;

    if (!s)
        return;
    if (is_stuck(s)) {
        x->conn->cut = true;
        x->conn->deadline_ms = 0;
        shutdown(x->conn->fd, SHUT_RDWR);
        return;
    }
    if (x->conn->wait == CONN_STREAM) {
        s->comment_due = true;
        wake(s);
    }
    conn_expect(x->http, x->conn, CONN_STREAM, KEEP_ALIVE_MS);
}

void stream_detach(struct exchange *x)
{
    if (x->stream)
        x->stream->exchange = NULL;
}

void stream_end(struct exchange *x)
{
    if (!x->stream)
        return;
    x->stream->ending = true;
    wake(x->stream);
}
