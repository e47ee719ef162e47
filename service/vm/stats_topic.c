/* See stats_topic.h. */
#include "service/vm/stats_topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"

#define PART_BYTES 12288 /* a carrier's buffer has room for 16 KiB */

/* One tick's messages; immutable. */
struct tick {
    _Atomic unsigned refs;
    char project_id[UUID_TEXT]; /* whose VMs it tells of */
    bool exact;
    uint64_t number;
    size_t count;
    struct blob **parts;
};

struct listener {
    struct source source;
    struct stats_topic *topic;
    struct listener *prev, *next;
    char project_id[UUID_TEXT];
    bool exact;
    enum stats_format format;
    struct tick *current; /* being delivered, or NULL */
    size_t part;
    uint64_t last; /* number of the last tick delivered */
    void (*notify)(void *);
    void *opaque;
};

struct stats_topic {
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t quiet; /* no notification is under way */
    struct tick **latest; /* one for each project and precision somebody listens to */
    size_t latest_count;
    struct listener *listeners;
    size_t count;
    unsigned notifying;
    bool stopped;
};

static void tick_unref(struct tick *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < t->count; i++)
        blob_unref(t->parts[i]);
    free(t->parts);
    free(t);
}

/* ---- making the messages ---- */

static void add_real(struct strbuf *b, const char *name, bool has, double value)
{
    if (has)
        strbuf_addf(b, ",\"%s\":%.6g", name, value);
}

static void add_vm(struct strbuf *b, const struct vm_sample *s, const struct host_ksm *ksm, bool exact)
{
    const struct host_process *p = &s->process;
    const struct vm_dear *d = s->dear;
    uint64_t merging = (uint64_t)p->ksm_merging_pages * ksm->page_size_bytes;
    bool own = s->has_process && p->has_memory;

    strbuf_addf(b, "{\"vm_id\":\"%s\",\"at\":%" PRId64, s->vm_id, s->sampled_at);
    doc_add_bool(b, "stale", s->stale);
    add_real(b, "cpu_percent", s->has_cpu_percent, s->cpu_percent);
    doc_add_int(b, "promised_bytes", (int64_t)s->promised_bytes);
    if (own || d->virt.has_rss)
        doc_add_int(b, "resident_bytes",
                    (int64_t)(own ? p->resident_bytes : d->virt.rss_bytes));
    add_real(b, "storage_read_bytes_per_second", s->has_io_rate, s->io_read_rate);
    add_real(b, "storage_write_bytes_per_second", s->has_io_rate, s->io_write_rate);
    add_real(b, "receive_bytes_per_second", d->has_network_rate, d->receive_rate);
    add_real(b, "transmit_bytes_per_second", d->has_network_rate, d->transmit_rate);
    if (s->has_process && p->has_ksm_merging_pages)
        doc_add_int(b, "ksm_merging_bytes", (int64_t)(exact ? merging : ksm_coarse(merging)));
    if (s->has_ksm_saved)
        doc_add_int(b, "ksm_saved_bytes",
                    (int64_t)(exact ? s->ksm_saved_bytes : ksm_coarse(s->ksm_saved_bytes)));
    doc_add_text(b, "ksm_cause", ksm_cause_word(s->ksm_cause));
    strbuf_addc(b, '}');
}

static void add_host(struct strbuf *b, const struct snapshot *now, bool exact)
{
    const struct host_ksm *k = &now->ksm;

    strbuf_addf(b, "{\"running\":%zu", now->count);
    if (now->memory.ok) {
        doc_add_int(b, "total_bytes", (int64_t)now->memory.total_bytes);
        doc_add_int(b, "available_bytes", (int64_t)now->memory.available_bytes);
    }
    if (k->has_saved)
        doc_add_int(b, "ksm_saved_bytes",
                    (int64_t)(exact ? k->saved_bytes : ksm_coarse(k->saved_bytes)));
    add_real(b, "ksmd_cpu_percent", now->has_ksmd_percent, now->ksmd_percent);
    strbuf_addc(b, '}');
}

/* Bodies first, then a head with the number of parts before each. */
static struct tick *render(const struct snapshot *now, const char *project_id, bool exact)
{
    struct tick *t = xcalloc(1, sizeof(*t));
    auto_strbuf struct strbuf b = {0};
    char **bodies = NULL;
    char at[CLOCK_TEXT_SIZE];
    size_t parts = 0;

    atomic_init(&t->refs, 1);
    t->number = now->tick;
    t->exact = exact;
    str_copy_utf8(t->project_id, sizeof(t->project_id), project_id);
    for (size_t i = 0; i <= now->count; i++) {
        const struct vm_sample *s = i < now->count ? &now->samples[i] : NULL;

        if (s && str_eq(s->project_id, project_id)) {
            if (b.len)
                strbuf_addc(&b, ',');
            add_vm(&b, s, &now->ksm, exact);
        }
        if ((s && b.len < PART_BYTES - 1024) || (!s && !b.len && parts))
            continue;
        bodies = xrealloc_array(bodies, parts + 1, sizeof(*bodies));
        bodies[parts++] = strbuf_take(&b);
    }
    t->parts = xcalloc(parts, sizeof(*t->parts));
    clock_format(now->sampled_at, at);
    for (; t->count < parts; t->count++) {
        auto_strbuf struct strbuf m = {0};

        strbuf_addf(&m, "{\"tick\":%" PRIu64 ",\"sampled_at\":\"%s\",\"part\":%zu,\"parts\":%zu,\"host\":",
                    now->tick, at, t->count + 1, parts);
        add_host(&m, now, exact);
        strbuf_addf(&m, ",\"items\":[%s]}", bodies[t->count]);
        t->parts[t->count] = blob_new(m.data, m.len);
        free(bodies[t->count]);
    }
    free(bodies);
    return t;
}

