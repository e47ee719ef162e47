/*
 * How long things take: histograms in memory, for /metrics. Any thread, never blocks.
 */
#ifndef DROVER_VM_TIMING_H
#define DROVER_VM_TIMING_H

#include <stddef.h>
#include <stdint.h>

#define TIMING_BUCKETS 12
#define TIMING_KINDS   24

struct timing;
struct timing *timing_new(void);
void timing_free(struct timing *t);

/* kind: "vm.start", …, a word that lives as long as the program need not; it is copied. */
void timing_add_operation(struct timing *t, const char *kind, int64_t ms);
enum timing_other {
    TIMING_BOOT,  /* from a VM's start to the first byte on its console */
    TIMING_READY, /* to its guest's saying that it is ready */
    TIMING_CLAIM_WARM,
    TIMING_CLAIM_COLD,
    TIMING_OTHERS
};
void timing_add(struct timing *t, enum timing_other what, double seconds);

#define TIMING_ROWS (TIMING_OTHERS + TIMING_KINDS)
struct timing_histogram {
    char kind[24]; /* "warm" and "cold" for claims, "" for boots */
    const double *bounds; /* TIMING_BUCKETS, in seconds */
    unsigned long long cumulative[TIMING_BUCKETS], count;
    double sum_seconds;
};
/* The others first, then each kind of operation there is; at most TIMING_ROWS. */
size_t timing_read(struct timing *t, struct timing_histogram *ret);

#endif
