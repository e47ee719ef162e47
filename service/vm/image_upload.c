/*
 * Bytes on their way into an image: a temporary file, hashed while it is written, then verified,
 * inspected, synced, renamed to its digest and committed. Until the commit nothing refers to them.
 */
#include "service/vm/image_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "service/vm/op.h"

#define MIB           ((int64_t)1 << 20)
#define CHECK_BYTES   (16 * MIB)   /* between two looks at the free space */
#define BOOT_PART_MAX (1024 * MIB) /* a kernel or initrd has to fit into a guest's memory */

struct image_upload {
    struct core *core;
    struct image_registry *registry;
    struct image *image; /* as it was at the beginning */
    enum image_part part;
    char *actor_id, *project_id, *request_id;
    char *path;
    int fd;
    struct hash *hash;
    char expected[SECRET_SHA256_TEXT]; /* or "" */
    char sha256[SECRET_SHA256_TEXT];
    int64_t size, written, checked;
    struct image_ahead ahead;
    struct image_facts facts;
};

static const char part_wanted[IMAGE_KIND_COUNT][IMAGE_PART_COUNT] = {
    [IMAGE_DISK] = {[IMAGE_CONTENT] = 1},
    [IMAGE_ISO] = {[IMAGE_CONTENT] = 1},
    [IMAGE_KERNEL] = {[IMAGE_KERNEL_PART] = 1, [IMAGE_INITRD_PART] = 1},
};

static void upload_free(struct image_upload *u)
{
    if (!u)
        return;
    if (u->fd >= 0)
        close(u->fd);
    if (u->path)
        unlink(u->path); /* gone already when it became content */
    hash_free(u->hash);
    image_unref(u->image);
    free(u->actor_id);
    free(u->project_id);
    free(u->request_id);
    free(u->path);
    free(u);
}
DEFINE_CLEANUP(upload, struct image_upload *, upload_free);

/* ---- space ---- */

static int free_space(struct core *core, int64_t *ret)
{
    struct statvfs st;

    if (statvfs(core_images(core)->tmp_dir, &st))
        return -1;
    *ret = (int64_t)st.f_bavail * (int64_t)st.f_frsize;
    return 0;
}

int64_t image_space_left(struct core *core)
{
    int64_t available = 0;

    (void)free_space(core, &available); /* then there is none */
    return available - core_settings(core)->free_space_floor_mib * MIB;
}

int image_check_space(struct core *core, int64_t more, struct error *err)
{
    int64_t floor = core_settings(core)->free_space_floor_mib * MIB, available;

    if (free_space(core, &available))
        return error_errno(err, errno, "cannot tell how much space is free");
    if (more > available - floor) {
        error_set(err, ERROR_INSUFFICIENT_STORAGE,
                  "%lld MiB are wanted, %lld MiB are free, and %lld MiB must stay free",
                  (long long)((more + MIB - 1) / MIB), (long long)(available / MIB),
                  (long long)(floor / MIB));
        error_remedy(err, "Free some space, or lower the setting free_space_floor_mib.");
        return -1;
    }
    return 0;
}

/* ---- begin ---- */

/* Bytes that are there already may be sent again (a client that missed the answer), but not others.
 */
static int check_part(const struct image *i, enum image_part part, int64_t size,
                      const char *expected, struct error *err)
{
    const struct image_file *f = &i->files[part];

    if (!part_wanted[i->kind][part])
        return error_set(err, ERROR_IMAGE_STATE_CONFLICT, "a %s image has no %s",
                         image_kind_name(i->kind), image_part_name(part));
    if (part != IMAGE_CONTENT && size > BOOT_PART_MAX)
        return error_set(err, ERROR_BODY_TOO_LARGE, "the %s is larger than %lld MiB",
                         image_part_name(part), (long long)(BOOT_PART_MAX / MIB));
    if (f->present &&
        ((expected && strcmp(expected, f->sha256) != 0) || (size >= 0 && size != f->size_bytes))) {
        error_set(err, ERROR_IMAGE_STATE_CONFLICT, "the image %s has its %s already", i->name,
                  image_part_name(part));
        error_remedy(err, "Images do not change; create another one.");
        return -1;
    }
    return 0;
}

