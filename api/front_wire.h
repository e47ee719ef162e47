/*
 * What a front and its core say to each other: frames over a connected stream socket. Each has a head and at most
 * FRONT_FRAME_MAX bytes. Pure, but for the link. The core believes nothing in a frame but where a request came from.
 *
 * The front gives each request a number, never the same again. Flow control is by credit, in bytes: who sends DATA
 * was told before how many may be sent.
 */
#ifndef DROVER_API_FRONT_WIRE_H
#define DROVER_API_FRONT_WIRE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"

#define FRONT_VERSION    2
#define FRONT_FRAME_MAX  (128 * 1024)
#define FRONT_DATA_MAX   (64 * 1024) /* of one DATA */
#define FRONT_INLINE_MAX (16 * 1024) /* a larger body comes as DATA */
#define FRONT_READ       (16 * 1024) /* what is taken from a source at once */
#define FRONT_OUT_FIRST  (16 * 1024)  /* on its way to a client, of which nothing is known */
#define FRONT_OUT_WINDOW (32 * 1024)  /* to one that has taken FRONT_OUT_PROOF, and waits for more */
#define FRONT_OUT_PROOF  (256 * 1024) /* more than the kernel takes for a client that does not read */
#define FRONT_IN_WINDOW  (256 * 1024) /* on its way from one: a body, or what is typed */

enum front_type {
    /* to the front */
    FRONT_SETTINGS = 1, /* strings: name, value, name, value, …; flags: FRONT_AGAIN */
    FRONT_QUIESCE,
    FRONT_STOP,
    FRONT_GO,     /* the body may come; flags: FRONT_UPLOAD */
    FRONT_ANSWER, /* see front_calls.c; flags: enum front_answer */
    FRONT_END,    /* of the DATA to the client: u32 close code, string why */
    /* to the core */
    FRONT_READY,  /* u32 version */
    FRONT_FAILED, /* strings: detail, pointer, remedy, cause */
    FRONT_CALL,   /* see call_parse(); flags: FRONT_BODY */
    FRONT_GONE,   /* nobody waits for it any more */
    /* either way */
    FRONT_DATA, /* flags: enum source_kind, or FRONT_LAST of a body */
    FRONT_ROOM, /* u32: so much more DATA may come */
};

#define FRONT_AGAIN  1 /* the files of the certificate are to be read again */
#define FRONT_UPLOAD 1
#define FRONT_BODY   1
#define FRONT_TLS    2
#define FRONT_LAST   128
enum front_answer { FRONT_CLOSES = 1, FRONT_STREAM = 2, FRONT_UPGRADE = 4 };

struct front_head {
    uint32_t len; /* of what follows the head */
    uint8_t type, flags;
    uint16_t zero;
    uint64_t id; /* of the request; 0: of none */
};

/* ---- what is in a frame ---- */

struct wire_out {
    char *data; /* grows; the caller frees it */
    size_t len, cap;
};
void wire_u32(struct wire_out *w, uint32_t n);
void wire_u64(struct wire_out *w, uint64_t n);
void wire_text(struct wire_out *w, const char *text); /* NULL as "" */
void wire_bytes(struct wire_out *w, const void *data, size_t len);
void wire_raw(struct wire_out *w, const void *data, size_t len); /* what was written by itself before */

/* Once something was not there, everything that follows is 0 or "", and bad stays set. */
struct wire_in {
    const char *at, *end;
    bool bad;
};
uint32_t wire_take_u32(struct wire_in *w);
uint64_t wire_take_u64(struct wire_in *w);
const char *wire_take_text(struct wire_in *w); /* where it lies */
const char *wire_take_bytes(struct wire_in *w, size_t *ret_len);

/* ---- the socket ---- */

struct front_link {
    int fd; /* non-blocking */
    pthread_mutex_t lock; /* leaf: what waits to leave */
    char *out;
    size_t out_at, out_len, out_cap;
    _Atomic bool broken;
    char *in; /* the reading thread's */
    size_t in_len;
};
void front_link_init(struct front_link *l, int fd); /* takes fd */
void front_link_done(struct front_link *l);
/* Any thread; never blocks, keeps what the socket does not take. now: it leaves at once, not with the next flush. */
void front_send(struct front_link *l, enum front_type type, unsigned flags, uint64_t id, const void *data, size_t len,
                bool now);
void front_send_u32(struct front_link *l, enum front_type type, uint64_t id, uint32_t n, bool now);
void front_flush(struct front_link *l);
bool front_link_waits(struct front_link *l); /* the socket is full */
/*
 * Gives every whole frame to fn, until nothing more is there or much was. -1: the other side is gone, or said what
 * cannot be (also when fn returns -1). More than 0: how many there were.
 */
int front_read(struct front_link *l, int (*fn)(void *opaque, const struct front_head *head, const char *data),
               void *opaque);

#endif
