/* The kernel's vsock, from the host's side. */
#include "service/vsock/vsock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <string.h>
#include <unistd.h>

_Static_assert(VSOCK_CID_HOST == VMADDR_CID_HOST, "the host's CID");

/*
 * The device is the host's side of vsock. While nobody provides it, a dial of any CID leaves through
 * the transport of a guest, so to the hypervisor that runs this very machine.
 */
static int usable(void)
{
    int fd = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int open_socket(void)
{
    return socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static int address(uint32_t cid, uint32_t port, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    const struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};

    memcpy(ret, &a, sizeof(a));
    *ret_len = sizeof(a);
    return 0;
}

/* Not VMADDR_CID_ANY: that would also take connections from the machine that runs this host. */
static int host_address(uint32_t port, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    return address(VMADDR_CID_HOST, port, ret, ret_len);
}

static uint32_t peer(const struct sockaddr_storage *from, socklen_t len)
{
    struct sockaddr_vm a;

    if (len < sizeof(a) || from->ss_family != AF_VSOCK)
        return 0;
    memcpy(&a, from, sizeof(a));
    return a.svm_cid;
}

const struct vsock_family vsock_kernel = {
    .usable = usable,
    .open = open_socket,
    .guest_address = address,
    .host_address = host_address,
    .peer = peer,
};
