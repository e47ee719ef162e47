/* A running domain's screen: the RFB connection, and a picture of it; and its vsock address. */
#include "service/virt/virt_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/fd.h"
#include "service/base/str.h"

#define PICTURE_CHUNK 65536

int virt_graphics_open(struct virt *v, const char *uuid, int *ret_fd, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_close int fd = -1;

    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err) ||
        virt_find_ours(v, line->conn, uuid, &domain, err))
        return -1;
    fd = virDomainOpenGraphicsFD(domain, 0, VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH);
    if (fd < 0)
        return virt_fail(line->conn, err, "open the display");
    if (fd_set_nonblock(fd, err))
        return -1;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* The stream's bytes until its end, never more than max. */
static int receive(virConnectPtr conn, virStreamPtr stream, size_t max, char **ret, size_t *ret_len,
                   struct error *err)
{
    auto_free char *data = NULL;
    size_t len = 0, size = 0;
    int n;

    do {
        if (size - len < PICTURE_CHUNK) {
            size = size ? size * 2 : (size_t)PICTURE_CHUNK * 4;
            data = xrealloc_array(data, size, 1);
        }
        n = virStreamRecv(stream, data + len, PICTURE_CHUNK);
        if (n < 0)
            return virt_fail(conn, err, "take the picture");
        len += (size_t)n;
        if (len > max) {
            virStreamAbort(stream);
            return error_set(err, ERROR_HYPERVISOR_FAILED, "the screen is too large for a picture");
        }
    } while (n > 0);
    if (virStreamFinish(stream))
        return virt_fail(conn, err, "take the picture");
    *ret = TAKE_PTR(data);
    *ret_len = len;
    return 0;
}

int virt_screenshot(struct virt *v, const char *uuid, size_t max, char **ret, size_t *ret_len,
                    struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_stream virStreamPtr stream = NULL;
    char *type;

    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err) ||
        virt_find_ours(v, line->conn, uuid, &domain, err))
        return -1;
    stream = virStreamNew(line->conn, 0);
    type = stream ? virDomainScreenshot(domain, stream, 0, 0) : NULL;
    if (!type)
        return virt_fail(line->conn, err, "take a picture of the screen");
    free(type); /* the picture says itself what it is */
    return receive(line->conn, stream, max, ret, ret_len, err);
}

int virt_vsock_cid(struct virt *v, const char *uuid, uint32_t *ret, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_free char *xml = NULL;

    *ret = 0;
    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err) ||
        virt_find_ours(v, line->conn, uuid, &domain, err))
        return -1;
    if (virDomainIsActive(domain) != 1)
        return error_set(err, ERROR_VM_STATE_CONFLICT, "the guest is off");
    xml = virDomainGetXMLDesc(domain, 0);
    if (!xml)
        return virt_fail(line->conn, err, "read the running guest's devices");
    *ret = domxml_read_cid(xml);
    return 0;
}
