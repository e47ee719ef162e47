/*
 * The keeper: one thread that ends what is due, serves who waits, and keeps pools full. It asks
 * memory what is true and repeats itself: whatever was interrupted is done at the next look.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/guest.h"
#include "service/vm/host_stop.h"
#include "service/vm/lease_internal.h"

#define LOOK_MS         1000 /* without being poked */
#define SAMPLE_MS       2000
#define IDLE_CPU_PERCENT 5.0 /* of one CPU: below, the guest does nothing for anybody */

/* ---- loading ---- */

struct load {
    struct lease_keeper *k;
    struct error *err;
};

static int load_pool(void *arg, const struct pool_row *row)
{
    struct load *load = arg;
    auto_pool struct pool *pool = pool_from_row(row, load->err);

    if (pool)
        book_pool_put(load->k, pool);
    else
        log_failure(LOG_LEVEL_ERROR, load->err, "pool %s cannot be loaded", row->name);
    return 0;
}

/* VMs are loaded before, without what leases.h says of them. */
static void adopt(struct core *core, const char *vm_id, const char *pool_id, int64_t generation,
                  const char *lease_id)
{
    auto_vm struct vm *vm = registry_get(core->registry, vm_id), *next = NULL;

    if (!vm)
        return;
    next = vm_copy(vm);
    if (pool_id)
        str_copy_utf8(next->pool_id, sizeof(next->pool_id), pool_id);
    if (generation)
        next->pool_generation = generation;
    if (lease_id)
        str_copy_utf8(next->lease_id, sizeof(next->lease_id), lease_id);
    registry_put(core->registry, next);
}

static int load_member(void *arg, const struct pool_member_row *row)
{
    struct load *load = arg;

    adopt(load->k->core, row->vm_id, row->pool_id, row->generation, NULL);
    return 0;
}

/*
 * The boot clock began anew: what is left of a lease is told by the wall clock, which may have been
 * set meanwhile; so it is never more than the lease was given.
 */
static void rebase(struct lease_keeper *k, struct lease *l)
{
    int64_t wall = clock_wall_ms(), boot = clock_boottime_ms();
    int64_t left = l->expires_at - wall, limit = l->limit_at - wall;
    int64_t given = (l->state == LEASE_QUEUED ? LEASE_SECONDS_MAX : l->ttl_seconds) * 1000;

    left = left < 0 ? 0 : left > given ? given : left;
    limit = limit < 0 ? 0 : limit > l->max_seconds * 1000 ? l->max_seconds * 1000 : limit;
    CRASH_POINT(LEASE_NEW_BOOT);
    memcpy(l->boot_id, k->boot_id, sizeof(l->boot_id));
    l->expires_boot_ms = boot + left;
    l->limit_boot_ms = boot + limit;
}

static int load_lease(void *arg, const struct lease_row *row)
{
    struct load *load = arg;
    auto_lease struct lease *lease = lease_from_row(row);

    if (!str_eq(lease->boot_id, load->k->boot_id))
        rebase(load->k, lease);
    if (SEEDED_BUG(LEASE_EARLY))
        lease->expires_boot_ms = clock_boottime_ms();
    if (*lease->vm_id)
        adopt(load->k->core, lease->vm_id, NULL, 0, lease->id);
    book_put(load->k, lease);
    return 0;
}

/*
 * A VM whose lease ended in the very transaction that asked for its deletion has no living lease;
 * its operation is resumed by the engine. One that has a pool waits, or warms up, as before.
 */
static void enter_members(struct lease_keeper *k)
{
    struct vm **all;
    size_t count;

    registry_all(k->core->registry, &all, &count);
    for (size_t i = 0; i < count; i++) {
        lease_keeper_on_vm(k, all[i], false);
        vm_unref(all[i]);
    }
    free(all);
}

int lease_keeper_open(struct core *core, struct lease_keeper **ret, struct error *err)
{
    struct lease_keeper *k = xcalloc(1, sizeof(*k));
    struct load load = {k, err};

    k->core = core;
    mutex_init(&k->lock);
    cond_init(&k->wake);
    for (size_t i = 0; i < LEASE_LOCKS; i++)
        mutex_init(&k->lease_locks[i]);
    host_kernel(core->host, k->kernel, sizeof(k->kernel));
    host_processor(core->host, k->processor, sizeof(k->processor));
    *ret = k; /* the caller frees it, also after a failure */
    if (host_boot_id(core->host, k->boot_id, err) ||
        store_pool_each(core->db, load_pool, &load, err) ||
        store_pool_member_each(core->db, load_member, &load, err) ||
        store_lease_living(core->db, load_lease, &load, err))
        return -1;
    enter_members(k);
    return 0;
}

/* ---- leases ---- */

