/*
 * The host's guests are shut down: what is remembered of it, how it begins, and how it ends. The work
 * is in host_stop_work.c.
 */
#include "service/vm/host_stop.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/host_stop_internal.h"
#include "service/vm/lease.h"
#include "service/vm/set.h"

/* "OPERATION BOOT", or "" when VMs may start. */
#define META "guest_shutdown"

static const char *const actions[HOST_STOP_ACTIONS] = {"shutdown", "save", "leave", "stop"};
static const char *const outcomes[HOST_STOP_OUTCOMES] = {"",     "shutdown",  "saved", "stopped",
                                                         "left", "cancelled", "failed"};

const char *host_stop_action_name(enum host_stop_action action)
{
    return actions[action];
}

const char *host_stop_outcome_name(enum host_stop_outcome outcome)
{
    return outcomes[outcome];
}

/* ---- what is remembered ---- */

static int index_of(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (str_eq(names[i], name))
            return i;
    }
    return 0;
}

static int load_entry(void *arg, const struct guest_shutdown_row *row)
{
    struct host_stop *s = arg;
    struct host_stop_entry e = {0};
    int64_t passed = clock_wall_ms() - row->started_at;

    str_copy_utf8(e.v.vm_id, sizeof(e.v.vm_id), row->vm_id);
    str_copy_utf8(e.v.op_id, sizeof(e.v.op_id), row->operation_id);
    str_copy_utf8(e.v.project_id, sizeof(e.v.project_id), row->project_id);
    str_copy_utf8(e.v.name, sizeof(e.v.name), row->name);
    str_copy_utf8(e.v.detail, sizeof(e.v.detail), row->detail);
    e.v.action = (enum host_stop_action)index_of(actions, HOST_STOP_ACTIONS, row->action);
    e.v.outcome = (enum host_stop_outcome)index_of(outcomes, HOST_STOP_OUTCOMES, row->outcome);
    e.v.seconds = row->seconds;
    e.v.started_at = row->started_at;
    e.v.finished_at = row->finished_at;
    e.v.forced = row->forced;
    e.v.restart = (enum host_stop_restart)row->restart;
    /* A wall clock that was set gives nobody more time than it has, or takes any away before it began. */
    passed = passed < 0 ? 0 : passed < row->seconds * 1000 ? passed : row->seconds * 1000;
    e.began_ms = clock_boottime_ms() - passed;
    host_stop_publish(s, &e);
    return 0;
}

int host_stop_put(struct db_tx *tx, const struct host_stop_entry *e, struct error *err)
{
    return store_guest_shutdown_put(tx,
                                    &(struct guest_shutdown_row){.vm_id = e->v.vm_id,
                                                                 .operation_id = e->v.op_id,
                                                                 .project_id = e->v.project_id,
                                                                 .name = e->v.name,
                                                                 .action = actions[e->v.action],
                                                                 .outcome = outcomes[e->v.outcome],
                                                                 .detail = e->v.detail,
                                                                 .seconds = e->v.seconds,
                                                                 .started_at = e->v.started_at,
                                                                 .finished_at = e->v.finished_at,
                                                                 .forced = e->v.forced,
                                                                 .restart = (int)e->v.restart},
                                    err);
}

void host_stop_publish(struct host_stop *s, const struct host_stop_entry *entry)
{
    struct host_stop_entry *e;

    LOCK_SCOPE(&s->lock);
    HASH_FIND_STR(s->vms, entry->v.vm_id, e);
    if (e) {
        e->v = entry->v;
        e->began_ms = entry->began_ms;
        e->asked_ms = entry->asked_ms;
        return;
    }
    e = xcalloc(1, sizeof(*e));
    memcpy(e, entry, sizeof(*e));
    memset(&e->hh, 0, sizeof(e->hh));
    HASH_ADD_STR(s->vms, v.vm_id, e);
}

bool host_stop_get(struct host_stop *s, const char *vm_id, struct host_stop_entry *ret)
{
    struct host_stop_entry *e;

    LOCK_SCOPE(&s->lock);
    HASH_FIND_STR(s->vms, vm_id, e);
    if (e)
        memcpy(ret, e, sizeof(*ret));
    return e != NULL;
}

