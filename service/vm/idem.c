/*
 * What came of a request with an Idempotency-Key: looked up before the work, checked again and stored
 * in the transaction of the effect itself. The only place that writes such rows.
 */
#include "service/vm/idem.h"

#include <string.h>

#include "db/store.h"
#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/str.h"

static int idem_row_copy(void *arg, const struct idem_row *row)
{
    struct idem_found *found = arg;

    str_copy_utf8(found->kind, sizeof(found->kind), row->resource_kind);
    str_copy_utf8(found->id, sizeof(found->id), row->resource_id);
    return 0;
}

struct idem_seen {
    const struct idem *idem;
    struct idem_found found;
    bool same;
};

static int idem_row_see(void *arg, const struct idem_row *row)
{
    struct idem_seen *seen = arg;

    seen->same = strcmp(row->request_sha256, seen->idem->request_sha256) == 0;
    return idem_row_copy(&seen->found, row);
}

int idem_check(struct db_tx *tx, const struct actor *actor, const struct idem *idem,
               struct idem_found *ret, struct error *err)
{
    struct idem_seen seen = {.idem = idem};
    int rc;

    if (!idem || !idem->key)
        return 0;
    rc = store_idem_get(tx, actor->id, idem->key, idem_row_see, &seen, err);
    if (rc <= 0)
        return rc;
    if (!seen.same) {
        error_set_at(err, ERROR_KEY_REUSED, "Idempotency-Key",
                     "this key was sent before with another request");
        error_remedy(err, "Use a new key for a new request.");
        return -1;
    }
    *ret = seen.found;
    return 1;
}

struct lookup {
    const struct actor *actor;
    const struct idem *idem;
    struct idem_found *ret;
    int result;
};

static int lookup_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct lookup *l = arg;

    l->result = idem_check(tx, l->actor, l->idem, l->ret, err);
    return l->result < 0 ? -1 : 0;
}

int idem_lookup(struct core *core, const struct actor *actor, const struct idem *idem,
                struct idem_found *ret, struct error *err)
{
    struct lookup l = {.actor = actor, .idem = idem, .ret = ret};

    if (!idem || !idem->key)
        return 0;
    /* A look only; what is queued and equal is found by the write that follows. */
    return db_write_first(core_db(core), lookup_fn, NULL, &l, err) ? -1 : l.result;
}

bool idem_again(struct core *core, const struct actor *actor, const struct idem *idem,
                struct idem_found *ret, struct error *err)
{
    struct error failure;
    int rc = idem_lookup(core, actor, idem, ret, &failure);

    if (rc < 0)
        *err = failure;
    return rc > 0;
}

int idem_race(struct db_tx *tx, const struct actor *actor, const struct idem *idem,
              struct error *err)
{
    struct idem_found found;
    int rc = idem_check(tx, actor, idem, &found, err);

    if (rc > 0)
        return error_set(err, ERROR_REQUEST_IN_PROGRESS, "an equal request is being served");
    return rc;
}

int idem_put(struct db_tx *tx, const struct actor *actor, const struct idem *idem, int status,
             const char *kind, const char *id, struct error *err)
{
    if (!idem || !idem->key || SEEDED_BUG(DROP_KEY))
        return 0;
    return store_idem_put(tx,
                          &(struct idem_row){
                              .actor = actor->id,
                              .key = idem->key,
                              .request_sha256 = idem->request_sha256,
                              .status = status,
                              .resource_kind = kind,
                              .resource_id = id,
                              .created_at = clock_wall_ms(),
                          },
                          err);
}
