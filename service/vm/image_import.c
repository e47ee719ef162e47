/*
 * The operation image.import: brings the bytes an image's source names, unpacks and converts them,
 * and makes them the image's content. Every step finds what an earlier attempt left.
 */
#include "service/vm/image_import.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"
#include "service/vm/image_internal.h"

/* ---- what the store of images wants of operations ---- */

struct op *image_op_new(struct core *core, const struct actor *actor, const struct image *i)
{
    bool publishes = i->source && *i->source->vm;
    struct op *op = op_new_image(actor, i->id, publishes ? "image.publish" : "image.import", "{}");

    (void)core;
    /* No operation of the VM runs meanwhile, so its disk holds still. */
    if (publishes)
        str_copy_utf8(op->vm_id, sizeof(op->vm_id), i->source->vm);
    return op;
}

int image_op_insert(struct db_tx *tx, const struct op *op, struct error *err)
{
    struct op_row row;

    op_to_row(op, &row);
    return store_op_insert(tx, &row, err);
}

void image_op_enqueue(struct core *core, struct op *op)
{
    op_enqueue(core->ops, op);
}

struct op *image_op_pending(struct core *core, const char *image_id)
{
    return op_of_image(core->ops, image_id);
}

bool image_was_created(struct core *core, const struct actor *actor, const struct idem *idem)
{
    struct idem_found found;
    struct error ignored;

    return idem_lookup(core, actor, idem, &found, &ignored) != 0;
}

/* ---- one part ---- */

struct work {
    struct core *core;
    const struct op *op;
    struct actor actor;
    const struct image *image;
    enum image_part part;
    char *fetched, *unpacked, *converted; /* paths below tmp */
};

static void work_done(struct work *w)
{
    free(w->fetched);
    free(w->unpacked);
    free(w->converted);
}

static void forget(const struct work *w)
{
    struct error ignored;

    image_download_forget(w->fetched);
    (void)file_remove(w->unpacked, &ignored);
    (void)file_remove(w->converted, &ignored);
}

static bool is_what_is_kept(const struct image *i)
{
    return i->kind != IMAGE_DISK || image_origin(i) == (i->format == IMAGE_FORMAT_RAW ? IMAGE_ORIGIN_RAW
                                                                                     : IMAGE_ORIGIN_QCOW2);
}

/* Before qemu-img may see it. */
static int inspect(const struct work *w, const char *path, struct error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    enum image_origin origin = image_origin(w->image);
    struct image_facts facts;
    struct stat st;

    if (fd < 0 || fstat(fd, &st))
        return error_errno(err, errno, "cannot read the image");
    if (image_inspect_origin(fd, st.st_size, origin, &facts, err))
        return -1;
    return origin == IMAGE_ORIGIN_QCOW2 ? image_check_qcow2(path, err) : 0;
}

static enum fetch_result import_part(struct work *w, struct error *err)
{
    const char *path = w->fetched;
    char sha256[SECRET_SHA256_TEXT];
    struct image *adopted = NULL;
    enum fetch_result result = FETCH_DONE;
    bool hashed = true;

    if (w->image->source->links[w->part].url)
        result = image_download(w->core, w->op, w->image, w->part, path, sha256, err);
    else
        hashed = false; /* uploaded, and checked then */
    if (result == FETCH_DONE && w->image->source->xz) {
        result = image_unxz(w->core, w->op, path, w->unpacked, err);
        path = w->unpacked;
        hashed = false;
    }
    if (result == FETCH_DONE && !is_what_is_kept(w->image)) {
        if (inspect(w, path, err))
            return FETCH_REFUSED;
        result = image_convert(w->core, w->op, image_origin(w->image), path, w->image->format,
                               w->converted, 0, err);
        path = w->converted;
        hashed = false;
    }
    if (result == FETCH_DONE && !hashed && image_hash_file(NULL, path, sha256, err))
        return FETCH_REFUSED;
    if (result != FETCH_DONE)
        return result;
    if (image_adopt(w->core, &w->actor, w->image->id, w->part, path, sha256, &adopted, err))
        return FETCH_REFUSED;
    image_unref(adopted);
    return FETCH_DONE;
}

/* ---- the operation ---- */

enum execute_result copy_outcome(const struct op *op, enum fetch_result result)
{
    if (result == FETCH_DONE)
        return EXECUTE_DONE;
    if (result != FETCH_ENDED)
        return EXECUTE_FAILED;
    return atomic_load(&op->progress->cancel) ? EXECUTE_CANCELLED : EXECUTE_AGAIN;
}

enum execute_result image_outcome(struct core *core, const struct op *op, enum fetch_result result,
                                  struct error *err)
{
    struct actor actor = {op->actor, op->project_id, op->request_id};

    switch (result) {
    case FETCH_DONE:
        return EXECUTE_DONE;
    case FETCH_ENDED:
        if (!atomic_load(&op->progress->cancel))
            return EXECUTE_AGAIN; /* the daemon stops; the next one goes on */
        image_mark_failed(core, &actor, op->image_id, "the import was cancelled");
        return EXECUTE_CANCELLED;
    default:
        if (err->code == ERROR_IMAGE_NOT_FOUND) /* deleted meanwhile: nobody wants it any more */
            return EXECUTE_CANCELLED;
        image_mark_failed(core, &actor, op->image_id, err->detail);
        return EXECUTE_FAILED;
    }
}

/* The kernel last: with it the image is ready, initrd or not. */
static const enum image_part part_order[] = {IMAGE_CONTENT, IMAGE_INITRD_PART, IMAGE_KERNEL_PART};

enum execute_result image_import_execute(struct core *core, const struct op *op, struct error *err)
{
    auto_image struct image *image = image_registry_stored(core->images, op->image_id);
    enum fetch_result result = FETCH_DONE;

    if (!image || !image->source) /* deleted since: as if it had been cancelled while it ran */
        return EXECUTE_CANCELLED;
    for (size_t i = 0; i < DOC_COUNT(part_order) && result == FETCH_DONE; i++) {
        enum image_part part = part_order[i];
        auto_scope(work_done) struct work w = {
            .core = core,
            .op = op,
            .actor = {op->actor, op->project_id, op->request_id},
            .image = image,
            .part = part,
            .fetched = image_tmp_path(core, "fetch", image->id, part),
            .unpacked = image_tmp_path(core, "unpacked", image->id, part),
            .converted = image_tmp_path(core, "converted", image->id, part),
        };

        if (image->files[part].present ||
            (!image->source->links[part].url && !file_exists(w.fetched)))
            continue;
        result = import_part(&w, err);
        /* What a stopped daemon fetched is gone on with. */
        if (result != FETCH_ENDED || atomic_load(&op->progress->cancel))
            forget(&w);
    }
    return image_outcome(core, op, result, err);
}
