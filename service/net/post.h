/*
 * Posting small documents to other people's servers, many at the same time on one thread: a server
 * that is slow holds up nobody but whoever waits for it. The same guard on addresses as fetch.h, for
 * each connection. No redirect is followed, of an answer's body a little is read and thrown away.
 *
 * All but poster_wake() on one thread.
 */
#ifndef DROVER_NET_POST_H
#define DROVER_NET_POST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"

struct poster;

struct post_request { /* everything is copied */
    const char *url;
    const char *body;
    size_t len;
    const char *const *headers; /* "Name: value", ended by NULL */
    bool allow_private;
    int64_t connect_timeout_ms, timeout_ms; /* timeout: of the whole */
};

struct post_result {
    int status;            /* of the answer; 0: there was none, err says why */
    int64_t retry_after_s; /* what the server asked for; 0: nothing */
    int64_t took_ms;
    struct error err; /* SOURCE_REFUSED, SOURCE_UNREACHABLE */
};

int poster_new(struct poster **ret, struct error *err);
/* What is under way is broken off; nobody is told. NULL is fine. */
void poster_free(struct poster *p);

/* opaque names it; at most one for each. */
int poster_begin(struct poster *p, const struct post_request *request, void *opaque,
                 struct error *err);
/* Breaks it off; done is not called for it any more. Nothing when there is none. */
void poster_cancel(struct poster *p, const void *opaque);

/*
 * Works until something has ended, poster_wake() was called or the time is up; then calls done for
 * each that has ended. done may begin another one.
 */
typedef void post_done_fn(void *context, void *opaque, const struct post_result *result);
void poster_run(struct poster *p, int64_t wait_ms, post_done_fn *done, void *context);
/* Any thread, never blocks. */
void poster_wake(struct poster *p);

/* Is the host of this URL written as an address, and not a public one? */
bool post_host_is_private(const char *url);

#endif
