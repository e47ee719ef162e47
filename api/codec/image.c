/*
 * Images: as JSON, and the body that creates one.
 */
#include "api/codec/codec.h"

#include <stdlib.h>

#include "service/base/str.h"
#include "service/json/doc.h"

#define DESCRIPTION_MAX 1024
#define CMDLINE_MAX     2048

static json_t *files(const struct image *image)
{
    json_t *object = json_object();

    for (int i = 0; i < IMAGE_PART_COUNT; i++) {
        const struct image_file *f = &image->files[i];

        if (!f->present)
            continue;
        json_object_set_new(
            object, image_part_name(i),
            json_pack("{s:s, s:I, s:o, s:o, s:o}", "sha256", f->sha256, "size_bytes",
                      (json_int_t)f->size_bytes, "virtual_size_bytes",
                      f->virtual_size_bytes ? json_integer(f->virtual_size_bytes) : json_null(),
                      "verified_at", codec_time(f->verified_at), "damaged_at",
                      codec_time(f->damaged_at)));
    }
    return object;
}

json_t *codec_image(const struct image *image, unsigned used_by)
{
    char etag[24];
    json_t *object;

    snprintf(etag, sizeof(etag), "%lld", (long long)image->revision);
    object = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:I, s:b, s:s, s:o, s:o}", "id",
                       image->id, "name", image->name, "description",
                       image->description ? image->description : "", "kind",
                       image_kind_name((int)image->kind), "format",
                       codec_text(image_format_name((int)image->format)), "cmdline",
                       image->cmdline ? json_string(image->cmdline) : json_null(), "state",
                       image_state_name((int)image->state), "state_reason", image->state_reason,
                       "source", image_source_encode(image->source), "files", files(image),
                       "used_by", (json_int_t)used_by, "has_screenshot", image->screenshot != NULL, "etag",
                       etag, "created_at", codec_time(image->created_at), "updated_at",
                       codec_time(image->updated_at));
    json_object_update_new(object, json_deep_copy(image->card));
    return object;
}

static int decode_format(const json_t *value, const char *pointer, void *out, struct error *err)
{
    static const char *const formats[] = {"qcow2", "raw", NULL};
    static const struct doc_field field = {.name = "format", .kind = DOC_ENUM, .choices = formats};
    struct codec_image_request *r = out;
    auto_json json_t *one = json_pack("{s:O}", "format", value);
    int choice = 0;

    (void)pointer;
    if (doc_decode(one, "", &field, 1, &choice, err))
        return -1;
    r->format = choice == 0 ? IMAGE_FORMAT_QCOW2 : IMAGE_FORMAT_RAW;
    r->has_format = true;
    return 0;
}

static int keep_source(const json_t *value, const char *pointer, void *out, struct error *err)
{
    (void)pointer;
    (void)err;
    ((struct codec_image_request *)out)->source_value = value;
    return 0;
}

json_t *codec_image_created(const struct image *image, unsigned used_by, const struct op *op)
{
    json_t *object = codec_image(image, used_by);

    json_object_set_new(object, "operation", op ? codec_op(op) : json_null());
    return object;
}

json_t *codec_image_checks(const struct image_checks *checks, const char *request_id)
{
    json_t *list = json_array();

    for (size_t i = 0; i < checks->count; i++) {
        const struct image_check *c = &checks->checks[i];

        json_array_append_new(list, json_pack("{s:s, s:b, s:s, s:o}", "name", c->name, "ok", c->ok,
                                              "detail", c->detail, "problem",
                                              c->ok ? json_null() : codec_problem(&c->error, request_id)));
    }
    return json_pack("{s:b, s:o, s:o, s:o, s:b}", "ok", checks->ok, "checks", list, "size_bytes",
                     checks->size_bytes ? json_integer(checks->size_bytes) : json_null(),
                     "virtual_size_bytes",
                     checks->virtual_size_bytes ? json_integer(checks->virtual_size_bytes) : json_null(),
                     "resumable", checks->resumable);
}

int codec_decode_image(const json_t *body, struct codec_image_request *ret, struct error *err)
{
    static const char *const kinds[] = {"disk", "kernel", "iso", NULL};
#define AT(member) offsetof(struct codec_image_request, member)
    static const struct doc_field fields[] = {
        {.name = "name",
         .kind = DOC_STRING,
         .required = true,
         .offset = AT(name),
         .min = 1,
         .max = VM_NAME_MAX,
         .valid = vm_spec_name_ok,
         .form = "1 to 63 lower-case letters, digits and '-', beginning and ending with a letter "
                 "or digit"},
        {.name = "description",
         .kind = DOC_STRING,
         .offset = AT(description),
         .max = DESCRIPTION_MAX},
        {.name = "kind", .kind = DOC_ENUM, .required = true, .offset = AT(kind), .choices = kinds},
        {.name = "format", .kind = DOC_CUSTOM, .nullable = true, .decode = decode_format},
        {.name = "source", .kind = DOC_CUSTOM, .nullable = true, .decode = keep_source},
        {.name = "cmdline",
         .kind = DOC_STRING,
         .nullable = true,
         .offset = AT(cmdline),
         .max = CMDLINE_MAX},
    };
#undef AT
    static const enum image_kind kind_values[] = {IMAGE_DISK, IMAGE_KERNEL, IMAGE_ISO};

    if (doc_decode(body, "", fields, DOC_COUNT(fields), ret, err))
        return -1;
    ret->kind = (int)kind_values[ret->kind];
    if ((ret->kind == IMAGE_DISK) != ret->has_format)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/format",
                            ret->has_format ? "goes only with kind disk"
                                            : "is required with kind disk: qcow2 or raw");
    if (ret->cmdline && ret->kind != IMAGE_KERNEL)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/cmdline", "goes only with kind kernel");
    if (ret->source_value && image_source_decode(ret->source_value, (enum image_kind)ret->kind,
                                                 &ret->source, &ret->source_vm, err))
        return -1;
    return 0;
}

void codec_image_request_done(struct codec_image_request *r)
{
    free(r->name);
    free(r->description);
    free(r->cmdline);
    free(r->source_vm);
    image_source_free(r->source);
}

/* ---- labels ---- */

static const struct doc_field label_fields[] = {
    {.name = "image",
     .kind = DOC_STRING,
     .required = true,
     .offset = offsetof(struct codec_label_request, image),
     .min = 1,
     .max = VM_NAME_MAX},
    {.name = "keep",
     .kind = DOC_INT,
     .offset = offsetof(struct codec_label_request, keep),
     .min = 0,
     .max = 1000},
};

int codec_decode_label(const json_t *body, struct codec_label_request *ret, struct error *err)
{
    return doc_decode(body, "", label_fields, DOC_COUNT(label_fields), ret, err);
}

int codec_decode_rebase(const json_t *body, struct codec_label_request *ret, struct error *err)
{
    return doc_decode(body, "", label_fields, 1, ret, err);
}

void codec_label_request_done(struct codec_label_request *r)
{
    free(r->image);
}
