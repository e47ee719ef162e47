/*
 * Questions that somebody waits for who cannot wait long, a client or the tracker: asked on a thread of
 * their own, so that they are told in time when libvirt does not answer. What libvirt was asked cannot be
 * called off, so the thread stays until it answers or its connection ends; how many there may be is
 * bounded, and a domain that keeps one waiting gets no second one.
 */
#include "service/virt/virt_internal.h"

#include <string.h>

#include "service/base/clock.h"

#define ERRANDS_MAX 8 /* altogether; of these, only as many as there are lines of that use ask at a time */

struct errand {
    struct errand *next;
    struct virt *v;
    virt_errand_fn *fn;
    void *arg;
    void (*arg_free)(void *);
    const char *uuid; /* arg's */
    pthread_cond_t ended;
    /* v->lock: */
    bool done, left; /* left: nobody waits any more, it is the thread's */
    int rc;
    struct error err;
};

static void errand_free(struct errand *e)
{
    if (e->left)
        e->arg_free(e->arg);
    pthread_cond_destroy(&e->ended);
    free(e);
}

/* Lock held. */
static void take_out(struct errand *e)
{
    struct errand **at = &e->v->errands;

    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
}

static void *errand_thread(void *arg)
{
    struct errand *e = arg;
    struct error err = ERROR_INIT;
    int rc = e->fn(e->v, e->arg, &err);

    {
        LOCK_SCOPE(&e->v->lock);
        e->rc = rc;
        e->err = err;
        e->done = true;
        if (!e->left) {
            pthread_cond_signal(&e->ended);
            return NULL;
        }
        take_out(e);
        pthread_cond_broadcast(&e->v->changed); /* who closes it waits for that */
    }
    errand_free(e);
    return NULL;
}

/* Lock held. */
static int admit(const struct virt *v, const char *uuid, struct error *err)
{
    unsigned count = 0;
    bool waits = false;

    for (const struct errand *e = v->errands; e; e = e->next) {
        count++;
        waits |= e->left && str_eq(e->uuid, uuid);
    }
    if (!waits && count < ERRANDS_MAX)
        return 0;
    error_set(err, ERROR_UNAVAILABLE, "libvirt has not answered an earlier question about %s yet",
              waits ? "this VM" : "other VMs");
    error_remedy(err, "Try again in a few seconds; when that does not help, look at what libvirt does.");
    return -1;
}

static int begin(struct errand *e, struct error *err)
{
    struct virt *v = e->v;
    pthread_t thread;

    LOCK_SCOPE(&v->lock);
    if (admit(v, e->uuid, err) || thread_start(&thread, "virt-errand", errand_thread, e, err))
        return -1;
    pthread_detach(thread);
    e->next = v->errands;
    v->errands = e;
    return 0;
}

int virt_within(struct virt *v, int ms, const char *uuid, virt_errand_fn *fn, void *arg,
                void (*arg_free)(void *), struct error *err)
{
    const int64_t until = clock_monotonic_ms() + ms;
    struct errand *e = xcalloc(1, sizeof(*e));
    int rc;

    *e = (struct errand){.v = v, .fn = fn, .arg = arg, .arg_free = arg_free, .uuid = uuid};
    cond_init(&e->ended);
    rc = begin(e, err);
    if (rc == 0) {
        LOCK_SCOPE(&v->lock);
        while (!e->done) {
            if (!cond_wait_until(&e->ended, &v->lock, until) && !e->done) {
                e->left = true;
                error_set(err, ERROR_UNAVAILABLE, "libvirt has not answered within %d ms", ms);
                error_remedy(err, "The guest or its QEMU may hang; try again, or reset the VM.");
                return 1;
            }
        }
        take_out(e);
        rc = e->rc;
        if (rc)
            *err = e->err;
    }
    errand_free(e);
    return rc ? -1 : 0;
}
