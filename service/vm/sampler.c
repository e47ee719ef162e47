/*
 * The sampler. Reads libvirt's bulk statistics, each QEMU's /proc entries and the host's counters
 * once a tick, and publishes the lot as one immutable snapshot. A VM libvirt is silent about keeps
 * its last figures, marked stale; nothing is ever made up.
 */
#include "service/vm/sampler.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"

struct sampler {
    struct core *core;
    pthread_mutex_t lock; /* leaf: latest, stopping */
    pthread_cond_t stop;
    struct snapshot *latest;
    bool stopping;
    bool warned; /* one log line per outage, not per tick */
    pthread_t thread;
};

static struct snapshot *snapshot_ref(struct snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(s->samples);
    free(s);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct vm_sample *)a)->vm_id, ((const struct vm_sample *)b)->vm_id);
}

const struct vm_sample *snapshot_find(const struct snapshot *s, const char *vm_id)
{
    struct vm_sample key;

    if (!s->count || strlen(vm_id) >= sizeof(key.vm_id))
        return NULL;
    memcpy(key.vm_id, vm_id, strlen(vm_id) + 1);
    return bsearch(&key, s->samples, s->count, sizeof(*s->samples), by_id);
}

struct snapshot *sampler_latest(struct sampler *s)
{
    LOCK_SCOPE(&s->lock);
    return snapshot_ref(s->latest);
}

/* CPU time in seconds: the kernel's figure for the process when there is one, else libvirt's. */
static bool cpu_seconds(const struct vm_sample *s, double *ret)
{
    if (s->virt.has_cpu)
        *ret = (double)s->virt.cpu_ns / 1e9;
    else if (s->has_process && s->process.has_cpu)
        *ret = s->process.cpu_user_seconds + s->process.cpu_system_seconds;
    else
        return false;
    return true;
}

static void add_cpu_percent(struct vm_sample *now, const struct vm_sample *before)
{
    double a, b;
    int64_t ms = before ? now->sampled_at - before->sampled_at : 0;

    if (!before || ms <= 0 || now->stale || !cpu_seconds(now, &b) || !cpu_seconds(before, &a) || b < a)
        return;
    now->has_cpu_percent = true;
    now->cpu_percent = 100.0 * (b - a) / ((double)ms / 1000.0);
}

/* The pid is asked for once; a pid whose start time changed belongs to somebody else. */
static void add_process(struct core *core, struct vm_sample *now, const struct vm_sample *before)
{
    struct virt_info info;
    struct error err;

    now->pid = before ? before->pid : 0;
    if (now->pid > 0 && host_process_read(core->host, (pid_t)now->pid, &now->process) == 1 &&
        (!before->has_process || now->process.start_ticks == before->process.start_ticks)) {
        now->has_process = true;
        now->process_sampled_at = clock_wall_ms();
        return;
    }
    now->pid = 0;
    if (virt_info(core->virt, now->vm_id, &info, &err) || info.pid <= 0)
        return;
    now->pid = info.pid;
    now->has_process = host_process_read(core->host, (pid_t)info.pid, &now->process) == 1;
    now->process_sampled_at = clock_wall_ms();
}

static bool is_on(const struct vm *vm)
{
    return vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_PAUSED ||
           vm->state == VM_STATE_STOPPING;
}

static const struct virt_stats *find_stats(const struct virt_stats *list, size_t count, const char *id)
{
    for (size_t lo = 0, hi = count; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(list[mid].uuid, id);

        if (c == 0)
            return &list[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static int stats_by_uuid(const void *a, const void *b)
{
    return strcmp(((const struct virt_stats *)a)->uuid, ((const struct virt_stats *)b)->uuid);
}

static void add_vms(struct core *core, struct snapshot *next, const struct snapshot *last,
                    const struct virt_stats *stats, size_t stats_count)
{
    auto_free struct vm **vms = NULL;
    size_t count;

    registry_all(core->registry, &vms, &count);
    next->samples = xcalloc(count, sizeof(*next->samples));
    for (size_t i = 0; i < count; i++) {
        struct vm_sample *s = &next->samples[next->count];
        const struct vm_sample *before = last ? snapshot_find(last, vms[i]->id) : NULL;
        const struct virt_stats *v;

        v = find_stats(stats, stats_count, vms[i]->id);
        /* A VM that has just started has no figures yet: that is not the same as old ones. */
        if (!is_on(vms[i]) || (!v && !before)) {
            vm_unref(vms[i]);
            continue;
        }
        next->count++;
        str_copy_utf8(s->vm_id, sizeof(s->vm_id), vms[i]->id);
        s->stale = !v;
        s->virt = v ? *v : before->virt;
        s->sampled_at = v ? next->sampled_at : before->sampled_at;
        add_process(core, s, before);
        add_cpu_percent(s, before);
        vm_unref(vms[i]);
    }
    if (next->count)
        qsort(next->samples, next->count, sizeof(*next->samples), by_id);
}

void sampler_step(struct sampler *s)
{
    struct core *core = s->core;
    struct snapshot *next = xcalloc(1, sizeof(*next)), *old;
    auto_snapshot struct snapshot *last = sampler_latest(s);
    auto_free struct virt_stats *stats = NULL;
    size_t count = 0;
    struct error err;

    atomic_init(&next->refs, 1);
    next->tick = last->tick + 1;
    if (registry_count(core->registry, -1) && virt_stats_all(core->virt, &stats, &count, &err)) {
        /* The tracker tells of libvirt's absence, and at every start it is absent for a moment. */
        if (!s->warned && err.code != ERROR_HYPERVISOR_UNAVAILABLE)
            log_failure(LOG_LEVEL_WARNING, &err, "no statistics from libvirt");
        s->warned = true;
    } else {
        s->warned = false;
    }
    next->sampled_at = clock_wall_ms();
    if (count)
        qsort(stats, count, sizeof(*stats), stats_by_uuid);
    add_vms(core, next, last, stats, count);
    host_ksm_read(core->host, &next->ksm);
    host_memory_read(core->host, &next->memory);
    {
        LOCK_SCOPE(&s->lock);
        old = s->latest;
        s->latest = next;
    }
    snapshot_unref(old);
}

static void *sampler_thread(void *arg)
{
    struct sampler *s = arg;
    int64_t next = clock_monotonic_ms();

    for (;;) {
        int64_t interval = s->core->settings->sample_interval_ms, now;

        sampler_step(s);
        now = clock_monotonic_ms();
        /* A late tick is skipped, not made up for. */
        next = next + interval > now ? next + interval : now + interval;
        LOCK_SCOPE(&s->lock);
        while (!s->stopping && clock_monotonic_ms() < next)
            cond_wait_until(&s->stop, &s->lock, next);
        if (s->stopping)
            return NULL;
    }
}

int sampler_start(struct core *core, struct sampler **ret, struct error *err)
{
    struct sampler *s = xcalloc(1, sizeof(*s));

    s->core = core;
    mutex_init(&s->lock);
    cond_init(&s->stop);
    s->latest = xcalloc(1, sizeof(*s->latest));
    atomic_init(&s->latest->refs, 1);
    s->latest->sampled_at = clock_wall_ms();
    if (thread_start(&s->thread, "sampler", sampler_thread, s, err)) {
        snapshot_unref(s->latest);
        free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

void sampler_stop(struct sampler *s)
{
    if (!s)
        return;
    {
        LOCK_SCOPE(&s->lock);
        s->stopping = true;
        pthread_cond_signal(&s->stop);
    }
    pthread_join(s->thread, NULL);
    snapshot_unref(s->latest);
    pthread_cond_destroy(&s->stop);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
