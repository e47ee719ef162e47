/*
 * What is said of an image beside its bytes, the same that an entry of a catalogue says: a title,
 * words, what its VMs are given, what its console shows when it works, a picture.
 */
#include "service/vm/image_internal.h"

#include <regex.h>
#include <string.h>

#include "service/base/blob.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/catalogue.h"
#include "service/vm/spec.h"

#define TITLE_MAX        256
#define NOTES_MAX        4096
#define ARCHITECTURE_MAX 64
#define PATTERN_MAX      512
#define DESCRIPTION_MAX  1024

struct card {
    char *description, *title, *notes, *architecture, *expected_console;
    const json_t *vm; /* borrowed */
};

static void card_done(struct card *c)
{
    free(c->description);
    free(c->title);
    free(c->notes);
    free(c->architecture);
    free(c->expected_console);
}

static bool compiles(const char *pattern)
{
    regex_t regex;

    if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB | REG_NEWLINE))
        return false;
    regfree(&regex);
    return true;
}

/* A definition that everybody may run who may run VMs: nothing of one owner's in it. */
static int decode_vm(const json_t *value, const char *pointer, void *out, struct error *err)
{
    auto_vm_spec struct vm_spec *spec = NULL;
    auto_json json_t *whole = NULL;
    const char *foreign;
    struct error why;
    bool start;

    if (!json_is_object(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be an object");
    foreign = catalogue_vm_foreign(value);
    if (foreign) {
        doc_pointer(err->pointer, sizeof(err->pointer), pointer, foreign);
        auto_free char *at = xstrdup(err->pointer);

        error_set_at(err, ERROR_VALIDATION_FAILED, at, "is not a member that an image may give its VMs");
        error_remedy(err, "Name it when the image is run.");
        return -1;
    }
    whole = json_deep_copy(value);
    json_object_set_new(whole, "name", json_string("of-the-image"));
    json_object_set_new(whole, "image", json_string("the-image"));
    if (vm_spec_decode(whole, &spec, &start, &why)) {
        auto_free char *at = xasprintf("%s%s", pointer, why.pointer);

        *err = why;
        str_copy_utf8(err->pointer, sizeof(err->pointer), at);
        return -1;
    }
    ((struct card *)out)->vm = value;
    return 0;
}

#define AT(member) offsetof(struct card, member)
static const struct doc_field fields[] = {
    {.name = "description", .kind = DOC_STRING, .nullable = true, .offset = AT(description), .max = DESCRIPTION_MAX},
    {.name = "title", .kind = DOC_STRING, .nullable = true, .offset = AT(title), .max = TITLE_MAX},
    {.name = "notes", .kind = DOC_STRING, .nullable = true, .offset = AT(notes), .max = NOTES_MAX},
    {.name = "architecture",
     .kind = DOC_STRING,
     .nullable = true,
     .offset = AT(architecture),
     .max = ARCHITECTURE_MAX},
    {.name = "expected_console",
     .kind = DOC_STRING,
     .nullable = true,
     .offset = AT(expected_console),
     .min = 1,
     .max = PATTERN_MAX,
     .valid = compiles,
     .form = "an extended regular expression"},
    {.name = "vm", .kind = DOC_CUSTOM, .nullable = true, .decode = decode_vm},
};
#undef AT

static json_t *card_of(const struct card *c)
{
    return json_pack("{s:s, s:s, s:s, s:s?, s:o}", "title", c->title ? c->title : "", "notes",
                     c->notes ? c->notes : "", "architecture", c->architecture ? c->architecture : "",
                     "expected_console", c->expected_console, "vm",
                     c->vm ? json_deep_copy(c->vm) : json_object());
}

json_t *image_card_empty(void)
{
    return card_of(&(struct card){0});
}

int image_card_decode(const json_t *value, json_t **ret, struct error *err)
{
    auto_scope(card_done) struct card c = {0};

    if (doc_decode(value, "", fields + 1, DOC_COUNT(fields) - 1, &c, err))
        return -1;
    *ret = card_of(&c);
    return 0;
}

void image_card_set(struct image *i, json_t *card)
{
    json_decref(i->card);
    free(i->card_text);
    i->card = card;
    i->card_text = doc_text(card);
}

/* ---- changing it ---- */

static struct image *begin_change(struct core *core, const struct actor *actor, const char *ref,
                                  int64_t if_revision, struct error *err)
{
    auto_image struct image *found = image_find(core, actor->project_id, ref, err);
    auto_image struct image *stored = found ? image_registry_stored(core_images(core), found->id) : NULL;

    if (!found)
        return NULL;
    if (!stored) {
        error_set(err, ERROR_IMAGE_NOT_FOUND, "there is no image %s", ref);
        return NULL;
    }
    if (if_revision && if_revision != stored->revision) {
        error_set(err, ERROR_PRECONDITION_FAILED, "the image %s has changed since you read it", stored->name);
        error_remedy(err, "Read it again, and send the ETag of that answer.");
        return NULL;
    }
    return image_copy(stored);
}

/* What the patch makes of the image's members, decoded as a whole. */
static int patch_members(struct image *next, const json_t *patch, struct error *err)
{
    auto_scope(card_done) struct card c = {0};
    auto_json json_t *before = json_deep_copy(next->card), *merged = NULL;

    json_object_set_new(before, "description", json_string(next->description));
    merged = doc_merge_patch(before, patch);
    if (doc_decode(merged, "", fields, DOC_COUNT(fields), &c, err))
        return -1;
    str_replace(&next->description, c.description ? c.description : "");
    image_card_set(next, card_of(&c));
    return 0;
}

int image_patch(struct core *core, const struct actor *actor, const char *ref, const json_t *patch,
                int64_t if_revision, struct image **ret, struct error *err)
{
    auto_image struct image *next = NULL;
    LOCK_SCOPE(&core_images(core)->change);

    next = begin_change(core, actor, ref, if_revision, err);
    if (!next)
        return -1;
    if (!json_is_object(patch))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "", "must be an object");
    if (patch_members(next, patch, err) || image_store(core, actor, next, "image.changed", err))
        return -1;
    *ret = TAKE_PTR(next);
    return 0;
}

int image_screenshot_set(struct core *core, const struct actor *actor, const char *ref, const void *png,
                         size_t len, int64_t if_revision, struct image **ret, struct error *err)
{
    auto_image struct image *next = NULL;
    auto_free char *text = NULL;
    LOCK_SCOPE(&core_images(core)->change);

    next = begin_change(core, actor, ref, if_revision, err);
    if (!next)
        return -1;
    if (png && (len < 8 || memcmp(png, "\x89PNG\r\n\x1a\n", 8) != 0))
        return error_set(err, ERROR_IMAGE_REFUSED, "the screenshot is not a PNG file");
    blob_unref(next->screenshot);
    text = png ? secret_to_base64(png, len) : NULL;
    next->screenshot = text ? blob_new_text(text) : NULL;
    if (image_store(core, actor, next, "image.changed", err))
        return -1;
    *ret = TAKE_PTR(next);
    return 0;
}
