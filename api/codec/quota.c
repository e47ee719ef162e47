/*
 * Quotas as JSON: limits, what is used.
 */
#include "api/codec/codec.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/quota.h"

json_t *codec_quota(const struct quota_limits *limits)
{
    json_t *object = json_object();

    for (int i = 0; i < QUOTA_COUNT; i++)
        json_object_set_new(object, quota_resource_name(i),
                            limits->max[i] == QUOTA_UNLIMITED ? json_null()
                                                              : json_integer(limits->max[i]));
    return object;
}

json_t *codec_usage(const struct quota_use *use)
{
    json_t *object = json_object();

    for (int i = 0; i < QUOTA_COUNT; i++)
        json_object_set_new(object, quota_resource_name(i), json_integer(use->used[i]));
    return object;
}

static int resource_from_name(const char *name)
{
    int i = 0;

    while (i < QUOTA_COUNT && !str_eq(name, quota_resource_name(i)))
        i++;
    return i;
}

int codec_decode_quota(const json_t *value, const char *pointer, struct quota_limits *io,
                       struct error *err)
{
    const char *name;
    json_t *limit;

    if (!json_is_object(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be an object");
    json_object_foreach((json_t *)(uintptr_t)value, name, limit) {
        int resource = resource_from_name(name);
        char at[128];

        doc_pointer(at, sizeof(at), pointer, name);
        if (resource == QUOTA_COUNT)
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "is not a resource: vms, cpus, memory_mib, disk_bytes, leases or "
                                "consoles");
        if (!json_is_null(limit) && (!json_is_integer(limit) || json_integer_value(limit) < 0 ||
                                     json_integer_value(limit) > QUOTA_MAX))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "must be an integer from 0 to %lld, or null for no limit",
                                (long long)QUOTA_MAX);
        io->max[resource] = json_is_null(limit) ? QUOTA_UNLIMITED : json_integer_value(limit);
    }
    return 0;
}

static int decode_member(const json_t *value, const char *pointer, void *out, struct error *err)
{
    return codec_decode_quota(value, pointer, out, err);
}

int codec_decode_quota_patch(const json_t *body, struct quota_limits *io, struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "quota", .kind = DOC_CUSTOM, .required = true, .decode = decode_member}};

    return doc_decode(body, "", fields, DOC_COUNT(fields), io, err);
}
