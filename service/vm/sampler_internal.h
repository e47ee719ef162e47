/*
 * What the sampler's tick (sampler.c) and its workers (sampler_dear.c) share.
 */
#ifndef DROVER_VM_SAMPLER_INTERNAL_H
#define DROVER_VM_SAMPLER_INTERNAL_H

#include <pthread.h>

#include "service/vm/core_internal.h"
#include "service/vm/sampler.h"

#define DEAR_WORKERS     2 /* at the start */
#define DEAR_WORKERS_MAX 6 /* each QEMU that hangs keeps one; libvirtd serves five calls at a time */
#define DEAR_HANGS_MS    5000

/* A VM that is on, between two ticks. */
struct tracked {
    char vm_id[UUID_TEXT];
    bool seen;           /* in this tick */
    int64_t pid;         /* 0: to be asked for */
    bool known;          /* start_ticks is that of the VM's process */
    uint64_t start_ticks;
    bool has_first_scan;
    int64_t first_scan;  /* ksmd's full_scans when the process was first seen */
    struct vm_dear *dear; /* never NULL */
    int64_t due_ms;      /* monotonic; the next dear reading */
    bool busy;           /* a worker is at it */
    int64_t busy_since_ms;
    bool failed;         /* the last dear reading gave nothing */
    bool has_agent;      /* its definition has one */
    struct guest_figures *inside; /* NULL: it has said nothing yet */
    int64_t inside_due_ms, inside_pause_ms;
    struct tracked *self;     /* in a copy: the original, which only a tick frees */
    struct host_watch *watch; /* the tick's own; NULL until its pid is known */
};

struct sampler {
    struct core *core;
    pthread_mutex_t lock; /* leaf: all that follows */
    pthread_cond_t stop;
    pthread_cond_t work; /* for the workers */
    pthread_cond_t inside;
    bool has_inside_thread;
    pthread_t inside_thread;
    struct snapshot *latest;
    bool stopping;
    void *tracked; /* tsearch tree of struct tracked */
    size_t tracked_count;
    int64_t pace_ms; /* monotonic: no dear reading but a VM's first begins before */
    bool same_ksm;  /* in this tick; the tick's own */
    double tick_percent; /* of one CPU, that ticks take */
    unsigned workers;
    pthread_t worker[DEAR_WORKERS_MAX];
    struct sampler_stats stats;
    pthread_t thread;
};

struct vm_dear *dear_ref(struct vm_dear *d);
void dear_unref(struct vm_dear *d);
int tracked_compare(const void *a, const void *b);

/* ---- sampler_rates.c ---- */

void sample_rates(struct vm_sample *now, const struct vm_sample *before); /* of the process */
void dear_rates(struct vm_dear *now, const struct vm_dear *before);
void snapshot_rates(struct snapshot *next, const struct snapshot *last); /* ksmd */

int dear_worker_start(struct sampler *s, struct error *err); /* under the lock */
int inside_start(struct sampler *s, struct error *err);
/* After each tick: forgives nothing, but counts who hangs and brings workers in their place. */
void dear_watch(struct sampler *s);

#endif
