/*
 * What the keeper knows: living leases, pools, and in which phase each VM of a pool is. Everything
 * here is a short look under one lock; nothing blocks or calls out.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/str.h"
#include "service/vm/lease_internal.h"

pthread_mutex_t *lease_lock(struct lease_keeper *k, const char *id)
{
    unsigned h = 5381;

    for (const char *p = id; *p; p++)
        h = h * 33 + (unsigned char)*p;
    return &k->lease_locks[h % LEASE_LOCKS];
}

/* ---- leases ---- */

struct lease *book_lease(struct lease_keeper *k, const char *id)
{
    struct lease_entry *e;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->leases, id, e);
    return e ? lease_ref(e->lease) : NULL;
}

void book_put(struct lease_keeper *k, struct lease *lease)
{
    struct lease *old = NULL;
    struct lease_entry *e;

    {
        LOCK_SCOPE(&k->lock);
        HASH_FIND_STR(k->leases, lease->id, e);
        if (!e && lease->state != LEASE_ENDED) {
            e = xcalloc(1, sizeof(*e));
            memcpy(e->id, lease->id, sizeof(e->id));
            e->busy_ms = clock_monotonic_ms();
            HASH_ADD_STR(k->leases, id, e);
        }
        if (e) {
            old = e->lease;
            e->lease = lease_ref(lease);
        }
        if (e && lease->state == LEASE_ENDED) {
            HASH_DEL(k->leases, e);
            lease_unref(e->lease);
            free(e);
        }
        k->poked = true;
        pthread_cond_signal(&k->wake);
    }
    lease_unref(old);
}

static int by_seq(const void *a, const void *b)
{
    const struct lease *const *x = a, *const *y = b;

    return ((*x)->seq > (*y)->seq) - ((*x)->seq < (*y)->seq);
}

void book_leases(struct lease_keeper *k, struct lease ***ret, size_t *ret_count)
{
    struct lease **all;
    size_t count = 0;

    {
        LOCK_SCOPE(&k->lock);
        all = xcalloc(HASH_COUNT(k->leases) + 1, sizeof(struct lease *));
        for (struct lease_entry *e = k->leases; e; e = e->hh.next)
            all[count++] = lease_ref(e->lease);
    }
    qsort(all, count, sizeof(struct lease *), by_seq);
    *ret = all;
    *ret_count = count;
}

unsigned book_holder_leases(struct lease_keeper *k, const char *pool_id, const char *holder)
{
    unsigned count = 0;

    LOCK_SCOPE(&k->lock);
    for (struct lease_entry *e = k->leases; e; e = e->hh.next)
        count += str_eq(e->lease->pool_id, pool_id) && str_eq(e->lease->holder, holder);
    return count;
}

int64_t lease_count(struct core *core, const char *project_id, const char *token_id)
{
    struct lease_keeper *k = core->leases;
    int64_t count = 0;

    LOCK_SCOPE(&k->lock);
    for (struct lease_entry *e = k->leases; e; e = e->hh.next)
        count += str_eq(e->lease->project_id, project_id) &&
                 (!token_id || str_eq(e->lease->owner_token, token_id));
    return count;
}

bool book_others_wait(struct lease_keeper *k, const char *pool_id, int64_t before_seq)
{
    LOCK_SCOPE(&k->lock);
    for (struct lease_entry *e = k->leases; e; e = e->hh.next) {
        if (e->lease->state == LEASE_QUEUED && e->lease->seq < before_seq && !e->held &&
            str_eq(e->lease->pool_id, pool_id))
            return true;
    }
    return false;
}

void book_hold(struct lease_keeper *k, const char *id, bool held)
{
    struct lease_entry *e;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->leases, id, e);
    if (e)
        e->held = held;
}

/* ---- pools ---- */

static struct pool_state *pool_state(struct lease_keeper *k, const char *id)
{
    struct pool_state *p;

    HASH_FIND_STR(k->pools, id, p);
    return p;
}

struct pool *book_pool(struct lease_keeper *k, const char *id)
{
    struct pool_state *p;

    LOCK_SCOPE(&k->lock);
    p = pool_state(k, id);
    return p ? pool_ref(p->pool) : NULL;
}

void book_pool_put(struct lease_keeper *k, struct pool *pool)
{
    struct pool *old = NULL;
    struct pool_state *p;

    {
        LOCK_SCOPE(&k->lock);
        p = pool_state(k, pool->id);
        if (!p) {
            p = xcalloc(1, sizeof(*p));
            memcpy(p->id, pool->id, sizeof(p->id));
            HASH_ADD_STR(k->pools, id, p);
        }
        old = p->pool;
        p->pool = pool_ref(pool);
        p->retry_ms = p->status.retry_at = 0; /* another definition may well boot */
        p->status.failures = 0;
        k->poked = true;
        pthread_cond_signal(&k->wake);
    }
    pool_unref(old);
}

