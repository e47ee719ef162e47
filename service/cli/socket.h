/*
 * One WebSocket connection and one input descriptor, driven until either ends. The only place of
 * this folder that speaks libwebsockets.
 *
 * Main thread only. The callbacks run inside socket_run, one at a time.
 */
#ifndef DROVER_CLI_SOCKET_H
#define DROVER_CLI_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "service/cli/client.h"

struct socket_options {
    const struct client *client; /* where, and with which token */
    const char *path;            /* "/v1/vms/hello/console?from=0" */
    const char *subprotocol;     /* offered; NULL: none */
    int input_fd;                /* read from while the connection is open; -1: none */
    int64_t deadline_ms;         /* monotonic; 0: none */

    /* Connected; the subprotocol the server chose, or "". */
    void (*on_open)(void *opaque, const char *subprotocol);
    /* Part of a message, the last one or not. False ends the run. */
    bool (*on_data)(void *opaque, bool text, bool last, const void *data, size_t len);
    /*
     * Bytes from input_fd (len 0: its end). Returns how many of them to send, from the
     * start of data, which it may rearrange; *ret_leave true ends
     * the run once they are sent.
     */
    size_t (*on_input)(void *opaque, char *data, size_t len, bool *ret_leave);
    /*
     * A text frame to send now, asked for whenever nothing else waits to be sent; valid until the next
     * call. NULL: none. May be NULL itself.
     */
    const char *(*next_text)(void *opaque);
    /* Asked at least once a second, and after a signal; true ends the run. May be NULL. */
    bool (*stop)(void *opaque);
    void *opaque;
};

#define SOCKET_TEXT_MAX 512

enum socket_end {
    SOCKET_ENDED_HERE, /* a callback wanted it */
    SOCKET_CLOSED,     /* the server closed: code and reason */
    SOCKET_LOST,       /* the connection broke without a close frame */
    SOCKET_REFUSED,    /* no upgrade: see detail; http_status when there was an answer */
    SOCKET_TIMEOUT,    /* deadline_ms passed */
};

struct socket_result {
    enum socket_end end;
    int code;        /* close status, 1000…; 0 when none */
    int http_status; /* of the refusal, or 0 */
    char detail[256];
};

void socket_run(const struct socket_options *options, struct socket_result *ret);

#endif
