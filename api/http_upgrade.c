/*
 * WebSocket upgrades: checked here, authorised by the pipeline like any request, then handed over.
 * The connection stays suspended, so that it counts against the limits, while libwebsockets owns a
 * duplicate of its socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http_internal.h"
#include "api/ws.h"
#include "service/base/log.h"

int upgrade_check(struct exchange *x, struct error *err)
{
    const struct gate *g = &x->gate;
    unsigned flags = x->req.route->flags;
    const char *version = g->value[GATE_WS_VERSION];

    if (!(flags & (ROUTE_UPGRADE | ROUTE_UPGRADE_OPTIONAL)))
        return 0;
    if (!request_wants_upgrade(&x->req)) {
        if (!(flags & ROUTE_UPGRADE))
            return 0;
        error_set(err, ERROR_UPGRADE_REQUIRED, "This address speaks WebSocket only.");
        error_remedy(err, "Connect with a WebSocket client.");
        return -1;
    }
    if (!version || strcmp(version, "13") != 0)
        return error_set(err, ERROR_UPGRADE_REQUIRED, "This server speaks WebSocket version 13.");
    if (!g->value[GATE_WS_KEY] || !gate_ws_key_valid(g->value[GATE_WS_KEY]))
        return error_set_at(err, ERROR_MALFORMED_REQUEST, "Sec-WebSocket-Key",
                            "The key is not 16 bytes of base64.");
    if (g->content_length != 0)
        return error_set(err, ERROR_MALFORMED_REQUEST, "A WebSocket handshake has no body.");
    x->wants_upgrade = true;
    return 0;
}

/* The WebSocket thread, last of all. */
static void on_done(void *opaque)
{
    struct exchange *x = opaque;

    if (x->magic != EXCHANGE_MAGIC)
        abort();
    exchange_resume(x);
}

/* The socket's duplicate; or, with TLS, one end of a pair of which the tls thread has the other. */
static int plain_socket(struct exchange *x, struct error *err)
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

enum MHD_Result upgrade_hand_over(struct exchange *x)
{
    struct ws_adopt adopt = {.key = x->gate.value[GATE_WS_KEY],
                             .subprotocol = x->res.subprotocol,
                             .done = on_done,
                             .opaque = x};
    struct error err;

    adopt.fd = plain_socket(x, &x->err);
    if (adopt.fd < 0) {
        x->failed = true;
        return answer_send(x);
    }
    conn_forget_hangup(x->http, x->conn);
    adopt.source = x->res.stream;
    x->res.stream = NULL;
    answer_count(x, 101);
    exchange_suspend(x); /* which takes the descriptor out of libmicrohttpd's epoll set */
    x->phase = PHASE_SOCKET;
    if (x->conn->tls)
        cover_socket(x->conn, adopt.fd);
    /* On failure everything is closed, and on_done was called: the client sees the connection end.
     */
    if (ws_adopt(x->http->ws, &adopt, &err) < 0)
        return MHD_YES;
    return MHD_YES;
}
