/*
 * Waiting for what only a look can tell: an agent that answers, an address, something printed.
 */
#ifndef DROVER_VM_GUEST_WAIT_H
#define DROVER_VM_GUEST_WAIT_H

#include "service/base/secret.h"
#include "service/vm/guest.h"
#include "service/vm/pattern.h"

enum guest_wait_for { GUEST_WAIT_AGENT, GUEST_WAIT_IP, GUEST_WAIT_PATTERN };

struct guest_wait {
    char vm_id[UUID_TEXT];
    enum guest_wait_for what;
    struct pattern *pattern; /* owned; GUEST_WAIT_PATTERN */
    int64_t deadline;        /* monotonic ms */
};

struct guest_wait *guest_wait_new(const char *vm_id, enum guest_wait_for what, int64_t timeout_ms);
void guest_wait_free(void *wait);
/*
 * A guest_run_fn: first until the VM runs. TIMEOUT, VM_STATE_CONFLICT (it cannot come any more),
 * each with the reason.
 */
int guest_wait_run(struct core *core, void *wait, struct error *err);

#endif
