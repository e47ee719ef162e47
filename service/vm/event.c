/*
 * The event log in memory: the newest events, rendered once, and the subscriptions that follow
 * them. The database's event hook feeds it after each commit, in order.
 */
#include "service/vm/event.h"

#include <stdio.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"
#include "service/vm/event_internal.h"

struct event *event_ref(struct event *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

void event_unref(struct event *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    blob_unref(e->json);
    free(e);
}

struct event *event_from_row(const struct event_row *row)
{
    struct event *e = xcalloc(1, sizeof(*e));
    char at[CLOCK_TEXT_SIZE];
    auto_json json_t *data = json_loads(row->data, 0, NULL);
    auto_json json_t *object = NULL;
    auto_free char *text = NULL;

    object = json_pack("{s:I, s:s, s:s, s:{s:s, s:s, s:s}, s:s, s:s, s:O}", "seq",
                       (json_int_t)row->seq, "at", clock_format(row->at, at), "type", row->type,
                       "subject", "kind", row->subject_kind, "id", row->subject_id, "name",
                       row->subject_name, "actor", row->actor, "request_id", row->request_id,
                       "data", data);
    text = doc_text(object);
    atomic_init(&e->refs, 1);
    e->seq = row->seq;
    str_copy_utf8(e->project_id, sizeof(e->project_id), row->project_id);
    str_copy_utf8(e->type, sizeof(e->type), row->type);
    e->json = blob_new_text(text);
    return e;
}

int event_append(struct core *core, struct db_tx *tx, const char *project_id,
                 const struct actor *actor, const char *type, const char *subject_kind,
                 const char *subject_id, const char *subject_name, const json_t *data,
                 struct error *err)
{
    auto_free char *text = data ? doc_text(data) : xstrdup("{}");
    int64_t seq;

    (void)core;
    return store_event_append(tx,
                              &(struct event_row){
                                  .at = clock_wall_ms(),
                                  .project_id = project_id ? project_id : actor->project_id,
                                  .host_id = HOST_LOCAL,
                                  .type = type,
                                  .subject_kind = subject_kind,
                                  .subject_id = subject_id,
                                  .subject_name = subject_name,
                                  .actor = actor->id,
                                  .request_id = actor->request_id,
                                  .data = text,
                              },
                              &seq, err);
}

struct single {
    struct core *core;
    const char *project_id, *type, *kind, *id;
    const json_t *data;
};

static int single_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct single *s = arg;

    return event_append(s->core, tx, s->project_id, &actor_system, s->type, s->kind, s->id, "", s->data, err);
}

int event_write(struct core *core, const char *project_id, const char *type,
                const char *subject_kind, const char *subject_id, const json_t *data, struct error *err)
{
    struct single s = {core, project_id, type, subject_kind, subject_id, data};

    return db_write(core->db, single_fn, NULL, &s, err);
}

int event_log_new(struct core *core, struct event_log **ret, struct error *err)
{
    struct event_log *log = xcalloc(1, sizeof(*log));

    mutex_init(&log->lock);
    cond_init(&log->quiet);
    if (store_event_last(core->db, &log->last_seq, err)) {
        event_log_free(log);
        return -1;
    }
    *ret = log;
    return 0;
}

void event_log_free(struct event_log *log)
{
    if (!log)
        return;
    for (size_t i = 0; i < log->count; i++)
        event_unref(log->ring[(log->head + i) % EVENT_RING]);
    pthread_cond_destroy(&log->quiet);
    pthread_mutex_destroy(&log->lock);
    free(log);
}

void event_log_publish(void *opaque, const struct event_row *row)
{
    struct event_log *log = opaque;
    struct event *e = event_from_row(row), *evicted = NULL;

    {
        LOCK_SCOPE(&log->lock);
        if (log->count == EVENT_RING) {
            evicted = log->ring[log->head];
            log->head = (log->head + 1) % EVENT_RING;
            log->count--;
        }
        log->ring[(log->head + log->count++) % EVENT_RING] = e;
        log->last_seq = e->seq;
    }
    event_unref(evicted);
    event_log_notify(log);
}

int64_t event_last_seq(struct core *core)
{
    LOCK_SCOPE(&core->events->lock);
    return core->events->last_seq;
}

/* The events of a project after since that memory holds; false when it does not reach back that far. */
bool event_log_take(struct event_log *log, const char *project_id, int64_t since, size_t limit,
                    struct event **list, size_t *ret_count)
{
    size_t n = 0;

    LOCK_SCOPE(&log->lock);
    *ret_count = 0;
    if (since < log->last_seq && (!log->count || log->ring[log->head]->seq > since + 1))
        return false;
    for (size_t i = 0; i < log->count && n < limit; i++) {
        struct event *e = log->ring[(log->head + i) % EVENT_RING];

        if (e->seq > since && strcmp(e->project_id, project_id) == 0)
            list[n++] = event_ref(e);
    }
    *ret_count = n;
    return true;
}

struct page {
    struct event **list;
    size_t count;
};

static int page_row(void *arg, const struct event_row *row)
{
    struct page *page = arg;

    page->list[page->count++] = event_from_row(row);
    return 0;
}

int event_page(struct core *core, const char *project_id, int64_t since, size_t limit,
               struct event ***ret, size_t *ret_count, struct error *err)
{
    struct page page = {.list = xcalloc(limit, sizeof(*page.list))};

    if (!event_log_take(core->events, project_id, since, limit, page.list, &page.count) &&
        store_event_list(core->db, project_id, since, (int)limit, page_row, &page, err)) {
        for (size_t i = 0; i < page.count; i++)
            event_unref(page.list[i]);
        free(page.list);
        return -1;
    }
    *ret = page.list;
    *ret_count = page.count;
    return 0;
}
