/* See quota_console.h: a list of open consoles, each a source around another. */
#include "service/vm/quota_console.h"

#include <string.h>

#include "service/base/cleanup.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/base/thread.h"

struct counted {
    struct source source;
    struct source *inner;
    struct quota_consoles *in;
    struct counted *prev, *next;
    char project_id[UUID_TEXT], token_id[SECRET_TOKEN_ID];
};

struct quota_consoles {
    pthread_mutex_t lock;
    struct counted *first;
};

struct quota_consoles *quota_consoles_new(void)
{
    struct quota_consoles *c = xcalloc(1, sizeof(*c));

    mutex_init(&c->lock);
    return c;
}

void quota_consoles_free(struct quota_consoles *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    free(c);
}

pthread_mutex_t *quota_consoles_lock(struct quota_consoles *c)
{
    return &c->lock;
}

int64_t quota_consoles_count(struct quota_consoles *c, const char *project_id, const char *token_id)
{
    int64_t count = 0;

    for (const struct counted *s = c->first; s; s = s->next)
        count += str_eq(s->project_id, project_id) && (!token_id || str_eq(s->token_id, token_id));
    return count;
}

/* ---- the source ---- */

static void take_over_end(struct counted *s)
{
    s->source.close_code = s->inner->close_code;
    memcpy(s->source.close_reason, s->inner->close_reason, sizeof(s->source.close_reason));
}

static ssize_t counted_read(struct source *source, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct counted *s = (struct counted *)source;
    ssize_t n = s->inner->read(s->inner, buf, max, ret_kind);

    if (n < 0)
        take_over_end(s);
    return n;
}

static ssize_t counted_write(struct source *source, enum source_kind kind, const void *data,
                             size_t len)
{
    struct counted *s = (struct counted *)source;
    ssize_t n = s->inner->write(s->inner, kind, data, len);

    if (n < 0)
        take_over_end(s);
    return n;
}

static void counted_set_notify(struct source *source, void (*notify)(void *), void *opaque)
{
    struct counted *s = (struct counted *)source;

    s->inner->set_notify(s->inner, notify, opaque);
}

static void counted_close(struct source *source)
{
    struct counted *s = (struct counted *)source;

    s->inner->close(s->inner);
    {
        LOCK_SCOPE(&s->in->lock);
        if (s->prev)
            s->prev->next = s->next;
        else
            s->in->first = s->next;
        if (s->next)
            s->next->prev = s->prev;
    }
    free(s);
}

struct source *quota_consoles_add(struct quota_consoles *c, const char *project_id,
                                  const char *token_id, struct source *inner)
{
    struct counted *s = xcalloc(1, sizeof(*s));

    s->source = (struct source){.read = counted_read,
                                .write = inner->write ? counted_write : NULL,
                                .set_notify = counted_set_notify,
                                .close = counted_close};
    s->inner = inner;
    s->in = c;
    str_copy_utf8(s->project_id, sizeof(s->project_id), project_id);
    str_copy_utf8(s->token_id, sizeof(s->token_id), token_id);
    s->next = c->first;
    if (s->next)
        s->next->prev = s;
    c->first = s;
    return &s->source;
}
