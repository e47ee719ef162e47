/* Threads and mailboxes. */
#include "service/base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"

struct mailbox {
    pthread_mutex_t lock; /* leaf */
    size_t capacity, head, count;
    void (*wake)(void *);
    void *opaque;
    void *slots[];
};

int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg,
                 struct error *err)
{
    char short_name[16];
    sigset_t all, old;
    int rc;

    str_copy_utf8(short_name, sizeof(short_name), name);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(ret, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        return error_errno(err, rc, "cannot start thread %s", name);
    pthread_setname_np(*ret, short_name);
    return 0;
}

void mutex_init(pthread_mutex_t *m)
{
    if (pthread_mutex_init(m, NULL))
        abort();
}

void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;

    if (pthread_condattr_init(&attr) || pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) ||
        pthread_cond_init(c, &attr))
        abort();
    pthread_condattr_destroy(&attr);
}

bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_monotonic_ms)
{
    struct timespec ts = {.tv_sec = deadline_monotonic_ms / 1000,
                          .tv_nsec = deadline_monotonic_ms % 1000 * 1000000};
    int rc = pthread_cond_timedwait(c, m, &ts);

    if (rc && rc != ETIMEDOUT)
        abort();
    return rc == 0;
}

struct mailbox *mailbox_new(size_t capacity, void (*wake)(void *opaque), void *opaque)
{
    struct mailbox *m = xcalloc(1, sizeof(*m) + capacity * sizeof(void *));

    mutex_init(&m->lock);
    m->capacity = capacity;
    m->wake = wake;
    m->opaque = opaque;
    return m;
}

void mailbox_free(struct mailbox *m, void (*drop)(void *message))
{
    void *message;

    if (!m)
        return;
    while ((message = mailbox_take(m))) {
        if (drop)
            drop(message);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

bool mailbox_post(struct mailbox *m, void *message)
{
    {
        LOCK_SCOPE(&m->lock);
        if (m->count == m->capacity)
            return false;
        m->slots[(m->head + m->count++) % m->capacity] = message;
    }
    if (m->wake)
        m->wake(m->opaque);
    return true;
}

void *mailbox_take(struct mailbox *m)
{
    void *message;

    LOCK_SCOPE(&m->lock);
    if (!m->count)
        return NULL;
    message = m->slots[m->head];
    m->head = (m->head + 1) % m->capacity;
    m->count--;
    return message;
}
