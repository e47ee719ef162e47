/*
 * The sampler's tick: each QEMU's /proc entries and the host's counters, published as one immutable
 * snapshot together with the newest dear figures there are. Talks to the kernel only, so that
 * neither libvirt nor a guest can make it late. Nothing is ever made up: what was not read is
 * absent, what is old says so.
 */
#include "service/vm/sampler.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/guest.h"
#include "service/vm/history.h"
#include "service/vm/project.h"
#include "service/vm/sampler_internal.h"

#define KSM_LOOK_TICKS 30

static const char not_answering[] = "QEMU does not answer";
static const char no_figures[] = "libvirt gave no figures";

static struct snapshot *snapshot_ref(struct snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void sample_done(struct vm_sample *s)
{
    dear_unref((struct vm_dear *)s->dear);
    guest_figures_unref((struct guest_figures *)s->inside);
}

void snapshot_unref(struct snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->count; i++)
        sample_done(&s->samples[i]);
    free(s->samples);
    free(s);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct vm_sample *)a)->vm_id, ((const struct vm_sample *)b)->vm_id);
}

int tracked_compare(const void *a, const void *b)
{
    return strcmp(((const struct tracked *)a)->vm_id, ((const struct tracked *)b)->vm_id);
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

void sampler_stats_read(struct sampler *s, struct sampler_stats *ret)
{
    LOCK_SCOPE(&s->lock);
    *ret = s->stats;
}

static bool is_on(const struct vm *vm)
{
    return vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_PAUSED ||
           vm->state == VM_STATE_STOPPING;
}

/* ---- what is kept from tick to tick ---- */

static struct tracked *track_vm(struct sampler *s, const char *vm_id)
{
    struct tracked *t = xcalloc(1, sizeof(*t)), **slot;

    memcpy(t->vm_id, vm_id, sizeof(t->vm_id));
    slot = tsearch(t, &s->tracked, tracked_compare);
    if (!slot)
        out_of_memory();
    if (*slot != t) {
        free(t);
        return *slot;
    }
    t->dear = xcalloc(1, sizeof(*t->dear));
    atomic_init(&t->dear->refs, 1);
    s->tracked_count++;
    pthread_cond_signal(&s->work);
    return t;
}

static void tracked_free(void *p)
{
    struct tracked *t = p;

    dear_unref(t->dear);
    guest_figures_unref(t->inside);
    host_watch_close(t->watch);
    free(t);
}

struct unseen {
    struct tracked **list;
    size_t count;
};

static void collect_unseen(const void *node, VISIT visit, void *arg)
{
    struct tracked *t = *(struct tracked *const *)node;
    struct unseen *u = arg;

    if (visit != leaf && visit != postorder)
        return;
    if (!t->seen)
        u->list[u->count++] = t;
    t->seen = false;
}

/* Forgets what is off. A worker that still asks about it finds it gone. */
static void forget_unseen(struct sampler *s)
{
    struct unseen u = {0};

    LOCK_SCOPE(&s->lock);
    u.list = xcalloc(s->tracked_count + 1, sizeof(*u.list));
    twalk_r(s->tracked, collect_unseen, &u);
    for (size_t i = 0; i < u.count; i++) {
        if (u.list[i]->busy) /* the call hangs: keep the mark, or a second worker would hang, too */
            continue;
        tdelete(u.list[i], &s->tracked, tracked_compare);
        tracked_free(u.list[i]);
        s->tracked_count--;
    }
    free(u.list);
}

/* What the tick needs of it, copied so that no lock is held over a read of /proc. */
static struct tracked look_up(struct sampler *s, const struct vm *vm)
{
    LOCK_SCOPE(&s->lock);
    struct tracked *t = track_vm(s, vm->id), copy;
    bool asked = vm->spec->guest_agent && vm->state == VM_STATE_RUNNING &&
                 s->core->settings->guest_sample_interval_seconds > 0;

    if (asked && !t->has_agent)
        pthread_cond_signal(&s->inside);
    t->has_agent = asked;
    t->seen = true;
    copy = *t;
    copy.self = t;
    copy.dear = dear_ref(t->dear);
    copy.inside = guest_figures_ref(t->inside);
    return copy;
}

/* Its process is not what it was: ask libvirt for the new one, now. */
static void process_gone(struct sampler *s, struct tracked *t, int64_t pid)
{
    host_watch_close(TAKE_PTR(t->watch));
    LOCK_SCOPE(&s->lock);
    if (t->pid != pid)
        return;
    t->pid = 0;
    t->known = t->has_first_scan = false;
    t->due_ms = 0;
    /* A new QEMU is a new guest. */
    guest_figures_unref(t->inside);
    t->inside = NULL;
    t->inside_due_ms = t->inside_pause_ms = 0;
    pthread_cond_signal(&s->work);
}

static void process_known(struct sampler *s, const struct tracked *t)
{
    LOCK_SCOPE(&s->lock);
    if (t->self->pid != t->pid)
        return;
    t->self->known = true;
    t->self->start_ticks = t->start_ticks;
    t->self->has_first_scan = t->has_first_scan;
    t->self->first_scan = t->first_scan;
}

/* ---- one VM ---- */

static void add_process(struct sampler *s, struct vm_sample *now, struct tracked *t,
                        const struct host_ksm *ksm)
{
    if (t->pid <= 0)
        return;
    if (!t->self->watch)
        t->self->watch = host_watch_open(s->core->host, (pid_t)t->pid);
    /* A pid whose start time changed belongs to somebody else. */
    if (host_watch_read(t->self->watch, s->same_ksm, &now->process) != 1 ||
        (t->known && now->process.start_ticks != t->start_ticks)) {
        now->process = (struct host_process){0};
        process_gone(s, t->self, t->pid);
        return;
    }
    now->pid = t->pid;
    now->has_process = true;
    now->sampled_at = now->process_sampled_at = clock_wall_ms();
    if (t->known && (t->has_first_scan || !ksm->has[HOST_KSM_full_scans]))
        return;
    t->known = true;
    t->start_ticks = now->process.start_ticks;
    t->has_first_scan = ksm->has[HOST_KSM_full_scans];
    t->first_scan = ksm->value[HOST_KSM_full_scans];
    process_known(s, t);
}

/* A VM that asked for it and was not let: why not? */
static enum ksm_merging merging_of(struct core *core, const struct vm *vm)
{
    if (!vm->spec->memory_merge)
        return KSM_MERGING_OFF;
    if (vm->merges == VM_MERGES_YES)
        return KSM_MERGING_ON;
    if (vm->merges == VM_MERGES_DISTRUST)
        return KSM_MERGING_DISTRUST;
    return project_merges(core, vm->project_id) ? KSM_MERGING_NOT_YET : KSM_MERGING_PROJECT_OFF;
}

static void judge_ksm(struct sampler *s, struct vm_sample *now, const struct vm *vm, const struct tracked *t,
                      const struct host_ksm *ksm)
{
    int64_t scans = t->has_first_scan && ksm->has[HOST_KSM_full_scans]
                        ? ksm->value[HOST_KSM_full_scans] - t->first_scan
                        : -1;

    now->ksm_cause = ksm_cause_of(now, ksm, merging_of(s->core, vm), scans);
    now->has_ksm_saved = now->has_process && ksm_saved_of(&now->process, ksm, &now->ksm_saved_bytes);
}

/* False: there are no figures of this VM yet. Takes the reference to t's dear figures. */
static bool sample_vm(struct sampler *s, const struct vm *vm, struct vm_sample *now,
                      const struct snapshot *last, const struct host_ksm *ksm)
{
    struct tracked t = look_up(s, vm);
    const struct vm_sample *before = snapshot_find(last, vm->id);

    str_copy_utf8(now->vm_id, sizeof(now->vm_id), vm->id);
    str_copy_utf8(now->project_id, sizeof(now->project_id), vm->project_id);
    now->dear = t.dear;
    now->inside = t.inside;
    now->sampled_at = t.dear->virt_sampled_at;
    now->promised_bytes = (uint64_t)vm->spec->memory_mib << 20;
    if (t.busy && clock_monotonic_ms() - t.busy_since_ms > DEAR_HANGS_MS) {
        now->stale = true;
        now->stale_reason = not_answering;
    } else if (t.failed) {
        now->stale = true;
        now->stale_reason = no_figures;
    }
    add_process(s, now, &t, ksm);
    if (now->has_process && before) {
        sample_rates(now, before);
    } else if (!now->has_process) {
        now->has_cpu_percent = t.dear->has_cpu_percent && !now->stale;
        now->cpu_percent = t.dear->cpu_percent;
    }
    judge_ksm(s, now, vm, &t, ksm);
    return now->sampled_at != 0;
}

static void add_vms(struct sampler *s, struct snapshot *next, const struct snapshot *last)
{
    auto_free struct vm **vms = NULL;
    size_t count;

    registry_all(s->core->registry, &vms, &count);
    next->samples = xcalloc(count, sizeof(*next->samples));
    for (size_t i = 0; i < count; i++) {
        struct vm_sample *now = &next->samples[next->count];

        /* A VM that has just started has no figures yet: that is not the same as old ones. */
        if (is_on(vms[i]) && sample_vm(s, vms[i], now, last, &next->ksm)) {
            next->count++;
        } else if (now->dear) {
            sample_done(now);
            *now = (struct vm_sample){0};
        }
        vm_unref(vms[i]);
    }
    if (next->count)
        qsort(next->samples, next->count, sizeof(*next->samples), by_id);
}

/*
 * Whether ksmd has rested since the tick before: then nothing it counts for a process has changed,
 * and a thousand files need not be read. All the same they are now and then.
 */
static bool ksm_rested(const struct snapshot *next, const struct snapshot *last)
{
    const struct host_ksm *a = &last->ksm, *b = &next->ksm;

    if (!a->has[HOST_KSM_pages_scanned] || !b->has[HOST_KSM_pages_scanned] ||
        next->tick % KSM_LOOK_TICKS == 0)
        return false;
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (a->has[i] != b->has[i] || a->value[i] != b->value[i])
            return false;
    }
    return true;
}

