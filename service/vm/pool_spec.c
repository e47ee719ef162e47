/*
 * A pool's definition as JSON: strict in, complete out. Its template is decoded as the VM it will
 * be, so that a pool that could never fill is refused when it is made.
 */
#include <stddef.h>
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/lease.h"
#include "service/vm/wait.h"

#define PLACEHOLDER "pool-template"

static const char *const depths[] = {"cold", "booted", "snapshot", NULL};
static const char *const points[] = {"running", "console", "ready", NULL}; /* as enum wait_vm */

const char *pool_depth_name(int depth)
{
    return depths[depth];
}

struct pool_spec *pool_spec_ref(struct pool_spec *spec)
{
    atomic_fetch_add_explicit(&spec->refs, 1, memory_order_relaxed);
    return spec;
}

void pool_spec_unref(struct pool_spec *spec)
{
    if (!spec || atomic_fetch_sub_explicit(&spec->refs, 1, memory_order_acq_rel) != 1)
        return;
    json_decref(spec->vm);
    free(spec);
}

/* Members whose value must differ from VM to VM, or that contradict being made by a pool. */
static int check_template(const json_t *vm, const char *pointer, struct error *err)
{
    static const char *const own[] = {"name", "start", "autostart"};
    const json_t *network;
    char at[128];
    size_t i;

    for (i = 0; i < DOC_COUNT(own); i++) {
        if (!json_object_get(vm, own[i]))
            continue;
        doc_pointer(at, sizeof(at), pointer, own[i]);
        return error_set_at(err, ERROR_VALIDATION_FAILED, at, "is the pool's own business");
    }
    json_array_foreach(json_object_get(vm, "networks"), i, network) {
        if (!json_object_get(network, "mac"))
            continue;
        snprintf(at, sizeof(at), "%s/networks/%zu/mac", pointer, i);
        return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                            "each VM of a pool gets an address of its own");
    }
    return 0;
}

static int decode_vm(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct pool_spec *spec = out;
    auto_vm_spec struct vm_spec *decoded = NULL;
    auto_json json_t *whole = NULL;
    char at[128];

    if (!json_is_object(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be an object");
    if (check_template(value, pointer, err))
        return -1;
    whole = json_copy((json_t *)(uintptr_t)value);
    json_object_set_new(whole, "name", json_string(PLACEHOLDER));
    if (vm_spec_decode(whole, &decoded, NULL, err)) {
        snprintf(at, sizeof(at), "%s%s", pointer, err->pointer);
        str_copy_utf8(err->pointer, sizeof(err->pointer), at);
        return -1;
    }
    spec->vm = json_deep_copy(value);
    return 0;
}

#define AT(member) offsetof(struct pool_spec, member)
static const struct doc_field fields[] = {
    {.name = "vm", .kind = DOC_CUSTOM, .required = true, .decode = decode_vm},
    {.name = "depth", .kind = DOC_ENUM, .offset = AT(depth), .choices = depths},
    {.name = "ready_when", .kind = DOC_ENUM, .offset = AT(ready_when), .choices = points},
    {.name = "ready", .kind = DOC_INT, .offset = AT(ready), .min = 0, .max = 1000},
    {.name = "max", .kind = DOC_INT, .offset = AT(max), .min = 1, .max = 10000},
    {.name = "per_holder", .kind = DOC_INT, .offset = AT(per_holder), .min = 0, .max = 10000},
    {.name = "boot_seconds", .kind = DOC_INT, .offset = AT(boot_seconds), .min = 1, .max = 3600},
    {.name = "recycle_seconds", .kind = DOC_INT, .offset = AT(recycle_seconds), .min = 0,
     .max = LEASE_SECONDS_MAX},
    {.name = "ttl_seconds", .kind = DOC_INT, .offset = AT(ttl_seconds), .min = 1,
     .max = LEASE_SECONDS_MAX},
    {.name = "max_seconds", .kind = DOC_INT, .offset = AT(max_seconds), .min = 1,
     .max = LEASE_SECONDS_MAX},
};
#undef AT

int pool_spec_decode(const json_t *object, struct pool_spec **ret, struct error *err)
{
    auto_pool_spec struct pool_spec *spec = xcalloc(1, sizeof(*spec));

    atomic_init(&spec->refs, 1);
    spec->depth = POOL_BOOTED;
    spec->ready_when = WAIT_VM_RUNNING;
    spec->ready = 1;
    spec->max = 10;
    spec->boot_seconds = 300;
    spec->recycle_seconds = 86400;
    spec->ttl_seconds = 3600;
    spec->max_seconds = 86400;
    if (doc_decode(object, "", fields, DOC_COUNT(fields), spec, err))
        return -1;
    if (spec->ready > spec->max)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/ready",
                            "is more than max, which is %lld", (long long)spec->max);
    if (spec->ttl_seconds > spec->max_seconds)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/ttl_seconds",
                            "is more than max_seconds, which is %lld",
                            (long long)spec->max_seconds);
    *ret = TAKE_PTR(spec);
    return 0;
}

json_t *pool_spec_encode(const struct pool_spec *s)
{
    return json_pack("{s:O, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "vm", s->vm, "depth",
                     depths[s->depth], "ready_when", points[s->ready_when], "ready",
                     (json_int_t)s->ready, "max", (json_int_t)s->max, "per_holder",
                     (json_int_t)s->per_holder, "boot_seconds", (json_int_t)s->boot_seconds,
                     "recycle_seconds", (json_int_t)s->recycle_seconds, "ttl_seconds",
                     (json_int_t)s->ttl_seconds, "max_seconds", (json_int_t)s->max_seconds);
}