/* A VM that was made from a kernel alone keeps starting from just that. */
static int check_users(struct core *core, const struct image *i, enum image_part part,
                       struct error *err)
{
    /* One that is being imported has VMs that wait for just this. */
    if (i->files[part].present || (i->source && i->state == IMAGE_IMPORTING) ||
        registry_image_users(core, i->id) == 0)
        return 0;
    return error_set(err, ERROR_IMAGE_IN_USE, "VMs use the image %s without this %s", i->name,
                     image_part_name(part));
}

int image_upload_begin(struct core *core, const struct actor *actor, const char *ref,
                       enum image_part part, int64_t size, const char *expected_sha256,
                       struct image_upload **ret, struct error *err)
{
    auto_scope(cleanup_upload) struct image_upload *u = xcalloc(1, sizeof(*u));
    char id[UUID_TEXT];

    u->fd = -1;
    u->core = core;
    u->registry = core_images(core);
    u->part = part;
    u->size = u->ahead.size = size;
    u->image = image_find(core, actor->project_id, ref, err);
    if (u->image && u->image->source && u->image->state == IMAGE_IMPORTING) {
        error_set(err, ERROR_IMAGE_STATE_CONFLICT, "the image %s is being imported", u->image->name);
        error_remedy(err, "Wait for the operation, or cancel it.");
        return -1;
    }
    if (!u->image || check_part(u->image, part, size, expected_sha256, err) ||
        check_users(core, u->image, part, err) || image_check_space(core, size > 0 ? size : 0, err))
        return -1;
    u->actor_id = xstrdup(actor->id);
    u->project_id = xstrdup(actor->project_id);
    u->request_id = xstrdup_null(actor->request_id);
    if (expected_sha256)
        snprintf(u->expected, sizeof(u->expected), "%s", expected_sha256);
    u->hash = hash_new(HASH_SHA256);
    uuid_new(id);
    u->path = xasprintf("%s/%s", u->registry->tmp_dir, id);
    u->fd = open(u->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (u->fd < 0)
        return error_errno(err, errno, "cannot create a file for the upload");
    image_write_past_cache(u->fd);
    if (!image_registry_upload_enter(u->registry, u->image->id, part)) {
        error_set(err, ERROR_IMAGE_STATE_CONFLICT, "the %s of the image %s is being uploaded",
                  image_part_name(part), u->image->name);
        return -1;
    }
    *ret = TAKE_PTR(u);
    return 0;
}

/* ---- write ---- */

/* Now and then: is there still space, is the image still there; and let the disk begin. */
static int look_around(struct image_upload *u, struct error *err)
{
    auto_image struct image *stored = NULL;

    (void)sync_file_range(u->fd, u->checked, u->written - u->checked, SYNC_FILE_RANGE_WRITE);
    u->checked = u->written;
    stored = image_registry_stored(u->registry, u->image->id);
    if (!stored)
        return error_set(err, ERROR_IMAGE_NOT_FOUND, "the image %s was deleted", u->image->name);
    return image_check_space(u->core, 0, err);
}

int image_upload_write(struct image_upload *u, const void *data, size_t len, struct error *err)
{
    int64_t max = u->part != IMAGE_CONTENT ? BOOT_PART_MAX : INT64_MAX;
    int rc;

    if (u->size >= 0)
        max = u->size;
    if ((int64_t)len > max - u->written)
        return error_set(err, ERROR_BODY_TOO_LARGE, "the %s is larger than %lld bytes",
                         image_part_name(u->part), (long long)max);
    hash_begin(u->hash, data, len);
    rc = image_write_ahead(u->fd, data, len, u->written, &u->ahead, err);
    hash_wait(u->hash);
    if (rc)
        return -1;
    u->written += (int64_t)len;
    CRASH_POINT(IMAGE_PART);
    return u->written - u->checked >= CHECK_BYTES ? look_around(u, err) : 0;
}

/* ---- finish ---- */

/* What the bytes themselves can get wrong: an error here marks an image that waits for them. */
static int verify(struct image_upload *u, struct error *err)
{
    if (*u->expected && strcmp(u->expected, u->sha256) != 0)
        return error_set(err, ERROR_DIGEST_MISMATCH, "the %s has the SHA-256 %s",
                         image_part_name(u->part), u->sha256);
    if (image_inspect(u->fd, u->image->kind, u->part, u->image->format, &u->facts, err))
        return -1;
    return u->image->format == IMAGE_FORMAT_QCOW2 ? image_check_qcow2(u->path, err) : 0;
}

struct commit {
    struct image_upload *upload;
    struct actor actor;
    struct image *next;
    const char *event; /* NULL: none */
    bool with_file;
};

static int commit_write(struct db_tx *tx, void *arg, struct error *err)
{
    struct commit *c = arg;

    if (image_write(tx, c->next, c->with_file ? (int)c->upload->part : -1, err))
        return -1;
    return c->event ? image_event(tx, &c->actor, c->next, c->event, err) : 0;
}

static void commit_done(void *arg)
{
    struct commit *c = arg;

    image_registry_put(c->upload->registry, c->next);
}

static int commit(struct commit *c, struct error *err)
{
    struct image_upload *u = c->upload;

    c->actor =
        (struct actor){.id = u->actor_id, .project_id = u->project_id, .request_id = u->request_id};
    c->next->updated_at = clock_wall_ms();
    c->next->revision++;
    return db_write(core_db(u->core), commit_write, commit_done, c, err);
}

/* Bytes were refused: an image that is not yet ready says so until better ones come. */
static void record_failure(struct image_upload *u, const struct error *why)
{
    struct actor actor = {
        .id = u->actor_id, .project_id = u->project_id, .request_id = u->request_id};

    image_mark_failed(u->core, &actor, u->image->id, why->detail);
}

/* Under `change`: the file becomes content, unless the same bytes are there already, and whole. */
static int link_content(struct image_upload *u, struct error *err)
{
    auto_free char *content = image_content_path(u->registry, u->sha256);
    struct stat st;

    if (image_registry_has_content(u->registry, u->sha256) &&
        !image_registry_is_damaged(u->registry, u->sha256) && stat(content, &st) == 0 &&
        st.st_size == u->written)
        return 0;
    if (rename(u->path, content))
        return error_errno(err, errno, "cannot store the content");
    return dir_sync(content, err);
}

/* Under `change`: these bytes take the place of the same ones that have rotted. */
static int replace_damaged(struct image_upload *u, struct image **ret, struct error *err)
{
    struct actor actor = {.id = u->actor_id, .project_id = u->project_id, .request_id = u->request_id};

    if (link_content(u, err) || image_content_found(u->core, &actor, u->sha256, true, err))
        return -1;
    *ret = image_registry_stored(u->registry, u->image->id);
    return *ret ? 0 : error_set(err, ERROR_IMAGE_NOT_FOUND, "the image %s was deleted", u->image->name);
}

static int adopt(struct image_upload *u, struct image **ret, struct error *err)
{
    auto_image struct image *next = NULL, *stored = NULL;
    struct commit c = {.upload = u, .with_file = true};
    const struct image_file *old;
    struct error ignored;
    bool damaged;
    int rc;
    LOCK_SCOPE(&u->registry->change);

    stored = image_registry_stored(u->registry, u->image->id);
    if (!stored)
        return error_set(err, ERROR_IMAGE_NOT_FOUND, "the image %s was deleted", u->image->name);
    if (check_part(stored, u->part, u->written, u->sha256, err) ||
        check_users(u->core, stored, u->part, err))
        return -1;
    old = &stored->files[u->part];
    if (old->present && old->damaged_at)
        return replace_damaged(u, ret, err);
    if (old->present) { /* sent again, and equal */
        *ret = TAKE_PTR(stored);
        return 0;
    }
    next = image_copy(stored);
    next->files[u->part] = (struct image_file){.present = true,
                                               .size_bytes = u->written,
                                               .virtual_size_bytes = u->facts.virtual_size_bytes};
    memcpy(next->files[u->part].sha256, u->sha256, sizeof(u->sha256));
    image_next_state(next);
    c.next = next;
    c.event = next->state == IMAGE_READY ? "image.ready" : NULL;
    image_content_doubt(u->registry, u->sha256);
    damaged = image_registry_is_damaged(u->registry, u->sha256);
    rc = link_content(u, err);
    CRASH_POINT(IMAGE_LINKED);
    if (rc == 0)
        rc = commit(&c, err);
    CRASH_POINT(IMAGE_READY);
    image_content_settle(u->registry, u->sha256);
    /* Other images with these bytes are whole again, too; at worst their next verification says so. */
    if (rc == 0 && damaged && image_content_found(u->core, &c.actor, u->sha256, true, &ignored))
        log_failure(LOG_LEVEL_WARNING, &ignored, "images that were repaired do not say so yet");
    if (rc == 0)
        *ret = TAKE_PTR(next);
    return rc;
}

/* ---- what is converted first ---- */

struct hand_over {
    struct image_upload *upload;
    struct actor actor;
    struct image *next;
    struct op *op;
};

static int hand_over_write(struct db_tx *tx, void *arg, struct error *err)
{
    struct hand_over *h = arg;
    struct image_row row;

    image_to_row(h->next, &row);
    return store_image_update(tx, &row, err) || image_op_insert(tx, h->op, err) ? -1 : 0;
}

static void hand_over_done(void *arg)
{
    struct hand_over *h = arg;

    image_registry_put(h->upload->registry, h->next);
}

/* Under `change`: the bytes become what an import has fetched, and the import goes on from there. */
static int hand_over(struct image_upload *u, struct image **ret, struct op **ret_op, struct error *err)
{
    auto_free char *fetched = image_tmp_path(u->core, "fetch", u->image->id, u->part);
    auto_image struct image *next = NULL, *stored = NULL;
    struct hand_over h = {.upload = u};
    int rc;
    LOCK_SCOPE(&u->registry->change);

    stored = image_registry_stored(u->registry, u->image->id);
    if (!stored)
        return error_set(err, ERROR_IMAGE_NOT_FOUND, "the image %s was deleted", u->image->name);
    if (check_part(stored, u->part, -1, NULL, err))
        return -1;
    if (stored->files[u->part].present)
        return error_set(err, ERROR_IMAGE_STATE_CONFLICT, "the image %s has its %s already", stored->name,
                         image_part_name(u->part));
    next = image_copy(stored);
    next->state = IMAGE_IMPORTING;
    snprintf(next->state_reason, sizeof(next->state_reason), "see its operation");
    next->updated_at = clock_wall_ms();
    next->revision++;
    h.actor = (struct actor){.id = u->actor_id, .project_id = u->project_id, .request_id = u->request_id};
    h.next = next;
    h.op = image_op_new(u->core, &h.actor, next);
    if (rename(u->path, fetched))
        rc = error_errno(err, errno, "cannot keep the upload");
    else
        rc = dir_sync(fetched, err) || db_write(core_db(u->core), hand_over_write, hand_over_done, &h, err) ? -1 : 0;
    if (rc) {
        (void)unlink(fetched);
        op_unref(h.op);
        return -1;
    }
    CRASH_POINT(IMAGE_HANDED_OVER);
    image_op_enqueue(u->core, h.op);
    *ret_op = h.op;
    *ret = TAKE_PTR(next);
    return 0;
}

/* What our inspector can tell at once is refused at once. */
static int verify_origin(struct image_upload *u, struct error *err)
{
    if (*u->expected && strcmp(u->expected, u->sha256) != 0)
        return error_set(err, ERROR_DIGEST_MISMATCH, "the %s has the SHA-256 %s", image_part_name(u->part),
                         u->sha256);
    return u->image->source->xz ? 0
                                : image_inspect_origin(u->fd, u->written, image_origin(u->image), &u->facts, err);
}

static int finish_origin(struct image_upload *u, struct image **ret, struct op **ret_op, struct error *err)
{
    if (verify_origin(u, err)) {
        if (err->code == ERROR_DIGEST_MISMATCH || err->code == ERROR_IMAGE_REFUSED)
            record_failure(u, err);
        return -1;
    }
    if (fsync(u->fd))
        return error_errno(err, errno, "cannot write the upload");
    return hand_over(u, ret, ret_op, err);
}

static int finish(struct image_upload *u, struct image **ret, struct op **ret_op, struct error *err)
{
    if (u->size >= 0 && u->written != u->size)
        return error_set(err, ERROR_INCOMPLETE_BODY, "%lld of %lld bytes came",
                         (long long)u->written, (long long)u->size);
    CRASH_POINT(IMAGE_WHOLE);
    hash_finish(u->hash, u->sha256);
    image_write_through_cache(u->fd); /* it is read now, in pieces of any size */
    if (image_write_end(u->fd, u->written, &u->ahead))
        return errno == EFBIG ? image_no_space(err) : error_errno(err, errno, "cannot write the upload");
    if (u->part == IMAGE_CONTENT && image_source_is_upload(u->image->source))
        return finish_origin(u, ret, ret_op, err);
    if (verify(u, err)) {
        if (err->code == ERROR_DIGEST_MISMATCH || err->code == ERROR_IMAGE_REFUSED)
            record_failure(u, err);
        return -1;
    }
    if (fchmod(u->fd, SEEDED_BUG(WRITABLE_IMAGE) ? 0644 : 0444) || fsync(u->fd))
        return error_errno(err, errno, "cannot write the upload");
    CRASH_POINT(IMAGE_CHECKED);
    return adopt(u, ret, err);
}

char *image_tmp_path(struct core *core, const char *what, const char *image_id, enum image_part part)
{
    return xasprintf("%s/%s-%s-%s", core_images(core)->tmp_dir, what, image_id, image_part_name(part));
}

int image_adopt(struct core *core, const struct actor *actor, const char *image_id,
                enum image_part part, const char *path, const char *sha256, struct image **ret,
                struct error *err)
{
    auto_scope(cleanup_upload) struct image_upload *u = xcalloc(1, sizeof(*u));
    struct stat st;

