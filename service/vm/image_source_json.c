/*
 * Where an image's bytes come from, as JSON: the member `source` of a request, what the database
 * keeps, and what is shown. One shape for all three.
 */
#include "service/vm/image.h"

#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/net/fetch.h"

static const char *const origin_names[] = {"", "qcow2", "raw", "vmdk", "vdi", "vhdx", NULL};

static const char *const freeze_names[] = {"auto", "require", "no", NULL};
static const char *const consistency_names[] = {"", "crash", "frozen", "off", NULL};

const char *image_origin_name(int origin)
{
    return origin_names[origin];
}

void image_source_free(struct image_source *s)
{
    if (!s)
        return;
    for (int i = 0; i < IMAGE_PART_COUNT; i++)
        free(s->links[i].url);
    free(s);
}

struct image_source *image_source_copy(const struct image_source *s)
{
    struct image_source *copy;

    if (!s)
        return NULL;
    copy = xcalloc(1, sizeof(*copy));
    *copy = *s;
    for (int i = 0; i < IMAGE_PART_COUNT; i++)
        copy->links[i].url = xstrdup_null(s->links[i].url);
    return copy;
}

bool image_source_is_upload(const struct image_source *s)
{
    if (!s || *s->vm)
        return false;
    for (int i = 0; i < IMAGE_PART_COUNT; i++) {
        if (s->links[i].url)
            return false;
    }
    return true;
}

/* ---- decoding ---- */

struct raw { /* as sent */
    char *url, *sha256, *sha512, *vm;
    int format; /* index into formats, -1: not sent */
    int compression, freeze;
    const json_t *kernel, *initrd; /* borrowed */
};

static void raw_done(struct raw *r)
{
    free(r->url);
    free(r->sha256);
    free(r->sha512);
    free(r->vm);
}

static int keep_kernel(const json_t *value, const char *pointer, void *out, struct error *err)
{
    (void)pointer, (void)err;
    ((struct raw *)out)->kernel = value;
    return 0;
}

static int keep_initrd(const json_t *value, const char *pointer, void *out, struct error *err)
{
    (void)pointer, (void)err;
    ((struct raw *)out)->initrd = value;
    return 0;
}

#define HASH_FORM "lower-case hexadecimal digits"
static bool is_hex(const char *text)
{
    return text[strspn(text, "0123456789abcdef")] == '\0';
}

static int take_link(const struct raw *r, const char *base, struct image_link *ret, struct error *err)
{
    auto_free char *pointer = xasprintf("%s/url", base);

    if (!r->url)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "is required");
    if (fetch_check_url(r->url, err)) {
        str_copy_utf8(err->pointer, sizeof(err->pointer), pointer);
        return -1;
    }
    if (!r->sha256 == !r->sha512) {
        error_set_at(err, ERROR_VALIDATION_FAILED, base, "needs exactly one of sha256 and sha512");
        error_remedy(err, "Whoever offers the file should say its hash; sha256sum prints that of a copy.");
        return -1;
    }
    ret->url = xstrdup(r->url);
    ret->bits = r->sha256 ? 256 : 512;
    str_copy_utf8(ret->hash, sizeof(ret->hash), r->sha256 ? r->sha256 : r->sha512);
    return 0;
}

static int decode_link(const json_t *value, const char *base, struct image_link *ret,
                       struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "url", .kind = DOC_STRING, .required = true, .offset = offsetof(struct raw, url),
         .min = 1, .max = FETCH_URL_MAX},
        {.name = "sha256", .kind = DOC_STRING, .offset = offsetof(struct raw, sha256), .min = 64,
         .max = 64, .valid = is_hex, .form = HASH_FORM},
        {.name = "sha512", .kind = DOC_STRING, .offset = offsetof(struct raw, sha512), .min = 128,
         .max = 128, .valid = is_hex, .form = HASH_FORM},
    };
    auto_scope(raw_done) struct raw raw = {0};

    return doc_decode(value, base, fields, DOC_COUNT(fields), &raw, err) ||
                   take_link(&raw, base, ret, err)
               ? -1
               : 0;
}

static int check_shape(const struct raw *r, enum image_kind kind, struct error *err)
{
    if (kind == IMAGE_KERNEL && (!r->kernel || r->url || r->vm || r->sha256 || r->sha512))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/source",
                            "has `kernel`, and `initrd` if there is one, for a kernel image");
    if (kind != IMAGE_KERNEL && (r->kernel || r->initrd))
        return error_set_at(err, ERROR_VALIDATION_FAILED, r->kernel ? "/source/kernel" : "/source/initrd",
                            "goes with a kernel image only");
    if (r->vm && (r->url || r->sha256 || r->sha512 || r->format >= 0 || r->compression >= 0))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/source/vm", "goes alone");
    if (!r->vm && r->freeze >= 0)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/source/freeze", "goes with a VM only");
    if (kind != IMAGE_DISK && r->vm)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/source/vm", "goes with a disk image only");
    if (kind != IMAGE_DISK && r->format >= 0)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/source/format",
                            "goes with a disk image only");
    return 0;
}

/* Only what is to be done with bytes that are sent. */
static bool is_upload(const struct raw *r)
{
    return !r->url && !r->sha256 && !r->sha512 && (r->format >= 0 || r->compression >= 0);
}

