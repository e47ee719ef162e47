/*
 * The figures of VMs for /metrics. Call between the daemon's own figures and KSM's: the order is
 * that of metrics.def. exact: with the figures that need ksm:read.
 */
#ifndef DROVER_API_METRICS_VM_H
#define DROVER_API_METRICS_VM_H

#include <stddef.h>

#include "api/handlers/metrics_writer.h"
#include "service/vm/sampler.h"
#include "service/vm/vm.h"

void metrics_add_vms(struct metrics_writer *w, struct vm *const *vms, size_t count,
                     const struct snapshot *snapshot, bool exact);

#endif
