/*
 * The core's side of a front: only front.c, front_calls.c and front_flow.c may include this.
 */
#ifndef DROVER_API_FRONT_INTERNAL_H
#define DROVER_API_FRONT_INTERNAL_H

#include <pthread.h>
/* uthash's default hash falls through its cases in a way that clang warns of. */
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#include "api/front.h"
#include "api/front_wire.h"
#include "api/http_internal.h"

#define FRONT_LISTENERS  HTTP_LISTENERS_MAX

/* What a client sent and nobody took yet; messages stay apart. */
struct flow_input {
    struct flow_input *next;
    enum source_kind kind;
    size_t at, len;
    char data[];
};

/* What goes to a client piece by piece, as it has room; for a WebSocket, and what comes from it. */
struct flow {
    struct source *source; /* or */
    struct blob *blob;
    size_t at; /* in the blob */
    int64_t credit;
    struct flow_input *input, **input_tail;
    uint32_t owed; /* taken, and not yet told */
    size_t waiting; /* bytes of input */
};

struct call {
    UT_hash_handle hh; /* in front.calls; not once gone is set */
    uint64_t id;
    struct front *front;
    struct exchange *x;
    struct conn conn; /* stands for the client's, which is in the front */
    char *text;       /* the CALL frame; what follows points into it */
    const char *method, *url, *version, *certificate, *fault;
    bool tls, has_body;
    struct {
        const char *name, *value;
    } headers[GATE_HEADERS_MAX];
    size_t header_count;

    bool gone;     /* the client, or the front: nobody is to be answered */
    bool ended;    /* the whole body came */
    bool answered; /* and what remains is flow */
    char *rest;    /* of a body, when an upload had no room */
    size_t rest_len;
    struct flow flow;

    struct call *next; /* in back or ready; guarded by front.lock */
    bool listed;       /* in ready */
};

struct front {
    struct http *http;
    struct front_link link;
    struct call *calls;
    struct front_counts *counts; /* shared with the process */
    int counts_fd;
    int listeners[FRONT_LISTENERS];
    size_t listener_count;
    int pidfd; /* -1: it does not run */
    int64_t started_ms, restart_at_ms;
    bool listens;       /* it said that it does */
    bool quiesced;
    bool told_to_stop;
    _Atomic bool stopping, ended;
    uint32_t watched; /* what epoll is asked for */
    char program[512], ping[12], hangup[12];
    struct error failed; /* why it could not; code 0: it did not say */

    pthread_mutex_t lock; /* leaf */
    struct call *back, **back_tail;   /* given back by others */
    struct call *ready, **ready_tail; /* their sources spoke */
    _Atomic bool work;                /* one of the two holds something */
    char stage[FRONT_READ];
};

/* front_calls.c; what the front said. -1: it cannot have. */
int calls_frame(void *front, const struct front_head *head, const char *data);
void calls_work(struct front *f); /* what was given back, and sources that spoke */
void calls_lose(struct front *f); /* the front is gone, and its clients with it */
void call_over(struct call *c);   /* nothing more is to be done; c and its exchange are freed */

/* front_flow.c */
void flow_begin(struct call *c); /* c->flow.source or .blob is set */
void flow_turn(struct call *c);  /* c may be over afterwards */
/* -1: more than there was room for */
int flow_take(struct call *c, enum source_kind kind, const char *data, size_t len);
void flow_end(struct call *c);   /* frees what it holds */
void flow_ready(struct call *c); /* to be turned soon; any thread */

#endif
