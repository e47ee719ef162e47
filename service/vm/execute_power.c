/* What an operation does to a guest that is on, and what counts when libvirt refuses it. */
#include "service/base/fault.h"
#include "service/vm/execute_internal.h"
#include "service/vm/guest.h"

int execute_reset(struct core *core, const struct op *op, struct error *err)
{
    return virt_reset(core->virt, op->vm_id, err);
}

int execute_reboot(struct core *core, const struct op *op, struct error *err)
{
    struct error ignored;

    /* The guest's own way is the cleaner one; the power button is for those without an agent. */
    if (guest_shutdown(core, op->vm_id, true, &ignored) == 0)
        return 0;
    return virt_reboot(core->virt, op->vm_id, err);
}

int execute_unless_already(struct core *core, const char *vm_id, int rc, enum virt_state wanted, struct error *err)
{
    struct virt_info info;
    struct error failure;

    if (rc == 0)
        return 0;
    if (virt_info(core->virt, vm_id, &info, &failure)) {
        /* Nobody can tell: it is asked again, and looked at again. */
        if (failure.code == ERROR_HYPERVISOR_UNAVAILABLE)
            *err = failure;
        return -1;
    }
    /* While QEMU is still ending libvirt says that the guest is not running, and not yet that it is off. */
    if (wanted == VIRT_STATE_SHUTOFF && info.state == VIRT_STATE_STOPPING)
        return 0;
    return info.state == wanted ? 0 : rc;
}

int execute_pause(struct core *core, const struct op *op, struct error *err)
{
    int rc = virt_suspend(core->virt, op->vm_id, err);

    if (execute_unless_already(core, op->vm_id, rc, VIRT_STATE_PAUSED, err))
        return -1;
    CRASH_POINT(PAUSE_PAUSED);
    return vm_sync(core, op->vm_id, "paused", err);
}

int execute_resume(struct core *core, const struct op *op, struct error *err)
{
    int rc = virt_resume(core->virt, op->vm_id, err);

    if (execute_unless_already(core, op->vm_id, rc, VIRT_STATE_RUNNING, err))
        return -1;
    CRASH_POINT(RESUME_RESUMED);
    if (vm_sync(core, op->vm_id, "resumed", err))
        return -1;
    guest_clock_after_pause(core, op->vm_id);
    return 0;
}

int execute_save(struct core *core, const struct op *op, struct error *err)
{
    int rc = virt_save(core->virt, op->vm_id, err);

    if (execute_unless_already(core, op->vm_id, rc, VIRT_STATE_SAVED, err))
        return -1;
    CRASH_POINT(SAVE_SAVED);
    return vm_sync(core, op->vm_id, "saved", err);
}

int execute_shutdown(struct core *core, const struct op *op, struct error *err)
{
    struct error ignored;

    /* Said before it is done: a guest that obeys at once must not be overwritten by it. */
    if (execute_state(core, op, VM_STATE_STOPPING, "asked the guest to shut down", err))
        return -1;
    if (guest_shutdown(core, op->vm_id, false, &ignored) == 0)
        return 0;
    if (execute_unless_already(core, op->vm_id, virt_shutdown(core->virt, op->vm_id, err), VIRT_STATE_SHUTOFF, err))
        return -1;
    CRASH_POINT(SHUTDOWN_ASKED);
    return vm_sync(core, op->vm_id, "", err);
}
