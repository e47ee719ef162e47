/* Under which addresses a VM can be reached. */
#include "service/vm/guest_address.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/guest_internal.h"

#define LEASES_MAX 32
#define LOOK_MS    500

const char *guest_source_name(enum guest_source source)
{
    static const char *const names[GUEST_SOURCE_COUNT] = {
        [GUEST_FROM_AGENT] = "agent", [GUEST_FROM_LEASE] = "lease", [GUEST_FROM_ARP] = "arp"};

    return names[source];
}

static bool is_loopback(const char *address)
{
    return str_starts(address, "127.") || str_eq(address, "::1");
}

static bool is_link_local(const char *address)
{
    return str_starts(address, "169.254.") || strncasecmp(address, "fe80:", 5) == 0;
}

static void add(struct guest_found *found, const struct guest_found_address *a)
{
    if (found->count == GUEST_FOUND_MAX || is_loopback(a->address))
        return;
    for (size_t i = 0; i < found->count; i++) {
        if (str_eq(found->items[i].address, a->address))
            return;
    }
    found->items[found->count++] = *a;
}

static void ask_agent(struct core *core, const char *vm_id, struct guest_found *found)
{
    auto_free struct guest_interface *list = xcalloc(GUEST_INTERFACES_MAX, sizeof(*list));
    struct error ignored;
    size_t count;

    if (guest_interfaces_read(core, vm_id, list, GUEST_INTERFACES_MAX, &count, &ignored))
        return;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < list[i].address_count; j++) {
            const struct guest_address *from = &list[i].addresses[j];
            struct guest_found_address a = {
                .source = GUEST_FROM_AGENT, .ipv6 = from->ipv6, .prefix = from->prefix};

            memcpy(a.address, from->address, sizeof(a.address));
            memcpy(a.mac, list[i].mac, sizeof(a.mac));
            memcpy(a.interface, list[i].name, sizeof(a.interface));
            add(found, &a);
        }
    }
}

static bool has_network(const struct vm *vm, int mode)
{
    for (size_t i = 0; i < vm->spec->network_count; i++) {
        if (vm->spec->networks[i].mode == mode)
            return true;
    }
    return false;
}

static void ask_leases(struct core *core, const struct vm *vm, struct guest_found *found)
{
    struct virt_address list[LEASES_MAX];
    struct error ignored;
    size_t count;

    if (!has_network(vm, VM_NETWORK_LIBVIRT) ||
        virt_leases(core->virt, vm->id, list, LEASES_MAX, &count, &ignored))
        return;
    for (size_t i = 0; i < count; i++) {
        struct guest_found_address a = {
            .source = GUEST_FROM_LEASE, .ipv6 = list[i].ipv6, .prefix = list[i].prefix};

        memcpy(a.address, list[i].address, sizeof(a.address));
        memcpy(a.mac, list[i].mac, sizeof(a.mac));
        add(found, &a);
    }
}

struct neighbours {
    const struct vm *vm;
    struct guest_found *found;
};

static void on_neighbour(void *arg, const char *address, const char *mac)
{
    const struct neighbours *n = arg;

    for (size_t i = 0; i < n->vm->spec->network_count; i++) {
        const struct vm_network *net = &n->vm->spec->networks[i];
        struct guest_found_address a = {.source = GUEST_FROM_ARP, .prefix = -1};

        if (net->mode == VM_NETWORK_USER || strcasecmp(net->mac, mac) != 0)
            continue;
        str_copy_utf8(a.address, sizeof(a.address), address);
        str_copy_utf8(a.mac, sizeof(a.mac), mac);
        add(n->found, &a);
    }
}

int guest_addresses_read(struct core *core, const char *vm_id, struct guest_found *ret,
                         struct error *err)
{
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);
    struct neighbours n = {vm, ret};

    ret->count = 0;
    if (!vm)
        return error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone");
    if (vm->state != VM_STATE_RUNNING && vm->state != VM_STATE_PAUSED &&
        vm->state != VM_STATE_STOPPING)
        return 0;
    if (vm->state == VM_STATE_RUNNING)
        ask_agent(core, vm_id, ret);
    ask_leases(core, vm, ret);
    if (has_network(vm, VM_NETWORK_BRIDGE) || has_network(vm, VM_NETWORK_LIBVIRT))
        host_neighbours(core->host, on_neighbour, &n);
    return 0;
}

static bool has_usable(const struct guest_found *found)
{
    for (size_t i = 0; i < found->count; i++) {
        if (!is_link_local(found->items[i].address))
            return true;
    }
    return false;
}

int guest_wait_address(struct core *core, const char *vm_id, int64_t deadline, struct error *err)
{
    auto_free struct guest_found *found = xcalloc(1, sizeof(*found));

    for (;;) {
        auto_vm struct vm *vm = registry_get(core->registry, vm_id);
        int64_t left = deadline - clock_monotonic_ms();

        if (!vm || vm->state != VM_STATE_RUNNING)
            return error_set(err, ERROR_VM_STATE_CONFLICT, "the VM is %s",
                             vm ? vm_state_name(vm->state) : "deleted");
        if (guest_addresses_read(core, vm_id, found, err))
            return -1;
        if (has_usable(found))
            return 0;
        if (left <= 0)
            return error_set(err, ERROR_TIMEOUT,
                             "the guest has no address that its agent, a lease or the neighbour "
                             "table knows of");
        if (guest_pause(core->guests, left < LOOK_MS ? left : LOOK_MS, err))
            return -1;
    }
}
