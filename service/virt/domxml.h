/*
 * Private to service/virt: the parts of the XML module. domxml_check.c looks at a definition,
 * domxml.c writes it (virt_domain_xml() of virt.h), domxml_read.c reads what libvirt hands out.
 *
 * Pure functions; any thread.
 */
#ifndef DROVER_VIRT_DOMXML_H
#define DROVER_VIRT_DOMXML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct virt_domain;
struct virt_host;

#define DOMXML_NAMESPACE "https://drover.dev/xmlns/vm/1"
#define DOMXML_PREFIX    "drover"

/* VALIDATION_FAILED with a pointer for what cannot be, or must not be, in a document. */
int domxml_check(const struct virt_domain *domain, const char *install_id, struct error *err);

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
/* The address of a running domain's vsock device; 0: it has none, or this is no domain. */
uint32_t domxml_read_cid(const char *text);

#endif
