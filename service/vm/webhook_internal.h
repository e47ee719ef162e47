/*
 * What the files about webhooks share; nobody else includes it.
 *
 * hub->lock is a leaf. A hook is in the list from its commit until the hub's thread takes it out;
 * only that thread frees it, so it may hold one without the lock. What is said to be the thread's is
 * touched by it alone.
 */
#ifndef DROVER_VM_WEBHOOK_INTERNAL_H
#define DROVER_VM_WEBHOOK_INTERNAL_H

#include <stdatomic.h>

#include "db/store_webhook.h"
#include "service/net/post.h"
#include "service/vm/core_internal.h"
#include "service/vm/webhook.h"

#define WEBHOOKS_MAX       64
#define WEBHOOK_DELIVERIES 100 /* kept of each */
#define WEBHOOK_PAGE       64  /* events read ahead */
#define WEBHOOK_UNSTORED   64  /* deliveries waiting for the disk; older ones are forgotten */

struct hook;

/* One message on its way; the hub's thread alone. */
struct webhook_message {
    struct hook *hook;
    struct webhook_ping *ping; /* or NULL: it moves the hook's position */
    bool busy;
    unsigned epoch;
    char id[64], type[48];
    int64_t seq;
    struct blob *body;
};

struct hook {
    struct hook *next;
    /* hub->lock: */
    struct webhook *w;
    bool deleted;
    unsigned epoch;   /* counts what makes an attempt that is under way void */
    int64_t next_ms;  /* monotonic: not before */
    bool dirty;       /* there is progress to be stored */
    bool give_up;     /* to be told in an event with it */
    struct webhook_delivery *unstored;
    size_t unstored_count;
    struct webhook_ping *ping; /* asked for */
    bool pinging;              /* one is under way */
    int64_t stored_seq;
    /* the thread's: */
    struct event **page;
    size_t page_count, page_next;
    unsigned page_epoch;
    struct webhook_message message, ping_message;
};

struct webhook_hub {
    struct core *core;
    pthread_mutex_t lock; /* leaf */
    struct hook *hooks;
    bool stopping;
    struct webhook_counts counts; /* the first four */
    pthread_mutex_t change;       /* one change at a time; held across a commit */
    struct poster *poster;
    pthread_t thread;
    bool started;
    _Atomic bool poked;
    _Atomic unsigned count;
    int64_t flushed_ms; /* the thread's */
};

/* ---- webhook.c ---- */

struct webhook *webhook_copy(const struct webhook *w);
void webhook_to_row(const struct webhook *w, struct webhook_row *ret); /* borrows */

/* ---- webhook_message.c: what to send next, and how ---- */

/*
 * The next message after the position `from`, into hook->message. 1: there is one; 0: there is none
 * now; *ret_position is how far was looked in any case. Blocks on the disk when memory does not reach
 * back that far.
 */
int webhook_next(struct webhook_hub *hub, struct hook *hook, const struct webhook *w,
                 int64_t *ret_position, struct error *err);
void webhook_forget_page(struct hook *hook);
void webhook_make_ping(struct webhook_hub *hub, struct webhook_message *m, const struct webhook *w);
int webhook_send(struct webhook_hub *hub, struct webhook_message *m, const struct webhook *w,
                 struct error *err);
void webhook_message_done(struct webhook_message *m);

/* ---- webhook_ping.c ---- */

void webhook_ping_end(struct webhook_ping *ping, const struct webhook_delivery *result);
void webhook_ping_unref(struct webhook_ping *ping);
struct webhook_ping *webhook_ping_new(void); /* two references: the asker's and the hub's */

#endif
