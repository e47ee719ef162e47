/*
 * How long things take: histograms in memory, for /metrics. Any thread, never blocks.
 */
#ifndef DROVER_VM_TIMING_H
#define DROVER_VM_TIMING_H

#include <stddef.h>
#include <stdint.h>

#define TIMING_BUCKETS 12
#define TIMING_KINDS   24
extern const double timing_bounds[TIMING_BUCKETS]; /* seconds */

struct timing;
struct timing *timing_new(void);
void timing_free(struct timing *t);

/* kind: "vm.start", …, a word that lives as long as the program need not; it is copied. */
void timing_add_operation(struct timing *t, const char *kind, int64_t ms);
/* From a VM's start to the first byte on its console. */
void timing_add_boot(struct timing *t, int64_t ms);

struct timing_histogram {
    char kind[24]; /* "" for boots */
    unsigned long long cumulative[TIMING_BUCKETS], count;
    double sum_seconds;
};
/* Boots first, then each kind there is; at most TIMING_KINDS + 1. */
size_t timing_read(struct timing *t, struct timing_histogram *ret);

#endif
