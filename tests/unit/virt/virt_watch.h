/* What the tests of virt.h share: a recorder of events and link changes, and a plain definition. */
#ifndef DROVER_TESTS_VIRT_WATCH_H
#define DROVER_TESTS_VIRT_WATCH_H

#include <pthread.h>

#include "service/base/str.h"
#include "service/virt/virt.h"
#include "tests/support/test.h"

#define INSTALL "b7a7c6de-0000-4000-8000-000000000001"

/* Guarded by its lock: written by the virt thread, read by the test. */
struct watch {
    pthread_mutex_t lock;
    unsigned ups, downs;
    char reason[256];
    size_t count;
    struct virt_event events[96];
};

__attribute__((unused)) static void watch_event(void *opaque, const struct virt_event *event)
{
    struct watch *w = opaque;

    LOCK_SCOPE(&w->lock);
    if (w->count < sizeof(w->events) / sizeof(w->events[0]))
        w->events[w->count++] = *event;
}

__attribute__((unused)) static void watch_link(void *opaque, enum virt_link link,
                                               const char *reason)
{
    struct watch *w = opaque;

    LOCK_SCOPE(&w->lock);
    if (link == VIRT_LINK_UP)
        w->ups++;
    else
        w->downs++;
    str_copy_utf8(w->reason, sizeof(w->reason), reason);
}

__attribute__((unused)) static unsigned watch_ups_now(struct watch *w)
{
    LOCK_SCOPE(&w->lock);
    return w->ups;
}

__attribute__((unused)) static unsigned watch_downs_now(struct watch *w)
{
    LOCK_SCOPE(&w->lock);
    return w->downs;
}

__attribute__((unused)) static bool watch_ups(struct watch *w, unsigned n)
{
    LOCK_SCOPE(&w->lock);
    return w->ups >= n;
}

__attribute__((unused)) static bool watch_downs(struct watch *w, unsigned n)
{
    LOCK_SCOPE(&w->lock);
    return w->downs >= n;
}

__attribute__((unused)) static void watch_forget(struct watch *w)
{
    LOCK_SCOPE(&w->lock);
    w->count = 0;
}

/* Whether such an event came since the last watch_forget(). */
__attribute__((unused)) static bool watch_saw(struct watch *w, const char *uuid,
                                              enum virt_state state, const char *reason)
{
    LOCK_SCOPE(&w->lock);
    for (size_t i = 0; i < w->count; i++) {
        if (str_eq(w->events[i].uuid, uuid) && w->events[i].state == state &&
            str_eq(w->events[i].reason, reason))
            return true;
    }
    return false;
}

__attribute__((unused)) static struct virt_domain plain_domain(const char *uuid, const char *name)
{
    return (struct virt_domain){
        .uuid = uuid,
        .name = name,
        .generation = 1,
        .cpus = 1,
        .memory_mib = 16,
        .machine = "q35",
        .memory_merge = true,
    };
}

#endif
