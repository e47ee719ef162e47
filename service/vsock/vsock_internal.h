/*
 * What vsock.c needs of an address family: the kernel's (vsock_kernel.c), or in test builds Unix
 * sockets in a directory (vsock_shim.c).
 */
#ifndef DROVER_VSOCK_INTERNAL_H
#define DROVER_VSOCK_INTERNAL_H

#include <sys/socket.h>

#include "service/vsock/vsock.h"

struct vsock_family {
    /* 0 or an errno. */
    int (*usable)(void);
    /* A non-blocking socket and the address of a guest's port; -1 with errno. */
    int (*open)(void);
    int (*guest_address)(uint32_t cid, uint32_t port, struct sockaddr_storage *ret,
                         socklen_t *ret_len);
    int (*host_address)(uint32_t port, struct sockaddr_storage *ret, socklen_t *ret_len);
    /* Who is at the other end; 0: nobody that may be. */
    uint32_t (*peer)(const struct sockaddr_storage *address, socklen_t len);
};

extern const struct vsock_family vsock_kernel;
#ifdef DROVER_VSOCK_SHIM
extern const struct vsock_family vsock_shim;
#endif

#endif