static void end(struct core *core, const struct lease *l, const char *reason, bool erase)
{
    struct error err;

    if (lease_end(core, &actor_system, l->id, reason, erase, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot end lease %s", l->id);
}

/* In order of asking: who cannot be served keeps those behind of the same pool waiting. */
static void serve(struct core *core, const struct lease *l)
{
    const struct actor actor = {l->actor, l->project_id, "", l->owner_token};
    auto_lease struct lease *current = NULL, *next = NULL;
    struct lease_write write = {.core = core, .actor = &actor, .event = "lease.claimed"};
    struct error err;

    LOCK_SCOPE(lease_lock(core->leases, l->id));
    current = book_lease(core->leases, l->id);
    if (!current || current->state != LEASE_QUEUED ||
        /* What was given back a moment after the one before was looked at is that one's. */
        book_others_wait(core->leases, current->pool_id, current->seq))
        return;
    next = lease_copy(current);
    write.lease = next;
    /* What it waited is the claim's time. */
    write.asked_ns = clock_monotonic_ns() - (clock_wall_ms() - l->created_at) * 1000000;
    bool failed = lease_serve(core, next, NULL, &write, &err) < 0;
    bool held = failed && err.code == ERROR_QUOTA_EXCEEDED;

    book_hold(core->leases, l->id, held);
    /* Neither libvirt's absence nor a host that is full is news: it waits for just that. */
    if (failed && !held && err.code != ERROR_HYPERVISOR_UNAVAILABLE &&
        err.code != ERROR_INSUFFICIENT_MEMORY && err.code != ERROR_HOST_SHUTTING_DOWN)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot serve lease %s", l->id);
}

/* used: it is right now. By the clock that stands still while the host is suspended: nobody could use it then. */
static bool was_unused(struct lease_keeper *k, const struct lease *l, bool used)
{
    int64_t now = clock_monotonic_ms();
    struct lease_entry *e;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->leases, l->id, e);
    if (e && used)
        e->busy_ms = now;
    return e && now - e->busy_ms > l->idle_seconds * 1000;
}

/* Who looks at it or talks to its agent may do so without its CPUs having much to do. */
static bool is_idle(struct core *core, const struct lease *l)
{
    if (!l->idle_seconds ||
        !was_unused(core->leases, l, console_in_use(core->consoles, l->vm_id) || guest_in_use(core, l->vm_id)))
        return false;
    lease_sample(core, l); /* what its CPUs do was last asked up to SAMPLE_MS ago */
    return was_unused(core->leases, l, false);
}

void lease_touch(struct core *core, const char *vm_id)
{
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);
    struct lease_keeper *k = core->leases;
    struct lease_entry *e;

    if (!vm || !*vm->lease_id || !k)
        return;
    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->leases, vm->lease_id, e);
    if (e)
        e->busy_ms = clock_monotonic_ms();
}

static void look_lease(struct core *core, const struct lease *l, int64_t now)
{
    auto_vm struct vm *vm = NULL;

    if (l->state == LEASE_QUEUED) {
        auto_pool struct pool *pool = book_pool(core->leases, l->pool_id);

        if (!pool)
            end(core, l, "pool-deleted", true);
        else if (now >= l->expires_boot_ms)
            end(core, l, "not-served", true);
        else
            serve(core, l);
        return;
    }
    vm = registry_get(core->registry, l->vm_id);
    if (!vm || vm->state == VM_STATE_DELETING)
        end(core, l, "vm-deleted", true);
    else if (SEEDED_BUG(LEASE_FOREVER))
        return;
    else if (now >= l->expires_boot_ms || now >= l->limit_boot_ms)
        end(core, l, "expired", false);
    else if (is_idle(core, l))
        end(core, l, "idle", false);
}

/* One that was turned off has no figures, like one that has only just begun; but no guest does anything in it. */
static bool is_off(struct core *core, const char *vm_id)
{
    bool busy = op_vm_busy(core->ops, vm_id); /* before its state is read */
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);

    if (!vm || busy)
        return false;
    return vm->state == VM_STATE_STOPPED || vm->state == VM_STATE_SAVED || vm->state == VM_STATE_CRASHED ||
           vm->state == VM_STATE_FAILED;
}

