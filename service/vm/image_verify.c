/*
 * image.verify: every byte of an image is read again and compared with its digest. What has rotted
 * is not used for anything new; VMs that stand on it are told by its state.
 */
#include "service/vm/image_import.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/image_internal.h"

#define HOUR_MS 3600000LL

/* Stores what was found; an image that changed meanwhile keeps its other members. */
static int record(struct core *core, const struct op *op, enum image_part part, bool good,
                  struct error *err)
{
    struct actor actor = {op->actor, op->project_id, op->request_id};
    auto_image struct image *next = NULL, *stored = NULL;
    LOCK_SCOPE(&core->images->change);

    stored = image_registry_stored(core->images, op->image_id);
    if (!stored)
        return error_set(err, ERROR_IMAGE_NOT_FOUND, "the image was deleted");
    next = image_copy(stored);
    if (good) {
        next->files[part].verified_at = clock_wall_ms();
        return image_store_file(core, &actor, next, part, err);
    }
    next->state = IMAGE_FAILED;
    snprintf(next->state_reason, sizeof(next->state_reason),
             "the bytes of its %s have changed on the disk", image_part_name(part));
    return image_store(core, &actor, next, "image.failed", err);
}

static enum fetch_result verify_part(struct core *core, const struct op *op, const struct image *image,
                                     enum image_part part, struct error *err)
{
    auto_free char *path = image_path(core, image, part);
    char sha256[SECRET_SHA256_TEXT];
    struct error ignored;
    bool good;

    atomic_store(&op->progress->total_bytes, image->files[part].size_bytes);
    if (image_hash_file(op, path, sha256, err))
        return op_should_end(op) ? FETCH_ENDED : FETCH_REFUSED;
    good = strcmp(sha256, image->files[part].sha256) == 0;
    if (record(core, op, part, good, good ? err : &ignored) && good)
        return FETCH_REFUSED;
    if (good)
        return FETCH_DONE;
    error_set(err, ERROR_DIGEST_MISMATCH, "the %s has the SHA-256 %s", image_part_name(part), sha256);
    error_remedy(err, "Import the image again; VMs that stand on it may have read wrong bytes.");
    return FETCH_REFUSED;
}

enum execute_result image_verify_execute(struct core *core, const struct op *op, struct error *err)
{
    auto_image struct image *image = image_registry_stored(core->images, op->image_id);
    enum fetch_result result = FETCH_DONE;

    if (!image) {
        error_set(err, ERROR_IMAGE_NOT_FOUND, "the image was deleted");
        return EXECUTE_FAILED;
    }
    atomic_store(&op->progress->stage, "verifying");
    for (int p = 0; p < IMAGE_PART_COUNT && result == FETCH_DONE; p++) {
        if (image->files[p].present)
            result = verify_part(core, op, image, (enum image_part)p, err);
    }
    return copy_outcome(op, result);
}

struct verify {
    struct op *op;
};

static int insert(struct db_tx *tx, void *arg, struct error *err)
{
    return image_op_insert(tx, ((struct verify *)arg)->op, err);
}

int image_verify(struct core *core, const struct actor *actor, const char *ref, struct op **ret_op,
                 struct error *err)
{
    auto_image struct image *image = image_find(core, actor->project_id, ref, err);
    auto_op struct op *op = NULL;
    struct verify v;

    if (!image)
        return -1;
    if (image->state != IMAGE_READY && image->state != IMAGE_RETIRED && image->state != IMAGE_FAILED)
        return error_set(err, ERROR_IMAGE_STATE_CONFLICT, "the image %s is %s", image->name,
                         image_state_name((int)image->state));
    op = op_new_image(actor, image->id, "image.verify", "{}");
    v.op = op;
    if (db_write(core->db, insert, NULL, &v, err))
        return -1;
    op_enqueue(core->ops, op);
    *ret_op = TAKE_PTR(op);
    return 0;
}

/* The oldest look at any of its bytes. */
static int64_t looked_at(const struct image *i)
{
    int64_t oldest = INT64_MAX;

    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        int64_t at = i->files[p].verified_at > i->updated_at ? i->files[p].verified_at : i->updated_at;

        if (i->files[p].present && (i->files[p].verified_at ? i->files[p].verified_at : at) < oldest)
            oldest = i->files[p].verified_at ? i->files[p].verified_at : at;
    }
    return oldest;
}

void image_verify_due(struct core *core)
{
    int64_t hours = core->settings->image_verify_hours, oldest;
    char id[UUID_TEXT] = "", project[UUID_TEXT] = "";
    struct op *op = NULL;
    struct error ignored;

    if (hours == 0)
        return;
    oldest = clock_wall_ms() - hours * HOUR_MS;
    {
        LOCK_SCOPE(&core->images->lock);
        for (size_t i = 0; i < core->images->count; i++) {
            const struct image *image = core->images->entries[i].stored;

            if (image->state == IMAGE_READY && looked_at(image) < oldest) {
                oldest = looked_at(image);
                memcpy(id, image->id, UUID_TEXT);
                memcpy(project, image->project_id, UUID_TEXT);
            }
        }
    }
    const struct actor actor = {actor_system.id, project, "", NULL};

    if (*id && image_verify(core, &actor, id, &op, &ignored) == 0)
        op_unref(op);
}
