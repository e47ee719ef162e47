/* Shared by execute.c and execute_power.c: one function for each kind of operation. */
#ifndef DROVER_VM_EXECUTE_INTERNAL_H
#define DROVER_VM_EXECUTE_INTERNAL_H

#include "service/vm/core_internal.h"

/*
 * On an operation worker; they block on libvirt and the disk, and may run again from their beginning. -1: err says
 * whether it is worth another attempt.
 */
int execute_reset(struct core *core, const struct op *op, struct error *err);
int execute_reboot(struct core *core, const struct op *op, struct error *err);
int execute_pause(struct core *core, const struct op *op, struct error *err);
int execute_resume(struct core *core, const struct op *op, struct error *err);
int execute_save(struct core *core, const struct op *op, struct error *err);
/* Returns when the guest was asked, not when it is off. */
int execute_shutdown(struct core *core, const struct op *op, struct error *err);

/* Stores and tells the state in the operation's name; a VM that is being deleted stays so, which is no failure. */
int execute_state(struct core *core, const struct op *op, enum vm_state state, const char *reason, struct error *err);

/*
 * libvirt refuses what has happened already: an attempt that a crash of ours cut short, or a guest that was quicker.
 * What counts is that the VM is as it was asked to be: 0 when rc is, or when it is in that state.
 */
int execute_unless_already(struct core *core, const char *vm_id, int rc, enum virt_state wanted, struct error *err);

#endif
