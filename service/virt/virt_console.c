/* Byte streams of a running domain: serial console, virtio-serial ports, the VNC display. */
#include "service/virt/virt_internal.h"

#include "service/base/fd.h"

typedef int (*open_fn)(virDomainPtr domain, const char *name, virStreamPtr stream, unsigned flags);

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

static int open_stream(struct virt *v, const char *uuid, open_fn fn, const char *name,
                       unsigned flags, const char *what, int *ret_fd, struct error *err)
{
    auto_connect virConnectPtr conn = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_stream virStreamPtr stream = NULL;

    if (virt_acquire(v, VIRT_USE_CONTROL, &conn, err) ||
        virt_find_ours(v, conn, uuid, &domain, err) || require_process(v, domain, uuid, err))
        return -1;
    stream = virStreamNew(conn, VIR_STREAM_NONBLOCK);
    if (!stream || fn(domain, name, stream, flags))
        return virt_fail(conn, err, what);
    return virt_pump_open(v, &stream, ret_fd, err);
}

/*
 * FORCE: Drover is the only client a console is meant to have, and after a crash of ours or a
 * broken connection libvirt may not have noticed yet that its last client is gone.
 */
int virt_console_open(struct virt *v, const char *uuid, const char *device, int *ret_fd,
                      struct error *err)
{
    return open_stream(v, uuid, virDomainOpenConsole, device, VIR_DOMAIN_CONSOLE_FORCE,
                       "open the console", ret_fd, err);
}

int virt_channel_open(struct virt *v, const char *uuid, const char *port, int *ret_fd,
                      struct error *err)
{
    return open_stream(v, uuid, virDomainOpenChannel, port, VIR_DOMAIN_CHANNEL_FORCE,
                       "open the channel", ret_fd, err);
}

int virt_graphics_open(struct virt *v, const char *uuid, int *ret_fd, struct error *err)
{
    auto_connect virConnectPtr conn = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_close int fd = -1;

    if (virt_acquire(v, VIRT_USE_CONTROL, &conn, err) ||
        virt_find_ours(v, conn, uuid, &domain, err))
        return -1;
    fd = virDomainOpenGraphicsFD(domain, 0, VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH);
    if (fd < 0)
        return virt_fail(conn, err, "open the display");
    if (fd_set_nonblock(fd, err))
        return -1;
    *ret_fd = TAKE_FD(fd);
    return 0;
}
