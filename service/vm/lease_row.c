/* Leases and pools between memory and the database. */
#include <stddef.h>
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/lease_internal.h"

static const char *const states[] = {"queued", "active", "ended", NULL};
const char *const lease_expiry_names[] = {"delete", "stop", "pause", NULL};

static int index_of(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++) {
        if (str_eq(names[i], name))
            return i;
    }
    return 0; /* the table's CHECK keeps others out */
}

const char *lease_state_name(int state)
{
    return states[state];
}

const char *lease_expiry_name(int expiry)
{
    return lease_expiry_names[expiry];
}

struct lease *lease_ref(struct lease *lease)
{
    atomic_fetch_add_explicit(&lease->refs, 1, memory_order_relaxed);
    return lease;
}

void lease_unref(struct lease *lease)
{
    if (!lease || atomic_fetch_sub_explicit(&lease->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(lease->labels);
    free(lease->record);
    free(lease);
}

struct lease *lease_copy(const struct lease *lease)
{
    struct lease *copy = xcopy_behind(lease, offsetof(struct lease, seq), sizeof(*copy));

    atomic_init(&copy->refs, 1);
    copy->labels = xstrdup(lease->labels);
    copy->record = xstrdup(lease->record);
    return copy;
}

#define COPY(to, from) str_copy_utf8(to, sizeof(to), from)

struct lease *lease_from_row(const struct lease_row *row)
{
    struct lease *l = xcalloc(1, sizeof(*l));

    atomic_init(&l->refs, 1);
    l->seq = row->seq;
    COPY(l->id, row->id);
    COPY(l->project_id, row->project_id);
    COPY(l->host_id, row->host_id);
    COPY(l->pool_id, row->pool_id);
    COPY(l->pool_name, row->pool_name);
    COPY(l->vm_id, row->vm_id);
    COPY(l->vm_name, row->vm_name);
    COPY(l->holder, row->holder);
    COPY(l->actor, row->actor);
    COPY(l->owner_token, row->owner_token);
    COPY(l->end_reason, row->end_reason);
    COPY(l->boot_id, row->boot_id);
    l->labels = xstrdup(row->labels);
    l->record = xstrdup(row->record);
    l->state = index_of(states, row->state);
    l->on_expiry = index_of(lease_expiry_names, row->on_expiry);
    l->warm = row->warm;
    l->claim_us = row->claim_us;
    l->ttl_seconds = row->ttl_seconds;
    l->max_seconds = row->max_seconds;
    l->idle_seconds = row->idle_seconds;
    l->expires_boot_ms = row->expires_boot_ms;
    l->limit_boot_ms = row->limit_boot_ms;
    l->expires_at = row->expires_at;
    l->limit_at = row->limit_at;
    l->created_at = row->created_at;
    l->claimed_at = row->claimed_at;
    l->renewed_at = row->renewed_at;
    l->ended_at = row->ended_at;
    return l;
}

void lease_to_row(const struct lease *l, struct lease_row *ret)
{
    *ret = (struct lease_row){
        .seq = l->seq,
        .id = l->id,
        .project_id = l->project_id,
        .host_id = l->host_id,
        .pool_id = l->pool_id,
        .pool_name = l->pool_name,
        .vm_id = l->vm_id,
        .vm_name = l->vm_name,
        .holder = l->holder,
        .labels = l->labels,
        .actor = l->actor,
        .state = states[l->state],
        .end_reason = l->end_reason,
        .on_expiry = lease_expiry_names[l->on_expiry],
        .warm = l->warm,
        .claim_us = l->claim_us,
        .ttl_seconds = l->ttl_seconds,
        .max_seconds = l->max_seconds,
        .idle_seconds = l->idle_seconds,
        .boot_id = l->boot_id,
        .expires_boot_ms = l->expires_boot_ms,
        .limit_boot_ms = l->limit_boot_ms,
        .expires_at = l->expires_at,
        .limit_at = l->limit_at,
        .created_at = l->created_at,
        .claimed_at = l->claimed_at,
        .renewed_at = l->renewed_at,
        .ended_at = l->ended_at,
        .record = l->record,
        .owner_token = l->owner_token,
    };
}

struct pool *pool_ref(struct pool *pool)
{
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    return pool;
}

void pool_unref(struct pool *pool)
{
    if (!pool || atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1)
        return;
    pool_spec_unref(pool->spec);
    free(pool);
}

struct pool *pool_from_row(const struct pool_row *row, struct error *err)
{
    auto_pool struct pool *pool = xcalloc(1, sizeof(*pool));
    auto_json json_t *definition = json_loads(row->definition, 0, NULL);

    atomic_init(&pool->refs, 1);
    if (pool_spec_decode(definition, &pool->spec, err))
        return NULL;
    pool->seq = row->seq;
    COPY(pool->id, row->id);
    COPY(pool->project_id, row->project_id);
    COPY(pool->host_id, row->host_id);
    COPY(pool->name, row->name);
    COPY(pool->owner_token, row->owner_token);
    pool->generation = row->generation;
    pool->created_at = row->created_at;
    pool->updated_at = row->updated_at;
    return TAKE_PTR(pool);
}
