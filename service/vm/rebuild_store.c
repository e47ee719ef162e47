/* What was rebuilt, as rows: projects, images, CIDs and VMs, in one transaction. */
#include "service/vm/rebuild_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/store.h"
#include "service/base/clock.h"

#define CID_FIRST 1000 /* a database hands out none below */

struct storing {
    const char *install_id;
    struct rebuilt *vms;
    size_t count;
    int64_t now;
};

/* NAME, or NAME-ID8 */
static void other_name(char name[VM_NAME_MAX + 1], const char *id)
{
    char base[VM_NAME_MAX + 1];

    str_copy_utf8(base, sizeof(base), name);
    snprintf(name, VM_NAME_MAX + 1, "%.54s-%.8s", base, id);
}

/* ---- projects ---- */

static bool project_before(const struct storing *s, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        if (str_eq(s->vms[j].note.project_id, s->vms[i].note.project_id))
            return true;
    }
    return str_eq(s->vms[i].note.project_id, PROJECT_DEFAULT);
}

static int store_projects(struct db_tx *tx, struct storing *s, struct error *err)
{
    for (size_t i = 0; i < s->count; i++) {
        struct vm_note *note = &s->vms[i].note;
        struct project_row row = {
            .id = note->project_id, .name = note->project_name, .quota = "", .merge_with = "", .created_at = s->now};

        if (project_before(s, i))
            continue;
        if (!vm_spec_name_ok(note->project_name))
            snprintf(note->project_name, sizeof(note->project_name), "project-%.8s", note->project_id);
        if (store_project_insert(tx, &row, err) == 0)
            continue;
        if (err->code != ERROR_NAME_IN_USE)
            return -1;
        other_name(note->project_name, note->project_id);
        if (store_project_insert(tx, &row, err))
            return -1;
    }
    return 0;
}

/* ---- images ---- */

static const char *content_of(const struct note_image *image)
{
    return image->files[image->kind == IMAGE_KERNEL ? IMAGE_KERNEL_PART : IMAGE_CONTENT].sha256;
}

static bool same_bytes(const struct note_image *a, const struct note_image *b)
{
    return a->kind == b->kind && str_eq(content_of(a), content_of(b)) &&
           str_eq(a->files[IMAGE_INITRD_PART].sha256, b->files[IMAGE_INITRD_PART].sha256) &&
           str_eq(a->project_id, b->project_id);
}

/* An image that a definition alone told of may be one that another VM's note names. */
static void identify(struct storing *s, size_t i)
{
    struct rebuilt *r = &s->vms[i];

    for (size_t j = 0; j < s->count; j++) {
        const struct note_image *other = &s->vms[j].note.image;

        if (!s->vms[j].note.has_image || !*other->id || !same_bytes(other, &r->note.image))
            continue;
        memcpy(r->note.image.id, other->id, UUID_TEXT);
        str_copy_utf8(r->note.image.name, sizeof(r->note.image.name), other->name);
        str_replace(&r->note.spec->image, other->name);
        return;
    }
    uuid_new(r->note.image.id);
}

static int insert_image(struct db_tx *tx, struct storing *s, struct note_image *image, struct error *err)
{
    struct image_row row = {.id = image->id,
                            .project_id = image->project_id,
                            .host_id = HOST_LOCAL,
                            .name = image->name,
                            .kind = image_kind_name(image->kind),
                            .format = image_format_name(image->format),
                            .cmdline = image->cmdline,
                            .description = "",
                            .state = image->retired ? "deleting" : "ready",
                            .state_reason = "",
                            .source = "",
                            .card = "",
                            .screenshot = "",
                            .revision = 1,
                            .created_at = s->now,
                            .updated_at = s->now};
    int64_t seq;

    if (store_image_insert(tx, &row, &seq, err)) {
        if (err->code != ERROR_NAME_IN_USE)
            return -1;
        other_name(image->name, image->id);
        if (store_image_insert(tx, &row, &seq, err))
            return -1;
    }
    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        const struct image_file_row file = {.image_id = image->id,
                                            .role = image_part_name(p),
                                            .sha256 = image->files[p].sha256,
                                            .size_bytes = image->files[p].size_bytes,
                                            .virtual_size_bytes = image->files[p].virtual_size_bytes};

        if (image->files[p].present && store_image_file_put(tx, &file, err))
            return -1;
    }
    return 0;
}

static bool image_before(const struct storing *s, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        if (s->vms[j].note.has_image && str_eq(s->vms[j].note.image.id, s->vms[i].note.image.id))
            return true;
    }
    return false;
}

static int store_images(struct db_tx *tx, struct storing *s, struct error *err)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->vms[i].note.has_image && !*s->vms[i].note.image.id)
            identify(s, i);
    }
    for (size_t i = 0; i < s->count; i++) {
        if (s->vms[i].note.has_image && !image_before(s, i) && insert_image(tx, s, &s->vms[i].note.image, err))
            return -1;
    }
    return 0;
}

