/*
 * Feeding and writing. A finished block of seconds takes its series' unfinished minutes and quarter
 * hours along, so a crash costs two minutes at most and the disk sees few, small, whole rows.
 */
#include "service/vm/history.h"

#include <math.h>
#include <search.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/history_internal.h"

#define QUEUE_MAX   8192 /* blocks; beyond, the disk has refused for long */
#define BATCH_MAX   512  /* in one transaction */
#define RETRY_MS    10000
#define SWEEP_MS    3600000
#define SPREAD_BITS 3 /* how far it went below and above its mean: 6 % of that are well enough */

const struct level history_levels[LEVEL_COUNT] = {
    {1, 3600, 120, HISTORY_FIGURES},
    {60, 86400, 60, HISTORY_PLANES},
    {900, 31 * 86400, 96, HISTORY_PLANES},
};

static const struct history_figure vm_figures[HISTORY_FIGURES] = {
#define KIND_VM(name, unit, ksm, bits)   {#name, unit, ksm, bits},
#define KIND_HOST(name, unit, ksm, bits)
#define F(kind, name, unit, ksm, bits) KIND_##kind(name, unit, ksm, bits)
#include "service/vm/history.def"
#undef KIND_VM
#undef KIND_HOST
};

static const struct history_figure host_figures[HISTORY_FIGURES] = {
#define KIND_VM(name, unit, ksm, bits)
#define KIND_HOST(name, unit, ksm, bits) {#name, unit, ksm, bits},
#include "service/vm/history.def"
#undef F
};

const struct history_figure *history_figures(bool host)
{
    return host ? host_figures : vm_figures;
}

size_t history_block_codes(int level)
{
    return (size_t)history_levels[level].points * history_levels[level].planes;
}

int history_series_compare(const void *a, const void *b)
{
    return strcmp(((const struct series *)a)->name, ((const struct series *)b)->name);
}

static void series_free(void *p)
{
    struct series *s = p;

    for (int l = 0; l < LEVEL_COUNT; l++)
        free(s->blocks[l].codes);
    free(s);
}

/* ---- the queue; the lock is held ---- */

static void enqueue(struct history *h, const struct series *s, int level)
{
    size_t count = history_block_codes(level);
    struct pending *p;

    if (h->stats.queued >= QUEUE_MAX) {
        h->stats.dropped++;
        return;
    }
    p = xcalloc(1, sizeof(*p) + count * sizeof(*p->codes));
    str_copy_utf8(p->series, sizeof(p->series), s->name);
    p->level = level;
    p->merges = s->blocks[level].merges;
    p->start = s->blocks[level].start;
    memcpy(p->codes, s->blocks[level].codes, count * sizeof(*p->codes));
    *h->tail = p;
    h->tail = &p->next;
    h->stats.queued++;
}

static void save(struct history *h, struct series *s, int level)
{
    if (!s->blocks[level].start || !s->blocks[level].dirty)
        return;
    enqueue(h, s, level);
    s->blocks[level].dirty = false;
}

/* Makes the block that holds `at` the open one. */
static struct open_block *open_at(struct history *h, struct series *s, int level, int64_t at)
{
    const struct level *l = &history_levels[level];
    struct open_block *b = &s->blocks[level];
    int64_t start = at - at % (l->step * l->points);
    size_t count = history_block_codes(level);

    if (b->start == start)
        return b;
    /* A full block of seconds takes the series' unfinished ones along. */
    save(h, s, level);
    for (int i = LEVEL_MINUTES; i < LEVEL_COUNT && level == LEVEL_SECONDS; i++)
        save(h, s, i);
    b->merges = b->start == 0;
    b->start = start;
    b->dirty = false;
    if (!b->codes)
        b->codes = xcalloc(count, sizeof(*b->codes));
    for (size_t i = 0; i < count; i++)
        b->codes[i] = HISTORY_ABSENT;
    return b;
}

/* ---- figures into points ---- */

static int16_t code_of(double value, const struct history_figure *figure, unsigned bits)
{
    return history_round(history_code(value, figure->unit), bits);
}

