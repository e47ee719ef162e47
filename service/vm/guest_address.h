/*
 * Under which addresses a VM can be reached, from everybody who knows some: its agent, libvirt's
 * DHCP leases, the host's neighbour table.
 */
#ifndef DROVER_VM_GUEST_ADDRESS_H
#define DROVER_VM_GUEST_ADDRESS_H

#include "service/vm/guest.h"

enum guest_source { GUEST_FROM_AGENT, GUEST_FROM_LEASE, GUEST_FROM_ARP, GUEST_SOURCE_COUNT };
const char *guest_source_name(enum guest_source source); /* "agent", "lease", "arp" */

#define GUEST_FOUND_MAX 64

struct guest_found_address {
    enum guest_source source;
    char address[46], mac[18], interface[32]; /* "" unknown */
    bool ipv6;
    int64_t prefix; /* -1 unknown */
};

struct guest_found {
    size_t count;
    struct guest_found_address items[GUEST_FOUND_MAX];
};

/*
 * Every address once, by whom it was best known. Loopback is left out. Who cannot be asked is left
 * out silently: an empty list is an answer. Blocks.
 */
int guest_addresses_read(struct core *core, const char *vm_id, struct guest_found *ret,
                         struct error *err);
/* Waits for one that is not link-local. Blocks; TIMEOUT. */
int guest_wait_address(struct core *core, const char *vm_id, int64_t deadline_monotonic_ms,
                       struct error *err);

#endif
