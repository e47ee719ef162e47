/*
 * Working off the shutdown of the host's guests. Each look asks of every VM whether it is still on, and
 * what was done about it; nothing here waits, so one that hangs delays nobody. Keeper thread only.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/host_stop_internal.h"
#include "service/vm/set.h"

#define ASK_AGAIN_MS 15000 /* a guest that was booting did not hear the button */
#define GRACE_MS     30000 /* for a QEMU whose plug was pulled to be gone */

struct look {
    struct core *core;
    struct op *op;
    int64_t now;
    size_t flying, done, failed; /* VMs */
    int64_t asking, saving, most; /* operations that occupy a worker, or will */
    char why[256];
};

static bool is_on(const struct vm *vm)
{
    return vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_PAUSED || vm->state == VM_STATE_STOPPING;
}

/* ---- storing ---- */

struct store {
    struct host_stop *s;
    struct host_stop_entry entry;
};

static int put_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct store *store = arg;

    return host_stop_put(tx, &store->entry, err);
}

static void published_fn(void *arg)
{
    struct store *store = arg;

    host_stop_publish(store->s, &store->entry);
}

static void put(struct look *l, const struct host_stop_entry *entry)
{
    struct store store = {l->core->host_stop, *entry};
    struct error err;

    if (db_write(l->core->db, put_fn, published_fn, &store, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store what became of VM %s", entry->v.name);
}

static void finish(struct look *l, struct host_stop_entry *e, enum host_stop_outcome outcome)
{
    e->v.outcome = outcome;
    e->v.finished_at = e->v.started_at + l->now - e->began_ms;
    put(l, e);
}

/* ---- asking ---- */

struct ask {
    struct look *look;
    struct store store;
    const char *kind, *params;
};

/* The VM's operation and what is remembered of it are one commit: neither is without the other. */
static int ask_mutate(struct core *core, struct vm *next, struct change *change, void *arg, struct error *err)
{
    struct ask *a = arg;
    const struct op *op = a->look->op;
    const struct actor actor = {op->actor, next->project_id, op->request_id, NULL};

    (void)err;
    if (!host_stop_holds(core) || (next->state != VM_STATE_STARTING && !is_on(next)))
        return 1; /* cancelled, or it went by itself */
    change->quiet = true;
    change->op_insert = op_new(&actor, next, a->kind, a->params);
    change->also = put_fn;
    change->also_committed = published_fn;
    change->also_arg = &a->store;
    return 0;
}

static void ask(struct look *l, struct host_stop_entry *e)
{
    static const char *const kinds[HOST_STOP_ACTIONS] = {"vm.shutdown", "vm.save", NULL, "vm.stop"};
    struct ask a = {.look = l, .kind = kinds[e->v.forced ? HOST_STOP_STOP : e->v.action],
                    .params = e->v.forced ? OP_OVERTAKES : "{}"};
    struct change change = {0};
    struct error err;

    e->asked_ms = l->now;
    a.store = (struct store){l->core->host_stop, *e};
    if (vm_change(l->core, e->v.vm_id, ask_mutate, &a, &change, NULL, &err) && err.code != ERROR_VM_NOT_FOUND)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store what is asked of VM %s", e->v.name);
    op_unref(change.op_insert);
    l->asking++;
    l->saving += e->v.action == HOST_STOP_SAVE && !e->v.forced;
}

static void pull(struct look *l, struct host_stop_entry *e, const char *why)
{
    e->v.forced = true;
    str_copy_utf8(e->v.detail, sizeof(e->v.detail), why);
    log_warning("VM %s is stopped: %s", e->v.name, why);
    ask(l, e);
}

/* ---- those that were taken hold of ---- */

static bool has_room(const struct look *l, enum host_stop_action action)
{
    /* Half the workers stay free of what writes memory to a disk, so that it holds up nobody else. */
    return l->asking < l->most && (action != HOST_STOP_SAVE || l->saving < (l->most + 1) / 2);
}

/* It is on, its time is not up, and nothing is being done about it. */
static void ask_again(struct look *l, struct host_stop_entry *e, const struct vm *vm)
{
    bool was_asked = e->asked_ms != 0;

    if (vm->state == VM_STATE_STOPPING || vm->state == VM_STATE_STARTING)
        return; /* the guest is at it; or libvirt */
    if (e->v.action == HOST_STOP_SAVE && was_asked) {
        snprintf(e->v.detail, sizeof(e->v.detail), "could not be saved: %.200s", vm->state_reason);
        log_warning("VM %s %s", e->v.name, e->v.detail);
        if (vm->state == VM_STATE_PAUSED) {
            pull(l, e, e->v.detail);
            return;
        }
        e->v.action = HOST_STOP_SHUTDOWN;
    } else if (e->v.action == HOST_STOP_SHUTDOWN && vm->state == VM_STATE_PAUSED) {
        e->v.action = HOST_STOP_SAVE; /* somebody has just paused it: it cannot obey */
    } else if (was_asked && l->now - e->asked_ms < ASK_AGAIN_MS) {
        return;
    }
    if (has_room(l, e->v.action))
        ask(l, e);
}

static void judge_on(struct look *l, struct host_stop_entry *e, const struct vm *vm, bool busy)
{
    int64_t over = l->now - e->began_ms - e->v.seconds * 1000;
    char why[128];

    l->flying++;
    l->asking += busy;
    l->saving += busy && e->v.action == HOST_STOP_SAVE && !e->v.forced;
    if (e->v.forced && over >= GRACE_MS) {
        l->flying--;
        str_copy_utf8(e->v.detail, sizeof(e->v.detail), "it is on although its plug was pulled");
        finish(l, e, HOST_STOP_HAS_FAILED);
        set_keeper_poke(l->core->sets);
    } else if (over >= 0 && !e->v.forced) {
        snprintf(why, sizeof(why), "it was not %s within %lld seconds",
                 e->v.action == HOST_STOP_SAVE ? "saved" : "shut down", (long long)e->v.seconds);
        pull(l, e, why);
    } else if (!busy && !e->v.forced) {
        ask_again(l, e, vm);
    }
}

static void judge(struct look *l, struct host_stop_entry *e)
{
    bool busy = op_vm_busy(l->core->ops, e->v.vm_id); /* before its state is read */
    auto_vm struct vm *vm = registry_get(l->core->registry, e->v.vm_id);

    if (!vm || vm->state == VM_STATE_DELETING)
        finish(l, e, HOST_STOP_WAS_STOPPED);
    else if (vm->state == VM_STATE_SAVED)
        finish(l, e, HOST_STOP_WAS_SAVED);
    else if (vm->state != VM_STATE_STARTING && !is_on(vm))
        finish(l, e, e->v.forced ? HOST_STOP_WAS_STOPPED : HOST_STOP_WAS_SHUT_DOWN);
    else
        judge_on(l, e, vm, busy);
}

/* ---- the others ---- */

static enum host_stop_action action_for(const struct vm *vm)
{
    /* It is clean, and nobody's yet: its pool makes another one. */
    if (*vm->pool_id && !*vm->lease_id)
        return HOST_STOP_STOP;
    if (vm->spec->on_host_shutdown == VM_HOST_SHUTDOWN_LEAVE)
        return HOST_STOP_LEAVE;
    /* One that stands still cannot obey, and would lose what it has in memory. */
    if (vm->spec->on_host_shutdown == VM_HOST_SHUTDOWN_SAVE || vm->state == VM_STATE_PAUSED)
        return HOST_STOP_SAVE;
    return HOST_STOP_SHUTDOWN;
}

static void take(struct look *l, const struct vm *vm)
{
    struct host_stop_entry e = {.began_ms = l->now};

    e.v.action = action_for(vm);
    if (e.v.action != HOST_STOP_LEAVE && !has_room(l, e.v.action))
        return; /* at a later look */
    memcpy(e.v.vm_id, vm->id, sizeof(e.v.vm_id));
    memcpy(e.v.op_id, l->op->id, sizeof(e.v.op_id));
    memcpy(e.v.project_id, vm->project_id, sizeof(e.v.project_id));
    str_copy_utf8(e.v.name, sizeof(e.v.name), vm->spec->name);
    e.v.seconds = vm->spec->host_shutdown_seconds;
    e.v.started_at = clock_wall_ms();
    if (e.v.action == HOST_STOP_LEAVE) {
        finish(l, &e, HOST_STOP_WAS_LEFT);
        return;
    }
    if ((vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_STARTING) && e.v.action != HOST_STOP_STOP)
        e.v.restart = HOST_STOP_RAN;
    e.v.forced = e.v.action == HOST_STOP_STOP;
    /* Who is starting is asked when it has arrived, and who is shutting down was asked. */
    if (vm->state == VM_STATE_STARTING || vm->state == VM_STATE_STOPPING)
        put(l, &e);
    else
        ask(l, &e);
}

static void look_at(struct look *l, const struct vm *vm)
{
    struct host_stop_entry e;
    bool known = host_stop_get(l->core->host_stop, vm->id, &e) && str_eq(e.v.op_id, l->op->id);

    if (known)
        return;
    /* A start that has not begun waits in the queue, beyond the boot if need be. */
    if (!is_on(vm) && (vm->state != VM_STATE_STARTING || !op_vm_active(l->core->ops, vm->id)))
        return;
    take(l, vm);
    /* Not taken, or not stored: for the next look. */
    known = host_stop_get(l->core->host_stop, vm->id, &e) && str_eq(e.v.op_id, l->op->id);
    l->flying += !known || e.v.outcome == HOST_STOP_PENDING;
}

/* ---- the operation ---- */

static void conclude(struct look *l)
{
    struct error err;

    if (!l->failed) {
        log_info("the guests are shut down: %zu VMs", l->done);
        op_driven_finish(l->core->ops, l->op->id, OP_SUCCEEDED, NULL);
        return;
    }
    error_set(&err, ERROR_TIMEOUT, "%zu of %zu VMs are still on: %s", l->failed, l->done + l->failed, l->why);
    op_driven_finish(l->core->ops, l->op->id, OP_FAILED, &err);
}

static void tell(struct look *l, size_t total)
{
    atomic_store(&l->op->progress->stage, "shutting down");
    atomic_store(&l->op->progress->done_bytes, (int64_t)l->done);
    atomic_store(&l->op->progress->failed, (int64_t)l->failed);
    atomic_store(&l->op->progress->total_bytes, (int64_t)total);
}

static void count_ended(struct look *l)
{
    size_t count;
    auto_free struct host_stop_entry *all = host_stop_all(l->core->host_stop, &count);

    for (size_t i = 0; i < count; i++) {
        bool failed = all[i].v.outcome == HOST_STOP_HAS_FAILED;

        if (!str_eq(all[i].v.op_id, l->op->id) || all[i].v.outcome == HOST_STOP_PENDING)
            continue;
        l->done += !failed;
        l->failed += failed;
        if (failed && !*l->why)
            str_copy_utf8(l->why, sizeof(l->why), all[i].v.name);
    }
}

static void work_on(struct look *l)
{
    auto_free struct host_stop_entry *all = NULL;
    auto_free struct vm **vms = NULL;
    size_t count;

    all = host_stop_all(l->core->host_stop, &count);
    for (size_t i = 0; i < count; i++) {
        if (all[i].v.outcome == HOST_STOP_PENDING)
            judge(l, &all[i]);
    }
    registry_all(l->core->registry, &vms, &count);
    for (size_t i = 0; i < count; i++) {
        look_at(l, vms[i]);
        vm_unref(vms[i]);
    }
    count_ended(l);
    tell(l, l->done + l->failed + l->flying);
    if (!l->flying)
        conclude(l);
}

static void work_off(struct core *core, struct op *op)
{
    struct host_stop *s = core->host_stop;
    struct look l = {.core = core, .op = op, .now = clock_boottime_ms(),
                     .most = core->settings->operation_workers};
    struct error err;
    bool ours;

    {
        LOCK_SCOPE(&s->lock);
        ours = str_eq(s->op_id, op->id);
    }
    if (!ours) {
        error_set(&err, ERROR_INTERRUPTED, "the host went down before its guests were");
        op_driven_finish(core->ops, op->id, OP_FAILED, &err);
    } else if (op->state != OP_PENDING || op_driven_start(core->ops, op->id) == 0) {
        work_on(&l);
    }
}

void host_stop_work(struct core *core)
{
    struct op **ops;
    size_t count;

    op_driven(core->ops, HOST_STOP_KIND, &ops, &count);
    for (size_t i = 0; i < count; i++) {
        work_off(core, ops[i]);
        op_unref(ops[i]);
    }
    free(ops);
}
