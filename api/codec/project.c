/*
 * Projects as JSON, and their bodies.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/codec/codec.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/project.h"
#include "service/vm/spec.h"

json_t *codec_project(const struct project *p, const struct quota_use *use, json_t *merge_with)
{
    json_t *object = json_pack("{s:s, s:s, s:o, s:o, s:b}", "id", p->id, "name", p->name, "quota",
                               codec_quota(&p->limits), "usage", codec_usage(use), "memory_merge",
                               p->trust.memory_merge);

    if (merge_with)
        json_object_set_new(object, "merge_with", merge_with);
    json_object_set_new(object, "created_at", codec_time(p->created_at));
    return object;
}

static int decode_quota(const json_t *value, const char *pointer, void *out, struct error *err)
{
    return codec_decode_quota(value, pointer, &((struct codec_project_request *)out)->limits, err);
}

static int decode_merge(const json_t *value, const char *pointer, void *out, struct error *err)
{
    if (!json_is_boolean(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be true or false");
    ((struct codec_project_request *)out)->memory_merge = json_is_true(value);
    return 0;
}

static int decode_friends(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_project_request *r = out;

    if (!json_is_array(value) || json_array_size(value) > PROJECT_FRIENDS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an array of at most %d names of projects", PROJECT_FRIENDS_MAX);
    r->merge_with = xcalloc(json_array_size(value) + 1, sizeof(*r->merge_with));
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        char at[128], index[24];

        snprintf(index, sizeof(index), "%zu", i);
        doc_pointer(at, sizeof(at), pointer, index);
        if (!json_is_string(item) || json_string_length(item) >= PROJECT_NAME_SIZE)
            return error_set_at(err, ERROR_VALIDATION_FAILED, at, "must be a project's name");
        r->merge_with[r->merge_with_count++] = json_string_value(item);
    }
    return 0;
}

static int decode(const json_t *body, bool create, struct codec_project_request *ret,
                  struct error *err)
{
    const struct doc_field fields[] = {
        {.name = "quota", .kind = DOC_CUSTOM, .decode = decode_quota},
        {.name = "memory_merge", .kind = DOC_CUSTOM, .decode = decode_merge},
        {.name = "merge_with", .kind = DOC_CUSTOM, .decode = decode_friends},
        /* Not in a patch: scripts and contexts name it. */
        {.name = "name",
         .kind = DOC_STRING,
         .required = true,
         .offset = offsetof(struct codec_project_request, name),
         .min = 1,
         .max = PROJECT_NAME_SIZE - 1,
         .valid = vm_spec_name_ok,
         .form = "1 to 63 lower-case letters, digits and inner hyphens"},
    };

    ret->memory_merge = -1;
    return doc_decode(body, "", fields, DOC_COUNT(fields) - !create, ret, err);
}

int codec_decode_project(const json_t *body, struct codec_project_request *ret, struct error *err)
{
    return decode(body, true, ret, err);
}

int codec_decode_project_patch(const json_t *body, struct codec_project_request *ret,
                               struct error *err)
{
    return decode(body, false, ret, err);
}

void codec_project_request_done(struct codec_project_request *r)
{
    free(r->name);
    free(r->merge_with);
}
