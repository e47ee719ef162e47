/* Byte streams of a running domain: serial ports and virtio-serial ports. */
#include "service/virt/virt_internal.h"

#include <poll.h>

#include "service/base/clock.h"
#include "service/base/fd.h"

#define DISPLACE_MS 2000

typedef int (*open_fn)(virDomainPtr domain, const char *name, virStreamPtr stream, unsigned flags);

/* Consoles and channels have the same flag; it throws another client out. */
enum { OPEN_FORCE = VIR_DOMAIN_CONSOLE_FORCE };
_Static_assert((int)VIR_DOMAIN_CONSOLE_FORCE == (int)VIR_DOMAIN_CHANNEL_FORCE, "one flag for both");

/*
 * libvirt calls a guest active for a moment after its QEMU has gone. A console is a terminal by its
 * number, which may by then be somebody else's: it is not opened.
 */
static int require_process(const struct virt *v, virDomainPtr domain, const char *uuid,
                           struct error *err)
{
    if (!v->embedded || virt_pid(v, virDomainGetName(domain), uuid))
        return 0;
    return error_set(err, ERROR_VM_STATE_CONFLICT, "the guest is off");
}

/*
 * The newest client wins. Our own older pump is ended first, on the virt thread: the embedded
 * driver would otherwise abort its stream under it, on ours. FORCE is for what then is left: after
 * a crash or a broken connection libvirtd may not have noticed that its last client is gone.
 */
static int open_stream(struct virt *v, const char *uuid, open_fn fn, const char *name,
                       const char *what, int *ret_fd, struct error *err)
{
    const int64_t deadline = clock_monotonic_ms() + DISPLACE_MS;
    auto_free char *key = xasprintf("%s %s %s", uuid, what, name ? name : "serial0");
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;

    if (virt_acquire(v, VIRT_USE_STREAM, &line, err) ||
        virt_find_ours(v, line->conn, uuid, &domain, err) || require_process(v, domain, uuid, err))
        return -1;
    for (;;) {
        auto_stream virStreamPtr stream = virStreamNew(line->conn, VIR_STREAM_NONBLOCK);

        if (!stream)
            return virt_fail(line->conn, err, what);
        if (!virt_pump_displace(v, key, deadline))
            return error_set(err, ERROR_UNAVAILABLE, "cannot %s: its last user is still there",
                             what);
        if (fn(domain, name, stream, v->embedded ? 0 : OPEN_FORCE) == 0)
            return virt_pump_open(v, &line, key, &stream, ret_fd, err);
        /* Busy: another thread of ours was faster, and is displaced in the next round. */
        if (!v->embedded || virGetLastErrorCode() != VIR_ERR_OPERATION_FAILED ||
            clock_monotonic_ms() >= deadline)
            return virt_fail(line->conn, err, what);
        poll(NULL, 0, 10);
    }
}

int virt_console_open(struct virt *v, const char *uuid, const char *device, int *ret_fd,
                      struct error *err)
{
    return open_stream(v, uuid, virDomainOpenConsole, device, "open the console", ret_fd, err);
}

int virt_channel_open(struct virt *v, const char *uuid, const char *port, int *ret_fd,
                      struct error *err)
{
    return open_stream(v, uuid, virDomainOpenChannel, port, "open the channel", ret_fd, err);
}
