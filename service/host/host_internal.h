/* Shared by the files of service/host only. */
#ifndef DROVER_HOST_INTERNAL_H
#define DROVER_HOST_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "service/host/host.h"

struct host {
    int root;               /* O_PATH; every path below is relative to it */
    pthread_mutex_t lock;   /* leaf: ksmd */
    pid_t ksmd;             /* 0 unknown; verified at each use */
    int64_t ksmd_search_ms; /* not before this (monotonic) */
    pthread_mutex_t helper_lock; /* leaf: the connection to the helper */
    int helper;                  /* -1: none */
    int64_t helper_again_ms;     /* not before this (monotonic) */
    _Atomic unsigned watches;
    unsigned watches_max; /* that keep files open; the descriptors are for clients, too */
};

/*
 * Asks the KSM helper; the answer's length, or -1 with the errno of what it tried, EACCES when there
 * is none. For what this process was refused. changes: it is worth waiting for, 5 s (ETIMEDOUT); a figure
 * is not, and who did not answer is not asked for another one for ten.
 */
ssize_t host_helper_ask(struct host *h, const char *request, bool changes, char *buf, size_t size);

/* A whole small file as text; -1 with errno. path is relative to the root, without a leading slash.
 */
ssize_t host_read(struct host *h, const char *path, char *buf, size_t size);
bool host_has(struct host *h, const char *path);
/* The kernel's clock ticks in seconds. */
double host_ticks_seconds(uint64_t ticks);

#endif