void book_pool_remove(struct lease_keeper *k, const char *id)
{
    struct pool_state *p;

    {
        LOCK_SCOPE(&k->lock);
        p = pool_state(k, id);
        if (p)
            HASH_DEL(k->pools, p);
        k->poked = true;
        pthread_cond_signal(&k->wake);
    }
    if (!p)
        return;
    pool_unref(p->pool);
    free(p);
}

static int pool_by_seq(const void *a, const void *b)
{
    const struct pool *const *x = a, *const *y = b;

    return ((*x)->seq > (*y)->seq) - ((*x)->seq < (*y)->seq);
}

void book_pools(struct lease_keeper *k, struct pool ***ret, size_t *ret_count)
{
    struct pool **all;
    size_t count = 0;

    {
        LOCK_SCOPE(&k->lock);
        all = xcalloc(HASH_COUNT(k->pools) + 1, sizeof(struct pool *));
        for (struct pool_state *p = k->pools; p; p = p->hh.next)
            all[count++] = pool_ref(p->pool);
    }
    qsort(all, count, sizeof(struct pool *), pool_by_seq);
    *ret = all;
    *ret_count = count;
}

/* ---- members ---- */

void book_members(struct lease_keeper *k, struct member **ret, size_t *ret_count)
{
    struct member *all;
    size_t count = 0;

    LOCK_SCOPE(&k->lock);
    all = xcalloc(HASH_COUNT(k->members) + 1, sizeof(struct member));
    for (struct member *m = k->members; m; m = m->hh.next)
        all[count++] = *m;
    *ret = all;
    *ret_count = count;
}

static void set_phase(struct member *m, enum member_phase phase)
{
    if (m->phase == phase)
        return;
    m->phase = phase;
    m->since_ms = clock_boottime_ms();
}

bool book_member_move(struct lease_keeper *k, const char *vm_id, enum member_phase from,
                      enum member_phase to)
{
    struct member *m;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->members, vm_id, m);
    if (!m || m->phase != from)
        return false;
    set_phase(m, to);
    return true;
}

static bool is_outdated(const struct pool_state *p, const struct member *m)
{
    return m->stale || (p && m->generation != p->pool->generation);
}

/* While a change rolls through the pool both kinds wait: nobody is given the old one who can have the new one. */
static bool is_before(const struct pool_state *p, const struct member *m, const struct member *other)
{
    bool outdated = is_outdated(p, m), other_is = is_outdated(p, other);

    return outdated == other_is ? m->since_ms < other->since_ms : other_is;
}

bool book_take_ready(struct lease_keeper *k, const char *pool_id, char ret_vm_id[UUID_TEXT])
{
    struct member *oldest = NULL;
    struct pool_state *p;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->pools, pool_id, p);
    for (struct member *m = k->members; m; m = m->hh.next) {
        if (m->phase == MEMBER_READY && str_eq(m->pool_id, pool_id) && (!oldest || is_before(p, m, oldest)))
            oldest = m;
    }
    if (!oldest)
        return false;
    if (!SEEDED_BUG(HAND_OUT_TWICE))
        set_phase(oldest, MEMBER_TAKEN);
    memcpy(ret_vm_id, oldest->vm_id, UUID_TEXT);
    return true;
}

bool book_template_take(struct lease_keeper *k, const char *pool_id, int64_t generation,
                        char ret_vm_id[UUID_TEXT])
{
    LOCK_SCOPE(&k->lock);
    for (struct member *m = k->members; m; m = m->hh.next) {
        if (m->phase != MEMBER_TEMPLATE || m->stale || m->generation != generation ||
            !str_eq(m->pool_id, pool_id))
            continue;
        m->makings++;
        memcpy(ret_vm_id, m->vm_id, UUID_TEXT);
        return true;
    }
    return false;
}

void book_template_give(struct lease_keeper *k, const char *vm_id)
{
    struct member *m;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->members, vm_id, m);
    if (m)
        m->makings--;
}

bool book_template_retire(struct lease_keeper *k, const char *vm_id)
{
    struct member *m;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->members, vm_id, m);
    if (!m || m->phase != MEMBER_TEMPLATE || m->makings)
        return false;
    set_phase(m, MEMBER_LEAVING);
    return true;
}

void book_member_stale(struct lease_keeper *k, const char *vm_id, bool stale)
{
    struct member *m;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->members, vm_id, m);
    if (m)
        m->stale = stale;
}

bool book_stands_on_stale(struct lease_keeper *k, const struct vm *vm)
{
    struct member *m;

    if (!*vm->template_id)
        return false;
    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->members, vm->template_id, m);
    return !m || m->stale;
}

