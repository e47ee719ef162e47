/*
 * The sampler's workers: one VM at a time, the one that has waited longest. They keep a budget, or
 * what the ticks leave of it: after a reading that took t, the next begins t / budget later, however
 * many VMs there are. So few VMs get fresh figures and many VMs cost no more, and the wall time of a
 * call, libvirtd's and QEMU's share included, is what is counted.
 */
#include <search.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/sampler_internal.h"

#define COST_MAX_MS 50 /* a call that hangs is not what a call costs */
#define DEBT_MAX_MS 15000

struct vm_dear *dear_ref(struct vm_dear *d)
{
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

void dear_unref(struct vm_dear *d)
{
    if (d && atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1)
        free(d);
}

struct pick {
    struct tracked *best;
    int64_t due; /* the earliest, when nothing is */
};

static void consider(const void *node, VISIT visit, void *arg)
{
    struct tracked *t = *(struct tracked *const *)node;
    struct pick *pick = arg;

    if ((visit != leaf && visit != postorder) || t->busy)
        return;
    if (!pick->best || t->due_ms < pick->best->due_ms)
        pick->best = t;
}

/* Waits for something to do; false: the sampler stops. *ret is marked busy. */
static bool take_work(struct sampler *s, char ret_id[UUID_TEXT], int64_t *ret_pid,
                      struct vm_dear **ret_before)
{
    LOCK_SCOPE(&s->lock);
    for (;;) {
        int64_t now = clock_monotonic_ms(), until;
        struct pick pick = {0};

        if (s->stopping)
            return false;
        twalk_r(s->tracked, consider, &pick);
        until = pick.best ? pick.best->due_ms : now + 60000;
        /* The first reading of a VM does not wait for its turn. */
        if (pick.best && pick.best->dear->virt_sampled_at && until < s->pace_ms)
            until = s->pace_ms;
        if (pick.best && until <= now) {
            pick.best->busy = true;
            pick.best->busy_since_ms = now;
            memcpy(ret_id, pick.best->vm_id, UUID_TEXT);
            *ret_pid = pick.best->pid;
            *ret_before = dear_ref(pick.best->dear);
            return true;
        }
        cond_wait_until(&s->work, &s->lock, until);
    }
}

/* A pid is believed only as long as its start time stays the same: see the tick. */
static int64_t find_pid(struct core *core, const char *vm_id)
{
    struct virt_info info;
    struct error ignored;

    return virt_info(core->virt, vm_id, &info, &ignored) ? 0 : info.pid;
}

static bool read_dear(struct sampler *s, const char *vm_id, int64_t *pid, struct vm_dear *now,
                      const struct vm_dear *before)
{
    struct error ignored;
    bool ok;

    *now = (struct vm_dear){.virt_sampled_at = before->virt_sampled_at,
                            .memory_sampled_at = before->memory_sampled_at};
    atomic_init(&now->refs, 1);
    now->memory = before->memory;
    if (!*pid)
        *pid = find_pid(s->core, vm_id);
    if (*pid > 0 && host_process_memory_read(s->core->host, (pid_t)*pid, &now->memory) == 1)
        now->memory_sampled_at = clock_wall_ms();
    ok = virt_stats_read(s->core->virt, vm_id, &now->virt, &ignored) == 0;
    if (ok) {
        now->virt_sampled_at = clock_wall_ms();
        dear_rates(now, before);
    } else {
        now->virt = before->virt;
    }
    return ok;
}

/* Spreads VMs that were started together over the interval. */
static int64_t jitter(const char *vm_id, int64_t interval)
{
    uint32_t hash = 2166136261u;

    for (const char *p = vm_id; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    return interval / 8 - (int64_t)(hash % 1024) * interval / 4096;
}

/* Per cent of one CPU, under the lock. What must be read each second comes first. */
static double budget_left(const struct sampler *s)
{
    double budget = (double)s->core->settings->sample_budget_percent, left = budget - s->tick_percent;

    return left > budget / 4 ? left : budget / 4;
}

static void put_back(struct sampler *s, const char *vm_id, int64_t pid, struct vm_dear *now, bool ok,
                     int64_t ns)
{
    int64_t interval = s->core->settings->dear_sample_interval_ms, at = clock_monotonic_ms();
    int64_t cost = ns / 1000000 < COST_MAX_MS ? ns : COST_MAX_MS * 1000000LL;
    int64_t pause;
    struct tracked key, **found;

    memcpy(key.vm_id, vm_id, sizeof(key.vm_id));
    LOCK_SCOPE(&s->lock);
    pause = (int64_t)((double)cost / 1e4 / budget_left(s));
    s->stats.dear_reads++;
    s->stats.dear_failures += !ok;
    s->stats.dear_ns += (uint64_t)ns;
    s->pace_ms = (s->pace_ms > at ? s->pace_ms : at) + pause;
    if (s->pace_ms > at + DEBT_MAX_MS)
        s->pace_ms = at + DEBT_MAX_MS;
    found = tfind(&key, &s->tracked, tracked_compare);
    if (!found) { /* it stopped meanwhile */
        dear_unref(now);
        return;
    }
    if (!(*found)->pid && pid > 0) {
        (*found)->pid = pid;
        (*found)->known = false;
    }
    dear_unref((*found)->dear);
    (*found)->dear = now;
    (*found)->failed = !ok;
    (*found)->busy = false;
    (*found)->due_ms = at + interval + jitter(vm_id, interval);
}

static void *dear_worker(void *arg)
{
    struct sampler *s = arg;
    char vm_id[UUID_TEXT];
    struct vm_dear *before;
    int64_t pid;

    while (take_work(s, vm_id, &pid, &before)) {
        struct vm_dear *now = xcalloc(1, sizeof(*now));
        int64_t began = clock_monotonic_ns();
        bool ok = read_dear(s, vm_id, &pid, now, before);

        dear_unref(before);
        put_back(s, vm_id, pid, now, ok, clock_monotonic_ns() - began);
    }
    return NULL;
}

int dear_worker_start(struct sampler *s, struct error *err)
{
    if (thread_start(&s->worker[s->workers], "sampler-dear", dear_worker, s, err))
        return -1;
    s->workers++;
    return 0;
}

struct hanging {
    int64_t now;
    unsigned count;
};

static void count_hanging(const void *node, VISIT visit, void *arg)
{
    const struct tracked *t = *(struct tracked *const *)node;
    struct hanging *h = arg;

    if (visit == leaf || visit == postorder)
        h->count += t->busy && h->now - t->busy_since_ms > DEAR_HANGS_MS;
}

void dear_watch(struct sampler *s)
{
    struct hanging h = {.now = clock_monotonic_ms()};
    struct error ignored;

    LOCK_SCOPE(&s->lock);
    twalk_r(s->tracked, count_hanging, &h);
    s->stats.hanging = h.count;
    if (!s->stopping && s->workers < DEAR_WORKERS_MAX && s->workers < h.count + DEAR_WORKERS)
        (void)dear_worker_start(s, &ignored); /* again in the next tick */
}
