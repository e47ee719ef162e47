/*
 * Asking: the finest level that reaches back far enough, its blocks from the disk, over them what
 * waits to be written and what is still open, summed up to the step that was asked for.
 */
#include <math.h>
#include <search.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/history_internal.h"

#define POINTS_DEFAULT 360

struct span {
    int level;
    int64_t start; /* of the first block */
    size_t blocks;
    int16_t *codes; /* block after block */
};

static int16_t *block_of(struct span *s, int64_t start)
{
    const struct level *l = &history_levels[s->level];
    int64_t i = (start - s->start) / (l->step * l->points);

    if (start < s->start || (size_t)i >= s->blocks)
        return NULL;
    return s->codes + (size_t)i * history_block_codes(s->level);
}

static void lay_over(struct span *s, int64_t start, const int16_t *codes)
{
    int16_t *block = block_of(s, start);

    for (size_t i = 0; block && i < history_block_codes(s->level); i++) {
        if (codes[i] != HISTORY_ABSENT)
            block[i] = codes[i];
    }
}

static void from_disk(void *arg, int64_t start, const void *data, size_t len)
{
    struct span *s = arg;
    const struct level *l = &history_levels[s->level];
    int16_t *block = block_of(s, start);

    if (block)
        (void)history_unpack(data, len, block, l->planes, l->points);
}

static void from_queue(struct span *s, const struct pending *p, const char *series)
{
    for (; p; p = p->next) {
        if (p->level == s->level && strcmp(p->series, series) == 0)
            lay_over(s, p->start, p->codes);
    }
}

static void from_memory(struct history *h, struct span *s, const char *name)
{
    struct series key, **found;

    str_copy_utf8(key.name, sizeof(key.name), name);
    LOCK_SCOPE(&h->lock);
    from_queue(s, h->writing, name);
    from_queue(s, h->queue, name);
    found = tfind(&key, &h->series, history_series_compare);
    if (found && (*found)->blocks[s->level].start)
        lay_over(s, (*found)->blocks[s->level].start, (*found)->blocks[s->level].codes);
}

/* ---- which level, which step ---- */

static int choose_level(int64_t from, int64_t step, int64_t now)
{
    for (int i = 0; i < LEVEL_COUNT; i++) {
        const struct level *l = &history_levels[i];
        bool reaches = from >= now - l->keep - l->step * l->points;

        if (reaches && (i == LEVEL_COUNT - 1 || step < history_levels[i + 1].step))
            return i;
    }
    return LEVEL_COUNT - 1;
}

static int check(const struct history_range *q, int64_t now, struct error *err)
{
    if (q->to <= q->from)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "to", "to must be later than from");
    if (q->from < 0 || q->to > now + 3600)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, q->from < 0 ? "from" : "to",
                            "there are no figures of that time");
    if (q->step && (q->to - q->from) / q->step > HISTORY_POINTS_MAX) {
        error_set_at(err, ERROR_INVALID_ARGUMENT, "step", "that would be more than %d points",
                     HISTORY_POINTS_MAX);
        error_remedy(err, "Ask for a larger step or a shorter time.");
        return -1;
    }
    return 0;
}

/* ---- points into buckets ---- */

static void add_bucket(struct history_answer *a, size_t f, size_t bucket, unsigned *n, double min,
                       double mean, double max)
{
    size_t i = f * a->count + bucket;

    if (!n[i]) {
        a->minimum[i] = min;
        a->maximum[i] = max;
        a->mean[i] = mean;
    } else {
        a->minimum[i] = fmin(a->minimum[i], min);
        a->maximum[i] = fmax(a->maximum[i], max);
        a->mean[i] += (mean - a->mean[i]) / (n[i] + 1);
    }
    n[i]++;
}

static void add_block(const struct span *s, size_t block, bool host, struct history_answer *a,
                      unsigned *n)
{
    const struct level *l = &history_levels[s->level];
    const int16_t *codes = s->codes + block * history_block_codes(s->level);
    int64_t start = s->start + (int64_t)block * l->step * l->points;

    for (unsigned f = 0; f < HISTORY_FIGURES; f++) {
        double unit = history_figures(host)[f].unit;

        for (unsigned i = 0; i < l->points; i++) {
            int16_t code = codes[f * l->points + i];
            int64_t at = start + i * l->step - a->from;
            double mean, below = 0, above = 0;

            if (code == HISTORY_ABSENT || at < 0 || (size_t)(at / a->step) >= a->count)
                continue;
            mean = history_value(code, unit);
            if (l->planes == HISTORY_PLANES) {
                below = history_value(codes[(HISTORY_FIGURES + f) * l->points + i], unit);
                above = history_value(codes[(2 * HISTORY_FIGURES + f) * l->points + i], unit);
            }
            add_bucket(a, f, (size_t)(at / a->step), n, mean - below, mean, mean + above);
        }
    }
}

static void answer_alloc(struct history_answer *a)
{
    size_t count = a->count * HISTORY_FIGURES;

    a->minimum = xcalloc(count + 1, sizeof(double));
    a->mean = xcalloc(count + 1, sizeof(double));
    a->maximum = xcalloc(count + 1, sizeof(double));
    for (size_t i = 0; i < count; i++)
        a->minimum[i] = a->mean[i] = a->maximum[i] = (double)NAN;
}

void history_answer_done(struct history_answer *a)
{
    free(a->minimum);
    free(a->mean);
    free(a->maximum);
}

int history_read(struct history *h, const struct history_range *q, struct history_answer *ret,
                 struct error *err)
{
    int64_t now = clock_wall_ms() / 1000, width;
    int64_t step = q->step ? q->step : (q->to - q->from + POINTS_DEFAULT - 1) / POINTS_DEFAULT;
    auto_history_answer struct history_answer a = {0};
    auto_free int16_t *codes = NULL;
    auto_free unsigned *n = NULL;
    struct span span;
    const struct level *l;

    if (check(q, now, err))
        return -1;
    span.level = choose_level(q->from, step, now);
    l = &history_levels[span.level];
    width = l->step * l->points;
    a.resolution = l->step;
    a.step = step <= l->step ? l->step : (step + l->step - 1) / l->step * l->step;
    a.from = q->from - q->from % a.step;
    a.count = (size_t)((q->to - a.from + a.step - 1) / a.step);
    span.start = a.from - a.from % width;
    span.blocks = (size_t)((q->to - span.start) / width + 1);
    /* No further back than anything is kept, however far back was asked. */
    if (span.start < now - l->keep - 2 * width) {
        span.start = (now - l->keep - 2 * width) / width * width;
        span.blocks = q->to > span.start ? (size_t)((q->to - span.start) / width + 1) : 0;
    }
    codes = xcalloc(span.blocks + 1, history_block_codes(span.level) * sizeof(*codes));
    for (size_t i = 0; i < span.blocks * history_block_codes(span.level); i++)
        codes[i] = HISTORY_ABSENT;
    span.codes = codes;
    if (h->db && history_db_read(h->db, q->series, span.level, span.start, q->to, from_disk, &span, err))
        return -1;
    from_memory(h, &span, q->series);
    answer_alloc(&a);
    n = xcalloc(a.count * HISTORY_FIGURES + 1, sizeof(*n));
    for (size_t i = 0; i < span.blocks; i++)
        add_block(&span, i, strcmp(q->series, HISTORY_HOST) == 0, &a, n);
    *ret = a;
    a = (struct history_answer){0};
    return 0;
}
