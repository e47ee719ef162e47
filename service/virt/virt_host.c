/*
 * What the host's hypervisor can do, from libvirt's capabilities. Only the link thread asks, so
 * that a libvirt that hangs holds up neither a request nor an operation; everybody else takes what
 * it said last, and waits a moment for news when that is old (KVM may have been switched on since).
 */
#include "service/virt/virt_internal.h"

#include <string.h>

#include "service/base/clock.h"

#define FRESH_MS      5000 /* younger is as good as new */
#define WAIT_MS       500  /* for news, when there is something older */
#define WAIT_FIRST_MS 4000 /* for the first: the embedded driver asks QEMU many things */

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

static int ask(struct virt *v, struct virt_host *host, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_free char *capabilities = NULL, *uri = NULL, *hostname = NULL;
    const char *driver;
    unsigned long version;

    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err))
        return -1;
    capabilities = virConnectGetCapabilities(line->conn);
    driver = virConnectGetType(line->conn);
    if (!capabilities || !driver || virConnectGetLibVersion(line->conn, &version))
        return virt_fail(line->conn, err, "read the hypervisor's capabilities");
    if (!domxml_read_capabilities(capabilities, host))
        return error_set(err, ERROR_HYPERVISOR_FAILED, "libvirt's capabilities are not readable");
    format_version(version, host->libvirt_version, sizeof(host->libvirt_version));
    str_copy_utf8(host->driver, sizeof(host->driver), driver);
    if (str_eq(driver, "QEMU")) {
        if (virConnectGetVersion(line->conn, &version) == 0)
            format_version(version, host->qemu_version, sizeof(host->qemu_version));
        read_vsock(line->conn, host);
    }
    uri = virConnectGetURI(line->conn);
    hostname = virConnectGetHostname(line->conn);
    str_copy_utf8(host->uri, sizeof(host->uri), uri ? uri : v->uri);
    str_copy_utf8(host->hostname, sizeof(host->hostname), hostname ? hostname : "");
    return 0;
}

void virt_host_refresh(struct virt *v)
{
    struct virt_host *host = xcalloc(1, sizeof(*host));
    struct error err = ERROR_INIT;
    int rc = ask(v, host, &err);

    {
        LOCK_SCOPE(&v->lock);
        v->host_wanted = false;
        v->host_err = err;
        v->host_at_ms = clock_monotonic_ms();
        if (rc == 0) {
            struct virt_host *old = v->host;

            v->host = host;
            host = old;
        }
        pthread_cond_broadcast(&v->changed);
    }
    free(host);
}

int virt_host_info(struct virt *v, struct virt_host *ret, struct error *err)
{
    int64_t now = clock_monotonic_ms();

    LOCK_SCOPE(&v->lock);
    if (!v->conn || v->broken)
        return virt_link_fail(v, err);
    if (!v->host || now - v->host_at_ms > FRESH_MS) {
        int64_t until = now + (v->host ? WAIT_MS : WAIT_FIRST_MS);

        v->host_wanted = true;
        pthread_cond_broadcast(&v->changed);
        while (v->host_wanted && !v->broken && !v->stopping) {
            if (!cond_wait_until(&v->changed, &v->lock, until))
                break;
        }
    }
    if (v->host) {
        *ret = *v->host;
        return 0;
    }
    if (!v->host_wanted && v->host_err.code) {
        *err = v->host_err;
        return -1;
    }
    error_set(err, ERROR_HYPERVISOR_UNAVAILABLE, "libvirt has not told yet what this host can do");
    error_remedy(err, "Send the request again later.");
    return -1;
}
