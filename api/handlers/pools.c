/*
 * Pools: list, make or change, read, delete.
 */
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/vm/pool.h"

static json_t *with_status(struct request *req, const struct pool *pool)
{
    struct pool_status status;
    struct pool_memory memory;

    pool_status_read(req->core, pool->id, &status);
    pool_memory_read(req->core, pool->id, &memory);
    return codec_pool(pool, &status, &memory, codec_ksm_for(&req->principal));
}

int handle_pool_list(struct request *req, struct response *res, struct error *err)
{
    char cursor[PAGE_CURSOR_SIZE];
    const char *next = NULL;
    struct pool **pools;
    struct page page;
    size_t count, shown = 0;
    json_t *items;

    if (page_read(req, &page, err))
        return -1;
    pool_list(req->core, req->principal.project_id, &pools, &count);
    items = json_array();
    for (size_t i = 0; i < count; i++) {
        if (pools[i]->seq > page.after && shown < (size_t)page.limit) {
            json_array_append_new(items, with_status(req, pools[i]));
            shown++;
            if (shown == (size_t)page.limit && i + 1 < count)
                next = page_next(req, res, pools[i]->seq, cursor);
        }
        pool_unref(pools[i]);
    }
    free(pools);
    response_json(res, 200, codec_list(items, next));
    return 0;
}

static void answer(struct request *req, struct response *res, const struct pool *pool, int status)
{
    response_header(res, "ETag", "\"%lld\"", (long long)pool->generation);
    response_json(res, status, with_status(req, pool));
}

int handle_pool_get(struct request *req, struct response *res, struct error *err)
{
    auto_pool struct pool *pool =
        pool_find(req->core, req->principal.project_id, request_param(req, "pool"), err);

    if (!pool)
        return -1;
    answer(req, res, pool, 200);
    return 0;
}

/* Whole, and to those who may change it: it is not shown anywhere else. */
int handle_pool_user_data(struct request *req, struct response *res, struct error *err)
{
    auto_pool struct pool *pool =
        pool_find(req->core, req->principal.project_id, request_param(req, "pool"), err);
    const char *text;

    if (!pool)
        return -1;
    text = json_string_value(json_object_get(pool->spec->vm, "user_data"));
    if (!text) {
        error_set(err, ERROR_NOT_FOUND, "the VMs of pool %s get no user data", pool->name);
        return -1;
    }
    response_text(res, 200, "text/plain; charset=utf-8", text);
    return 0;
}

int handle_pool_put(struct request *req, struct response *res, struct error *err)
{
    auto_pool_spec struct pool_spec *spec = NULL;
    auto_pool struct pool *pool = NULL;
    struct actor actor = request_actor(req);
    int64_t generation = 0;
    bool created;

    if (request_if_match(req, &generation, err) || pool_spec_decode(req->json, &spec, err) ||
        pool_put(req->core, &actor, request_param(req, "pool"), spec, generation, &pool, &created,
                 err))
        return -1;
    if (created)
        response_header(res, "Location", "/v1/pools/%s", pool->id);
    answer(req, res, pool, created ? 201 : 200);
    return 0;
}

int handle_pool_delete(struct request *req, struct response *res, struct error *err)
{
    struct actor actor = request_actor(req);

    if (pool_delete(req->core, &actor, request_param(req, "pool"), err))
        return -1;
    res->status = 204;
    return 0;
}
