/* Private to rebuild*.c. */
#ifndef DROVER_VM_REBUILD_INTERNAL_H
#define DROVER_VM_REBUILD_INTERNAL_H

#include "db/db.h"
#include "service/base/str.h"
#include "service/virt/virt.h"
#include "service/vm/note.h"

/* A VM on its way from a domain into the new database. */
struct rebuilt {
    const struct virt_found *from;
    struct vm_note note; /* read, or made up from the definition */
    bool whole;          /* it was read */
    char name[VM_NAME_MAX + 1]; /* as it is stored: another one had its own */
    struct strbuf lost;  /* what is not as it was, in words */
};

void rebuilt_lose(struct rebuilt *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rebuilt_done(struct rebuilt *r);

/* From the domain and from what is below state_dir; r was zeroed but for `from`. */
int rebuilt_read(const char *state_dir, struct rebuilt *r, struct error *err);

/* As the header of a qcow2 file says; 0: there is none. */
int64_t rebuilt_qcow2_bytes(const char *path);

/* All of it, in one transaction. May give VMs and images other names. */
int rebuilt_store(struct db *db, const char *install_id, struct rebuilt *vms, size_t count,
                  struct error *err);

#endif