/* ---- VMs ---- */

static int store_cids(struct db_tx *tx, struct storing *s, struct error *err)
{
    for (size_t i = 0; i < s->count; i++) {
        struct rebuilt *r = &s->vms[i];

        if (!r->note.vsock_cid)
            r->note.vsock_cid = r->from->vsock_cid;
        if (r->note.vsock_cid < CID_FIRST ||
            store_cid_restore(tx, HOST_LOCAL, r->from->uuid, r->note.vsock_cid, s->now, err))
            r->note.vsock_cid = 0;
    }
    for (size_t i = 0; i < s->count; i++) {
        struct rebuilt *r = &s->vms[i];

        if (!r->note.vsock_cid && store_cid_allocate(tx, HOST_LOCAL, r->from->uuid, s->now, &r->note.vsock_cid, err))
            return -1;
    }
    return 0;
}

static const char *state_of(const struct virt_found *from)
{
    switch (from->state) {
    case VIRT_STATE_RUNNING:
    case VIRT_STATE_STOPPING:
        return "running";
    case VIRT_STATE_PAUSED:
        return "paused";
    case VIRT_STATE_SAVED:
        return "saved";
    default:
        return "stopped";
    }
}

/*
 * One that was made from a template counts as started: were its memory restored once more, it would
 * find disks that have changed since.
 */
static int insert_vm(struct db_tx *tx, struct storing *s, struct rebuilt *r, struct error *err)
{
    const struct vm_spec *spec = r->note.spec;
    auto_free char *text = vm_spec_stored_text(spec);
    const char *state = state_of(r->from);
    bool runs = str_eq(state, "running") || str_eq(state, "paused");
    int64_t disk_bytes = r->note.root_disk_bytes, seq;
    struct vm_row row = {.id = r->from->uuid,
                         .project_id = r->note.project_id,
                         .host_id = HOST_LOCAL,
                         .name = r->name,
                         .spec = text,
                         .state = state,
                         .state_reason = "",
                         .acceleration = r->from->kvm ? "kvm" : "emulated",
                         .acceleration_reason = "",
                         .image_id = r->note.has_image ? r->note.image.id : "",
                         .generation = r->from->generation ? (int64_t)r->from->generation : 1,
                         .vsock_cid = r->note.vsock_cid,
                         .created_at = r->note.created_at,
                         .updated_at = s->now,
                         .started_at = runs || *r->note.template_id ? s->now : 0,
                         .boot_status = "",
                         .set_id = "",
                         .set_name = "",
                         .set_machine = "",
                         .reimaged = r->note.reimaged,
                         .owner_token = r->note.owner_token,
                         .cpus = spec->cpus,
                         .memory_mib = spec->memory_mib,
                         .template_id = r->note.template_id,
                         .template_key = r->note.template_key,
                         .merges = runs && r->from->memory_merge};

    for (size_t i = 0; i < spec->disk_count; i++)
        disk_bytes += spec->disks[i].size_gib << 30;
    row.disk_bytes = disk_bytes;
    row.defined_generation = row.generation;
    row.running_generation = runs ? row.generation : 0;
    return store_vm_insert(tx, &row, &seq, err);
}

static int store_vms(struct db_tx *tx, struct storing *s, struct error *err)
{
    for (size_t i = 0; i < s->count; i++) {
        struct rebuilt *r = &s->vms[i];

        if (insert_vm(tx, s, r, err) == 0)
            continue;
        if (err->code != ERROR_NAME_IN_USE)
            return -1;
        other_name(r->name, r->from->uuid);
        rebuilt_lose(r, "its name, which another VM has: it is %s now", r->name);
        str_replace(&r->note.spec->name, r->name);
        if (insert_vm(tx, s, r, err))
            return -1;
    }
    return 0;
}

static int store_all(struct db_tx *tx, void *arg, struct error *err)
{
    struct storing *s = arg;

    if (s->install_id && store_meta_set(tx, "install_id", s->install_id, err))
        return -1;
    return store_projects(tx, s, err) || store_images(tx, s, err) || store_cids(tx, s, err) || store_vms(tx, s, err)
               ? -1
               : 0;
}

/* The order of creation is that of the list. */
static int by_age(const void *a, const void *b)
{
    const struct rebuilt *x = a, *y = b;

    if (x->note.created_at != y->note.created_at)
        return x->note.created_at < y->note.created_at ? -1 : 1;
    return strcmp(x->from->uuid, y->from->uuid);
}

int rebuilt_store(struct db *db, const char *install_id, struct rebuilt *vms, size_t count, struct error *err)
{
    struct storing s = {.install_id = install_id, .vms = vms, .count = count, .now = clock_wall_ms()};

    if (count)
        qsort(vms, count, sizeof(*vms), by_age);
    return db_write(db, store_all, NULL, &s, err);
}
