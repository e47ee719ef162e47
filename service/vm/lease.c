/*
 * The use cases of leases: asking, finding, renewing, giving back.
 */
#include "service/vm/lease.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/lease_internal.h"

#define TTL_DEFAULT_SECONDS 3600
#define MAX_DEFAULT_SECONDS 86400

/* ---- asking ---- */

static int replay_lease(struct core *core, const struct actor *actor,
                        const struct idem_found *found, struct lease **ret, struct error *err)
{
    if (!str_eq(found->kind, "lease"))
        return error_set(err, ERROR_KEY_REUSED, "this key was sent before with another request");
    *ret = lease_find(core, actor->project_id, found->id, err);
    return *ret ? 0 : -1;
}

/* What the request leaves open comes from the pool; what it asks for stays within the pool's. */
static int set_times(struct lease *l, const struct lease_request *r, const struct pool *pool,
                     struct error *err)
{
    int64_t max = pool ? pool->spec->max_seconds : LEASE_SECONDS_MAX;

    l->max_seconds = r->max_seconds   ? r->max_seconds
                     : pool           ? max
                     : r->ttl_seconds > MAX_DEFAULT_SECONDS ? r->ttl_seconds
                                                            : MAX_DEFAULT_SECONDS;
    l->ttl_seconds = r->ttl_seconds ? r->ttl_seconds
                     : pool         ? pool->spec->ttl_seconds
                                    : TTL_DEFAULT_SECONDS;
    if (!r->ttl_seconds && l->ttl_seconds > l->max_seconds)
        l->ttl_seconds = l->max_seconds;
    l->idle_seconds = r->idle_seconds;
    if (l->max_seconds > max)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/max_seconds",
                            "is more than the pool allows, which is %lld", (long long)max);
    if (l->ttl_seconds > l->max_seconds)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/ttl_seconds",
                            "is more than max_seconds, which is %lld", (long long)l->max_seconds);
    return 0;
}

static struct lease *lease_new(struct core *core, const struct actor *actor,
                               const struct lease_request *r, const struct pool *pool,
                               struct error *err)
{
    auto_lease struct lease *l = xcalloc(1, sizeof(*l));

    atomic_init(&l->refs, 1);
    uuid_new(l->id);
    str_copy_utf8(l->project_id, sizeof(l->project_id), actor->project_id);
    str_copy_utf8(l->host_id, sizeof(l->host_id), HOST_LOCAL);
    str_copy_utf8(l->actor, sizeof(l->actor), actor->id);
    str_copy_utf8(l->owner_token, sizeof(l->owner_token), actor->token_id ? actor->token_id : "");
    str_copy_utf8(l->holder, sizeof(l->holder), r->holder ? r->holder : actor->id);
    memcpy(l->boot_id, core->leases->boot_id, sizeof(l->boot_id));
    if (pool) {
        memcpy(l->pool_id, pool->id, sizeof(l->pool_id));
        memcpy(l->pool_name, pool->name, sizeof(l->pool_name));
    }
    l->labels = r->labels ? doc_text(r->labels) : xstrdup("{}");
    l->record = xstrdup("{}");
    l->state = LEASE_QUEUED;
    l->on_expiry = r->on_expiry;
    l->created_at = clock_wall_ms();
    if (set_times(l, r, pool, err))
        return NULL;
    return TAKE_PTR(l);
}

static int check_holder(struct core *core, const struct pool *pool, const struct lease *l,
                        struct error *err)
{
    unsigned held;

    if (!pool || !pool->spec->per_holder)
        return 0;
    held = book_holder_leases(core->leases, pool->id, l->holder);
    if (held < pool->spec->per_holder)
        return 0;
    error_set(err, ERROR_QUOTA_EXCEEDED, "%s has %u of the %lld VMs of pool %s it may hold",
              l->holder, held, (long long)pool->spec->per_holder, pool->name);
    error_remedy(err, "Give one back, or ask again later.");
    err->quota = (struct error_quota){"leases", "holder", pool->spec->per_holder, held, 1};
    return -1;
}

