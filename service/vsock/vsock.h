/*
 * The vsock wall: sockets between this host and its guests. No other folder speaks AF_VSOCK.
 *
 * Only guests are ever dialled. A CID below VSOCK_CID_FIRST is refused here whatever the caller
 * thinks (0 is the hypervisor, 1 this host's own loopback, 2 the host), and so is every CID while
 * /dev/vhost-vsock cannot be opened: without it the kernel hands the connection to the machine
 * *this* host runs in. That a CID belongs to a running VM of ours is for the caller to know
 * (service/vm/guest_socket.c, the only one).
 *
 * Any thread; no state.
 */
#ifndef DROVER_VSOCK_VSOCK_H
#define DROVER_VSOCK_VSOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"

#define VSOCK_CID_FIRST 1000u       /* the first one the database gives out */
#define VSOCK_CID_LAST  4294967294u /* all ones means any */
#define VSOCK_CID_HOST  2u          /* what a guest calls us by */
#define VSOCK_PORT_LAST 4294967294u /* 0 is none, all ones means any */

/* Can guests be reached from here? ret_cause: "" or why not, a stable word and a sentence. */
bool vsock_usable(char *ret_cause, size_t size);
/* A stand-in of Unix sockets is in use; never in a release build. */
bool vsock_is_shim(void);

/*
 * A connected, non-blocking socket; blocks at most timeout_ms. STREAM_UNAVAILABLE (nothing listens
 * there), TIMEOUT (the guest does not answer), NOT_SUPPORTED_BY_HOST, INVALID_ARGUMENT.
 */
int vsock_dial(uint32_t cid, uint32_t port, int64_t timeout_ms, int *ret_fd, struct error *err);

/* A non-blocking socket that guests reach at VSOCK_CID_HOST and port. */
int vsock_listen(uint32_t port, int *ret_fd, struct error *err);
/*
 * 1: a connection and who it is from, which a guest cannot forge; 0: none is waiting; -1. One that
 * is not from a guest is closed and counts as none.
 */
int vsock_accept(int listener, int *ret_fd, uint32_t *ret_cid, struct error *err);

#endif
