/*
 * Pools and leases: as JSON, and the bodies that make them. A pool's own body is decoded where its
 * definition lives (service/vm/pool_spec.c).
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "service/base/str.h"
#include "service/json/doc.h"

static json_t *snapshot(const struct pool *pool, const struct pool_snapshot *s)
{
    if (pool->spec->depth != POOL_SNAPSHOT)
        return json_null();
    return json_pack("{s:b, s:o, s:o, s:o, s:o}", "shared", s->shared, "template_id",
                     codec_text(s->template_id), "saved_at", codec_time(s->saved_at),
                     "memory_bytes",
                     s->memory_bytes ? json_integer((json_int_t)s->memory_bytes) : json_null(),
                     "reason", codec_text(s->reason));
}

static json_t *memory_json(const struct pool_memory *m, enum codec_ksm detail)
{
    uint64_t saved = detail == CODEC_KSM_EXACT ? m->saved_bytes : ksm_coarse(m->saved_bytes);
    uint64_t merging = detail == CODEC_KSM_EXACT ? m->merging_bytes : ksm_coarse(m->merging_bytes);
    bool known = m->sampled || !m->running;

    return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "running", (json_int_t)m->running,
                     "promised_bytes", (json_int_t)m->promised_bytes, "resident_bytes",
                     known ? json_integer((json_int_t)m->resident_bytes) : json_null(),
                     "merging_bytes", known ? json_integer((json_int_t)merging) : json_null(),
                     "saved_bytes", known ? json_integer((json_int_t)saved) : json_null(),
                     "own_bytes",
                     known ? json_integer((json_int_t)(m->resident_bytes -
                                                       (saved < m->resident_bytes ? saved : m->resident_bytes)))
                           : json_null());
}

json_t *codec_pool(const struct pool *pool, const struct pool_status *s,
                   const struct pool_memory *memory, enum codec_ksm detail)
{
    json_t *object = pool_spec_encode(pool->spec), *status, *vm;
    char etag[24];

    /* User data may hold secrets; who made the pool knows them. */
    vm = json_copy(json_object_get(object, "vm"));
    json_object_del(vm, "user_data");
    json_object_set_new(object, "vm", vm);
    json_object_set_new(object, "has_user_data",
                        json_boolean(json_is_string(json_object_get(pool->spec->vm, "user_data"))));
    snprintf(etag, sizeof(etag), "%lld", (long long)pool->generation);
    status = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "ready",
                       (json_int_t)s->ready, "warming", (json_int_t)s->warming, "leased",
                       (json_int_t)s->leased, "hits", (json_int_t)s->hits, "misses",
                       (json_int_t)s->misses, "failures", (json_int_t)s->failures, "last_error",
                       codec_text(s->last_error), "retry_at", codec_time(s->retry_at), "claim_ms_p50",
                       s->claim_us_p50 ? json_real((double)s->claim_us_p50 / 1000) : json_null(),
                       "claim_ms_max",
                       s->claim_us_max ? json_real((double)s->claim_us_max / 1000) : json_null(),
                       "snapshot", snapshot(pool, &s->snapshot), "memory",
                       memory_json(memory, detail));
    json_object_update_new(object,
                       json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "id", pool->id, "name",
                                 pool->name, "project_id", pool->project_id, "host_id",
                                 pool->host_id, "etag", etag, "status", status, "created_at",
                                 codec_time(pool->created_at), "updated_at",
                                 codec_time(pool->updated_at)));
    return object;
}

json_t *codec_lease(const struct lease *l, int64_t position)
{
    bool queued = l->state == LEASE_QUEUED, served = l->claimed_at != 0;

    return json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:s, s:o, s:s, s:b, s:o, s:I, s:I, s:I, s:o, "
        "s:o, s:o, s:o, s:o, s:o, s:o}",
        "id", l->id, "project_id", l->project_id, "host_id", l->host_id, "pool",
        codec_text(l->pool_name), "pool_id", codec_text(l->pool_id), "vm",
        *l->vm_id ? json_pack("{s:s, s:s}", "id", l->vm_id, "name", l->vm_name) : json_null(), "actor",
        l->actor, "holder", l->holder, "labels", json_loads(l->labels, 0, NULL), "state",
        lease_state_name(l->state), "end_reason", codec_text(l->end_reason), "on_expiry",
        lease_expiry_name(l->on_expiry), "warm", l->warm, "claim_ms",
        served ? json_real((double)l->claim_us / 1000) : json_null(), "ttl_seconds",
        (json_int_t)l->ttl_seconds, "max_seconds", (json_int_t)l->max_seconds, "idle_seconds",
        (json_int_t)l->idle_seconds, "queue_position",
        queued && position ? json_integer(position) : json_null() /* its turn has just come */,
        "expires_at", codec_time(l->expires_at), "limit_at", codec_time(l->limit_at), "created_at",
        codec_time(l->created_at), "claimed_at", codec_time(l->claimed_at), "renewed_at",
        codec_time(l->renewed_at), "ended_at", codec_time(l->ended_at));
}