/* ---- telling the listeners ---- */

struct wakeup {
    void (*notify)(void *);
    void *opaque;
};

static void notify_all(struct stats_topic *t)
{
    auto_free struct wakeup *list = NULL;
    size_t n = 0, max;

    {
        LOCK_SCOPE(&t->lock);
        t->notifying++;
        max = t->count;
        list = xcalloc(max + 1, sizeof(*list));
        for (struct listener *l = t->listeners; l && n < max; l = l->next) {
            if (l->notify)
                list[n++] = (struct wakeup){l->notify, l->opaque};
        }
    }
    for (size_t i = 0; i < n; i++)
        list[i].notify(list[i].opaque);
    LOCK_SCOPE(&t->lock);
    if (--t->notifying == 0)
        pthread_cond_broadcast(&t->quiet);
}

static struct tick *find(struct tick *const *ticks, size_t count, const char *project_id, bool exact)
{
    for (size_t i = 0; i < count; i++) {
        if (ticks[i]->exact == exact && str_eq(ticks[i]->project_id, project_id))
            return ticks[i];
    }
    return NULL;
}

/* What somebody listens to, each once, as empty ticks. */
static size_t wanted(struct stats_topic *t, struct tick ***ret)
{
    size_t n = 0;

    LOCK_SCOPE(&t->lock);
    *ret = xcalloc(t->count + 1, sizeof(**ret));
    for (const struct listener *l = t->listeners; l; l = l->next) {
        struct tick *tick;

        if (find(*ret, n, l->project_id, l->exact))
            continue;
        (*ret)[n++] = tick = xcalloc(1, sizeof(*tick));
        atomic_init(&tick->refs, 1);
        tick->exact = l->exact;
        memcpy(tick->project_id, l->project_id, sizeof(tick->project_id));
    }
    return n;
}

static void ticks_free(struct tick **ticks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tick_unref(ticks[i]);
    free(ticks);
}

void stats_topic_publish(struct stats_topic *t, struct snapshot *now)
{
    struct tick **next, **old;
    size_t count = wanted(t, &next), old_count;

    for (size_t i = 0; i < count; i++) {
        struct tick *rendered = render(now, next[i]->project_id, next[i]->exact);

        tick_unref(next[i]);
        next[i] = rendered;
    }
    {
        LOCK_SCOPE(&t->lock);
        old = t->latest;
        old_count = t->latest_count;
        t->latest = next;
        t->latest_count = count;
    }
    ticks_free(old, old_count);
    notify_all(t);
}

/* ---- a listener ---- */

static ssize_t listener_read(struct source *source, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct listener *l = (struct listener *)source;
    struct stats_topic *t = l->topic;
    const struct blob *part;
    int n;

    *ret_kind = SOURCE_TEXT;
    if (!l->current) {
        LOCK_SCOPE(&t->lock);
        struct tick *newest = find(t->latest, t->latest_count, l->project_id, l->exact);

        if (t->stopped) {
            source->close_code = 1001;
            str_copy_utf8(source->close_reason, sizeof(source->close_reason), "the daemon is stopping");
            return -1;
        }
        if (!newest || newest->number == l->last)
            return 0;
        atomic_fetch_add_explicit(&newest->refs, 1, memory_order_relaxed);
        l->current = newest;
        l->part = 0;
    }
    part = l->current->parts[l->part];
    if (l->format == STATS_FORMAT_SSE)
        n = snprintf(buf, max, "data: %s\n\n", part->data);
    else
        n = snprintf(buf, max, "%s", part->data);
    if (++l->part == l->current->count) {
        l->last = l->current->number;
        tick_unref(TAKE_PTR(l->current));
    }
    return n;
}

static void listener_set_notify(struct source *source, void (*notify)(void *), void *opaque)
{
    struct listener *l = (struct listener *)source;

    LOCK_SCOPE(&l->topic->lock);
    l->notify = notify;
    l->opaque = opaque;
}

static void listener_close(struct source *source)
{
    struct listener *l = (struct listener *)source;
    struct stats_topic *t = l->topic;

    {
        LOCK_SCOPE(&t->lock);
        if (l->prev)
            l->prev->next = l->next;
        else
            t->listeners = l->next;
        if (l->next)
            l->next->prev = l->prev;
        t->count--;
        /* notify is not called after close returns: wait for a round that is under way. */
        while (t->notifying)
            pthread_cond_wait(&t->quiet, &t->lock);
    }
    tick_unref(l->current);
    free(l);
}

struct source *stats_subscribe(struct core *core, const char *project_id, bool exact,
                               enum stats_format format)
{
    struct stats_topic *t = core->stats_topic;
    struct listener *l = xcalloc(1, sizeof(*l));

    l->source = (struct source){
        .read = listener_read, .set_notify = listener_set_notify, .close = listener_close};
    l->topic = t;
    str_copy_utf8(l->project_id, sizeof(l->project_id), project_id);
    l->exact = exact;
    l->format = format;
    LOCK_SCOPE(&t->lock);
    l->next = t->listeners;
    if (l->next)
        l->next->prev = l;
    t->listeners = l;
    t->count++;
    return &l->source;
}

/* ---- life ---- */

struct stats_topic *stats_topic_new(void)
{
    struct stats_topic *t = xcalloc(1, sizeof(*t));

    mutex_init(&t->lock);
    cond_init(&t->quiet);
    return t;
}

void stats_topic_stop(struct stats_topic *t)
{
    {
        LOCK_SCOPE(&t->lock);
        t->stopped = true;
    }
    notify_all(t);
}

void stats_topic_free(struct stats_topic *t)
{
    if (!t)
        return;
    ticks_free(t->latest, t->latest_count);
    pthread_cond_destroy(&t->quiet);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
