/* The note in a domain's metadata: a VM's row and its image's, as JSON. */
#include "service/vm/note.h"

#include <stdlib.h>
#include <string.h>

#include "db/store.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/virt/virt.h"

#define NOTE_VERSION 1

static void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        abort(); /* out of memory, or text that is not UTF-8, which was checked when it came */
}

static json_t *files_json(const struct image *image)
{
    json_t *files = json_object();

    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        const struct image_file *f = &image->files[p];

        if (f->present)
            set(files, image_part_name(p),
                json_pack("{s:s,s:I,s:I}", "sha256", f->sha256, "size", (json_int_t)f->size_bytes, "virtual",
                          (json_int_t)f->virtual_size_bytes));
    }
    return files;
}

static json_t *image_json(const struct image *image)
{
    json_t *object = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:b}", "id", image->id, "project", image->project_id,
                               "name", image->name, "kind", image_kind_name((int)image->kind), "format",
                               image_format_name((int)image->format), "cmdline", image->cmdline ? image->cmdline : "",
                               "retired", image->state == IMAGE_RETIRED);

    if (!object)
        abort();
    set(object, "files", files_json(image));
    return object;
}

char *vm_note_text(const struct vm *vm, const char *project_name, const struct image *image)
{
    auto_json json_t *spec = vm_spec_encode(vm->spec);
    auto_json json_t *note =
        json_pack("{s:i,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:b,s:b}", "v", NOTE_VERSION, "project",
                  vm->project_id, "project_name", project_name, "owner", vm->owner_token, "created_at",
                  (json_int_t)vm->created_at, "cid", (json_int_t)vm->vsock_cid, "reimaged", (json_int_t)vm->reimaged,
                  "root_disk_bytes", (json_int_t)vm->root_disk_bytes, "template", vm->template_id, "template_key",
                  vm->template_key, "set", vm->place.set_name, "pooled", *vm->pool_id || *vm->lease_id,
                  "has_user_data", vm->spec->user_data != NULL);
    auto_free char *text = NULL;

    if (!note)
        abort();
    (void)json_object_del(spec, "user_data");
    set(note, "spec", json_incref(spec));
    set(note, "image", image ? image_json(image) : json_null());
    text = json_dumps(note, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (!text)
        abort();
    return strlen(text) <= VIRT_NOTE_MAX ? TAKE_PTR(text) : NULL;
}

/* ---- in ---- */

static bool is_digest(const char *s)
{
    return strlen(s) == SECRET_SHA256_TEXT - 1 && strspn(s, "0123456789abcdef") == SECRET_SHA256_TEXT - 1;
}

static int index_of(const char *word, const char *(*name)(int), int count)
{
    for (int i = 0; i < count; i++) {
        if (str_eq(word, name(i)))
            return i;
    }
    return -1;
}

static bool project_ok(const char *id)
{
    return str_eq(id, PROJECT_DEFAULT) || uuid_is_valid(id);
}

static bool read_files(json_t *files, struct note_image *ret)
{
    bool any = false;

    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        json_t *one = json_object_get(files, image_part_name(p));
        json_int_t size, virtual_size;
        const char *sha256;

        if (!one)
            continue;
        if (json_unpack(one, "{s:s,s:I,s:I}", "sha256", &sha256, "size", &size, "virtual", &virtual_size) ||
            !is_digest(sha256) || size < 0 || virtual_size < 0)
            return false;
        ret->files[p].present = any = true;
        str_copy_utf8(ret->files[p].sha256, sizeof(ret->files[p].sha256), sha256);
        ret->files[p].size_bytes = size;
        ret->files[p].virtual_size_bytes = virtual_size;
    }
    return any;
}

static bool read_image(json_t *object, struct note_image *ret)
{
    const char *id, *project, *name, *kind, *format, *cmdline;
    json_t *files;
    int retired;

    if (json_unpack(object, "{s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:o}", "id", &id, "project", &project, "name", &name, "kind",
                    &kind, "format", &format, "cmdline", &cmdline, "retired", &retired, "files", &files))
        return false;
    ret->kind = index_of(kind, image_kind_name, IMAGE_KIND_COUNT);
    ret->format = index_of(format, image_format_name, IMAGE_FORMAT_COUNT);
    if (ret->kind < 0 || ret->format < 0 || !uuid_is_valid(id) || !project_ok(project) || !vm_spec_name_ok(name))
        return false;
    str_copy_utf8(ret->id, sizeof(ret->id), id);
    str_copy_utf8(ret->project_id, sizeof(ret->project_id), project);
    str_copy_utf8(ret->name, sizeof(ret->name), name);
    ret->cmdline = xstrdup(cmdline);
    ret->retired = retired;
    return read_files(files, ret);
}

static bool numbers_ok(json_int_t created_at, json_int_t cid, json_int_t reimaged, json_int_t root)
{
    return created_at >= 0 && cid >= 0 && cid < UINT32_MAX && reimaged >= 0 && root >= 0;
}

static bool read_members(json_t *note, struct vm_note *ret)
{
    const char *project, *project_name, *owner, *template, *template_key, *set_name;
    json_int_t created_at, cid, reimaged, root;
    int version, pooled, has_user_data;

    if (json_unpack(note, "{s:i,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:b,s:b}", "v", &version, "project", &project,
                    "project_name", &project_name, "owner", &owner, "created_at", &created_at, "cid", &cid, "reimaged",
                    &reimaged, "root_disk_bytes", &root, "template", &template, "template_key", &template_key, "set",
                    &set_name, "pooled", &pooled, "has_user_data", &has_user_data))
        return false;
    if (version != NOTE_VERSION || !project_ok(project) || (*template && !uuid_is_valid(template)) ||
        !numbers_ok(created_at, cid, reimaged, root))
        return false;
    str_copy_utf8(ret->project_id, sizeof(ret->project_id), project);
    str_copy_utf8(ret->project_name, sizeof(ret->project_name), project_name);
    str_copy_utf8(ret->owner_token, sizeof(ret->owner_token), owner);
    str_copy_utf8(ret->template_id, sizeof(ret->template_id), template);
    str_copy_utf8(ret->template_key, sizeof(ret->template_key), template_key);
    str_copy_utf8(ret->set, sizeof(ret->set), set_name);
    ret->pooled = pooled;
    ret->has_user_data = has_user_data;
    ret->created_at = created_at;
    ret->vsock_cid = (uint32_t)cid;
    ret->reimaged = reimaged;
    ret->root_disk_bytes = root;
    return true;
}

int vm_note_read(const char *text, struct vm_note *ret, struct error *err)
{
    static const struct doc_limits limits = {.bytes = VIRT_NOTE_MAX, .depth = 16, .tokens = 65536};
    auto_json json_t *note = NULL;
    json_t *image;

    memset(ret, 0, sizeof(*ret));
    if (doc_parse(text, strlen(text), &limits, &note, err))
        return -1;
    image = json_object_get(note, "image");
    ret->has_image = json_is_object(image);
    if (!read_members(note, ret) || (ret->has_image && !read_image(image, &ret->image)))
        return error_set(err, ERROR_VALIDATION_FAILED, "its note is not of a form that this version knows");
    return vm_spec_decode(json_object_get(note, "spec"), &ret->spec, NULL, err);
}

void vm_note_done(struct vm_note *note)
{
    vm_spec_unref(note->spec);
    free(note->image.cmdline);
    memset(note, 0, sizeof(*note));
}
