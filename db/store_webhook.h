/*
 * Webhooks in the database; store.h states the rules that hold for all of these functions.
 */
#ifndef DROVER_DB_STORE_WEBHOOK_H
#define DROVER_DB_STORE_WEBHOOK_H

#include "db/store.h"

struct webhook_row {
    int64_t seq;
    const char *id, *project_id;
    const char *url;
    const char *events; /* patterns, separated by spaces */
    const char *labels; /* JSON object */
    const char *secret;
    bool enabled;
    const char *disabled_reason; /* or "" */
    const char *created_by;
    int64_t created_at, updated_at;
    int64_t last_seq; /* of the last event it is done with */
    int64_t next_attempt_at, failures, failing_since;
    int64_t last_status; /* 0: no answer */
    const char *last_error;
    int64_t last_attempt_at, last_success_at;
};
typedef int store_webhook_fn(void *arg, const struct webhook_row *row);

int store_webhook_insert(struct db_tx *tx, const struct webhook_row *row, int64_t *ret_seq,
                         struct error *err);
/* What its owner says. WEBHOOK_NOT_FOUND. */
int store_webhook_update(struct db_tx *tx, const struct webhook_row *row, struct error *err);
/* How far it is, and enabled. Success when it is gone. */
int store_webhook_progress(struct db_tx *tx, const struct webhook_row *row, struct error *err);
int store_webhook_delete(struct db_tx *tx, const char *id, struct error *err); /* WEBHOOK_NOT_FOUND */
int store_webhook_each(struct db *db, store_webhook_fn *fn, void *arg, struct error *err);

struct webhook_delivery_row {
    int64_t id; /* the keyset of pages */
    const char *webhook_id;
    int64_t at;
    const char *message_id, *type;
    int64_t seq, attempt;
    int64_t status; /* 0: no answer */
    const char *error;
    int64_t took_ms;
};
/* Nothing when the webhook is gone; keep: how many stay. */
int store_webhook_delivery_add(struct db_tx *tx, const struct webhook_delivery_row *row, int64_t keep,
                               struct error *err);
/* Newest first; before_id 0: from the newest. */
int store_webhook_delivery_list(struct db *db, const char *webhook_id, int64_t before_id, int limit,
                                int (*fn)(void *, const struct webhook_delivery_row *), void *arg,
                                struct error *err);

#endif
