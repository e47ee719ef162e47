/*
 * A WebSocket on its way to its thread. The connection stays suspended, so that it counts against the limits, while
 * libwebsockets owns a duplicate of its socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http_internal.h"
#include "api/ws.h"
#include "service/base/log.h"

/* The WebSocket thread, last of all. */
static void on_done(void *opaque)
{
    struct exchange *x = opaque;

    if (x->magic != EXCHANGE_MAGIC)
        abort();
    exchange_resume(x);
}

/* The socket's duplicate; or, with TLS, one end of a pair of which the tls thread has the other. */
int upgrade_socket(struct exchange *x, struct error *err)
{
    int fd;

    if (x->conn->tls)
        return tls_carry(x->http->tls, x->conn->tls, &fd, err) < 0 ? -1 : fd;
    fd = fcntl(x->conn->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        error_errno(err, errno, "The socket cannot be handed over.");
    return fd;
}

/* What libmicrohttpd does with its descriptor from now on (closing) is done to the pair, not to the client. */
static void cover_socket(struct conn *c, int plain)
{
    tls_sockets_set(c->fd, NULL);
    if (dup3(plain, c->fd, O_CLOEXEC) < 0)
        log_error("tls: a connection cannot be handed over: %s", strerror(errno));
}

void upgrade_hand_over(struct exchange *x, int fd)
{
    struct ws_adopt adopt = {.fd = fd,
                             .source = TAKE_PTR(x->res.stream),
                             .key = x->gate.value[GATE_WS_KEY],
                             .subprotocol = x->res.subprotocol,
                             .done = on_done,
                             .opaque = x};
    struct error err;

    conn_forget_hangup(x->http, x->conn);
    exchange_suspend(x); /* which takes the descriptor out of libmicrohttpd's epoll set */
    x->phase = PHASE_SOCKET;
    if (x->conn->tls)
        cover_socket(x->conn, fd);
    /* On failure everything is closed, and on_done was called: the client sees the connection end. */
    (void)ws_adopt(x->http->ws, &adopt, &err);
}