/* Figures for the record, and whether the guest does anything: it does for as long as nobody can tell. */
static void sample(struct core *core, const struct lease *l, const struct snapshot *s)
{
    const struct vm_sample *v = snapshot_find(s, l->vm_id);
    bool off = !v && is_off(core, l->vm_id);
    struct lease_keeper *k = core->leases;
    struct lease_entry *e;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->leases, l->id, e);
    if (!e)
        return;
    if (!off && (!v || !v->has_cpu_percent || v->cpu_percent >= IDLE_CPU_PERCENT))
        e->busy_ms = clock_monotonic_ms();
    if (!v)
        return;
    e->has_usage = true;
    if (v->dear->virt.has_cpu)
        e->cpu_seconds = (double)v->dear->virt.cpu_ns / 1e9;
    if (v->has_process && v->process.has_cpu)
        e->cpu_seconds = v->process.cpu_user_seconds + v->process.cpu_system_seconds;
    if (v->has_process && v->process.has_memory && v->process.resident_bytes > e->peak_resident_bytes)
        e->peak_resident_bytes = v->process.resident_bytes;
    if (v->has_process && v->process.has_ksm_merging_pages)
        e->merging_bytes = (uint64_t)v->process.ksm_merging_pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void lease_sample(struct core *core, const struct lease *l)
{
    auto_snapshot struct snapshot *s = sampler_latest(core->sampler);

    if (s && *l->vm_id)
        sample(core, l, s);
}

static void look_leases(struct core *core)
{
    struct lease_keeper *k = core->leases;
    int64_t now = clock_boottime_ms();
    bool due = now - k->sampled_ms >= SAMPLE_MS;
    auto_snapshot struct snapshot *s = due ? sampler_latest(core->sampler) : NULL;
    struct lease **all;
    size_t count;

    if (due)
        k->sampled_ms = now;
    book_leases(k, &all, &count);
    for (size_t i = 0; i < count; i++) {
        if (s && all[i]->state == LEASE_ACTIVE)
            sample(core, all[i], s);
        look_lease(core, all[i], now);
        lease_unref(all[i]);
    }
    free(all);
}

/* ---- the thread ---- */

/* The earliest moment at which a lease is due, at most LOOK_MS away; lock held. */
static int64_t next_look(struct lease_keeper *k)
{
    int64_t now = clock_boottime_ms(), wait = LOOK_MS;

    for (struct lease_entry *e = k->leases; e; e = e->hh.next) {
        int64_t left = e->lease->expires_boot_ms - now;

        if (left < wait)
            wait = left < 0 ? 0 : left;
    }
    /* One that is due but cannot be ended (a full disk, say) must not make this a busy loop. */
    return clock_monotonic_ms() + (wait < 20 ? 20 : wait);
}

static void *keeper_thread(void *arg)
{
    struct lease_keeper *k = arg;

    for (;;) {
        struct error ignored;

        {
            LOCK_SCOPE(&k->lock);
            int64_t until = next_look(k);

            while (!k->stopping && !k->poked && clock_monotonic_ms() < until)
                cond_wait_until(&k->wake, &k->lock, until);
            if (k->stopping)
                return NULL;
            k->poked = false;
        }
        if (!db_is_writable(k->core->db, &ignored))
            continue;
        look_leases(k->core);
        /* After a boot of the host what is stored as running may be off. */
        if (!tracker_is_reconciled(k->core->tracker) || host_stop_holds(k->core))
            continue;
        pools_look(k->core);
        pools_fill(k->core);
    }
}

int lease_keeper_start(struct lease_keeper *k, struct error *err)
{
    if (thread_start(&k->thread, "leases", keeper_thread, k, err))
        return -1;
    k->started = true;
    return 0;
}

void lease_keeper_poke(struct lease_keeper *k)
{
    if (!k)
        return;
    LOCK_SCOPE(&k->lock);
    k->poked = true;
    pthread_cond_signal(&k->wake);
}

void lease_keeper_stop(struct lease_keeper *k)
{
    if (!k || !k->started)
        return;
    {
        LOCK_SCOPE(&k->lock);
        k->stopping = true;
        pthread_cond_signal(&k->wake);
    }
    pthread_join(k->thread, NULL);
    k->started = false;
}

static void free_leases(struct lease_entry *e)
{
    for (struct lease_entry *next; e; e = next) {
        next = e->hh.next;
        lease_unref(e->lease);
        free(e);
    }
}

static void free_members(struct member *m)
{
    for (struct member *next; m; m = next) {
        next = m->hh.next;
        free(m);
    }
}

static void free_pools(struct pool_state *p)
{
    for (struct pool_state *next; p; p = next) {
        next = p->hh.next;
        pool_unref(p->pool);
        free(p);
    }
}

void lease_keeper_free(struct lease_keeper *k)
{
    struct lease_entry *leases;
    struct member *members;
    struct pool_state *pools;

    if (!k)
        return;
    leases = k->leases;
    members = k->members;
    pools = k->pools;
    HASH_CLEAR(hh, k->leases);
    HASH_CLEAR(hh, k->members);
    HASH_CLEAR(hh, k->pools);
    free_leases(leases);
    free_members(members);
    free_pools(pools);
    for (size_t i = 0; i < LEASE_LOCKS; i++)
        pthread_mutex_destroy(&k->lease_locks[i]);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k);
}