void sampler_step(struct sampler *s)
{
    struct core *core = s->core;
    struct snapshot *next = xcalloc(1, sizeof(*next)), *old;
    auto_snapshot struct snapshot *last = sampler_latest(s);

    atomic_init(&next->refs, 1);
    next->tick = last->tick + 1;
    host_ksm_read(core->host, &next->ksm);
    host_memory_read(core->host, &next->memory);
    next->sampled_at = clock_wall_ms();
    snapshot_rates(next, last);
    s->same_ksm = ksm_rested(next, last);
    add_vms(s, next, last);
    forget_unseen(s);
    {
        LOCK_SCOPE(&s->lock);
        old = s->latest;
        s->latest = next;
    }
    history_feed(core->history, next, last);
    stats_topic_publish(core->stats_topic, next);
    snapshot_unref(old);
    dear_watch(s);
}

static int64_t thread_cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *sampler_thread(void *arg)
{
    struct sampler *s = arg;
    int64_t next = clock_monotonic_ms();

    for (;;) {
        int64_t interval = s->core->settings->sample_interval_ms, now;
        int64_t began = clock_monotonic_ns(), cpu = thread_cpu_ns();

        sampler_step(s);
        cpu = thread_cpu_ns() - cpu;
        now = clock_monotonic_ms();
        LOCK_SCOPE(&s->lock);
        s->stats.ticks++;
        s->stats.tick_ns += (uint64_t)(clock_monotonic_ns() - began);
        s->tick_percent = 0.9 * s->tick_percent + 0.1 * (double)cpu / 1e4 / (double)interval;
        s->stats.late_ticks += next + interval <= now;
        /* A late tick is skipped, not made up for. */
        next = next + interval > now ? next + interval : now + interval;
        while (!s->stopping && clock_monotonic_ms() < next)
            cond_wait_until(&s->stop, &s->lock, next);
        if (s->stopping)
            return NULL;
    }
}