static int exhausted(struct core *core, const struct pool *pool, struct error *err)
{
    struct pool_status s;

    pool_status_read(core, pool->id, &s);
    error_set(err, ERROR_POOL_EXHAUSTED,
              "pool %s may have %lld VMs: %lld are leased, %lld are getting ready", pool->name,
              (long long)pool->spec->max, (long long)s.leased, (long long)s.warming);
    error_remedy(err, "Ask again later, or send queue_seconds to wait in line.");
    return -1;
}

static int queue_up(struct core *core, const struct lease_request *r, struct lease_write *w,
                    struct error *err)
{
    struct lease *l = w->lease;

    l->state = LEASE_QUEUED;
    l->expires_boot_ms = clock_boottime_ms() + r->queue_seconds * 1000;
    l->expires_at = clock_wall_ms() + r->queue_seconds * 1000;
    w->event = "lease.queued";
    w->asked_ns = 0;
    return lease_write_alone(w, err);
}

static int serve_or_queue(struct core *core, const struct lease_request *r, const struct pool *pool,
                          struct lease_write *w, struct error *err)
{
    int rc = 1;

    if (!pool)
        return lease_serve(core, w->lease, r->spec, w, err);
    /* Who waits comes first. */
    if (!book_others_wait(core->leases, pool->id, INT64_MAX))
        rc = lease_serve(core, w->lease, NULL, w, err);
    if (rc == 0 || (rc < 0 && (err->code != ERROR_INSUFFICIENT_MEMORY || !r->queue_seconds)))
        return rc;
    if (!r->queue_seconds)
        return exhausted(core, pool, err);
    return queue_up(core, r, w, err);
}

int lease_create(struct core *core, const struct actor *actor, const struct lease_request *r,
                 const struct idem *idem, struct lease **ret, bool *ret_replayed, struct error *err)
{
    int64_t asked = clock_monotonic_ns();
    auto_pool struct pool *pool = NULL;
    auto_lease struct lease *lease = NULL;
    struct idem_found found;
    int rc = idem_lookup(core, actor, idem, &found, err);

    if (rc < 0)
        return -1;
    *ret_replayed = rc > 0;
    if (rc > 0)
        return replay_lease(core, actor, &found, ret, err);
    if (r->pool) {
        pool = pool_find(core, actor->project_id, r->pool, err);
        if (!pool)
            return error_set_at(err, ERROR_VALIDATION_FAILED, "/pool", "there is no pool %s",
                                r->pool);
    }
    lease = lease_new(core, actor, r, pool, err);
    if (!lease || check_holder(core, pool, lease, err))
        return -1;
    struct lease_write write = {.core = core,
                                .lease = lease,
                                .insert = true,
                                .event = "lease.claimed",
                                .actor = actor,
                                .idem = idem,
                                .asked_ns = asked};
    if (serve_or_queue(core, r, pool, &write, err)) {
        *ret_replayed = idem_again(core, actor, idem, &found, err);
        return *ret_replayed ? replay_lease(core, actor, &found, ret, err) : -1;
    }
    CRASH_POINT(LEASE_CLAIMED);
    *ret = TAKE_PTR(lease);
    return 0;
}

/* ---- finding ---- */

static int take_row(void *arg, const struct lease_row *row)
{
    *(struct lease **)arg = lease_from_row(row);
    return 1;
}

struct lease *lease_find(struct core *core, const char *project_id, const char *id,
                         struct error *err)
{
    struct lease *lease = book_lease(core->leases, id);

    if (lease && str_eq(lease->project_id, project_id))
        return lease;
    lease_unref(lease);
    lease = NULL;
    if (store_lease_get(core->db, project_id, id, take_row, &lease, err) < 0)
        return NULL;
    if (!lease)
        error_set(err, ERROR_LEASE_NOT_FOUND, "there is no lease %s", id);
    return lease;
}

int64_t lease_queue_position(struct core *core, const struct lease *lease)
{
    struct lease **all;
    int64_t position = 0;
    size_t count;

    if (lease->state != LEASE_QUEUED)
        return 0;
    book_leases(core->leases, &all, &count);
    for (size_t i = 0; i < count; i++) {
        position += all[i]->state == LEASE_QUEUED && str_eq(all[i]->pool_id, lease->pool_id) &&
                    all[i]->seq <= lease->seq;
        lease_unref(all[i]);
    }
    free(all);
    return position;
}