/* Minutes and quarter hours: mean, and how far below and above it went. */
static void close_sum(struct history *h, struct series *s, int level)
{
    const struct level *l = &history_levels[level];
    struct open_block *b = open_at(h, s, level, s->sum_start[level]);
    unsigned i = (unsigned)((s->sum_start[level] - b->start) / l->step);
    const struct history_figure *figures = history_figures(s->host);

    for (unsigned f = 0; f < HISTORY_FIGURES; f++) {
        const struct sum *sum = &s->sums[level][f];
        double mean = sum->n ? sum->total / sum->n : 0;

        if (!sum->n)
            continue;
        b->codes[f * l->points + i] = code_of(mean, &figures[f], figures[f].bits);
        /* Most rates rest now and then: a plane that repeats the means costs nothing. */
        b->codes[(HISTORY_FIGURES + f) * l->points + i] =
            code_of(mean - sum->min, &figures[f], sum->min == 0 ? figures[f].bits : SPREAD_BITS);
        b->codes[(2 * HISTORY_FIGURES + f) * l->points + i] =
            code_of(sum->max - mean, &figures[f], SPREAD_BITS);
        b->dirty = true;
    }
    memset(s->sums[level], 0, sizeof(s->sums[level]));
}

static void add_to_sums(struct history *h, struct series *s, int level, int64_t at, const double *values)
{
    int64_t start = at - at % history_levels[level].step;

    if (s->sum_start[level] != start) {
        if (s->sum_start[level])
            close_sum(h, s, level);
        s->sum_start[level] = start;
    }
    for (unsigned f = 0; f < HISTORY_FIGURES; f++) {
        struct sum *sum = &s->sums[level][f];

        if (isnan(values[f]))
            continue;
        sum->min = !sum->n || values[f] < sum->min ? values[f] : sum->min;
        sum->max = !sum->n || values[f] > sum->max ? values[f] : sum->max;
        sum->total += values[f];
        sum->n++;
    }
}

static struct series *find_series(struct history *h, const char *name)
{
    struct series *s = xcalloc(1, sizeof(*s)), **slot;

    str_copy_utf8(s->name, sizeof(s->name), name);
    slot = tsearch(s, &h->series, history_series_compare);
    if (!slot)
        out_of_memory();
    if (*slot != s) {
        free(s);
        return *slot;
    }
    s->host = strcmp(name, HISTORY_HOST) == 0;
    h->stats.series++;
    return s;
}

static void add_point(struct history *h, const char *name, int64_t at, const double *values)
{
    struct series *s = find_series(h, name);
    const struct level *l = &history_levels[LEVEL_SECONDS];
    const struct history_figure *figures = history_figures(s->host);
    struct open_block *b;

    s->seen = true;
    add_to_sums(h, s, LEVEL_MINUTES, at, values);
    add_to_sums(h, s, LEVEL_QUARTERS, at, values);
    b = open_at(h, s, LEVEL_SECONDS, at);
    for (unsigned f = 0; f < HISTORY_FIGURES; f++) {
        if (isnan(values[f]))
            continue;
        b->codes[f * l->points + (unsigned)(at - b->start)] =
            code_of(values[f], &figures[f], figures[f].bits);
        b->dirty = true;
    }
}

static double given(bool has, double value)
{
    return has ? value : (double)NAN;
}

static void vm_values(const struct vm_sample *s, const struct host_ksm *ksm, double *ret)
{
    const struct host_process *p = &s->process;
    bool own = s->has_process && p->has_memory;
    const struct vm_dear *d = s->dear;

    ret[0] = given(s->has_cpu_percent, s->cpu_percent);
    ret[1] = given(own || d->virt.has_rss, own ? (double)p->resident_bytes : (double)d->virt.rss_bytes);
    ret[2] = given(s->has_process && p->has_ksm_merging_pages,
                   (double)p->ksm_merging_pages * (double)ksm->page_size_bytes);
    ret[3] = given(s->has_ksm_saved, (double)s->ksm_saved_bytes);
    ret[4] = given(s->has_io_rate || d->has_block_rate,
                   s->has_io_rate ? s->io_read_rate : d->read_rate);
    ret[5] = given(s->has_io_rate || d->has_block_rate,
                   s->has_io_rate ? s->io_write_rate : d->write_rate);
    ret[6] = given(d->has_network_rate && !s->stale, d->receive_rate);
    ret[7] = given(d->has_network_rate && !s->stale, d->transmit_rate);
}

