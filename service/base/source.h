/*
 * A byte or message stream that somebody carries to a client: a console viewer, an event
 * subscription. The carrier (WebSocket or chunked HTTP) pulls when its client has room, so a slow
 * client never makes anything grow.
 *
 * read, write and close are called by one carrier thread at a time. notify is called by the
 * producer, on any thread, never under a lock the carrier could want, and must not block; it says
 * "call read (or write) again". After close() returns, notify is not called any more.
 */
#ifndef DROVER_BASE_SOURCE_H
#define DROVER_BASE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum source_kind { SOURCE_BYTES, SOURCE_TEXT }; /* a WebSocket's binary and text frames */

struct source {
    /*
     * Up to max bytes (bytes) or one whole message (text; max is never below 16 KiB) into buf. 0: nothing
     * now, notify follows. -1: ended; close_code and close_reason are set.
     */
    ssize_t (*read)(struct source *s, void *buf, size_t max, enum source_kind *ret_kind);
    /*
     * Takes input from the client; returns how many bytes were taken (0: full, notify follows; the
     * carrier stops reading from its client until then), -1: ended. NULL: input is refused.
     */
    ssize_t (*write)(struct source *s, enum source_kind kind, const void *data, size_t len);
    void (*set_notify)(struct source *s, void (*notify)(void *opaque), void *opaque);
    void (*close)(struct source *s); /* frees s */
    int close_code;                  /* RFC 6455 status, set when read or write returned -1 */
    char close_reason[96];
};

#endif
