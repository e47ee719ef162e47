/*
 * Sets in the database; store.h states the rules that hold for all of these functions.
 */
#ifndef DROVER_DB_STORE_SET_H
#define DROVER_DB_STORE_SET_H

#include "db/store.h"

struct set_row {
    int64_t seq;
    const char *id, *project_id, *host_id, *name;
    const char *definition; /* JSON, see service/vm/set.h */
    const char *actor;      /* who made it */
    const char *owner_token; /* whose quota its VMs count against, or "" */
    int64_t step;           /* of the operation accepted last */
    bool deleting;
    const char *boot_id; /* the boot whose clock expires_boot_ms is of */
    int64_t expires_boot_ms, expires_at; /* expires_at 0: never */
    int64_t created_at, updated_at;
};

/* NAME_IN_USE. Fills *ret_seq. */
int store_set_insert(struct db_tx *tx, const struct set_row *row, int64_t *ret_seq,
                     struct error *err);
/* Everything that can change: not its name, its actor and when it was made. SET_NOT_FOUND. */
int store_set_update(struct db_tx *tx, const struct set_row *row, struct error *err);
int store_set_delete(struct db_tx *tx, const char *id, struct error *err); /* success when gone */
int store_set_each(struct db *db, int (*fn)(void *, const struct set_row *), void *arg,
                   struct error *err);

#endif
