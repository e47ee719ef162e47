/*
 * What was found out about content: that it has rotted on the disk, or is whole again. Content may
 * serve several images, and VMs stand on them: all of that is told in one transaction.
 */
#include "service/vm/image_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"

struct found {
    struct core *core;
    const struct actor *actor;
    const char *sha256;
    bool whole;
    size_t count;
    struct image **before, **after; /* after: NULL where nothing changes */
};

static void found_done(struct found *f)
{
    for (size_t i = 0; i < f->count; i++) {
        image_unref(f->before[i]);
        image_unref(f->after[i]);
    }
    free(f->before);
    free(f->after);
}

static bool is_damaged(const struct image *i)
{
    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        if (i->files[p].present && i->files[p].damaged_at)
            return true;
    }
    return false;
}

/* A retired image stays so: it goes with its last VM either way. */
static void tell_state(struct image *next, bool whole, const char *part)
{
    if (next->state == IMAGE_READY && !whole) {
        next->state = IMAGE_FAILED;
        snprintf(next->state_reason, sizeof(next->state_reason), "the bytes of its %s have changed on the disk",
                 part);
    } else if (next->state == IMAGE_FAILED && whole && !is_damaged(next)) {
        image_next_state(next);
    }
}

static struct image *after(const struct image *before, const struct found *f)
{
    struct image *next = image_copy(before);
    int64_t now = clock_wall_ms();

    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        struct image_file *file = &next->files[p];
        bool was = file->damaged_at != 0;

        if (!file->present || strcmp(file->sha256, f->sha256) != 0)
            continue;
        if (f->whole) {
            file->verified_at = now;
            file->damaged_at = 0;
        } else if (!was) {
            file->damaged_at = now;
        }
        if (was == f->whole)
            tell_state(next, f->whole, image_part_name(p));
    }
    if (is_damaged(next) != is_damaged(before)) {
        next->updated_at = now;
        next->revision++;
    }
    return next;
}

/* VMs of an image: they may have read wrong bytes, or will. */
static int tell_vms(struct db_tx *tx, const struct found *f, const struct image *image, const char *type,
                    struct error *err)
{
    auto_json json_t *data = json_pack("{s:s, s:s}", "image_id", image->id, "image_name", image->name);
    auto_free char *text = doc_text(data);
    struct vm **vms;
    size_t count = registry_image_vms(f->core, image->id, &vms);
    int rc = 0;

    for (size_t i = 0; i < count; i++) {
        const struct event_row row = {.at = clock_wall_ms(),
                                      .project_id = image->project_id,
                                      .host_id = image->host_id,
                                      .type = type,
                                      .subject_kind = "vm",
                                      .subject_id = vms[i]->id,
                                      .subject_name = vms[i]->spec->name,
                                      .actor = f->actor->id,
                                      .request_id = f->actor->request_id ? f->actor->request_id : "",
                                      .data = text};
        int64_t seq;

        if (rc == 0)
            rc = store_event_append(tx, &row, &seq, err);
        vm_unref(vms[i]);
    }
    free(vms);
    return rc;
}

static int tell(struct db_tx *tx, const struct found *f, const struct image *before, const struct image *next,
                struct error *err)
{
    auto_json json_t *data = NULL;
    auto_free char *text = NULL;

    if (is_damaged(before) == is_damaged(next))
        return 0;
    data = json_pack("{s:s, s:I}", "reason", next->state_reason, "used_by",
                     (json_int_t)registry_image_users(f->core, next->id));
    text = doc_text(data);
    return image_event_with(tx, f->actor, next, f->whole ? "image.repaired" : "image.damaged", text, err) ||
                   tell_vms(tx, f, next, f->whole ? "vm.image_repaired" : "vm.image_damaged", err)
               ? -1
               : 0;
}

static int found_write(struct db_tx *tx, void *arg, struct error *err)
{
    struct found *f = arg;

    for (size_t i = 0; i < f->count; i++) {
        for (int p = 0; p < IMAGE_PART_COUNT; p++) {
            const struct image_file *file = &f->after[i]->files[p];

            if (file->present && strcmp(file->sha256, f->sha256) == 0 &&
                image_write(tx, f->after[i], p, err))
                return -1;
        }
        if (tell(tx, f, f->before[i], f->after[i], err))
            return -1;
    }
    return 0;
}

static void found_committed(void *arg)
{
    struct found *f = arg;

    for (size_t i = 0; i < f->count; i++)
        image_registry_put(core_images(f->core), f->after[i]);
}

int image_content_found(struct core *core, const struct actor *actor, const char *sha256, bool whole,
                        struct error *err)
{
    auto_scope(found_done) struct found f = {.core = core, .actor = actor, .sha256 = sha256, .whole = whole};

    f.count = image_registry_sharers(core_images(core), sha256, &f.before);
    f.after = xcalloc(f.count + 1, sizeof(struct image *));
    for (size_t i = 0; i < f.count; i++)
        f.after[i] = after(f.before[i], &f);
    return f.count ? db_write(core_db(core), found_write, found_committed, &f, err) : 0;
}
