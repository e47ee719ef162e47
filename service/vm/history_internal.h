/* Shared by history.c (feeding, writing) and history_read.c (asking). */
#ifndef DROVER_VM_HISTORY_INTERNAL_H
#define DROVER_VM_HISTORY_INTERNAL_H

#include <pthread.h>

#include "db/history.h"
#include "service/vm/core_internal.h"
#include "service/vm/history.h"

enum history_level { LEVEL_SECONDS, LEVEL_MINUTES, LEVEL_QUARTERS, LEVEL_COUNT };

/* A block holds points of `step` seconds; a level is kept for `keep` seconds. */
struct level {
    int64_t step, keep;
    unsigned points;
    unsigned planes; /* seconds have one value, the others mean, below and above */
};
extern const struct level history_levels[LEVEL_COUNT];

struct open_block {
    int64_t start; /* 0: none */
    bool dirty;
    bool merges; /* an earlier daemon may have written part of it */
    int16_t *codes;
};

struct sum {
    double min, max, total;
    unsigned n;
};

struct series {
    char name[UUID_TEXT];
    bool host, seen;
    struct open_block blocks[LEVEL_COUNT];
    int64_t sum_start[LEVEL_COUNT]; /* of the minute and the quarter hour being summed up */
    struct sum sums[LEVEL_COUNT][HISTORY_FIGURES];
};

/* A block on its way to the disk. */
struct pending {
    struct pending *next;
    char series[UUID_TEXT];
    int level;
    bool merges;
    int64_t start;
    int16_t codes[];
};

struct history {
    struct core *core;
    struct history_db *db; /* NULL: none could be opened */
    pthread_mutex_t lock;  /* leaf: series, queue, stats */
    pthread_cond_t wake;
    void *series; /* tsearch tree */
    struct pending *queue, **tail, *writing;
    struct history_stats stats;
    bool stopping;
    pthread_t thread;
};

size_t history_block_codes(int level);
int history_series_compare(const void *a, const void *b);

#endif