static void host_values(const struct snapshot *now, const struct snapshot *before, double *ret)
{
    const struct host_ksm *k = &now->ksm, *b = &before->ksm;
    double resident = 0, promised = 0;
    double seconds = (double)(now->sampled_at - before->sampled_at) / 1e3;
    int64_t scanned = k->value[HOST_KSM_pages_scanned] - b->value[HOST_KSM_pages_scanned];

    for (size_t i = 0; i < now->count; i++) {
        promised += (double)now->samples[i].promised_bytes;
        if (now->samples[i].has_process)
            resident += (double)now->samples[i].process.resident_bytes;
    }
    ret[0] = given(now->has_ksmd_percent, now->ksmd_percent);
    ret[1] = given(k->has_saved, (double)k->saved_bytes);
    ret[2] = given(k->has[HOST_KSM_general_profit], (double)k->value[HOST_KSM_general_profit]);
    ret[3] = given(k->has[HOST_KSM_pages_scanned] && b->has[HOST_KSM_pages_scanned] && seconds > 0 &&
                       scanned >= 0,
                   (double)scanned / seconds);
    ret[4] = resident;
    ret[5] = promised;
    ret[6] = given(now->memory.ok, (double)now->memory.available_bytes);
    ret[7] = (double)now->count;
}

static void save_unseen(const void *node, VISIT visit, void *arg)
{
    struct series *s = *(struct series *const *)node;

    if ((visit != leaf && visit != postorder) || s->seen)
        return;
    for (int l = 1; l < LEVEL_COUNT; l++) {
        if (s->sum_start[l])
            close_sum(arg, s, l);
        s->sum_start[l] = 0;
    }
    for (int l = 0; l < LEVEL_COUNT; l++)
        save(arg, s, l);
}

struct gone {
    struct series **list;
    size_t count;
};

static void collect_gone(const void *node, VISIT visit, void *arg)
{
    struct series *s = *(struct series *const *)node;
    struct gone *gone = arg;

    if (visit != leaf && visit != postorder)
        return;
    if (!s->seen)
        gone->list[gone->count++] = s;
    s->seen = false;
}

/* VMs that are off have nothing more to say; what they said goes to the disk. */
static void drop_unseen(struct history *h)
{
    auto_free struct series **list = xcalloc(h->stats.series + 1, sizeof(struct series *));
    struct gone gone = {.list = list};

    twalk_r(h->series, save_unseen, h);
    twalk_r(h->series, collect_gone, &gone);
    for (size_t i = 0; i < gone.count; i++) {
        tdelete(gone.list[i], &h->series, history_series_compare);
        series_free(gone.list[i]);
        h->stats.series--;
    }
}

void history_feed(struct history *h, const struct snapshot *now, const struct snapshot *before)
{
    int64_t at = now->sampled_at / 1000;
    double values[HISTORY_FIGURES];

    LOCK_SCOPE(&h->lock);
    host_values(now, before, values);
    add_point(h, HISTORY_HOST, at, values);
    for (size_t i = 0; i < now->count; i++) {
        vm_values(&now->samples[i], &now->ksm, values);
        add_point(h, now->samples[i].vm_id, at, values);
    }
    drop_unseen(h);
    if (h->queue)
        pthread_cond_signal(&h->wake);
}

/* ---- writing ---- */

struct merge {
    struct pending *p;
};

static void merge_old(void *arg, int64_t start, const void *data, size_t len)
{
    struct pending *p = ((struct merge *)arg)->p;
    const struct level *l = &history_levels[p->level];
    size_t count = history_block_codes(p->level);
    auto_free int16_t *old = xcalloc(count, sizeof(*old));

    (void)start;
    if (!history_unpack(data, len, old, l->planes, l->points))
        return;
    for (size_t i = 0; i < count; i++) {
        if (p->codes[i] == HISTORY_ABSENT)
            p->codes[i] = old[i];
    }
}

static int write_batch(struct history *h, struct pending *first, size_t count, struct error *err)
{
    auto_free struct history_row *rows = xcalloc(count + 1, sizeof(*rows));
    auto_free void **blobs = xcalloc(count + 1, sizeof(*blobs));
    int64_t now = clock_wall_ms() / 1000;
    struct pending *p = first;
    int rc = 0;

    for (size_t i = 0; i < count; i++, p = p->next) {
        const struct level *l = &history_levels[p->level];

        if (p->merges && !rc)
            rc = history_db_read(h->db, p->series, p->level, p->start, p->start, merge_old,
                                 &(struct merge){p}, err);
        rows[i] = (struct history_row){.series = p->series,
                                       .level = p->level,
                                       .start = p->start,
                                       .keep_after = now - l->keep - l->step * l->points};
        rows[i].len = history_pack(p->codes, l->planes, l->points, &blobs[i]);
        rows[i].data = blobs[i];
    }
    if (!rc)
        rc = history_db_put(h->db, rows, count, err);
    for (size_t i = 0; i < count; i++)
        free(blobs[i]);
    return rc;
}

