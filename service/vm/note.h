/*
 * What of a VM is written into its domain's metadata, so that a database that was lost can be made
 * again from libvirt (rebuild.h). Everybody who may read from libvirt may read it, so secrets are
 * not in it: user data stays on the seed disk alone.
 */
#ifndef DROVER_VM_NOTE_H
#define DROVER_VM_NOTE_H

#include "service/vm/image.h"
#include "service/vm/vm.h"

/* Printable ASCII, the caller's; NULL when it would be longer than VIRT_NOTE_MAX. image may be NULL. */
char *vm_note_text(const struct vm *vm, const char *project_name, const struct image *image);

/* One image, as far as a note (or, rebuilt, a domain) tells. */
struct note_image {
    char id[UUID_TEXT], project_id[UUID_TEXT], name[VM_NAME_MAX + 1];
    int kind, format; /* enum image_kind, enum image_format */
    bool retired;
    char *cmdline;
    struct image_file files[IMAGE_PART_COUNT];
};

struct vm_note {
    struct vm_spec *spec; /* without user data */
    char project_id[UUID_TEXT], project_name[VM_NAME_MAX + 1];
    char owner_token[SECRET_TOKEN_ID];
    char template_id[UUID_TEXT], template_key[256];
    char set[VM_NAME_MAX + 1]; /* the set's name, or "" */
    bool pooled, has_user_data, has_image;
    int64_t created_at, reimaged, root_disk_bytes;
    uint32_t vsock_cid;
    struct note_image image;
};

/* ret is to be freed with vm_note_done() in any case. VALIDATION_FAILED: not written by this Drover. */
int vm_note_read(const char *text, struct vm_note *ret, struct error *err);
void vm_note_done(struct vm_note *note);

#endif
