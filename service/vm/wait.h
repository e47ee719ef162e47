/*
 * Parked waits: a request that waits for a VM or an operation costs a list entry, not a thread.
 */
#ifndef DROVER_VM_WAIT_H
#define DROVER_VM_WAIT_H

#include <stdbool.h>
#include <stdint.h>

struct core;
struct vm;

enum wait_result { WAIT_DONE, WAIT_TIMEOUT, WAIT_STOPPING };
typedef void wait_fn(void *opaque, enum wait_result result);

/*
 * Calls fn exactly once: at once (on this thread, before returning) when the condition holds,
 * else from another thread when it comes true, the monotonic deadline passes, or the daemon
 * stops. fn must not block. Any thread.
 */
void wait_for_op(struct core *core, const char *op_id, int64_t deadline_monotonic_ms, wait_fn *fn,
                 void *opaque);

/*
 * wait_for_vm ends when the VM runs (WAIT_VM_RUNNING), its console printed since power-on
 * (WAIT_VM_CONSOLE) or its guest is ready (WAIT_VM_READY), or when that cannot come any more
 * (stopped, failed, crashed, deleted): the caller looks at the VM to tell which.
 */
enum wait_vm { WAIT_VM_RUNNING, WAIT_VM_CONSOLE, WAIT_VM_READY, WAIT_VM_COUNT };
void wait_for_vm(struct core *core, const char *vm_id, enum wait_vm what,
                 int64_t deadline_monotonic_ms, wait_fn *fn, void *opaque);

/* Ends with WAIT_TIMEOUT at the deadline; for what is tried again now and then. */
void wait_for_time(struct core *core, int64_t deadline_monotonic_ms, wait_fn *fn, void *opaque);

/* Ends when the lease does not wait for a VM any more: it has one, or has ended. */
void wait_for_lease(struct core *core, const char *lease_id, int64_t deadline_monotonic_ms,
                    wait_fn *fn, void *opaque);

#endif
