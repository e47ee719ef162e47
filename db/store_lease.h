/*
 * Leases and pools in the database; store.h states the rules that hold for all of these functions.
 */
#ifndef DROVER_DB_STORE_LEASE_H
#define DROVER_DB_STORE_LEASE_H

#include "db/store.h"

struct pool_row {
    int64_t seq;
    const char *id, *project_id, *host_id, *name;
    const char *definition; /* JSON, see service/vm/pool.h */
    int64_t generation;     /* of the definition */
    int64_t created_at, updated_at;
    const char *owner_token; /* whose quota waiting VMs count against, or "" */
};

/* NAME_IN_USE. Fills *ret_seq. */
int store_pool_insert(struct db_tx *tx, const struct pool_row *row, int64_t *ret_seq,
                      struct error *err);
/* definition, generation, updated_at. POOL_NOT_FOUND. */
int store_pool_update(struct db_tx *tx, const struct pool_row *row, struct error *err);
int store_pool_delete(struct db_tx *tx, const char *id, struct error *err); /* POOL_NOT_FOUND */
int store_pool_each(struct db *db, int (*fn)(void *, const struct pool_row *), void *arg,
                    struct error *err);

struct pool_member_row {
    const char *vm_id, *pool_id;
    int64_t generation;
};
int store_pool_member_put(struct db_tx *tx, const struct pool_member_row *row, struct error *err);
/* Success when there is none. */
int store_pool_member_delete(struct db_tx *tx, const char *vm_id, struct error *err);
int store_pool_member_each(struct db *db, int (*fn)(void *, const struct pool_member_row *),
                           void *arg, struct error *err);

struct lease_row {
    int64_t seq;
    const char *id, *project_id, *host_id;
    const char *pool_id, *pool_name; /* or "" */
    const char *vm_id, *vm_name;     /* or "" */
    const char *holder;
    const char *labels; /* JSON object */
    const char *actor;
    const char *state; /* "queued", "active", "ended" */
    const char *end_reason;
    const char *on_expiry; /* "delete", "stop", "pause" */
    bool warm;
    int64_t claim_us, ttl_seconds, max_seconds, idle_seconds;
    const char *boot_id; /* the boot whose clock the next two are of */
    int64_t expires_boot_ms, limit_boot_ms;
    int64_t expires_at, limit_at;
    int64_t created_at, claimed_at, renewed_at, ended_at; /* 0: not yet */
    const char *record;                                   /* JSON object */
    const char *owner_token;                              /* whose quota it counts against, or "" */
};

int store_lease_insert(struct db_tx *tx, const struct lease_row *row, int64_t *ret_seq,
                       struct error *err);
/* LEASE_NOT_FOUND when there is none that has not ended. */
int store_lease_update(struct db_tx *tx, const struct lease_row *row, struct error *err);
/* Those that have not ended, oldest first. */
int store_lease_living(struct db *db, int (*fn)(void *, const struct lease_row *), void *arg,
                       struct error *err);
/* 1 found, 0 not. */
int store_lease_get(struct db *db, const char *project_id, const char *id,
                    int (*fn)(void *, const struct lease_row *), void *arg, struct error *err);
struct lease_list_filter {
    const char *project_id; /* required */
    const char *state;      /* or NULL */
    const char *pool_id;    /* or NULL */
    const char *labels;     /* a JSON object of strings: only leases with all of these; or NULL */
    int64_t before_seq;     /* newest first; 0: from the newest */
    int limit;
};
int store_lease_list(struct db *db, const struct lease_list_filter *filter,
                     int (*fn)(void *, const struct lease_row *), void *arg, struct error *err);
/* Into the records of the VM's ended leases. */
int store_lease_vm_gone(struct db_tx *tx, const char *vm_id, int64_t at, struct error *err);
int store_lease_prune(struct db_tx *tx, int64_t ended_before, struct error *err);

#endif