struct host_stop_entry *host_stop_all(struct host_stop *s, size_t *ret_count)
{
    struct host_stop_entry *all;
    size_t n = 0;

    LOCK_SCOPE(&s->lock);
    all = xcalloc(HASH_COUNT(s->vms) + 1, sizeof(*all));
    for (struct host_stop_entry *e = s->vms; e; e = e->hh.next)
        memcpy(&all[n++], e, sizeof(*e));
    *ret_count = n;
    return all;
}

static void drop_all(struct host_stop *s)
{
    struct host_stop_entry *e, *next;

    LOCK_SCOPE(&s->lock);
    e = s->vms;
    HASH_CLEAR(hh, s->vms);
    for (; e; e = next) {
        next = e->hh.next;
        free(e);
    }
}

/* ---- opening ---- */

static int one_op(void *arg, const struct op_row *row)
{
    struct op **ret = arg;

    *ret = op_from_row(row);
    return 1;
}

static int lift_fn(struct db_tx *tx, void *arg, struct error *err)
{
    (void)arg;
    return store_meta_set(tx, META, "", err);
}

/* Its cancellation is stored, and a crash came before what follows from it. */
static int was_cancelled(struct core *core, const char *op_id, struct error *err)
{
    auto_op struct op *op = NULL;
    struct op *found = NULL;

    if (store_op_get(core->db, op_id, one_op, &found, err) < 0)
        return -1;
    op = found;
    return op && op->state == OP_CANCELLED;
}

static int load_record(struct core *core, struct host_stop *s, struct error *err)
{
    auto_free char *record = NULL;
    const char *boot;
    int rc;

    if (store_meta_get(core->db, META, &record, err) < 0)
        return -1;
    boot = record ? strchr(record, ' ') : NULL;
    if (!boot || !str_eq(boot + 1, s->boot_id))
        return 0;
    record[strcspn(record, " ")] = '\0';
    str_copy_utf8(s->op_id, sizeof(s->op_id), record);
    rc = was_cancelled(core, s->op_id, err);
    if (rc > 0)
        return db_write(core->db, lift_fn, NULL, NULL, err);
    atomic_store(&s->holds, rc == 0);
    return rc;
}

int host_stop_open(struct core *core, struct host_stop **ret, struct error *err)
{
    struct host_stop *s = xcalloc(1, sizeof(*s));

    mutex_init(&s->lock);
    *ret = s;
    if (host_boot_id(core->host, s->boot_id, err) || store_guest_shutdown_each(core->db, load_entry, s, err))
        return -1;
    return load_record(core, s, err);
}

