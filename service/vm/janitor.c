/*
 * The janitor: one thread that, once an hour, forgets what was promised to be kept only so long.
 * Each kind in a transaction of its own, so that none holds up the writers for long.
 */
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "db/store_lease.h"
#include "service/vm/core_internal.h"

#define INTERVAL_MS 3600000
#define HOUR_MS     3600000LL

struct janitor {
    struct core *core;
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t stop;
    bool stopping;
    pthread_t thread;
};

struct bounds {
    int64_t ops, events, audit, keys, created, used, leases;
};

static int prune_ops(struct db_tx *tx, void *arg, struct error *err)
{
    return store_op_prune(tx, ((const struct bounds *)arg)->ops, err);
}

static int prune_events(struct db_tx *tx, void *arg, struct error *err)
{
    return store_event_prune(tx, ((const struct bounds *)arg)->events, err);
}

static int prune_audit(struct db_tx *tx, void *arg, struct error *err)
{
    return store_audit_prune(tx, ((const struct bounds *)arg)->audit, INT64_MAX, err);
}

static int prune_keys(struct db_tx *tx, void *arg, struct error *err)
{
    const struct bounds *b = arg;

    /* A tombstone answers late retries of a deletion for as long as keys are remembered. */
    return store_idem_prune(tx, b->keys, err) || store_vm_purge_tombstones(tx, b->keys, err) ? -1 : 0;
}

static int prune_sessions(struct db_tx *tx, void *arg, struct error *err)
{
    const struct bounds *b = arg;

    return store_session_prune(tx, b->created, b->used, err);
}

static int prune_leases(struct db_tx *tx, void *arg, struct error *err)
{
    return store_lease_prune(tx, ((const struct bounds *)arg)->leases, err);
}

static bool vm_is_there(void *core, const char *vm_id)
{
    auto_vm struct vm *vm = registry_get(((struct core *)core)->registry, vm_id);

    return vm != NULL;
}

static void sweep(struct core *core)
{
    static db_write_fn *const steps[] = {prune_ops,  prune_events,   prune_audit,
                                         prune_keys, prune_sessions, prune_leases};
    const struct settings *s = core->settings;
    int64_t now = clock_wall_ms();
    struct bounds b = {
        .ops = now - s->operation_keep_hours * HOUR_MS,
        .events = now - s->event_keep_hours * HOUR_MS,
        .audit = now - s->audit_keep_hours * HOUR_MS,
        .keys = now - s->idempotency_keep_hours * HOUR_MS,
        .created = now - s->session_max_seconds * 1000,
        .used = now - s->session_idle_seconds * 1000,
        .leases = now - s->lease_keep_hours * HOUR_MS,
    };
    struct error err;

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (db_write(core->db, steps[i], NULL, &b, &err))
            log_failure(LOG_LEVEL_WARNING, &err, "cannot remove what is too old");
    }
    image_collect(core);
    image_verify_due(core);
    if (console_logs_prune(core->consoles, s->console_log_keep_hours * HOUR_MS, vm_is_there, core,
                           &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot remove the console logs of deleted VMs");
    if (recordings_prune(core, now - s->recording_keep_hours * HOUR_MS, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot remove old recordings");
}

static void *janitor_thread(void *arg)
{
    struct janitor *j = arg;

    for (;;) {
        int64_t until = clock_monotonic_ms() + INTERVAL_MS;

        sweep(j->core);
        LOCK_SCOPE(&j->lock);
        while (!j->stopping && clock_monotonic_ms() < until)
            cond_wait_until(&j->stop, &j->lock, until);
        if (j->stopping)
            return NULL;
    }
}

int janitor_start(struct core *core, struct janitor **ret, struct error *err)
{
    struct janitor *j = xcalloc(1, sizeof(*j));

    j->core = core;
    mutex_init(&j->lock);
    cond_init(&j->stop);
    if (thread_start(&j->thread, "janitor", janitor_thread, j, err)) {
        free(j);
        return -1;
    }
    *ret = j;
    return 0;
}

void janitor_stop(struct janitor *j)
{
    if (!j)
        return;
    {
        LOCK_SCOPE(&j->lock);
        j->stopping = true;
        pthread_cond_signal(&j->stop);
    }
    pthread_join(j->thread, NULL);
    pthread_cond_destroy(&j->stop);
    pthread_mutex_destroy(&j->lock);
    free(j);
}
