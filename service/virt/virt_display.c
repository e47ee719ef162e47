/* A running domain's screen: the RFB connection, and a picture of it; and its vsock address. */
#include "service/virt/virt_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"

#define PICTURE_CHUNK 65536
#define ANSWER_MS     4000 /* a client waits */

/* What is asked for, and the answer to it. */
struct question {
    char uuid[VIR_UUID_STRING_BUFLEN];
    int fd;
    size_t max, len;
    char *picture;
    uint32_t cid;
};

static void question_free(void *arg)
{
    struct question *q = arg;

    if (q->fd >= 0)
        close(q->fd);
    free(q->picture);
    free(q);
}

static struct question *question_new(const char *uuid)
{
    struct question *q = xcalloc(1, sizeof(*q));

    str_copy_utf8(q->uuid, sizeof(q->uuid), uuid);
    q->fd = -1;
    return q;
}

static int open_graphics(struct virt *v, void *arg, struct error *err)
{
    struct question *q = arg;
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_close int fd = -1;

    if (virt_acquire(v, VIRT_USE_SHORT, &line, err) ||
        virt_find_ours(v, line->conn, q->uuid, &domain, err))
        return -1;
    fd = virDomainOpenGraphicsFD(domain, 0, VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH);
    if (fd < 0)
        return virt_fail(line->conn, err, "open the display");
    if (fd_set_nonblock(fd, err))
        return -1;
    q->fd = TAKE_FD(fd);
    return 0;
}

int virt_graphics_open(struct virt *v, const char *uuid, int *ret_fd, struct error *err)
{
    struct question *q = question_new(uuid);
    int rc = virt_within(v, ANSWER_MS, q->uuid, open_graphics, q, question_free, err);

    if (rc > 0)
        return -1;
    if (rc == 0)
        *ret_fd = TAKE_FD(q->fd);
    question_free(q);
    return rc;
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

static int take_picture(struct virt *v, void *arg, struct error *err)
{
    struct question *q = arg;
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_stream virStreamPtr stream = NULL;
    char *type;

    if (virt_acquire(v, VIRT_USE_SHORT, &line, err) ||
        virt_find_ours(v, line->conn, q->uuid, &domain, err))
        return -1;
    stream = virStreamNew(line->conn, 0);
    type = stream ? virDomainScreenshot(domain, stream, 0, 0) : NULL;
    if (!type)
        return virt_fail(line->conn, err, "take a picture of the screen");
    free(type); /* the picture says itself what it is */
    return receive(line->conn, stream, q->max, &q->picture, &q->len, err);
}

int virt_screenshot(struct virt *v, const char *uuid, size_t max, char **ret, size_t *ret_len,
                    struct error *err)
{
    struct question *q = question_new(uuid);
    int rc;

    q->max = max;
    rc = virt_within(v, ANSWER_MS, q->uuid, take_picture, q, question_free, err);
    if (rc > 0)
        return -1;
    if (rc == 0) {
        *ret = TAKE_PTR(q->picture);
        *ret_len = q->len;
    }
    question_free(q);
    return rc;
}

static int read_cid(struct virt *v, void *arg, struct error *err)
{
    struct question *q = arg;
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_free char *xml = NULL;

    if (virt_acquire(v, VIRT_USE_SHORT, &line, err) ||
        virt_find_ours(v, line->conn, q->uuid, &domain, err))
        return -1;
    if (virDomainIsActive(domain) != 1)
        return error_set(err, ERROR_VM_STATE_CONFLICT, "the guest is off");
    xml = virDomainGetXMLDesc(domain, 0);
    if (!xml)
        return virt_fail(line->conn, err, "read the running guest's devices");
    q->cid = domxml_read_cid(xml);
    return 0;
}

int virt_vsock_cid(struct virt *v, const char *uuid, uint32_t *ret, struct error *err)
{
    struct question *q = question_new(uuid);
    int rc = virt_within(v, ANSWER_MS, q->uuid, read_cid, q, question_free, err);

    *ret = 0;
    if (rc > 0)
        return -1;
    *ret = q->cid;
    question_free(q);
    return rc;
}
