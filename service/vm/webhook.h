/*
 * Webhooks: events posted to other people's servers, signed, in order, at least once. Each hook is a
 * position in the event log that moves when its receiver has answered 2xx; what the receiver missed
 * while it was down follows when it is back, and what left the log meanwhile is told as a gap. One
 * thread posts for all of them at the same time, so that a slow receiver delays nobody else.
 *
 * Reads come from memory; changes commit before they return (request workers).
 */
#ifndef DROVER_VM_WEBHOOK_H
#define DROVER_VM_WEBHOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/vm/wait.h"
#include "service/vm/webhook_form.h"

struct actor;
struct core;

/* A copy; the caller frees it with webhook_free(). */
struct webhook {
    char id[UUID_TEXT], project_id[UUID_TEXT];
    int64_t seq;
    char *url, *events, *labels, *secret; /* events: patterns separated by spaces; labels: JSON */
    bool enabled;
    char disabled_reason[256]; /* why it was given up, or "" */
    char created_by[80];
    int64_t created_at, updated_at;
    int64_t last_seq; /* of the last event it is done with */
    /* Wall clock; 0: none. */
    int64_t next_attempt_at, failing_since, last_attempt_at, last_success_at;
    int64_t failures; /* in a row */
    int last_status;  /* 0: no answer */
    char last_error[256];
};
void webhook_free(struct webhook *w);
DEFINE_CLEANUP(webhook, struct webhook *, webhook_free);
#define auto_webhook auto_scope(cleanup_webhook)

/* What its owner says; a NULL, or -1, leaves it as it is. */
struct webhook_request {
    const char *url, *events, *labels, *secret;
    int enabled; /* -1, 0, 1 */
};

/* VALIDATION_FAILED, FORBIDDEN (too many). A NULL secret: one is drawn. */
int webhook_create(struct core *core, const struct actor *actor, const struct webhook_request *r,
                   struct webhook **ret, struct error *err);
/* WEBHOOK_NOT_FOUND, all of these. */
int webhook_find(struct core *core, const char *project_id, const char *id, struct webhook **ret,
                 struct error *err);
/* Enabling one that was given up goes on where it stopped. */
int webhook_change(struct core *core, const struct actor *actor, const char *id,
                   const struct webhook_request *r, struct webhook **ret, struct error *err);
int webhook_delete(struct core *core, const struct actor *actor, const char *id, struct error *err);
/* Delivers again what is after from_seq - 1; VALIDATION_FAILED when that is yet to come. */
int webhook_redeliver(struct core *core, const struct actor *actor, const char *id, int64_t from_seq,
                      struct webhook **ret, struct error *err);
/* Oldest first; the caller frees each, and the array. */
void webhook_list(struct core *core, const char *project_id, struct webhook ***ret,
                  size_t *ret_count);

struct webhook_delivery {
    int64_t id; /* the keyset; 0: not stored yet */
    int64_t at;
    char message_id[64], type[48];
    int64_t seq, attempt, took_ms;
    int status; /* 0: no answer */
    char error[256];
};
bool webhook_status_ok(int status);
/* Newest first, before_id 0: from the newest; the caller frees the array. Blocks on the disk. */
int webhook_deliveries(struct core *core, const char *id, int64_t before_id, size_t limit,
                       struct webhook_delivery **ret, size_t *ret_count, struct error *err);

/*
 * A ping to the receiver, once, whether the webhook is enabled or not. TOO_MANY_REQUESTS while
 * another one is under way. The result is there once done was called.
 */
struct webhook_ping;
int webhook_ping_start(struct core *core, const char *project_id, const char *id,
                       struct webhook_ping **ret, struct error *err);
void webhook_ping_park(void *ping, wait_fn *done, void *opaque); /* a park_arm_fn */
const struct webhook_delivery *webhook_ping_result(const struct webhook_ping *ping);
void webhook_ping_drop(void *ping);

/* ---- its life ---- */

struct webhook_hub;
int webhook_hub_open(struct core *core, struct webhook_hub **ret, struct error *err);
int webhook_hub_start(struct webhook_hub *hub, struct error *err);
void webhook_hub_stop(struct webhook_hub *hub); /* breaks off what is under way; pings end */
void webhook_hub_free(struct webhook_hub *hub);
/* There is a new event. Any thread, never blocks. */
void webhook_hub_poke(struct webhook_hub *hub);

/* For /metrics. */
struct webhook_counts {
    uint64_t delivered, failed, gaps, pings;
    size_t enabled, failing, disabled;
    int64_t lag; /* events the one that is furthest behind has still to look at */
};
void webhook_counts_read(struct core *core, struct webhook_counts *ret);

#endif
