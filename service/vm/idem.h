/*
 * Idempotency-Keys: what came of a request that had one, kept in the database beside its effect. In
 * all of them: idem NULL, or without a key, means that nothing is looked up or kept.
 *
 * idem_lookup: any thread, blocks on the disk. The others: within a write, on the database's thread.
 */
#ifndef DROVER_VM_IDEM_H
#define DROVER_VM_IDEM_H

#include "db/db.h"
#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/vm/core.h"
#include "service/vm/vm.h"

struct idem_found {
    char kind[16];
    char id[UUID_TEXT];
};
/*
 * Was this key used? 1: yes for the same request, and *ret is what that made; 0: no; -1: KEY_REUSED.
 * A look before the work; the write checks again in its transaction.
 */
int idem_lookup(struct core *core, const struct actor *actor, const struct idem *idem,
                struct idem_found *ret, struct error *err);
/*
 * After a refusal: was an equal request served since the look before the work? Its effect may be the very
 * reason of the refusal (the VM is not stopped any more, the name is taken), so that is not what is told. Nor
 * when nobody can look: then *err becomes the reason for that, and the request may be sent again.
 */
bool idem_again(struct core *core, const struct actor *actor, const struct idem *idem,
                struct idem_found *ret, struct error *err);
/* The same as idem_lookup within a write. */
int idem_check(struct db_tx *tx, const struct actor *actor, const struct idem *idem,
               struct idem_found *ret, struct error *err);
/*
 * Within a write: REQUEST_IN_PROGRESS when an equal request has won the race. Asked before anything is
 * written; the caller asks idem_again().
 */
int idem_race(struct db_tx *tx, const struct actor *actor, const struct idem *idem,
              struct error *err);
/* Within the write of the effect: this request made (or asked for) that. */
int idem_put(struct db_tx *tx, const struct actor *actor, const struct idem *idem, int status,
             const char *kind, const char *id, struct error *err);

#endif
