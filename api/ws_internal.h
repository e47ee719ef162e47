/*
 * The libwebsockets wall's own: only ws*.c may include this, and nothing else may include
 * libwebsockets.h.
 *
 * One thread ("ws") owns the context, every struct lws and every ws_conn, with one exception: the
 * notify function of a source may put a ws_conn on the ready list, under the lock.
 */
#ifndef DROVER_API_WS_INTERNAL_H
#define DROVER_API_WS_INTERNAL_H

#include <libwebsockets.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "api/ws.h"

#define WS_FRAME_MAX   65536 /* what a client may send in one frame, or in one text message */
#define WS_CHUNK       32768 /* what is read from a source, and sent, at once */
#define WS_UNSENT      262144 /* what the kernel may hold back of it before it says "full" */
#define WS_ADOPT_QUEUE 1024
#define WS_CHOKED_MS   50 /* a socket that took longer for the next write was full */
#define WS_MAGIC       0x4457534bu

struct ws_conn {
    unsigned magic;
    struct ws *ws;
    struct ws_adopt adopt;
    char key[32], subprotocol[32];
    struct ws_conn *prev, *next;
    struct lws *lws; /* NULL before and after */
    bool established, ended;
    int close_code;
    char close_reason[96];

    struct ws_conn *ready_next;
    bool ready; /* on the ready list; guarded by ws.lock */

    /* Input that waits: a text message being assembled, or what the source did not take. */
    unsigned char *input;
    size_t input_at, input_len, input_cap;
    enum source_kind input_kind;
    bool input_whole; /* nothing more is to be added before it is written */
    bool blocked;     /* the source is full: the client is not read */

    int64_t wrote_ms; /* when it was written to last and wanted to again; 0: it did not */
};

struct ws {
    struct lws_context *context;
    struct lws_vhost *vhost;
    lws_retry_bo_t idle;
    pthread_t thread;
    struct mailbox *mailbox;
    _Atomic bool stopping;

    struct ws_conn *conns; /* the ws thread's */
    struct ws_conn *adopting;
    unsigned char *buffer; /* LWS_PRE + WS_CHUNK */
    lws_sorted_usec_list_t timer;

    pthread_mutex_t lock; /* leaf: the ready list and what may wake the context */
    struct ws_conn *ready;
    bool closed; /* the context is going: no wake-up, no adoption */

    _Atomic unsigned long long connections, bytes_in, bytes_out;
};

/* ws_conn.c; all on the ws thread */
int ws_conn_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                     size_t len);
void ws_conn_adopt(struct ws *w, struct ws_conn *c);
void ws_conn_ready(struct ws_conn *c); /* its source has spoken */
void ws_conn_end(struct ws_conn *c, int code, const char *reason);
void ws_conn_free(struct ws_conn *c);
void ws_conn_drop(void *c); /* one that was never attached; any thread */

#endif