static int start_threads(struct sampler *s, struct error *err)
{
    LOCK_SCOPE(&s->lock);
    for (int i = 0; i < DEAR_WORKERS; i++) {
        if (dear_worker_start(s, err))
            return -1;
    }
    return inside_start(s, err) || thread_start(&s->thread, "sampler", sampler_thread, s, err) ? -1 : 0;
}

static void join_workers(struct sampler *s)
{
    {
        LOCK_SCOPE(&s->lock);
        s->stopping = true;
        pthread_cond_broadcast(&s->stop);
        pthread_cond_broadcast(&s->work);
        pthread_cond_broadcast(&s->inside);
    }
    if (s->has_inside_thread)
        pthread_join(s->inside_thread, NULL);
    for (unsigned i = 0; i < s->workers; i++)
        pthread_join(s->worker[i], NULL);
}

static void sampler_free(struct sampler *s)
{
    snapshot_unref(s->latest);
    tdestroy(s->tracked, tracked_free);
    pthread_cond_destroy(&s->stop);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->inside);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int sampler_start(struct core *core, struct sampler **ret, struct error *err)
{
    struct sampler *s = xcalloc(1, sizeof(*s));

    s->core = core;
    mutex_init(&s->lock);
    cond_init(&s->stop);
    cond_init(&s->work);
    cond_init(&s->inside);
    s->latest = xcalloc(1, sizeof(*s->latest));
    atomic_init(&s->latest->refs, 1);
    s->latest->sampled_at = clock_wall_ms();
    if (start_threads(s, err)) {
        join_workers(s);
        sampler_free(s);
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
        pthread_cond_broadcast(&s->stop);
    }
    pthread_join(s->thread, NULL);
    join_workers(s);
    sampler_free(s);
}
