/*
 * Operations on images; each runs on a worker that copies, and can be repeated.
 */
#ifndef DROVER_VM_IMAGE_IMPORT_H
#define DROVER_VM_IMAGE_IMPORT_H

#include "service/net/fetch.h"
#include "service/vm/core_internal.h"

enum execute_result image_import_execute(struct core *core, const struct op *op, struct error *err);
enum execute_result image_publish_execute(struct core *core, const struct op *op, struct error *err);
enum execute_result image_verify_execute(struct core *core, const struct op *op, struct error *err);
enum execute_result vm_rebase_execute(struct core *core, const struct op *op, struct error *err);
/* A disk that QEMU may be writing to cannot be copied: VM_STATE_CONFLICT. */
int vm_check_copy(const struct vm *vm, struct error *err);
/*
 * A stand-alone copy of a running VM's root disk at path, in the image's format, and how it was taken.
 * The guest goes on meanwhile.
 */
enum fetch_result image_capture(struct core *core, const struct op *op, const struct vm *vm,
                                const struct image *image, const char *path, struct image_source *ret,
                                struct error *err);
int64_t image_disk_size(const char *path); /* what the guest sees of a qcow2 file of ours; 0: unknown */
/* From how the work ended to how the operation ends. */
enum execute_result copy_outcome(const struct op *op, enum fetch_result result);
/* From how the work ended to how the operation ends; an image that will not come says so. */
enum execute_result image_outcome(struct core *core, const struct op *op, enum fetch_result result,
                                  struct error *err);

#endif
