/*
 * The guest agent of a domain whose agent libvirt has: a libvirtd's. On the connection that is used
 * for nothing a guest could hold up.
 */
#include "service/virt/virt_internal.h"


bool virt_is_embedded(const struct virt *v)
{
    return v->embedded;
}

static int agent_fail(virConnectPtr conn, struct error *err)
{
    int code = virGetLastErrorCode();

    virt_fail(conn, err, "ask the guest agent");
    if (code == VIR_ERR_AGENT_UNRESPONSIVE)
        return error_set(err, ERROR_AGENT_UNAVAILABLE, "the guest agent is not ready");
    if (err->code == ERROR_HYPERVISOR_FAILED)
        err->code = ERROR_AGENT_FAILED;
    return -1;
}

int virt_agent_command(struct virt *v, const char *uuid, const char *command, int timeout_seconds,
                       char **ret, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    char *reply;

    if (virt_acquire(v, VIRT_USE_AGENT, &line, err) || virt_find_ours(v, line->conn, uuid, &domain, err))
        return -1;
    reply = virDomainQemuAgentCommand(domain, command, timeout_seconds, 0);
    if (!reply)
        return agent_fail(line->conn, err);
    *ret = reply;
    return 0;
}

static void add_address(const virDomainInterface *nic, const virDomainIPAddress *ip,
                        struct virt_address *ret, size_t max, size_t *count)
{
    if (*count == max)
        return;
    snprintf(ret[*count].mac, sizeof(ret->mac), "%s", nic->hwaddr ? nic->hwaddr : "");
    snprintf(ret[*count].address, sizeof(ret->address), "%s", ip->addr ? ip->addr : "");
    ret[*count].ipv6 = ip->type == VIR_IP_ADDR_TYPE_IPV6;
    ret[*count].prefix = ip->prefix;
    ++*count;
}

int virt_leases(struct virt *v, const char *uuid, struct virt_address *ret, size_t max,
                size_t *ret_count, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    virDomainInterfacePtr *list = NULL;
    int n;

    *ret_count = 0;
    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err) ||
        virt_find_ours(v, line->conn, uuid, &domain, err))
        return -1;
    n = virDomainInterfaceAddresses(domain, &list, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, 0);
    if (n < 0)
        return virt_fail(line->conn, err, "read the VM's leases");
    for (int i = 0; i < n; i++) {
        for (unsigned j = 0; j < list[i]->naddrs; j++)
            add_address(list[i], &list[i]->addrs[j], ret, max, ret_count);
        virDomainInterfaceFree(list[i]);
    }
    free(list);
    return 0;
}