    u->core = core;
    u->registry = core_images(core);
    u->part = part;
    u->path = xstrdup(path);
    u->actor_id = xstrdup(actor->id);
    u->project_id = xstrdup(actor->project_id);
    u->request_id = xstrdup_null(actor->request_id);
    u->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (u->fd < 0 || fstat(u->fd, &st))
        return error_errno(err, errno, "cannot open what was imported");
    u->size = u->written = st.st_size;
    str_copy_utf8(u->sha256, sizeof(u->sha256), sha256);
    u->image = image_registry_stored(u->registry, image_id);
    if (!u->image)
        return error_set(err, ERROR_IMAGE_NOT_FOUND, "the image was deleted");
    if (verify(u, err))
        return -1;
    if (fchmod(u->fd, 0444) || fsync(u->fd))
        return error_errno(err, errno, "cannot write the image");
    return adopt(u, ret, err);
}

int image_upload_finish(struct image_upload *upload, struct image **ret, struct op **ret_op,
                        struct error *err)
{
    auto_scope(cleanup_upload) struct image_upload *u = upload;
    struct image *image = NULL;
    int rc = finish(u, &image, ret_op, err);

    image_registry_upload_leave(u->registry, u->image->id, u->part);
    if (rc == 0)
        *ret = image;
    return rc;
}

void image_upload_abort(struct image_upload *u)
{
    image_registry_upload_leave(u->registry, u->image->id, u->part);
    upload_free(u);
}
