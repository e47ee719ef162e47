/* Dialling guests and being dialled by them, whatever carries it. */
#include "service/vsock/vsock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vsock/vsock_internal.h"

#define BACKLOG 64

bool vsock_is_shim(void)
{
#ifdef DROVER_VSOCK_SHIM
    return getenv("DROVER_VSOCK_SHIM") != NULL;
#else
    return false;
#endif
}

static const struct vsock_family *family(void)
{
#ifdef DROVER_VSOCK_SHIM
    if (vsock_is_shim())
        return &vsock_shim;
#endif
    return &vsock_kernel;
}

bool vsock_usable(char *ret_cause, size_t size)
{
    int problem = family()->usable();

    ret_cause[0] = '\0';
    if (problem == 0)
        return true;
    if (problem == ENOENT)
        snprintf(ret_cause, size, "module-missing: there is no /dev/vhost-vsock");
    else
        snprintf(ret_cause, size, "failed: /dev/vhost-vsock: %s", strerror(problem));
    return false;
}

static int require_usable(struct error *err)
{
    char cause[256];

    if (vsock_usable(cause, sizeof(cause)))
        return 0;
    error_set(err, ERROR_NOT_SUPPORTED_BY_HOST, "this host has no vsock: %s", cause);
    error_remedy(err, "sudo modprobe vhost_vsock, then start the VM anew.");
    return -1;
}

static int refused(uint32_t port, int why, struct error *err)
{
    switch (why) {
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOENT: /* the shim's */
        error_set(err, ERROR_STREAM_UNAVAILABLE, "nothing listens on vsock port %u in the guest", port);
        error_remedy(err, "Start the service in the guest first.");
        return -1;
    case ETIMEDOUT:
        error_set(err, ERROR_TIMEOUT, "the guest does not answer on vsock port %u", port);
        error_remedy(err, "Its kernel may still be booting, or have no vsock driver.");
        return -1;
    case ENODEV:
    case EHOSTUNREACH:
    case ENETUNREACH:
        error_set(err, ERROR_STREAM_UNAVAILABLE, "the guest's vsock device is not there");
        error_remedy(err, "Start the VM anew; GET /v1/host/checks tells whether the host has vsock.");
        return -1;
    default:
        return error_errno(err, why, "cannot connect to vsock port %u", port);
    }
}

static int wait_connected(int fd, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof(int);
    int64_t left;
    int why = 0, n;

    do {
        left = deadline - clock_monotonic_ms();
        n = left > 0 ? poll(&p, 1, (int)left) : 0;
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n ? errno : ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) ? errno : why;
}

int vsock_dial(uint32_t cid, uint32_t port, int64_t timeout_ms, int *ret_fd, struct error *err)
{
    const struct vsock_family *f = family();
    const int64_t deadline = clock_monotonic_ms() + timeout_ms;
    struct sockaddr_storage to;
    auto_close int fd = -1;
    socklen_t len;
    int why;

    if (cid < VSOCK_CID_FIRST || cid > VSOCK_CID_LAST)
        return error_set(err, ERROR_INVALID_ARGUMENT, "%u is no guest's CID", cid);
    if (port < 1 || port > VSOCK_PORT_LAST)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "port", "%u is no port", port);
    if (require_usable(err))
        return -1;
    fd = f->open();
    if (fd < 0 || f->guest_address(cid, port, &to, &len))
        return error_errno(err, errno, "cannot make a vsock socket");
    why = connect(fd, (const struct sockaddr *)&to, len) ? errno : 0;
    if (why == EINPROGRESS)
        why = wait_connected(fd, deadline);
    if (why == EAGAIN) /* the shim's: its backlog is full */
        why = ETIMEDOUT;
    if (why)
        return refused(port, why, err);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int vsock_listen(uint32_t port, int *ret_fd, struct error *err)
{
    const struct vsock_family *f = family();
    struct sockaddr_storage at;
    auto_close int fd = -1;
    socklen_t len;

    if (require_usable(err))
        return -1;
    fd = f->open();
    if (fd < 0 || f->host_address(port, &at, &len) ||
        bind(fd, (const struct sockaddr *)&at, len) || listen(fd, BACKLOG))
        return error_errno(err, errno, "cannot listen on vsock port %u", port);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int vsock_accept(int listener, int *ret_fd, uint32_t *ret_cid, struct error *err)
{
    struct sockaddr_storage from = {0};
    socklen_t len = sizeof(from);
    auto_close int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    uint32_t cid;

    if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return 0;
        return error_errno(err, errno, "cannot accept a guest's connection");
    }
    cid = family()->peer(&from, len);
    if (cid < VSOCK_CID_FIRST || cid > VSOCK_CID_LAST)
        return 0;
    *ret_fd = TAKE_FD(fd);
    *ret_cid = cid;
    return 1;
}
