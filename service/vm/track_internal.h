/* Shared by track.c and track_sync.c: what libvirt said of a VM, and applying it. */
#ifndef DROVER_VM_TRACK_INTERNAL_H
#define DROVER_VM_TRACK_INTERNAL_H

#include "service/vm/core_internal.h"

struct track_sync {
    struct virt_info info;
    bool gone;
    const char *reason;
    const struct vm *seen; /* the VM when libvirt was asked; NULL: apply the answer in any case */
    bool stale;            /* the VM has changed since: nothing was applied */
    bool soon;             /* asked for by the tracker, whom no hanging QEMU may hold up */
    bool beside;           /* asked for by nobody who works on the VM, though there is a reason to say */
};

/* Commits it, opens or ends the VM's streams; any thread, blocks on the disk. -1: it could not be stored. */
int track_apply(struct core *core, const char *vm_id, struct track_sync *s, struct error *err);
/* vm_sync() for the tracker: UNAVAILABLE when libvirt does not answer within a second. */
int track_sync_soon(struct core *core, const char *vm_id, struct error *err);

#endif