void host_stop_free(struct host_stop *s)
{
    if (!s)
        return;
    drop_all(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- what others ask ---- */

bool host_stop_holds(struct core *core)
{
    return core->host_stop && atomic_load(&core->host_stop->holds);
}

int host_stop_refuses(struct core *core, struct error *err)
{
    if (!host_stop_holds(core))
        return 0;
    error_set(err, ERROR_HOST_SHUTTING_DOWN, "the guests of this host are being shut down, or were, for the host "
                                             "to be shut down");
    error_remedy(err, "If the host stays up, `drover host start-guests` lets VMs start again.");
    return -1;
}

void host_stop_status_done(struct host_stop_status *status)
{
    free(status->vms);
}

void host_stop_read(struct core *core, struct host_stop_status *ret)
{
    struct host_stop *s = core->host_stop;
    auto_free struct host_stop_entry *all = host_stop_all(s, &ret->count);

    ret->vms = xcalloc(ret->count + 1, sizeof(*ret->vms));
    for (size_t i = 0; i < ret->count; i++)
        ret->vms[i] = all[i].v;
    ret->refuses_starts = atomic_load(&s->holds);
    LOCK_SCOPE(&s->lock);
    str_copy_utf8(ret->op_id, sizeof(ret->op_id), s->op_id);
}

/* ---- beginning ---- */

struct begin {
    struct core *core;
    const struct actor *actor;
    const struct idem *idem;
    struct op *op;
    bool is_new, clear;
};

static int begin_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct begin *b = arg;
    char record[2 * UUID_TEXT];
    struct op_row row;

    if (idem_race(tx, b->actor, b->idem, err))
        return -1;
    if (b->is_new) {
        snprintf(record, sizeof(record), "%s %s", b->op->id, b->core->host_stop->boot_id);
        op_to_row(b->op, &row);
        if (store_op_insert(tx, &row, err) || store_meta_set(tx, META, record, err) ||
            (b->clear && store_guest_shutdown_clear(tx, err)))
            return -1;
    }
    return idem_put(tx, b->actor, b->idem, 202, "operation", b->op->id, err);
}

static void begun_fn(void *arg)
{
    struct begin *b = arg;
    struct host_stop *s = b->core->host_stop;

    if (!b->is_new)
        return;
    if (b->clear)
        drop_all(s);
    LOCK_SCOPE(&s->lock);
    memcpy(s->op_id, b->op->id, sizeof(s->op_id));
    atomic_store(&s->holds, true);
}

/* One at a time, so that there are never two of them. */
static bool reserve(struct host_stop *s, char ret_op_id[UUID_TEXT])
{
    LOCK_SCOPE(&s->lock);
    if (s->beginning)
        return false;
    memcpy(ret_op_id, s->op_id, UUID_TEXT);
    return s->beginning = true;
}

static void release(struct host_stop *s)
{
    LOCK_SCOPE(&s->lock);
    s->beginning = false;
}

static int begin(struct begin *b, const char *op_id, struct error *err)
{
    b->op = *op_id ? op_in_memory(b->core->ops, op_id) : NULL; /* there until it is finished */
    b->is_new = !b->op;
    /* What an earlier one of this shutdown took down is to start again all the same. */
    b->clear = b->is_new && !host_stop_holds(b->core);
    if (b->is_new)
        b->op = op_new_for_host(b->actor, HOST_STOP_KIND, "{}");
    if (db_write(b->core->db, begin_fn, begun_fn, b, err))
        return -1;
    if (b->is_new) {
        op_enqueue(b->core->ops, b->op);
        log_info("the guests are being shut down; no VM starts meanwhile");
    }
    return 0;
}

int host_stop_begin(struct core *core, const struct actor *actor, const struct idem *idem, struct op **ret,
                    bool *ret_replayed, struct error *err)
{
    struct begin b = {.core = core, .actor = actor, .idem = idem};
    char reason[200], op_id[UUID_TEXT];
    struct idem_found found;
    int rc = idem_lookup(core, actor, idem, &found, err);

    if (rc < 0)
        return -1;
    *ret_replayed = rc > 0;
    if (rc > 0) {
        *ret = op_find(core, actor->project_id, found.id, err);
        return *ret ? 0 : -1;
    }
    if (!virt_is_up(core->virt, reason, sizeof(reason)))
        return error_set(err, ERROR_HYPERVISOR_UNAVAILABLE, "libvirt cannot be reached: %s", reason);
    if (!reserve(core->host_stop, op_id))
        return error_set(err, ERROR_REQUEST_IN_PROGRESS, "another request is shutting down the guests");
    rc = begin(&b, op_id, err);
    release(core->host_stop);
    if (rc) {
        op_unref(b.op);
        return -1;
    }
    set_keeper_poke(core->sets);
    *ret = b.op;
    return 0;
}

/* ---- ending ---- */

int host_stop_forget(struct db_tx *tx, bool due, struct error *err)
{
    return store_meta_set(tx, META, "", err) || store_guest_shutdown_settle(tx, due, clock_wall_ms(), err) ? -1 : 0;
}

void host_stop_forgotten(struct host_stop *s, bool due)
{
    LOCK_SCOPE(&s->lock);
    for (struct host_stop_entry *e = s->vms; e; e = e->hh.next) {
        if (e->v.restart == HOST_STOP_RAN)
            e->v.restart = due ? HOST_STOP_DUE : HOST_STOP_STAYS;
        if (e->v.outcome != HOST_STOP_PENDING)
            continue;
        e->v.outcome = HOST_STOP_HAS_FAILED;
        e->v.finished_at = clock_wall_ms() > e->v.started_at ? clock_wall_ms() : e->v.started_at;
        str_copy_utf8(e->v.detail, sizeof(e->v.detail), "the host went down first");
    }
    atomic_store(&s->holds, false);
}

bool host_stop_is_recorded(struct core *core)
{
    auto_free char *record = NULL;
    struct error err;

    if (store_meta_get(core->db, META, &record, &err) >= 0)
        return record && *record;
    log_failure(LOG_LEVEL_WARNING, &err, "cannot tell whether the guests were shut down before the boot");
    return false;
}

bool host_stop_is_due(struct core *core, const char *vm_id)
{
    struct host_stop_entry e;

    return host_stop_get(core->host_stop, vm_id, &e) && e.v.restart == HOST_STOP_DUE;
}

struct settle {
    struct host_stop *s;
    struct host_stop_entry entry;
};

static int settle_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct settle *w = arg;

    return host_stop_put(tx, &w->entry, err);
}

