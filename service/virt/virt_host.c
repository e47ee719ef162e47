/* What the host's hypervisor can do, from libvirt's capabilities. */
#include "service/virt/virt_internal.h"

#include <string.h>

static void format_version(unsigned long version, char *ret, size_t size)
{
    snprintf(ret, size, "%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
}

static void read_vsock(virConnectPtr conn, struct virt_host *host)
{
    auto_free char *text =
        virConnectGetDomainCapabilities(conn, NULL, *host->arch ? host->arch : NULL, NULL, NULL, 0);

    host->vsock = text && domxml_read_vsock(text);
}

int virt_host_info(struct virt *v, struct virt_host *ret, struct error *err)
{
    auto_connect virConnectPtr conn = NULL;
    auto_free struct virt_host *host = xcalloc(1, sizeof(*host));
    auto_free char *capabilities = NULL, *uri = NULL, *hostname = NULL;
    const char *driver;
    unsigned long version;

    if (virt_acquire(v, VIRT_USE_CONTROL, &conn, err))
        return -1;
    capabilities = virConnectGetCapabilities(conn);
    driver = virConnectGetType(conn);
    if (!capabilities || !driver || virConnectGetLibVersion(conn, &version))
        return virt_fail(conn, err, "read the hypervisor's capabilities");
    if (!domxml_read_capabilities(capabilities, host))
        return error_set(err, ERROR_HYPERVISOR_FAILED, "libvirt's capabilities are not readable");
    format_version(version, host->libvirt_version, sizeof(host->libvirt_version));
    str_copy_utf8(host->driver, sizeof(host->driver), driver);
    if (str_eq(driver, "QEMU")) {
        if (virConnectGetVersion(conn, &version) == 0)
            format_version(version, host->qemu_version, sizeof(host->qemu_version));
        read_vsock(conn, host);
    }
    uri = virConnectGetURI(conn);
    hostname = virConnectGetHostname(conn);
    str_copy_utf8(host->uri, sizeof(host->uri), uri ? uri : v->uri);
    str_copy_utf8(host->hostname, sizeof(host->hostname), hostname ? hostname : "");
    *ret = *host;
    return 0;
}