json_t *codec_lease_record(const struct lease *l, int64_t position, json_t *record)
{
    json_t *log = *l->vm_id ? json_sprintf("/v1/vms/%s/console/log", l->vm_id) : json_null();

    return json_pack("{s:o, s:O, s:O, s:O, s:O, s:o}", "lease", codec_lease(l, position), "timeline",
                     json_object_get(record, "timeline"), "usage", json_object_get(record, "usage"),
                     "exec", json_object_get(record, "exec"), "console_tail",
                     json_object_get(record, "console_tail"), "console_log", log);
}

static int decode_vm(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_lease_request *r = out;
    char at[128];

    if (vm_spec_decode(value, &r->vm, NULL, err) == 0)
        return 0;
    snprintf(at, sizeof(at), "%s%s", pointer, err->pointer);
    str_copy_utf8(err->pointer, sizeof(err->pointer), at);
    return -1;
}

static int decode_labels(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_lease_request *r = out;
    char at[128];
    const char *key;
    json_t *item;

    if (!json_is_object(value) || json_object_size(value) > VM_LABELS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an object of at most %d members", VM_LABELS_MAX);
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        doc_pointer(at, sizeof(at), pointer, key);
        if (!*key || strlen(key) > 63 || !json_is_string(item) || json_string_length(item) > 256)
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "a label has a key of at most 63 bytes and a text of at most 256");
    }
    r->labels = json_deep_copy(value);
    return 0;
}

#define AT(member) offsetof(struct codec_lease_request, member)
#define SECONDS(member, least)                                                                     \
    {.name = #member, .kind = DOC_INT, .offset = AT(member), .min = least, .max = LEASE_SECONDS_MAX}

int codec_decode_lease(const json_t *body, struct codec_lease_request *ret, struct error *err)
{
    const struct doc_field fields[] = {
        {.name = "pool", .kind = DOC_STRING, .offset = AT(pool), .min = 1, .max = VM_NAME_MAX},
        {.name = "vm", .kind = DOC_CUSTOM, .decode = decode_vm},
        {.name = "holder", .kind = DOC_STRING, .offset = AT(holder), .min = 1, .max = LEASE_HOLDER_MAX},
        {.name = "labels", .kind = DOC_CUSTOM, .decode = decode_labels},
        {.name = "on_expiry",
         .kind = DOC_ENUM,
         .offset = AT(on_expiry),
         .choices = lease_expiry_names},
        SECONDS(ttl_seconds, 1),
        SECONDS(max_seconds, 1),
        SECONDS(idle_seconds, 0),
        SECONDS(queue_seconds, 0),
    };

    if (doc_decode(body, "", fields, DOC_COUNT(fields), ret, err))
        return -1;
    if (!ret->pool == !ret->vm)
        return error_set_at(err, ERROR_VALIDATION_FAILED, ret->pool ? "/vm" : "/pool",
                            ret->pool ? "goes without pool" : "is required, or else vm");
    if (ret->vm && ret->queue_seconds)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/queue_seconds", "goes only with pool");
    return 0;
}

void codec_lease_request_done(struct codec_lease_request *r)
{
    free(r->pool);
    free(r->holder);
    vm_spec_unref(r->vm);
    json_decref(r->labels);
}

int codec_decode_renewal(const json_t *body, int64_t *ret_ttl_seconds, struct error *err)
{
    static const struct doc_field field = {.name = "ttl_seconds",
                                           .kind = DOC_INT,
                                           .required = true,
                                           .min = 1,
                                           .max = LEASE_SECONDS_MAX};

    return doc_decode(body, "", &field, 1, ret_ttl_seconds, err);
}
