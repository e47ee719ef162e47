/*
 * image.verify: every byte of an image is read again and compared with its digest. What has rotted
 * is not used for anything new, and VMs that stand on it are told; see image_damage.c.
 */
#include "service/vm/image_import.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/image_internal.h"

#define HOUR_MS 3600000LL

/* For every image that has these bytes; one that changed meanwhile keeps its other members. */
static int record(struct core *core, const struct op *op, const char *sha256, bool good, struct error *err)
{
    struct actor actor = {op->actor, op->project_id, op->request_id};
    LOCK_SCOPE(&core->images->change);

    return image_content_found(core, &actor, sha256, good, err);
}

static enum fetch_result verify_part(struct core *core, const struct op *op, const struct image *image,
                                     enum image_part part, struct error *err)
{
    auto_free char *path = image_path(core, image, part);
    char sha256[SECRET_SHA256_TEXT];
    struct error unsaid;
    bool good;

    atomic_store(&op->progress->total_bytes, image->files[part].size_bytes);
    if (image_hash_file(op, path, sha256, err))
        return op_should_end(op) ? FETCH_ENDED : FETCH_REFUSED;
    good = strcmp(sha256, image->files[part].sha256) == 0;
    if (good)
        return record(core, op, sha256, true, err) ? FETCH_REFUSED : FETCH_DONE;
    if (record(core, op, image->files[part].sha256, false, &unsaid))
        log_failure(LOG_LEVEL_ERROR, &unsaid, "image %s has rotted, and does not say so yet", image->id);
    error_set(err, ERROR_DIGEST_MISMATCH, "the %s has the SHA-256 %s", image_part_name(part), sha256);
    error_remedy(err, "Upload or import the same bytes again, which repairs it; VMs that stand on it may have "
                      "read wrong ones.");
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

/* The oldest look at any of its bytes; they were looked at when they came. */
static int64_t looked_at(const struct image *i)
{
    int64_t oldest = INT64_MAX;

    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        const struct image_file *f = &i->files[p];
        int64_t at = f->verified_at ? f->verified_at : i->created_at;

        if (f->present && at < oldest)
            oldest = at;
    }
    return oldest;
}

/* What has rotted was said to have, and stays so until it is repaired. */
static bool is_due(const struct core *core, const struct image *i, int64_t before)
{
    auto_op struct op *op = NULL;

    if ((i->state != IMAGE_READY && i->state != IMAGE_RETIRED) || looked_at(i) >= before)
        return false;
    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        if (i->files[p].damaged_at)
            return false;
    }
    op = op_of_image(core->ops, i->id);
    return !op;
}

/* Ids of those whose turn it is, at most max: the longest unread first. The caller frees. */
static size_t choose(struct core *core, int64_t before, size_t max, char (**ret_ids)[UUID_TEXT],
                     char (**ret_projects)[UUID_TEXT])
{
    struct image **images;
    size_t count, chosen = 0;

    {
        LOCK_SCOPE(&core->images->lock);
        count = core->images->count;
        images = xcalloc(count + 1, sizeof(struct image *));
        for (size_t i = 0; i < count; i++)
            images[i] = image_ref(core->images->entries[i].stored);
    }
    *ret_ids = xcalloc(max + 1, sizeof(**ret_ids));
    *ret_projects = xcalloc(max + 1, sizeof(**ret_projects));
    for (; chosen < max; chosen++) {
        size_t best = count;

        for (size_t i = 0; i < count; i++) {
            if (images[i] && is_due(core, images[i], before) &&
                (best == count || looked_at(images[i]) < looked_at(images[best])))
                best = i;
        }
        if (best == count)
            break;
        memcpy((*ret_ids)[chosen], images[best]->id, UUID_TEXT);
        memcpy((*ret_projects)[chosen], images[best]->project_id, UUID_TEXT);
        image_unref(images[best]);
        images[best] = NULL;
    }
    for (size_t i = 0; i < count; i++)
        image_unref(images[i]);
    free(images);
    return chosen;
}

void image_verify_due(struct core *core)
{
    int64_t hours = core->settings->image_verify_hours;
    auto_free char(*ids)[UUID_TEXT] = NULL;
    auto_free char(*projects)[UUID_TEXT] = NULL;
    struct error err = ERROR_INIT;
    size_t count;

    if (hours == 0)
        return;
    /* Called once an hour: so many that all get their turn. */
    count = choose(core, clock_wall_ms() - hours * HOUR_MS, core->images->count / (size_t)hours + 1, &ids,
                   &projects);
    for (size_t i = 0; i < count; i++) {
        struct actor actor = {.id = actor_system.id, .project_id = projects[i], .request_id = ""};
        struct op *op = NULL;

        if (image_verify(core, &actor, ids[i], &op, &err))
            log_failure(LOG_LEVEL_WARNING, &err, "image %s cannot be verified now", ids[i]);
        else
            op_unref(op);
    }
}
