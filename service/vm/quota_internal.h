/*
 * What quota.c offers to the files that change rows; nobody else includes it.
 */
#ifndef DROVER_VM_QUOTA_INTERNAL_H
#define DROVER_VM_QUOTA_INTERNAL_H

#include <stddef.h>

#include "service/vm/quota.h"

struct db_tx;
struct quota_book;
struct vm;

int quota_open(struct core *core, struct quota_book **ret, struct error *err);
void quota_close(struct quota_book *book); /* NULL is fine */

/* Remembers how large the root disk is, once its image is known. */
void quota_measure(struct core *core, struct vm *vm);

/*
 * Within the transaction that writes `next` (was: what it replaces, or NULL): does it fit into the
 * limits of its project and of the token it counts against? Only what grows is asked for.
 */
int quota_check_vm(struct core *core, struct db_tx *tx, const struct vm *next, const struct vm *was,
                   struct error *err);
/* The same for many new ones of one project and token, as one: all fit, or none. */
int quota_check_new(struct core *core, struct db_tx *tx, struct vm *const *vms, size_t count,
                    struct error *err);
/* One more lease. */
int quota_check_lease(struct core *core, struct db_tx *tx, const char *project_id,
                      const char *token_id, struct error *err);

#endif