static void settled_fn(void *arg)
{
    const struct settle *w = arg;

    host_stop_publish(w->s, &w->entry);
}

void host_stop_settled(struct core *core, const char *vm_id)
{
    struct settle w = {.s = core->host_stop};
    struct error err;

    if (!host_stop_get(w.s, vm_id, &w.entry) || w.entry.v.restart != HOST_STOP_DUE)
        return;
    w.entry.v.restart = HOST_STOP_STAYS;
    if (db_write(core->db, settle_fn, settled_fn, &w, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store that VM %s was started again", w.entry.v.name);
}

static int end_fn(struct db_tx *tx, void *arg, struct error *err)
{
    (void)arg;
    return host_stop_forget(tx, true, err);
}

static void ended_fn(void *arg)
{
    host_stop_forgotten(arg, true);
}

static void look_around(struct core *core)
{
    op_engine_poke(core->ops);
    lease_keeper_poke(core->leases);
    set_keeper_poke(core->sets);
}

int host_stop_end(struct core *core, struct error *err)
{
    struct host_stop *s = core->host_stop;
    auto_op struct op *op = NULL;
    char op_id[UUID_TEXT];
    int rc;

    if (!reserve(s, op_id))
        return error_set(err, ERROR_REQUEST_IN_PROGRESS, "another request is shutting down the guests");
    op = *op_id ? op_in_memory(core->ops, op_id) : NULL;
    if (op) {
        release(s);
        error_set(err, ERROR_HOST_SHUTTING_DOWN, "the guests are being shut down by operation %s", op_id);
        error_remedy(err, "Wait for its end, or cancel it first: `drover op cancel %s`.", op_id);
        return -1;
    }
    /* Of an earlier boot it is none of ours: after the boot it is dealt with without being asked. */
    rc = *op_id ? db_write(core->db, end_fn, ended_fn, s, err) : 0;
    release(s);
    if (rc == 0)
        look_around(core);
    return rc;
}

/* ---- being cancelled ---- */

struct cancel {
    struct host_stop *s;
    struct host_stop_entry *pending;
    size_t count;
};

static int cancel_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct cancel *c = arg;

    for (size_t i = 0; i < c->count; i++) {
        if (host_stop_put(tx, &c->pending[i], err))
            return -1;
    }
    return store_meta_set(tx, META, "", err);
}

static void cancelled_fn(void *arg)
{
    const struct cancel *c = arg;

    for (size_t i = 0; i < c->count; i++)
        host_stop_publish(c->s, &c->pending[i]);
}

void host_stop_on_cancelled(struct core *core)
{
    auto_free struct host_stop_entry *all = NULL;
    struct cancel c = {.s = core->host_stop};
    struct error err;
    size_t count;

    atomic_store(&c.s->holds, false); /* first: nobody else is asked, and no plug is pulled */
    c.pending = all = host_stop_all(c.s, &count);
    for (size_t i = 0; i < count; i++) {
        if (all[i].v.outcome != HOST_STOP_PENDING)
            continue;
        all[c.count] = all[i];
        all[c.count].v.outcome = HOST_STOP_WAS_CANCELLED;
        all[c.count].v.finished_at = all[i].v.started_at + clock_boottime_ms() - all[i].began_ms;
        c.count++;
    }
    if (db_write(core->db, cancel_fn, cancelled_fn, &c, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store that the shutdown of the guests was cancelled");
    look_around(core);
}
