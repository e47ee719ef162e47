/* What libvirt says of a domain, as a state of its VM. */
#include "service/vm/core_internal.h"

enum vm_state vm_state_seen(const struct vm *vm, const struct virt_info *info)
{
    if (vm->state == VM_STATE_SAVED && vm_is_unborn(vm) &&
        (!info || info->state == VIRT_STATE_SHUTOFF))
        return VM_STATE_SAVED; /* in its template's image, of which libvirt knows nothing */
    if (!info)
        return vm->state == VM_STATE_FAILED ? VM_STATE_FAILED : VM_STATE_STOPPED;
    switch (info->state) {
    case VIRT_STATE_RUNNING:
        return VM_STATE_RUNNING;
    case VIRT_STATE_PAUSED:
        return VM_STATE_PAUSED;
    case VIRT_STATE_STOPPING:
        return VM_STATE_STOPPING;
    case VIRT_STATE_CRASHED:
        /* What was stopped cannot crash any more, whatever libvirt found at its own restart. */
        return vm->state == VM_STATE_STOPPED ? VM_STATE_STOPPED : VM_STATE_CRASHED;
    case VIRT_STATE_SAVED:
        return VM_STATE_SAVED;
    case VIRT_STATE_SHUTOFF:
        return vm->state == VM_STATE_FAILED ? VM_STATE_FAILED : VM_STATE_STOPPED;
    case VIRT_STATE_UNKNOWN:
    case VIRT_STATE_GONE:
        break;
    }
    return vm->state;
}
