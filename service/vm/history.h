/*
 * History: what the sampler found, kept as seconds for an hour, minutes for a day and quarter hours
 * for a month, with minimum, mean and maximum. The newest block of each is in memory, the others in
 * a database of their own; writing never makes the sampler or a request wait.
 */
#ifndef DROVER_VM_HISTORY_H
#define DROVER_VM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/vm/history_codec.h"

struct core;
struct history;
struct snapshot;

#define HISTORY_HOST "host" /* the series of the host; a VM's is its id */

/* A database that cannot be opened is no reason not to run: then what is in memory is all there is. */
int history_start(struct core *core, const char *path, struct history **ret, struct error *err);
void history_stop(struct history *h); /* writes what is in memory */
/* The sampler's thread, once a tick; does not wait for the disk. */
void history_feed(struct history *h, const struct snapshot *now, const struct snapshot *before);

struct history_figure {
    const char *name;
    double unit;
    bool needs_ksm; /* the scope ksm:read */
    unsigned bits;  /* of precision: history_round */
};
/* HISTORY_FIGURES rows. */
const struct history_figure *history_figures(bool host);

struct history_range {
    const char *series;
    int64_t from, to; /* seconds since the epoch */
    int64_t step;     /* 0: about 360 points */
};
#define HISTORY_POINTS_MAX 5000
struct history_answer {
    int64_t from, step, resolution; /* seconds; from is aligned to step */
    size_t count;
    /* count values for each of the three: NAN where nothing is known. minimum[f * count + i] */
    double *minimum, *mean, *maximum;
};
/* INVALID_ARGUMENT at from, to or step. Blocks on the disk. */
int history_read(struct history *h, const struct history_range *query, struct history_answer *ret,
                 struct error *err);
void history_answer_done(struct history_answer *a);
#define auto_history_answer auto_scope(history_answer_done)

struct history_stats {
    uint64_t blocks, dropped, write_ns, bytes; /* written, lost because the disk refused; of the file */
    size_t series, queued;
};
void history_stats_read(struct history *h, struct history_stats *ret);

#endif
