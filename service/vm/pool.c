/*
 * The use cases of pools: making, changing, deleting, looking. Filling them is pool_fill.c.
 */
#include "service/vm/pool.h"

#include <stddef.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/lease_internal.h"

struct pool_write {
    struct core *core;
    struct pool *pool;
    const struct actor *actor;
    const char *event;
};

static int append(struct db_tx *tx, const struct pool_write *w, struct error *err)
{
    return event_append(w->core, tx, w->pool->project_id, w->actor, w->event, "pool", w->pool->id, w->pool->name, NULL,
                        err);
}

static int put_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct pool_write *w = arg;
    auto_json json_t *definition = pool_spec_encode(w->pool->spec);
    auto_free char *text = doc_text(definition);
    struct pool_row row = {.seq = w->pool->seq,
                           .id = w->pool->id,
                           .project_id = w->pool->project_id,
                           .host_id = w->pool->host_id,
                           .name = w->pool->name,
                           .definition = text,
                           .generation = w->pool->generation,
                           .created_at = w->pool->created_at,
                           .updated_at = w->pool->updated_at,
                           .owner_token = w->pool->owner_token};

    if (w->pool->seq ? store_pool_update(tx, &row, err)
                     : store_pool_insert(tx, &row, &w->pool->seq, err))
        return -1;
    return append(tx, w, err);
}

static void put_committed(void *arg)
{
    struct pool_write *w = arg;

    book_pool_put(w->core->leases, w->pool);
}

static int delete_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct pool_write *w = arg;

    return store_pool_delete(tx, w->pool->id, err) || append(tx, w, err) ? -1 : 0;
}

static void delete_committed(void *arg)
{
    struct pool_write *w = arg;

    book_pool_remove(w->core->leases, w->pool->id);
}

struct pool *pool_find(struct core *core, const char *project_id, const char *ref,
                       struct error *err)
{
    struct pool **all, *found = NULL;
    size_t count;

    book_pools(core->leases, &all, &count);
    for (size_t i = 0; i < count; i++) {
        if (!found && str_eq(all[i]->project_id, project_id) &&
            (str_eq(all[i]->id, ref) || str_eq(all[i]->name, ref)))
            found = pool_ref(all[i]);
        pool_unref(all[i]);
    }
    free(all);
    if (!found)
        error_set(err, ERROR_POOL_NOT_FOUND, "there is no pool %s", ref);
    return found;
}

void pool_list(struct core *core, const char *project_id, struct pool ***ret, size_t *ret_count)
{
    struct pool **all;
    size_t count, kept = 0;

    book_pools(core->leases, &all, &count);
    for (size_t i = 0; i < count; i++) {
        if (str_eq(all[i]->project_id, project_id))
            all[kept++] = all[i];
        else
            pool_unref(all[i]);
    }
    *ret = all;
    *ret_count = kept;
}

/* What the template names must be there when the pool is made, not when its first VM fails. */
static int check_image(struct core *core, const struct actor *actor, const struct pool_spec *spec,
                       struct error *err)
{
    const char *ref = json_string_value(json_object_get(spec->vm, "image"));
    auto_image struct image *image = NULL;

    if (!ref)
        return 0;
    image = image_find(core, actor->project_id, ref, err);
    if (image)
        return 0;
    error_set_at(err, ERROR_UNKNOWN_IMAGE, "/vm/image", "there is no image %s", ref);
    error_remedy(err, "GET /v1/images lists the images.");
    return -1;
}

int pool_put(struct core *core, const struct actor *actor, const char *name,
             struct pool_spec *spec, int64_t if_generation, struct pool **ret, bool *ret_created,
             struct error *err)
{
    auto_pool struct pool *old = NULL, *next = NULL;
    struct pool_write w = {.core = core, .actor = actor};
    struct error none;

    if (!vm_spec_name_ok(name))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "pool",
                            "must be 1 to 63 lower-case letters, digits and '-', beginning and "
                            "ending with a letter or digit");
    if (check_image(core, actor, spec, err))
        return -1;
    LOCK_SCOPE(lease_lock(core->leases, name)); /* two changes of one pool come one by one */
    old = pool_find(core, actor->project_id, name, &none);
    if (if_generation && (!old || old->generation != if_generation)) {
        error_set_at(err, ERROR_PRECONDITION_FAILED, "If-Match", "the pool's etag is now \"%lld\"",
                     old ? (long long)old->generation : 0);
        error_remedy(err, "Read the pool again and repeat the change on what you find.");
        return -1;
    }
    if (old) {
        next = xcopy_behind(old, offsetof(struct pool, seq), sizeof(*next));
    } else {
        next = xcalloc(1, sizeof(*next));
        uuid_new(next->id);
    }
    atomic_init(&next->refs, 1);
    next->spec = pool_spec_ref(spec);
    str_copy_utf8(next->project_id, sizeof(next->project_id), actor->project_id);
    str_copy_utf8(next->host_id, sizeof(next->host_id), HOST_LOCAL);
    str_copy_utf8(next->name, sizeof(next->name), name);
    next->generation++;
    next->updated_at = clock_wall_ms();
    if (!old) {
        next->created_at = next->updated_at;
        str_copy_utf8(next->owner_token, sizeof(next->owner_token),
                      actor->token_id ? actor->token_id : "");
    }
    w.pool = next;
    w.event = old ? "pool.changed" : "pool.created";
    if (db_write(core->db, put_fn, put_committed, &w, err))
        return -1;
    *ret_created = !old;
    *ret = TAKE_PTR(next);
    return 0;
}

int pool_delete(struct core *core, const struct actor *actor, const char *ref, struct error *err)
{
    auto_pool struct pool *pool = pool_find(core, actor->project_id, ref, err);
    struct pool_write w = {.core = core, .pool = pool, .actor = actor, .event = "pool.deleted"};

    return pool ? db_write(core->db, delete_fn, delete_committed, &w, err) : -1;
}
