/* The audit log: a queue in memory, and the thread that stores it. */
#include "service/vm/audit_log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"

#define ENTRIES_MAX     4096    /* in memory */
/* What failed stops here, so that what was done finds room beside a flood of it. */
#define ENTRIES_REFUSED (ENTRIES_MAX / 2)
#define ENTRIES_KEPT    1000000 /* on the disk, some 250 MB */
#define GATHER_MS       1000
#define READ_WAIT_MS    2000 /* for a reader; a disk that is stuck shows what it has */
#define STRANGERS_MAX   100  /* refusals of unknown people that are stored at once … */
#define STRANGERS_PER_S 5    /* … and in the long run */

struct entry {
    STAILQ_ENTRY(entry) link;
    struct audit_entry e; /* its texts are owned */
};
STAILQ_HEAD(entry_list, entry);

struct audit_log {
    struct core *core;
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t wake, stored;
    struct entry_list entries;
    size_t count;
    uint64_t added, done, skipped; /* done: of added, stored or given up */
    double strangers;              /* a token bucket */
    int64_t strangers_at;
    bool stopping, hurry, failing;
    bool started;
    pthread_t thread;
};

static void entry_free(struct entry *x)
{
    const char *const texts[] = {x->e.project_id, x->e.principal, x->e.name,   x->e.address,
                                 x->e.method,     x->e.operation, x->e.code,   x->e.request_id};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free((char *)texts[i]);
    json_decref(x->e.params);
    free(x);
}

