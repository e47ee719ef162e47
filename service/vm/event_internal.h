/*
 * The event log's inside, shared by event.c (the log) and event_stream.c (its subscribers).
 */
#ifndef DROVER_VM_EVENT_INTERNAL_H
#define DROVER_VM_EVENT_INTERNAL_H

#include "db/store.h"
#include "service/base/thread.h"
#include "service/vm/event.h"

#define EVENT_RING 4096 /* events kept in memory: what a slow subscriber may lag behind */

struct subscriber;

struct event_log {
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t quiet; /* no notification is under way */
    struct event *ring[EVENT_RING];
    size_t head, count;
    int64_t last_seq;
    struct subscriber *subscribers; /* doubly linked */
    unsigned notifying;
    bool stopped;
};

struct event *event_from_row(const struct event_row *row);
bool event_log_take(struct event_log *log, const char *project_id, int64_t since, size_t limit,
                    struct event **list, size_t *ret_count);
void event_log_notify(struct event_log *log);

#endif
