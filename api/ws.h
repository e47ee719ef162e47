/*
 * The libwebsockets wall: carries a source's bytes and messages in WebSocket frames. One thread
 * ("ws") owns every libwebsockets object; the way in is a mailbox and lws_cancel_service().
 */
#ifndef DROVER_API_WS_H
#define DROVER_API_WS_H

#include <stdbool.h>

#include "service/base/error.h"
#include "service/base/source.h"

struct ws;

/* A ping after so much silence; a client that does not answer in WS_PONG_SECONDS is gone. */
#define WS_PONG_SECONDS 15
int ws_start(unsigned ping_seconds, struct ws **ret, struct error *err);
/* The same with another patience (tests); hangup_seconds counts from the beginning of the silence. */
int ws_start_with(unsigned ping_seconds, unsigned hangup_seconds, struct ws **ret,
                  struct error *err);
/* Closes with 1001, waits at most 2 s for the close frames, frees w. After http_quiesce(). */
void ws_stop(struct ws *w);

/*
 * Takes over fd (a dup of the client's socket) and source in any case: on failure both are closed
 * and done is called. key is the client's Sec-WebSocket-Key (24 characters of base64), subprotocol
 * the chosen one or "". done is called once, on the ws thread, when the socket is finished; it
 * must not block. Any thread.
 */
struct ws_adopt {
    int fd;
    struct source *source;
    const char *key, *subprotocol;
    void (*done)(void *opaque);
    void *opaque;
};
int ws_adopt(struct ws *w, const struct ws_adopt *adopt, struct error *err);

struct ws_stats {
    unsigned long long connections, bytes_in, bytes_out;
};
void ws_stats_read(struct ws *w, struct ws_stats *ret);

#endif
