/*
 * The names other exporters use, so that existing dashboards and alerts go on working:
 * ?compat=libvirt gives those of Debian's prometheus-libvirt-exporter, ?compat=node those of
 * node_exporter's ksmd collector. Instead of our own names, never beside them.
 */
#ifndef DROVER_API_METRICS_COMPAT_H
#define DROVER_API_METRICS_COMPAT_H

#include <stdbool.h>
#include <stddef.h>

#include "service/base/str.h"
#include "service/vm/sampler.h"
#include "service/vm/vm.h"

void metrics_compat_libvirt(struct strbuf *b, bool libvirt_up, struct vm *const *vms, size_t count,
                            const struct snapshot *snapshot);
void metrics_compat_node(struct strbuf *b, const struct host_ksm *ksm);

#endif
