/*
 * Reading XML that libvirt hands out, in plain values: the counterpart of virt_domain_xml(). Only
 * domxml.c (writes) and domxml_read.c (reads) know libxml2.
 *
 * Pure functions; any thread.
 */
#ifndef DROVER_VIRT_DOMXML_H
#define DROVER_VIRT_DOMXML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct virt_host;

#define DOMXML_NAMESPACE "https://drover.dev/xmlns/vm/1"
#define DOMXML_PREFIX    "drover"

/* What our metadata element says. */
struct domxml_mark {
    char install[128];
    char id[40];
    uint64_t generation;
};

/* false when text is not a well-formed element of ours with all three attributes. */
bool domxml_read_mark(const char *text, struct domxml_mark *ret);
/* Fills arch, kvm and machines from virConnectGetCapabilities; false when it cannot be read. */
bool domxml_read_capabilities(const char *text, struct virt_host *ret);
/* Whether virConnectGetDomainCapabilities offers a vsock device. */
bool domxml_read_vsock(const char *text);

#endif
