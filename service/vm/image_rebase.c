/*
 * What a stopped VM's root disk stands on: vm.flatten copies everything into it, so that it stands
 * alone; vm.rebase puts it onto another image and copies what differs. The guest sees no change.
 */
#include "service/vm/image_import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/fault.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/image_internal.h"

#define COPY_STEP ((off_t)16 << 20) /* between two looks at whether to end */

/* ---- the disk ---- */

static int sync_file(const char *path, struct error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd < 0 || fsync(fd) ? error_errno(err, errno, "cannot write the disk") : 0;
}

/* The finished file becomes the disk, or goes. */
static enum fetch_result put_in_place(enum fetch_result result, const char *tmp, const char *disk,
                                      struct error *err)
{
    struct error ignored;

    CRASH_POINT(DISK_REBASED);
    if (result == FETCH_DONE &&
        (sync_file(tmp, err) ||
         (rename(tmp, disk) && error_errno(err, errno, "cannot replace the disk")) || dir_sync(disk, err)))
        result = FETCH_REFUSED;
    CRASH_POINT(DISK_REPLACED);
    (void)file_remove(tmp, &ignored);
    return result;
}

static enum fetch_result flatten_disk(struct core *core, const struct op *op, const char *disk,
                                      struct error *err)
{
    auto_free char *tmp = xasprintf("%s.flat", disk);
    enum fetch_result result = image_convert(core, op, IMAGE_ORIGIN_QCOW2, disk, IMAGE_FORMAT_QCOW2, tmp,
                                             image_disk_size(disk), err);

    return put_in_place(result, tmp, disk, err);
}

/* One stretch of data; the file's holes stay holes. 1: there may be more, 0: the end, -1. */
static int copy_stretch(int from, int to, off_t *at, struct error *err)
{
    off_t begin = lseek(from, *at, SEEK_DATA), end;

    if (begin < 0)
        return errno == ENXIO ? 0 : error_errno(err, errno, "cannot read the disk");
    end = lseek(from, begin, SEEK_HOLE);
    if (end > begin + COPY_STEP)
        end = begin + COPY_STEP;
    for (off_t out = begin; begin < end;) {
        ssize_t n = copy_file_range(from, &begin, to, &out, (size_t)(end - begin), 0);

        if (n <= 0)
            return error_errno(err, n ? errno : EIO, "cannot copy the disk");
    }
    *at = end;
    return 1;
}

