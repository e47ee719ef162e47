/* See timing.h. */
#include "service/vm/timing.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/base/thread.h"

const double timing_bounds[TIMING_BUCKETS] = {0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 300};

struct timing {
    pthread_mutex_t lock; /* leaf */
    size_t count;         /* the first is boots */
    struct timing_histogram rows[TIMING_KINDS + 1];
};

struct timing *timing_new(void)
{
    struct timing *t = xcalloc(1, sizeof(*t));

    mutex_init(&t->lock);
    t->count = 1;
    return t;
}

void timing_free(struct timing *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static void add(struct timing_histogram *h, int64_t ms)
{
    double seconds = ms > 0 ? (double)ms / 1e3 : 0;

    for (size_t i = 0; i < TIMING_BUCKETS; i++)
        h->cumulative[i] += seconds <= timing_bounds[i];
    h->count++;
    h->sum_seconds += seconds;
}

void timing_add_operation(struct timing *t, const char *kind, int64_t ms)
{
    size_t i = 1;

    LOCK_SCOPE(&t->lock);
    while (i < t->count && strcmp(t->rows[i].kind, kind) != 0)
        i++;
    if (i > TIMING_KINDS)
        return;
    if (i == t->count) {
        str_copy_utf8(t->rows[i].kind, sizeof(t->rows[i].kind), kind);
        t->count++;
    }
    add(&t->rows[i], ms);
}

void timing_add_boot(struct timing *t, int64_t ms)
{
    LOCK_SCOPE(&t->lock);
    add(&t->rows[0], ms);
}

size_t timing_read(struct timing *t, struct timing_histogram *ret)
{
    LOCK_SCOPE(&t->lock);
    memcpy(ret, t->rows, t->count * sizeof(*ret));
    return t->count;
}
