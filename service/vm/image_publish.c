/*
 * A VM's root disk into a new image (image.publish): converted when the VM is off, captured while it
 * runs (image_capture.c). While one runs, no other operation of the VM does.
 */
#include "service/vm/image_import.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/virt/virt.h"
#include "service/vm/image_internal.h"

int vm_check_copy(const struct vm *vm, struct error *err)
{
    if (vm->state != VM_STATE_STOPPED && vm->state != VM_STATE_CRASHED && vm->state != VM_STATE_FAILED) {
        error_set(err, ERROR_VM_STATE_CONFLICT, "the VM %s is %s", vm->spec->name, vm_state_name(vm->state));
        error_remedy(err, "Shut it down first.");
        return -1;
    }
    return 0;
}

static bool runs(const struct vm *vm)
{
    return vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_PAUSED;
}

/* Off, or running where its disk can be captured. */
static int check_publish(struct core *core, const struct vm *vm, enum image_freeze freeze, struct error *err)
{
    if (!runs(vm) || !virt_is_embedded(core->virt)) {
        if (vm_check_copy(vm, err) == 0)
            return 0;
        str_copy_utf8(err->pointer, sizeof(err->pointer), "/source/vm");
        return -1;
    }
    if (freeze != IMAGE_FREEZE_REQUIRE || (vm->state == VM_STATE_RUNNING && vm->spec->guest_agent))
        return 0;
    error_set_at(err, ERROR_VM_STATE_CONFLICT, "/source/freeze", "the VM %s cannot be frozen: it %s", vm->spec->name,
                 vm->state == VM_STATE_RUNNING ? "has no guest agent" : "is paused");
    error_remedy(err, "Shut it down first, or publish it without freeze=require.");
    return -1;
}

int image_source_bind(struct core *core, const struct actor *actor, const char *vm_ref,
                      struct image_source *s, struct error *err)
{
    auto_vm struct vm *vm = vm_find(core, actor->project_id, vm_ref, err);
    auto_free char *disk = NULL;

    if (!vm) {
        error_set_at(err, ERROR_VALIDATION_FAILED, "/source/vm", "there is no VM %s", vm_ref);
        return -1;
    }
    if (check_publish(core, vm, s->freeze, err))
        return -1;
    disk = vm_root_disk(core, vm->id);
    if (!file_exists(disk))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/source/vm", "the VM %s has no root disk",
                            vm_ref);
    str_copy_utf8(s->vm, sizeof(s->vm), vm->id);
    return 0;
}

/* How it was captured, in the row of the image, before its bytes are. */
static int keep_capture(struct core *core, const struct actor *actor, const char *image_id,
                        const struct image_source *how, struct error *err)
{
    auto_image struct image *stored = NULL, *next = NULL;
    auto_json json_t *source = NULL;
    LOCK_SCOPE(&core->images->change);

    stored = image_registry_stored(core->images, image_id);
    if (!stored)
        return error_set(err, ERROR_IMAGE_NOT_FOUND, "the image was deleted");
    next = image_copy(stored);
    next->source->consistency = how->consistency;
    next->source->frozen_ms = how->frozen_ms;
    next->source->filesystems = how->filesystems;
    source = image_source_encode(next->source);
    free(next->source_text);
    next->source_text = doc_text(source);
    return image_store(core, actor, next, NULL, err);
}

static enum fetch_result publish(struct core *core, const struct op *op, const struct image *image,
                                 const char *tmp, struct error *err)
{
    auto_vm struct vm *vm = registry_get(core->registry, op->vm_id);
    struct actor actor = {op->actor, op->project_id, op->request_id};
    auto_free char *disk = vm_root_disk(core, op->vm_id);
    struct image_source how = {.consistency = IMAGE_CAPTURE_OFF};
    char sha256[SECRET_SHA256_TEXT];
    struct image *adopted = NULL;
    enum fetch_result result;

    if (!vm) {
        error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone");
        return FETCH_REFUSED;
    }
    if (check_publish(core, vm, image->source->freeze, err))
        return FETCH_REFUSED;
    result = runs(vm) ? image_capture(core, op, vm, image, tmp, &how, err)
                      : image_convert(core, op, IMAGE_ORIGIN_QCOW2, disk, image->format, tmp,
                                      image_disk_size(disk), err);
    if (result != FETCH_DONE)
        return result;
    if (image_hash_file(NULL, tmp, sha256, err) || keep_capture(core, &actor, image->id, &how, err) ||
        image_adopt(core, &actor, image->id, IMAGE_CONTENT, tmp, sha256, &adopted, err))
        return FETCH_REFUSED;
    image_unref(adopted);
    return FETCH_DONE;
}

enum execute_result image_publish_execute(struct core *core, const struct op *op, struct error *err)
{
    auto_image struct image *image = image_registry_stored(core->images, op->image_id);
    auto_free char *tmp = NULL;
    enum fetch_result result = FETCH_DONE;
    struct error ignored;

    if (!image) /* as for an import */
        return EXECUTE_CANCELLED;
    tmp = image_tmp_path(core, "published", image->id, IMAGE_CONTENT);
    if (!image->files[IMAGE_CONTENT].present)
        result = publish(core, op, image, tmp, err);
    (void)file_remove(tmp, &ignored);
    return image_outcome(core, op, result, err);
}