/* Takes the oldest of the queue; they stay readable while they are being written. */
static size_t take_batch(struct history *h)
{
    struct pending *p;
    size_t n = 1;

    LOCK_SCOPE(&h->lock);
    if (!h->queue)
        return 0;
    for (p = h->queue; p->next && n < BATCH_MAX; p = p->next)
        n++;
    h->writing = h->queue;
    h->queue = p->next;
    p->next = NULL;
    if (!h->queue)
        h->tail = &h->queue;
    return n;
}

static void end_batch(struct history *h, size_t count, bool keep, int64_t ns)
{
    struct pending *list, *last;

    LOCK_SCOPE(&h->lock);
    list = TAKE_PTR(h->writing);
    h->stats.write_ns += (uint64_t)ns;
    if (keep) {
        for (last = list; last->next; last = last->next)
            ;
        last->next = h->queue;
        if (!h->queue)
            h->tail = &last->next;
        h->queue = list;
        return;
    }
    h->stats.queued -= count;
    h->stats.blocks += count;
    while (list) {
        struct pending *next = list->next;

        free(list);
        list = next;
    }
}

/* False: the disk refuses. */
static bool write_all(struct history *h, bool *warned)
{
    size_t count;

    while ((count = take_batch(h))) {
        struct error err;
        int64_t began = clock_monotonic_ns();
        bool failed = !h->db || write_batch(h, h->writing, count, &err);

        end_batch(h, count, failed && h->db, clock_monotonic_ns() - began);
        if (!failed || !h->db) {
            *warned = false;
            continue;
        }
        if (!*warned)
            log_failure(LOG_LEVEL_WARNING, &err, "figures wait to be written");
        *warned = true;
        return false;
    }
    return true;
}

static bool is_wanted(void *arg, const char *series)
{
    struct core *core = arg;
    auto_vm struct vm *vm = NULL;

    if (strcmp(series, HISTORY_HOST) == 0)
        return true;
    vm = registry_get(core->registry, series);
    return vm != NULL;
}

static void *history_thread(void *arg)
{
    struct history *h = arg;
    int64_t sweep = clock_monotonic_ms() + SWEEP_MS / 60;
    bool warned = false;

    for (;;) {
        bool good = write_all(h, &warned);
        int64_t until = clock_monotonic_ms() + RETRY_MS;
        struct error err;

        if (h->db && clock_monotonic_ms() >= sweep) {
            sweep = clock_monotonic_ms() + SWEEP_MS;
            if (history_db_sweep(h->db, is_wanted, h->core, &err))
                log_failure(LOG_LEVEL_WARNING, &err, "the figures of deleted VMs stay");
        }
        LOCK_SCOPE(&h->lock);
        while (!h->stopping && (!good || !h->queue) && clock_monotonic_ms() < until)
            cond_wait_until(&h->wake, &h->lock, until);
        if (h->stopping)
            return NULL;
    }
}

void history_stats_read(struct history *h, struct history_stats *ret)
{
    uint64_t bytes = h->db ? history_db_bytes(h->db) : 0;

    LOCK_SCOPE(&h->lock);
    *ret = h->stats;
    ret->bytes = bytes;
}

static void history_free(struct history *h)
{
    struct pending *p = h->queue;

    while (p) {
        struct pending *next = p->next;

        free(p);
        p = next;
    }
    tdestroy(h->series, series_free);
    history_db_close(h->db);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

int history_start(struct core *core, const char *path, struct history **ret, struct error *err)
{
    struct history *h = xcalloc(1, sizeof(*h));

    h->core = core;
    h->tail = &h->queue;
    mutex_init(&h->lock);
    cond_init(&h->wake);
    if (history_db_open(path, &h->db, err))
        log_failure(LOG_LEVEL_WARNING, err, "figures are kept in memory only");
    if (thread_start(&h->thread, "history", history_thread, h, err)) {
        history_free(h);
        return -1;
    }
    *ret = h;
    return 0;
}

void history_stop(struct history *h)
{
    bool warned = true; /* no more lines: the daemon is going */

    if (!h)
        return;
    {
        LOCK_SCOPE(&h->lock);
        h->stopping = true;
        pthread_cond_signal(&h->wake);
    }
    pthread_join(h->thread, NULL);
    {
        LOCK_SCOPE(&h->lock);
        drop_unseen(h); /* nothing was fed since the last tick: everything is unseen */
    }
    (void)write_all(h, &warned);
    history_free(h);
}
