/* See timing.h. */
#include "service/vm/timing.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/base/thread.h"

static const double slow[TIMING_BUCKETS] = {0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 300};
static const double fast[TIMING_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30};

struct timing {
    pthread_mutex_t lock; /* leaf */
    size_t count;         /* the first are enum timing_other */
    struct timing_histogram rows[TIMING_ROWS];
};

struct timing *timing_new(void)
{
    struct timing *t = xcalloc(1, sizeof(*t));

    mutex_init(&t->lock);
    t->count = TIMING_OTHERS;
    for (size_t i = 0; i < TIMING_ROWS; i++)
        t->rows[i].bounds = i == TIMING_CLAIM_WARM || i == TIMING_CLAIM_COLD ? fast : slow;
    memcpy(t->rows[TIMING_CLAIM_WARM].kind, "warm", 5);
    memcpy(t->rows[TIMING_CLAIM_COLD].kind, "cold", 5);
    return t;
}

void timing_free(struct timing *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* A clock that was set back meanwhile is no reason for a time below nought. */
static void add(struct timing_histogram *h, double seconds)
{
    seconds = seconds > 0 ? seconds : 0;
    for (size_t i = 0; i < TIMING_BUCKETS; i++)
        h->cumulative[i] += seconds <= h->bounds[i];
    h->count++;
    h->sum_seconds += seconds;
}

void timing_add_operation(struct timing *t, const char *kind, int64_t ms)
{
    size_t i = TIMING_OTHERS;

    LOCK_SCOPE(&t->lock);
    while (i < t->count && strcmp(t->rows[i].kind, kind) != 0)
        i++;
    if (i == TIMING_ROWS)
        return;
    if (i == t->count) {
        str_copy_utf8(t->rows[i].kind, sizeof(t->rows[i].kind), kind);
        t->count++;
    }
    add(&t->rows[i], (double)ms / 1e3);
}

void timing_add(struct timing *t, enum timing_other what, double seconds)
{
    LOCK_SCOPE(&t->lock);
    add(&t->rows[what], seconds);
}

size_t timing_read(struct timing *t, struct timing_histogram *ret)
{
    LOCK_SCOPE(&t->lock);
    memcpy(ret, t->rows, t->count * sizeof(*ret));
    return t->count;
}