int image_source_decode(const json_t *value, enum image_kind kind, struct image_source **ret,
                        char **ret_vm, struct error *err)
{
    static const char *const compressions[] = {"xz", NULL};
    static const struct doc_field fields[] = {
        {.name = "url", .kind = DOC_STRING, .offset = offsetof(struct raw, url), .min = 1,
         .max = FETCH_URL_MAX},
        {.name = "sha256", .kind = DOC_STRING, .offset = offsetof(struct raw, sha256), .min = 64,
         .max = 64, .valid = is_hex, .form = HASH_FORM},
        {.name = "sha512", .kind = DOC_STRING, .offset = offsetof(struct raw, sha512), .min = 128,
         .max = 128, .valid = is_hex, .form = HASH_FORM},
        {.name = "format", .kind = DOC_ENUM, .nullable = true, .offset = offsetof(struct raw, format),
         .choices = origin_names + 1},
        {.name = "compression", .kind = DOC_ENUM, .nullable = true,
         .offset = offsetof(struct raw, compression), .choices = compressions},
        {.name = "kernel", .kind = DOC_CUSTOM, .decode = keep_kernel},
        {.name = "initrd", .kind = DOC_CUSTOM, .decode = keep_initrd},
        {.name = "vm", .kind = DOC_STRING, .offset = offsetof(struct raw, vm), .min = 1,
         .max = VM_NAME_MAX},
        {.name = "freeze", .kind = DOC_ENUM, .nullable = true, .offset = offsetof(struct raw, freeze),
         .choices = freeze_names},
    };
    auto_scope(raw_done) struct raw raw = {.format = -1, .compression = -1, .freeze = -1};
    auto_image_source struct image_source *s = xcalloc(1, sizeof(*s));

    if (doc_decode(value, "/source", fields, DOC_COUNT(fields), &raw, err) ||
        check_shape(&raw, kind, err))
        return -1;
    s->format = raw.format < 0 ? IMAGE_ORIGIN_SAME : (enum image_origin)(raw.format + 1);
    s->xz = raw.compression == 0;
    s->freeze = raw.freeze < 0 ? IMAGE_FREEZE_AUTO : (enum image_freeze)raw.freeze;
    if (raw.kernel && decode_link(raw.kernel, "/source/kernel", &s->links[IMAGE_KERNEL_PART], err))
        return -1;
    if (raw.initrd && decode_link(raw.initrd, "/source/initrd", &s->links[IMAGE_INITRD_PART], err))
        return -1;
    if (!raw.kernel && !raw.vm && !is_upload(&raw) &&
        take_link(&raw, "/source", &s->links[IMAGE_CONTENT], err))
        return -1;
    *ret_vm = TAKE_PTR(raw.vm);
    *ret = TAKE_PTR(s);
    return 0;
}

void image_source_restore(const json_t *stored, struct image_source *s)
{
    const json_t *capture = json_object_get(stored, "capture");
    const char *consistency = json_string_value(json_object_get(capture, "consistency"));

    for (int i = IMAGE_CAPTURE_CRASH; consistency && consistency_names[i]; i++) {
        if (str_eq(consistency, consistency_names[i]))
            s->consistency = (enum image_consistency)i;
    }
    s->frozen_ms = json_integer_value(json_object_get(capture, "frozen_ms"));
    s->filesystems = json_integer_value(json_object_get(capture, "filesystems"));
}

/* ---- encoding ---- */

static json_t *encode_link(const struct image_link *l)
{
    return json_pack("{s:s, s:s}", "url", l->url, l->bits == 256 ? "sha256" : "sha512", l->hash);
}

static json_t *encode_capture(const struct image_source *s)
{
    bool frozen = s->consistency == IMAGE_CAPTURE_FROZEN;

    return json_pack("{s:s, s:o, s:o}", "consistency", consistency_names[s->consistency], "frozen_ms",
                     frozen ? json_integer(s->frozen_ms) : json_null(), "filesystems",
                     frozen ? json_integer(s->filesystems) : json_null());
}

json_t *image_source_encode(const struct image_source *s)
{
    json_t *object;

    if (!s)
        return json_null();
    object = s->links[IMAGE_CONTENT].url ? encode_link(&s->links[IMAGE_CONTENT]) : json_object();
    for (int i = IMAGE_KERNEL_PART; i < IMAGE_PART_COUNT; i++) {
        if (s->links[i].url)
            json_object_set_new(object, image_part_name(i), encode_link(&s->links[i]));
    }
    if (s->format != IMAGE_ORIGIN_SAME)
        json_object_set_new(object, "format", json_string(image_origin_name((int)s->format)));
    if (s->xz)
        json_object_set_new(object, "compression", json_string("xz"));
    if (*s->vm)
        json_object_set_new(object, "vm", json_string(s->vm));
    if (s->freeze != IMAGE_FREEZE_AUTO)
        json_object_set_new(object, "freeze", json_string(freeze_names[s->freeze]));
    if (s->consistency != IMAGE_CAPTURE_NONE)
        json_object_set_new(object, "capture", encode_capture(s));
    return object;
}
