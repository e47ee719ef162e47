/*
 * Private to service/virt: the parts of the XML module. domxml_check.c looks at a definition,
 * domxml.c writes it (virt_domain_xml() of virt.h), domxml_read.c reads what libvirt hands out,
 * domxml_clone.c gives a saved domain's to another.
 *
 * Pure functions; any thread.
 */
#ifndef DROVER_VIRT_DOMXML_H
#define DROVER_VIRT_DOMXML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/virt/virt.h"

struct error;
struct virt_domain;
struct virt_host;

#define DOMXML_NAMESPACE "https://drover.dev/xmlns/vm/1"
#define DOMXML_PREFIX    "drover"

/*
 * Once, before a second thread exists that writes XML (libvirt's do, too): libxml2 makes its table of
 * encodings at the first use, without a lock.
 */
void domxml_init(void);
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
/*
 * What a persistent definition of a domain of Drover's says, uuid, name and state excepted; ret was
 * zeroed, and is to be freed with domxml_found_done() in any case. false: it is none.
 */
bool domxml_read_found(const char *text, struct virt_found *ret);
void domxml_found_done(struct virt_found *found);
/* Fills arch, kvm and machines from virConnectGetCapabilities; false when it cannot be read. */
bool domxml_read_capabilities(const char *text, struct virt_host *ret);
/* Whether virConnectGetDomainCapabilities offers a vsock device. */
bool domxml_read_vsock(const char *text);
/* The address of a running domain's vsock device; 0: it has none, or this is no domain. */
uint32_t domxml_read_cid(const char *text);

/*
 * The head of a file of libvirt's virDomainManagedSave(), in this machine's byte order; XML and,
 * at cookie_offset unless that is 0, a cookie follow, then what QEMU wrote.
 */
struct domxml_saved {
    char magic[16];
    uint32_t version, data_len, was_running, compressed, cookie_offset, unused[14];
};
#define DOMXML_SAVED_HEADER 92
#define DOMXML_SAVED_MAX    (4u << 20)
_Static_assert(sizeof(struct domxml_saved) == DOMXML_SAVED_HEADER, "libvirt's header has no holes");

/* How many bytes come before QEMU's; HYPERVISOR_FAILED when it is no such file. */
int domxml_saved_length(const char data[DOMXML_SAVED_HEADER], size_t *ret, struct error *err);
/*
 * Those bytes, made the domain's: caller frees. HYPERVISOR_FAILED when its devices are not the
 * saved domain's.
 */
int domxml_clone(const char *data, size_t len, const struct virt_domain *domain,
                 const char *install_id, char **ret, size_t *ret_len, struct error *err);

/* A <domainbackup> that copies the disk with that target ("vda") into a new file; caller frees. */
int domxml_backup(const char *target, const char *path, enum virt_disk_format format, char **ret,
                  struct error *err);

#endif