static enum fetch_result copy_disk(struct core *core, const struct op *op, const char *from_path,
                                   const char *to_path, struct error *err)
{
    auto_close int from = open(from_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    auto_close int to = open(to_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    off_t at = 0;
    int rc = 1;

    if (from < 0 || to < 0 || fstat(from, &st) || fchown(to, st.st_uid, st.st_gid) ||
        fchmod(to, st.st_mode & 07777) || ftruncate(to, st.st_size)) {
        error_errno(err, errno, "cannot copy the disk");
        return FETCH_REFUSED;
    }
    if (image_check_space(core, (int64_t)st.st_blocks * 512, err))
        return FETCH_REFUSED;
    atomic_store(&op->progress->stage, "copying");
    atomic_store(&op->progress->total_bytes, st.st_size);
    while (rc > 0 && !op_should_end(op)) {
        rc = copy_stretch(from, to, &at, err);
        atomic_store(&op->progress->done_bytes, at);
    }
    return rc == 0 ? FETCH_DONE : rc < 0 ? FETCH_REFUSED : FETCH_ENDED;
}

/*
 * In a copy: qemu-img writes the name of the new base before all of what it copied is in the file's
 * tables, and one that is killed in between leaves a disk with another content.
 */
static enum fetch_result rebase_disk(struct core *core, const struct op *op, const char *disk,
                                     const struct image *image, struct error *err)
{
    auto_free char *base = image_path(core, image, IMAGE_CONTENT);
    auto_free char *tmp = xasprintf("%s.based", disk);
    enum fetch_result result = copy_disk(core, op, disk, tmp, err);

    if (result == FETCH_DONE)
        result = image_move_base(core, op, tmp, base, image->format, err);
    return put_in_place(result, tmp, disk, err);
}

/* ---- the VM ---- */

struct stand {
    const struct image *image; /* NULL: alone */
};

static int stand_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                        struct error *err)
{
    const struct stand *s = arg;
    struct vm_spec *spec = NULL;

    (void)core;
    (void)change;
    if (strcmp(next->image_id, s->image ? s->image->id : "") == 0)
        return 1;
    str_copy_utf8(next->image_id, sizeof(next->image_id), s->image ? s->image->id : "");
    if (s->image) {
        auto_json json_t *value = vm_spec_encode(next->spec);

        json_object_set_new(value, "image", json_string(s->image->name));
        if (vm_spec_decode(value, &spec, NULL, err))
            return -1;
        vm_spec_unref(next->spec);
        next->spec = spec;
    }
    next->generation++;
    return 0;
}

enum execute_result vm_rebase_execute(struct core *core, const struct op *op, struct error *err)
{
    auto_vm struct vm *vm = registry_get(core->registry, op->vm_id);
    struct actor actor = {op->actor, op->project_id, op->request_id};
    struct change change = {.event_type = "vm.changed", .actor = &actor};
    auto_free char *disk = vm_root_disk(core, op->vm_id);
    auto_image struct image *image = NULL;
    struct stand stand = {0};
    enum fetch_result result;

    if (!vm) {
        error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone");
        return EXECUTE_FAILED;
    }
    if (vm_check_copy(vm, err))
        return EXECUTE_FAILED;
    if (*op->image_id) {
        image = image_registry_stored(core->images, op->image_id);
        if (!image || image->state != IMAGE_READY) {
            error_set(err, ERROR_IMAGE_STATE_CONFLICT, "the image is not ready any more");
            return EXECUTE_FAILED;
        }
    }
    stand.image = image;
    result = image ? rebase_disk(core, op, disk, image, err) : flatten_disk(core, op, disk, err);
    if (result == FETCH_DONE && vm_change(core, vm->id, stand_mutate, &stand, &change, NULL, err)) {
        struct error ignored;

        /* The disk is on its new base already: its row must follow, as soon as it can be stored. */
        if (!db_is_writable(core->db, &ignored))
            return EXECUTE_AGAIN;
        result = FETCH_REFUSED;
    }
    image_collect(core);
    return copy_outcome(op, result);
}

/* ---- asking for it ---- */

struct ask {
    const struct actor *actor;
    const struct image *image; /* NULL: flatten */
};

static int ask_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                      struct error *err)
{
    const struct ask *a = arg;
    auto_free char *disk = vm_root_disk(core, next->id);

    if (vm_check_copy(next, err))
        return -1;
    if (*next->template_id) {
        error_set(err, ERROR_VM_STATE_CONFLICT, "the disks of %s stand on its pool's template",
                  next->spec->name);
        error_remedy(err, "Publish it as an image, and make a VM of that.");
        return -1;
    }
    if (!file_exists(disk)) {
        error_set(err, ERROR_VM_STATE_CONFLICT, "the VM %s has no root disk", next->spec->name);
        return -1;
    }
    if (!a->image && !*next->image_id)
        return error_set(err, ERROR_VM_STATE_CONFLICT, "the root disk of %s stands alone already",
                         next->spec->name);
    change->op_insert = op_new(a->actor, next, a->image ? "vm.rebase" : "vm.flatten", "{}");
    if (a->image)
        str_copy_utf8(change->op_insert->image_id, sizeof(change->op_insert->image_id), a->image->id);
    return 0;
}

static int find_base(struct core *core, const struct actor *actor, const char *ref, struct image **ret,
                     struct error *err)
{
    *ret = image_registry_find(core->images, actor->project_id, ref);
    if (!*ret)
        return error_set_at(err, ERROR_UNKNOWN_IMAGE, "/image", "there is no image %s", ref);
    if ((*ret)->kind != IMAGE_DISK || (*ret)->state != IMAGE_READY)
        return error_set_at(err, ERROR_IMAGE_STATE_CONFLICT, "/image",
                            "the image %s is no disk that is ready", ref);
    return 0;
}

static int rebase_anew(struct core *core, const struct actor *actor, const char *vm_ref,
                       const char *image_ref, const struct idem *idem, struct op **ret_op,
                       struct error *err)
{
    auto_image struct image *image = NULL;
    auto_vm struct vm *vm = vm_find(core, actor->project_id, vm_ref, err);
    struct change change = {.actor = actor, .idem = idem, .idem_status = 202};
    struct ask ask = {.actor = actor};

    if (!vm || (image_ref && find_base(core, actor, image_ref, &image, err)))
        return -1;
    ask.image = image;
    if (vm_change(core, vm->id, ask_mutate, &ask, &change, NULL, err)) {
        op_unref(change.op_insert);
        return -1;
    }
    *ret_op = change.op_insert;
    return 0;
}

int vm_rebase(struct core *core, const struct actor *actor, const char *vm_ref, const char *image_ref,
              const struct idem *idem, struct op **ret_op, bool *ret_replayed, struct error *err)
{
    struct idem_found found;
    int rc = idem_lookup(core, actor, idem, &found, err);

    if (rc < 0)
        return -1;
    *ret_replayed = false;
    if (rc == 0 && rebase_anew(core, actor, vm_ref, image_ref, idem, ret_op, err) == 0)
        return 0;
    *ret_replayed = rc > 0 || idem_again(core, actor, idem, &found, err);
    if (*ret_replayed)
        *ret_op = op_find(core, actor->project_id, found.id, err);
    return *ret_replayed && *ret_op ? 0 : -1;
}