static void entries_free(struct entry_list *list)
{
    struct entry *x;

    while ((x = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        entry_free(x);
    }
}

/* What a client chose may be no UTF-8, which neither JSON nor the database takes. */
static char *clean(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = xcalloc(1, size);

    str_copy_utf8(copy, size, text);
    return copy;
}

static struct entry *entry_new(const struct audit_entry *e)
{
    struct entry *x = xcalloc(1, sizeof(*x));

    x->e = *e;
    x->e.project_id = clean(*e->project_id ? e->project_id : PROJECT_DEFAULT);
    x->e.principal = clean(e->principal);
    x->e.name = clean(e->name);
    x->e.address = clean(e->address);
    x->e.method = clean(e->method);
    x->e.operation = clean(e->operation);
    x->e.code = clean(e->code);
    x->e.request_id = clean(e->request_id);
    return x;
}

/* With the lock held. */
static bool stranger_fits(struct audit_log *a)
{
    int64_t now = clock_monotonic_ms();

    a->strangers += (double)(now - a->strangers_at) * STRANGERS_PER_S / 1000;
    a->strangers_at = now;
    if (a->strangers > STRANGERS_MAX)
        a->strangers = STRANGERS_MAX;
    if (a->strangers < 1)
        return false;
    a->strangers -= 1;
    return true;
}

void audit_log_add(struct audit_log *a, const struct audit_entry *e)
{
    struct entry *x = entry_new(e);

    {
        LOCK_SCOPE(&a->lock);
        if (a->count < (e->status < 400 ? ENTRIES_MAX : ENTRIES_REFUSED) && (*e->principal || stranger_fits(a))) {
            STAILQ_INSERT_TAIL(&a->entries, x, link);
            a->count++;
            a->added++;
            a->hurry |= a->count == ENTRIES_REFUSED;
            if (a->count == 1 || a->hurry)
                pthread_cond_signal(&a->wake);
            return;
        }
        a->skipped++;
    }
    entry_free(x);
}

uint64_t audit_log_skipped(struct audit_log *a)
{
    LOCK_SCOPE(&a->lock);
    return a->skipped;
}

/* ---- storing ---- */

static int store_entry(struct db_tx *tx, const struct audit_entry *e, int64_t *ret_seq, struct error *err)
{
    auto_free char *params = doc_text(e->params);
    const struct audit_row row = {
        .seq = e->seq,
        .at = e->at,
        .project_id = e->project_id,
        .principal = e->principal,
        .name = e->name,
        .address = e->address,
        .method = e->method,
        .operation = e->operation,
        .params = params,
        .status = e->status,
        .code = e->code,
        .request_id = e->request_id,
        .duration_us = e->duration_us,
    };

    return e->seq ? store_audit_answer(tx, &row, err) : store_audit_append(tx, &row, ret_seq, err);
}

static int store_entries(struct db_tx *tx, void *arg, struct error *err)
{
    const struct entry_list *list = arg;
    const struct entry *x;

    STAILQ_FOREACH(x, list, link)
    {
        if (store_entry(tx, &x->e, NULL, err))
            return -1;
    }
    return store_audit_prune(tx, 0, ENTRIES_KEPT, err);
}

static int store_ride(struct db_tx *tx, void *arg, struct error *err)
{
    struct audit_ride *r = arg;

    return store_entry(tx, &r->entry->e, &r->seq, err);
}

void audit_ride_begin(struct audit_ride *r, const struct audit_entry *e)
{
    *r = (struct audit_ride){.with = {.fn = store_ride, .arg = r}, .entry = entry_new(e)};
    r->entry->e.status = AUDIT_UNANSWERED;
    db_accompany(&r->with);
}

int64_t audit_ride_end(struct audit_ride *r)
{
    db_accompany(NULL);
    entry_free(r->entry);
    return r->with.stored ? r->seq : 0;
}

/* What could not be stored waits for the next time, before what came since. */
static void store_all(struct audit_log *a)
{
    struct entry_list list = STAILQ_HEAD_INITIALIZER(list);
    struct error err;
    size_t count;
    bool failed;

    {
        LOCK_SCOPE(&a->lock);
        STAILQ_CONCAT(&list, &a->entries);
        count = a->count;
        a->count = 0;
    }
    failed = count && db_write(a->core->db, store_entries, NULL, &list, &err);
    if (failed && !a->failing)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store the audit log; it is kept in memory meanwhile");
    {
        LOCK_SCOPE(&a->lock);
        a->failing = failed;
        if (failed) {
            STAILQ_CONCAT(&list, &a->entries);
            STAILQ_CONCAT(&a->entries, &list);
            a->count += count; /* may be above the bound by one second's */
        } else {
            a->done += count;
        }
        a->hurry = false;
        pthread_cond_broadcast(&a->stored);
    }
    entries_free(&list);
}

static void *audit_thread(void *arg)
{
    struct audit_log *a = arg;

    for (;;) {
        bool stopping;

        {
            LOCK_SCOPE(&a->lock);
            while (!a->stopping && !a->count)
                pthread_cond_wait(&a->wake, &a->lock);
            for (int64_t until = clock_monotonic_ms() + GATHER_MS;
                 !a->stopping && !a->hurry && clock_monotonic_ms() < until;)
                cond_wait_until(&a->wake, &a->lock, until);
            stopping = a->stopping;
        }
        store_all(a);
        if (stopping)
            return NULL;
    }
}

int audit_log_start(struct core *core, struct audit_log **ret, struct error *err)
{
    struct audit_log *a = xcalloc(1, sizeof(*a));

    a->core = core;
    mutex_init(&a->lock);
    cond_init(&a->wake);
    cond_init(&a->stored);
    STAILQ_INIT(&a->entries);
    a->strangers = STRANGERS_MAX;
    a->strangers_at = clock_monotonic_ms();
    *ret = a;
    if (thread_start(&a->thread, "audit", audit_thread, a, err))
        return -1;
    a->started = true;
    return 0;
}

void audit_log_stop(struct audit_log *a)
{
    if (!a)
        return;
    {
        LOCK_SCOPE(&a->lock);
        a->stopping = true;
        pthread_cond_signal(&a->wake);
    }
    if (a->started)
        pthread_join(a->thread, NULL);
    if (a->count)
        log_warning("%zu entries of the audit log could not be stored", a->count);
    entries_free(&a->entries);
    pthread_cond_destroy(&a->wake);
    pthread_cond_destroy(&a->stored);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* ---- reading ---- */

/* Who asks what was done sees what was done before the question. */
static void settle(struct audit_log *a)
{
    int64_t until = clock_monotonic_ms() + READ_WAIT_MS;
    uint64_t wanted;

    LOCK_SCOPE(&a->lock);
    wanted = a->added;
    while (a->done < wanted && clock_monotonic_ms() < until) {
        a->hurry = true;
        pthread_cond_signal(&a->wake);
        cond_wait_until(&a->stored, &a->lock, until);
        if (a->failing)
            return;
    }
}

struct reading {
    audit_log_fn *fn;
    void *arg;
};

static int read_row(void *arg, const struct audit_row *row)
{
    const struct reading *r = arg;
    auto_json json_t *params = json_loads(row->params, 0, NULL);
    struct audit_entry e = {
        .seq = row->seq,
        .at = row->at,
        .project_id = row->project_id,
        .principal = row->principal,
        .name = row->name,
        .address = row->address,
        .method = row->method,
        .operation = row->operation,
        .params = params,
        .status = row->status,
        .code = row->code,
        .request_id = row->request_id,
        .duration_us = row->duration_us,
    };

    r->fn(r->arg, &e);
    return 0;
}

int audit_log_read(struct core *core, const struct audit_log_filter *filter, audit_log_fn *fn, void *arg,
                   struct error *err)
{
    struct reading r = {fn, arg};
    const struct audit_filter rows = {
        .project_id = filter->project_id,
        .before_seq = filter->before_seq,
        .since = filter->since,
        .until = filter->until,
        .principal = filter->principal,
        .operation = filter->operation,
        .min_status = filter->failed ? 400 : 0,
        .limit = filter->limit,
    };

    settle(core->audit_log);
    return store_audit_list(core->db, &rows, read_row, &r, err);
}
