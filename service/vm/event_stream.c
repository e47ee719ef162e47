/*
 * Subscriptions: sources that follow the event log. A subscriber holds a position, not a queue;
 * it costs the same whether it keeps up or not, and if memory no longer holds its next event it
 * is told to resync and ends.
 */
#include <stdio.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "service/vm/event_internal.h"

#define BACKLOG_MAX 4096 /* events read from the database at the start of a subscription */

struct subscriber {
    struct source source;
    struct event_log *log;
    struct subscriber *prev, *next;
    char project_id[UUID_TEXT], rights[ACCESS_RIGHTS_SIZE];
    bool revoked; /* log->lock */
    enum event_format format;
    int64_t position; /* seq of the last event delivered */
    bool ended;
    void (*notify)(void *);
    void *opaque;
    struct event **backlog;
    size_t backlog_count, backlog_next;
};

static ssize_t render(const struct subscriber *s, int64_t seq, const char *json, size_t len,
                      char *buf, size_t max)
{
    int n;

    if (s->format == EVENT_FORMAT_JSON) {
        if (len > max)
            return -1;
        memcpy(buf, json, len);
        return (ssize_t)len;
    }
    n = snprintf(buf, max, "id: %lld\ndata: %.*s\n\n", (long long)seq, (int)len, json);
    return n < 0 || (size_t)n >= max ? -1 : n;
}

static ssize_t resync(struct subscriber *s, char *buf, size_t max)
{
    static const char text[] = "{\"type\":\"resync\"}";

    s->ended = true;
    return render(s, s->position, text, sizeof(text) - 1, buf, max);
}

static bool is_revoked(struct subscriber *s)
{
    LOCK_SCOPE(&s->log->lock);
    return s->revoked;
}

static ssize_t subscriber_read(struct source *source, void *buf, size_t max,
                               enum source_kind *ret_kind)
{
    struct subscriber *s = (struct subscriber *)source;
    struct event *e = NULL;
    size_t n = 0;
    ssize_t len;

    *ret_kind = SOURCE_TEXT;
    if (s->ended) {
        source->close_code = 1013;
        str_copy_utf8(source->close_reason, sizeof(source->close_reason), "events were lost: read them again");
        return -1;
    }
    if (is_revoked(s)) {
        source->close_code = 1008;
        str_copy_utf8(source->close_reason, sizeof(source->close_reason),
                      "the right to read events was revoked or has expired");
        return -1;
    }
    if (s->backlog_next < s->backlog_count) {
        e = TAKE_PTR(s->backlog[s->backlog_next]);
        s->backlog_next++;
    } else if (!event_log_take(s->log, s->project_id, s->position, 1, &e, &n)) {
        return resync(s, buf, max);
    }
    if (!e) {
        LOCK_SCOPE(&s->log->lock);
        if (s->log->stopped) {
            source->close_code = 1001;
            str_copy_utf8(source->close_reason, sizeof(source->close_reason), "the daemon is stopping");
            return -1;
        }
        return 0;
    }
    s->position = e->seq;
    len = render(s, e->seq, e->json->data, e->json->len, buf, max);
    event_unref(e);
    return len < 0 ? resync(s, buf, max) : len;
}

static void subscriber_set_notify(struct source *source, void (*notify)(void *), void *opaque)
{
    struct subscriber *s = (struct subscriber *)source;

    LOCK_SCOPE(&s->log->lock);
    s->notify = notify;
    s->opaque = opaque;
}

static void subscriber_close(struct source *source)
{
    struct subscriber *s = (struct subscriber *)source;

    {
        LOCK_SCOPE(&s->log->lock);
        if (s->prev)
            s->prev->next = s->next;
        else
            s->log->subscribers = s->next;
        if (s->next)
            s->next->prev = s->prev;
        /* notify is not called after close returns: wait for a round that is under way. */
        while (s->log->notifying)
            pthread_cond_wait(&s->log->quiet, &s->log->lock);
    }
    for (size_t i = s->backlog_next; i < s->backlog_count; i++)
        event_unref(s->backlog[i]);
    free(s->backlog);
    free(s);
}

struct wakeup {
    void (*notify)(void *);
    void *opaque;
};

void event_log_notify(struct event_log *log)
{
    auto_free struct wakeup *list = NULL;
    size_t n = 0, cap = 0;

    {
        LOCK_SCOPE(&log->lock);
        log->notifying++;
        for (struct subscriber *s = log->subscribers; s; s = s->next) {
            if (!s->notify)
                continue;
            if (n == cap) {
                cap = cap ? 2 * cap : 16;
                list = xrealloc_array(list, cap, sizeof(*list));
            }
            list[n++] = (struct wakeup){s->notify, s->opaque};
        }
    }
    for (size_t i = 0; i < n; i++)
        list[i].notify(list[i].opaque);
    LOCK_SCOPE(&log->lock);
    if (--log->notifying == 0)
        pthread_cond_broadcast(&log->quiet);
}

void event_log_stop(struct event_log *log)
{
    {
        LOCK_SCOPE(&log->lock);
        log->stopped = true;
    }
    event_log_notify(log);
}

void event_log_revoke(struct event_log *log, const char *right)
{
    bool any = false;

    {
        LOCK_SCOPE(&log->lock);
        for (struct subscriber *s = log->subscribers; s; s = s->next) {
            if (!str_has_word(s->rights, right))
                continue;
            any = s->revoked = true;
        }
    }
    if (any)
        event_log_notify(log);
}

static int load_backlog(struct core *core, struct subscriber *s, int64_t since, struct error *err)
{
    int64_t last = event_last_seq(core); /* before the page is read: what comes after it is not passed over */
    struct event *probe;
    size_t n = 0;

    s->position = since;
    if (event_log_take(s->log, s->project_id, since, 0, &probe, &n))
        return 0;
    if (event_page(core, s->project_id, since, BACKLOG_MAX, &s->backlog, &s->backlog_count, err))
        return -1;
    /* A project that wrote nothing since then has nothing to catch up with. */
    if (s->backlog_count < BACKLOG_MAX && !s->backlog_count)
        s->position = last;
    return 0;
}

int event_subscribe(struct core *core, const char *project_id, const char *rights, int64_t since,
                    enum event_format format, struct source **ret, struct error *err)
{
    struct subscriber *s = xcalloc(1, sizeof(*s));

    s->source = (struct source){
        .read = subscriber_read, .set_notify = subscriber_set_notify, .close = subscriber_close};
    s->log = core->events;
    s->format = format;
    str_copy_utf8(s->project_id, sizeof(s->project_id), project_id);
    str_copy_utf8(s->rights, sizeof(s->rights), rights);
    if (load_backlog(core, s, since < 0 ? event_last_seq(core) : since, err)) {
        free(s);
        return -1;
    }
    LOCK_SCOPE(&s->log->lock);
    s->next = s->log->subscribers;
    if (s->next)
        s->next->prev = s;
    s->log->subscribers = s;
    *ret = &s->source;
    return 0;
}
