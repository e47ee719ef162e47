/*
 * The sampler's thread for what guests say about themselves. One VM after the other; an agent that
 * does not answer is asked ever more seldom, so that many silent ones cost no more than a few.
 */
#include <search.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/vm/guest.h"
#include "service/vm/sampler_internal.h"

#define BACKOFF_MAX_MS 900000
#define IDLE_MS        60000

struct pick {
    struct tracked *best;
};

static void consider(const void *node, VISIT visit, void *arg)
{
    struct tracked *t = *(struct tracked *const *)node;
    struct pick *pick = arg;

    if ((visit == leaf || visit == postorder) && t->has_agent &&
        (!pick->best || t->inside_due_ms < pick->best->inside_due_ms))
        pick->best = t;
}

static bool take_work(struct sampler *s, char ret_id[UUID_TEXT])
{
    LOCK_SCOPE(&s->lock);
    for (;;) {
        int64_t now = clock_monotonic_ms();
        struct pick pick = {0};

        if (s->stopping)
            return false;
        twalk_r(s->tracked, consider, &pick);
        if (pick.best && pick.best->inside_due_ms <= now) {
            memcpy(ret_id, pick.best->vm_id, UUID_TEXT);
            return true;
        }
        cond_wait_until(&s->inside, &s->lock, pick.best ? pick.best->inside_due_ms : now + IDLE_MS);
    }
}

static void put_back(struct sampler *s, const char *vm_id, struct guest_figures *figures)
{
    int64_t interval = s->core->settings->guest_sample_interval_seconds * 1000;
    struct tracked key, **found, *t;

    memcpy(key.vm_id, vm_id, sizeof(key.vm_id));
    LOCK_SCOPE(&s->lock);
    found = tfind(&key, &s->tracked, tracked_compare);
    if (!found) {
        guest_figures_unref(figures);
        return;
    }
    t = *found;
    if (figures) {
        guest_figures_unref(t->inside);
        t->inside = figures;
        t->inside_pause_ms = interval;
    } else {
        /* What it said last stays, with its time; a guest that boots is asked soon. */
        t->inside_pause_ms = t->inside_pause_ms ? 2 * t->inside_pause_ms : 2000;
        if (t->inside_pause_ms > BACKOFF_MAX_MS)
            t->inside_pause_ms = BACKOFF_MAX_MS;
    }
    t->inside_due_ms = clock_monotonic_ms() + t->inside_pause_ms;
}

static void *inside_thread(void *arg)
{
    struct sampler *s = arg;
    char vm_id[UUID_TEXT];

    while (take_work(s, vm_id)) {
        struct guest_figures *figures = NULL;
        struct error ignored;

        if (guest_figures_read(s->core, vm_id, &figures, &ignored))
            figures = NULL;
        put_back(s, vm_id, figures);
    }
    return NULL;
}

int inside_start(struct sampler *s, struct error *err)
{
    if (thread_start(&s->inside_thread, "sampler-guest", inside_thread, s, err))
        return -1;
    s->has_inside_thread = true;
    return 0;
}
