/*
 * Threads with names, and the one way for a message to cross from one to another.
 *
 * A mailbox is a bounded queue of pointers. Posting never blocks; when it is full it says so and
 * the poster decides (a statistics snapshot may be dropped, a console hand-over may not).
 */
#ifndef DROVER_BASE_THREAD_H
#define DROVER_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"

/* Starts a joinable thread with all signals blocked; name is cut to 15 bytes. */
int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg,
                 struct error *err);

/* Initialises a mutex or a CLOCK_MONOTONIC condition; aborts on failure. */
void mutex_init(pthread_mutex_t *m);
void cond_init(pthread_cond_t *c);
/* Waits until signalled or until the monotonic deadline; false on time-out. Aborts on misuse. */
bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_monotonic_ms);

struct mailbox;

/* wake is called after a post, outside the lock, on the posting thread; it must not block. */
struct mailbox *mailbox_new(size_t capacity, void (*wake)(void *opaque), void *opaque);
/* Frees the box; what is still queued is handed to drop (which may be NULL). */
void mailbox_free(struct mailbox *m, void (*drop)(void *message));
bool mailbox_post(struct mailbox *m, void *message); /* false: full, the caller keeps it */
void *mailbox_take(struct mailbox *m);               /* NULL: empty; never blocks */

#endif