struct collect {
    struct lease_keeper *k;
    struct lease **items;
    size_t count, room;
};

static int collect_row(void *arg, const struct lease_row *row)
{
    struct collect *c = arg;
    struct lease *living = book_lease(c->k, row->id);

    /* Memory is what a client was told; the disk may be a moment behind or ahead of the read. */
    c->items[c->count++] = living ? living : lease_from_row(row);
    return c->count == c->room;
}

int lease_list(struct core *core, const struct lease_filter *filter, struct lease ***ret,
               size_t *ret_count, struct error *err)
{
    auto_free char *labels = filter->labels ? doc_text(filter->labels) : NULL;
    const struct lease_list_filter f = {.project_id = filter->project_id,
                                        .state = filter->state,
                                        .pool_id = filter->pool_id,
                                        .labels = labels,
                                        .before_seq = filter->before_seq,
                                        .limit = filter->limit};
    struct collect c = {.k = core->leases, .room = (size_t)filter->limit};

    c.items = xcalloc(c.room + 1, sizeof(struct lease *));
    if (store_lease_list(core->db, &f, collect_row, &c, err)) {
        for (size_t i = 0; i < c.count; i++)
            lease_unref(c.items[i]);
        free(c.items);
        return -1;
    }
    *ret = c.items;
    *ret_count = c.count;
    return 0;
}

/* ---- renewing and giving back ---- */

static int has_ended(const struct lease *l, struct error *err)
{
    error_set(err, ERROR_LEASE_STATE_CONFLICT, "the lease has ended: %s", l->end_reason);
    error_remedy(err, "Ask for another one.");
    return -1;
}

int lease_renew(struct core *core, const struct actor *actor, const char *id, int64_t ttl_seconds,
                struct lease **ret, struct error *err)
{
    auto_lease struct lease *known = lease_find(core, actor->project_id, id, err), *next = NULL;
    struct lease_write write = {.core = core, .actor = actor, .event = "lease.renewed"};
    int64_t wall = clock_wall_ms(), boot = clock_boottime_ms();

    if (!known)
        return -1;
    if (known->state == LEASE_ENDED)
        return has_ended(known, err);
    LOCK_SCOPE(lease_lock(core->leases, id));
    auto_lease struct lease *current = book_lease(core->leases, id);
    if (!current)
        return error_set(err, ERROR_LEASE_STATE_CONFLICT, "the lease has just ended");
    if (current->state == LEASE_QUEUED)
        return error_set(err, ERROR_LEASE_STATE_CONFLICT, "the lease still waits for a VM");
    next = lease_copy(current);
    next->ttl_seconds = ttl_seconds;
    next->renewed_at = wall;
    next->expires_boot_ms = boot + ttl_seconds * 1000;
    next->expires_at = wall + ttl_seconds * 1000;
    if (next->expires_boot_ms > next->limit_boot_ms) {
        next->expires_boot_ms = next->limit_boot_ms;
        /* One moment, told once: by a wall clock that has moved, or was read later, it would be two. */
        next->expires_at = next->limit_at = wall + next->limit_boot_ms - boot;
    }
    write.lease = next;
    if (SEEDED_BUG(RENEW_IN_MEMORY))
        book_put(core->leases, next);
    else if (lease_write_alone(&write, err))
        return -1;
    CRASH_POINT(LEASE_RENEWED);
    *ret = TAKE_PTR(next);
    return 0;
}

int lease_release(struct core *core, const struct actor *actor, const char *id, struct lease **ret,
                  struct error *err)
{
    auto_lease struct lease *known = lease_find(core, actor->project_id, id, err);

    if (!known)
        return -1;
    if (known->state != LEASE_ENDED && lease_end(core, actor, id, "released", true, err))
        return -1;
    *ret = lease_find(core, actor->project_id, id, err);
    return *ret ? 0 : -1;
}
