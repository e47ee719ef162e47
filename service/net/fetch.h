/*
 * Fetching a file over HTTP: the one place in the daemon that opens a connection to somebody else's
 * server. Only http and https; the address is judged when the socket is made, after the name was
 * looked up, for the first request and for every redirect, so that neither a redirect nor a name
 * that changes its mind leads to a place the administrator did not open. No proxy, no cookies, no
 * credentials.
 *
 * Any thread; blocks until done.
 */
#ifndef DROVER_NET_FETCH_H
#define DROVER_NET_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "service/base/error.h"

#define FETCH_URL_MAX       2048
#define FETCH_VALIDATOR_MAX 200

/* What the server says before the first byte of the body. */
struct fetch_head {
    int64_t offset; /* where the body begins: what was asked for, or 0 when the server begins anew */
    int64_t size;   /* of the whole file; -1: not said */
    char validator[FETCH_VALIDATOR_MAX]; /* a strong ETag, or "" */
};

struct fetch_options {
    const char *url;
    bool allow_private;   /* addresses that are not public, too */
    const char *origin;   /* or NULL: every redirect must stay at this URL's scheme, host and port */
    int64_t offset;       /* bytes that are there already */
    const char *validator; /* of those bytes; "" when there is none: then offset is ignored */
    int64_t first_bytes;  /* ask for so many only; 0: all */
    int64_t max_bytes;    /* body that is accepted at all, offset included */
    int64_t connect_timeout_ms, stall_seconds;
    int64_t timeout_ms; /* of the whole; 0: none */
    /* -1 ends it with that error. All on the calling thread. */
    int (*on_head)(void *opaque, const struct fetch_head *head, struct error *err);
    int (*on_data)(void *opaque, const void *data, size_t len, struct error *err);
    bool (*should_end)(void *opaque); /* polled about once a second */
    void *opaque;
};

enum fetch_result {
    FETCH_DONE,
    FETCH_REFUSED, /* trying again would not help */
    FETCH_BROKEN,  /* the connection, or the server for now */
    FETCH_ENDED,   /* should_end() said so; err is not filled */
};
/* Errors: SOURCE_REFUSED, SOURCE_UNREACHABLE, BODY_TOO_LARGE, or what a callback said. */
enum fetch_result fetch_run(const struct fetch_options *options, struct error *err);

/* ---- fetch_guard.c: pure ---- */

/* http or https, a host, no credentials, no control characters, not too long. SOURCE_REFUSED. */
int fetch_check_url(const char *url, struct error *err);
/* Is this an address on the public internet? */
bool fetch_address_is_public(const struct sockaddr *address);

#endif