static int64_t pool_size(struct lease_keeper *k, const struct pool_state *p)
{
    int64_t count = p->reserved;

    for (struct member *m = k->members; m; m = m->hh.next)
        count += str_eq(m->pool_id, p->id) && m->phase != MEMBER_LEAVING &&
                 m->phase != MEMBER_TEMPLATE;
    return count;
}

bool book_reserve(struct lease_keeper *k, const char *pool_id)
{
    struct pool_state *p;

    LOCK_SCOPE(&k->lock);
    p = pool_state(k, pool_id);
    if (!p || pool_size(k, p) >= p->pool->spec->max)
        return false;
    p->reserved++;
    return true;
}

void book_unreserve(struct lease_keeper *k, const char *pool_id)
{
    struct pool_state *p;

    LOCK_SCOPE(&k->lock);
    p = pool_state(k, pool_id);
    if (p)
        p->reserved--;
}

void lease_keeper_on_vm(struct lease_keeper *k, const struct vm *vm, bool removed)
{
    struct member *m;

    if (!k)
        return;
    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->members, vm->id, m);
    if (m && (removed || !*vm->pool_id)) {
        HASH_DEL(k->members, m);
        free(m);
    } else if (*vm->pool_id && !removed) {
        if (!m) {
            m = xcalloc(1, sizeof(*m));
            memcpy(m->vm_id, vm->id, sizeof(m->vm_id));
            memcpy(m->pool_id, vm->pool_id, sizeof(m->pool_id));
            m->generation = vm->pool_generation;
            m->since_ms = clock_boottime_ms();
            HASH_ADD_STR(k->members, vm_id, m);
        }
        if (vm->state == VM_STATE_DELETING)
            set_phase(m, MEMBER_LEAVING);
        else if (*vm->lease_id)
            set_phase(m, MEMBER_TAKEN);
        else if (*vm->template_key && m->phase != MEMBER_LEAVING && m->phase != MEMBER_TEMPLATE) {
            m->stale = true; /* until it was looked at */
            set_phase(m, MEMBER_TEMPLATE);
        }
    } else if (!m && !*vm->lease_id) {
        return;
    }
    k->poked = true;
    pthread_cond_signal(&k->wake);
}

/* ---- figures ---- */

void book_claimed(struct lease_keeper *k, const struct lease *lease)
{
    struct pool_state *p;

    timing_add(k->core->timing, lease->warm ? TIMING_CLAIM_WARM : TIMING_CLAIM_COLD,
               (double)lease->claim_us / 1e6);
    LOCK_SCOPE(&k->lock);
    if (lease->warm)
        k->counts.claims_warm++;
    else
        k->counts.claims_cold++;
    p = pool_state(k, lease->pool_id);
    if (!p)
        return;
    p->claimed_ms = clock_boottime_ms();
    if (lease->warm) {
        p->status.hits++;
        p->claims_us[p->claim_count++ % POOL_CLAIM_SAMPLES] = lease->claim_us;
    } else {
        p->status.misses++;
    }
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

void pool_status_read(struct core *core, const char *pool_id, struct pool_status *ret)
{
    struct lease_keeper *k = core->leases;
    int64_t sorted[POOL_CLAIM_SAMPLES];
    struct pool_state *p;
    unsigned count;

    *ret = (struct pool_status){0};
    LOCK_SCOPE(&k->lock);
    p = pool_state(k, pool_id);
    if (!p)
        return;
    *ret = p->status;
    ret->leased = 0;
    for (struct member *m = k->members; m; m = m->hh.next) {
        if (!str_eq(m->pool_id, pool_id))
            continue;
        ret->ready += m->phase == MEMBER_READY;
        ret->warming += m->phase == MEMBER_WARMING || m->phase == MEMBER_SAVING;
        ret->leased += m->phase == MEMBER_TAKEN;
    }
    count = p->claim_count < POOL_CLAIM_SAMPLES ? p->claim_count : POOL_CLAIM_SAMPLES;
    if (!count)
        return;
    memcpy(sorted, p->claims_us, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), by_value);
    ret->claim_us_p50 = sorted[count / 2];
    ret->claim_us_max = sorted[count - 1];
}

void lease_counts_read(struct core *core, struct lease_counts *ret)
{
    struct lease_keeper *k = core->leases;

    LOCK_SCOPE(&k->lock);
    *ret = k->counts;
    ret->pools = HASH_COUNT(k->pools);
    for (struct lease_entry *e = k->leases; e; e = e->hh.next) {
        ret->active += e->lease->state == LEASE_ACTIVE;
        ret->queued += e->lease->state == LEASE_QUEUED;
    }
}
