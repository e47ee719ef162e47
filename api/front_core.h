/*
 * A front's own: what it asks its core, and what it gets. Only front_pipeline.c, front_source.c and front_core.c may
 * include this. Nothing here knows a route, a credential or a file.
 */
#ifndef DROVER_API_FRONT_CORE_H
#define DROVER_API_FRONT_CORE_H

/* uthash's default hash falls through its cases in a way that clang warns of. */
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#include "api/front.h"
#include "api/front_wire.h"
#include "api/http_internal.h"

struct source_piece {
    struct source_piece *next;
    enum source_kind kind;
    size_t at, len;
    char data[];
};

enum errand_stage { ERRAND_HEADER, ERRAND_BODY, ERRAND_WHOLE };

/* One request, as the core was asked to serve it. The HTTP thread's, but for what the lock guards. */
struct errand {
    struct source source; /* first: what streams from the core, and to it */
    UT_hash_handle hh;
    uint64_t id;
    struct core_link *core;
    struct exchange *x; /* NULL: its connection is through with it */
    unsigned refs;      /* the exchange's and the source's */
    enum errand_stage stage;
    bool has_body, upload, answered;
    int64_t credit; /* of the body */
    char *text;     /* the ANSWER frame; the response points into it */

    pthread_mutex_t lock; /* of what follows; the link's is taken below it */
    struct source_piece *pieces, **pieces_tail;
    int64_t room; /* for what goes to the core */
    uint32_t owed; /* read, and not yet told */
    uint32_t window, taken; /* what may be on its way; and was read, as far as it counts */
    bool ended, closed;
    void (*notify)(void *opaque);
    void *opaque;
    struct errand *next; /* in core.closed; under core.lock */
};

/* What the main thread is to do, in this order when several are set. */
enum front_order { ORDER_RELOAD = 1, ORDER_QUIESCE = 2, ORDER_STOP = 4 };

struct core_link {
    struct front_link link;
    struct http *http;
    struct ws *ws;
    struct front_counts *counts;
    struct settings *settings;
    struct errand *errands;
    uint64_t last_id;
    uint32_t watched;

    pthread_mutex_t lock; /* leaf */
    pthread_cond_t more;
    unsigned orders; /* enum front_order */
    struct errand *closed;
};

/* front_core.c */
struct core_link *core_link_new(int fd, struct front_counts *counts);
void core_link_free(struct core_link *core); /* its threads have ended */
/* Blocks until the core has sent the settings. */
int core_link_settings(struct core_link *core, struct error *err);
void core_link_failed(struct core_link *core, const struct error *err);
/* Starts to serve: what is started on success goes with the process. */
int core_link_serve(struct core_link *core, const int *listeners, int count, unsigned ping_seconds,
                    unsigned hangup_seconds, struct error *err);
void core_link_ready(struct core_link *core); /* whoever knocks is let in from here on, and not before */
int core_link_wait(struct core_link *core); /* main's: until there is an order; returns all */
/* What there is to be done now; returns how many frames came, -1: the core has gone, or said what cannot be. */
int core_link_pass(struct core_link *core);
void core_link_turn(struct http *h);

/* front_pipeline.c */
extern const struct http_side front_side;
void errand_unref(struct errand *e);
int errand_go(struct errand *e, bool upload);
int errand_answer(struct errand *e, const struct front_head *head, const char *data); /* -1: not one */
void errand_refuse(struct errand *e); /* with 503: the daemon is stopping */
void errand_room(struct errand *e, uint32_t n);

/* front_source.c */
void source_init(struct errand *e);
void source_done(struct errand *e);
void source_deliver(struct errand *e, enum source_kind kind, const char *data, size_t len);
void source_finish(struct errand *e, int code, const char *reason);

#endif
