/*
 * WebSocket upgrades: checked here, authorised by the pipeline like any request, then handed over.
 */
#include <string.h>

#include "api/http_internal.h"

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
