/*
 * Copies of a stopped VM's root disk: into a new image (image.publish), and in place, so that it
 * stands alone (vm.flatten) or on another image (vm.rebase). While one runs, no other operation of
 * the VM does.
 */
#include "service/vm/image_import.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/fd.h"
#include "service/base/str.h"
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

int image_source_bind(struct core *core, const struct actor *actor, const char *vm_ref,
                      struct image_source *s, struct error *err)
{
    auto_vm struct vm *vm = vm_find(core, actor->project_id, vm_ref, err);
    auto_free char *disk = NULL;

    if (!vm) {
        error_set_at(err, ERROR_VALIDATION_FAILED, "/source/vm", "there is no VM %s", vm_ref);
        return -1;
    }
    if (vm_check_copy(vm, err)) {
        str_copy_utf8(err->pointer, sizeof(err->pointer), "/source/vm");
        return -1;
    }
    disk = vm_root_disk(core, vm->id);
    if (!file_exists(disk))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/source/vm", "the VM %s has no root disk",
                            vm_ref);
    str_copy_utf8(s->vm, sizeof(s->vm), vm->id);
    return 0;
}

static enum fetch_result publish(struct core *core, const struct op *op, const struct image *image,
                                 const char *tmp, struct error *err)
{
    auto_vm struct vm *vm = registry_get(core->registry, op->vm_id);
    struct actor actor = {op->actor, op->project_id, op->request_id};
    auto_free char *disk = vm_root_disk(core, op->vm_id);
    char sha256[SECRET_SHA256_TEXT];
    struct image *adopted = NULL;
    enum fetch_result result;

    if (!vm) {
        error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone");
        return FETCH_REFUSED;
    }
    if (vm_check_copy(vm, err))
        return FETCH_REFUSED;
    result = image_convert(core, op, IMAGE_ORIGIN_QCOW2, disk, image->format, tmp,
                           image_disk_size(disk), err);
    if (result != FETCH_DONE)
        return result;
    if (image_hash_file(NULL, tmp, sha256, err) ||
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
