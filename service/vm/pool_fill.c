/*
 * Keeping pools full: one look at every VM that waits (is it ready, too old, broken?), then as many
 * new ones as are missing. Never more than a wave at a time, and ever more slowly when the template
 * does not boot. Keeper thread only.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/lease_internal.h"

/* ---- what went wrong, and how long to wait ---- */

static int failing_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct pool_state *p = arg;
    auto_json json_t *data = json_pack("{s:s}", "reason", p->status.last_error);

    return event_append(NULL, tx, p->pool->project_id, &actor_system, "pool.failing", "pool", p->id,
                        p->pool->name, data, err);
}

void pool_note_failure(struct core *core, const struct pool *pool, const char *reason)
{
    struct pool_state copy = {.pool = (struct pool *)(uintptr_t)pool};
    struct lease_keeper *k = core->leases;
    struct pool_state *p;
    struct error err;
    bool first;

    {
        LOCK_SCOPE(&k->lock);
        int64_t wait = POOL_BACKOFF_MS;

        HASH_FIND_STR(k->pools, pool->id, p);
        if (!p)
            return;
        first = p->status.failures++ == 0;
        for (uint64_t i = 1; i < p->status.failures && wait < POOL_BACKOFF_MAX; i++)
            wait *= 2;
        wait = wait < POOL_BACKOFF_MAX ? wait : POOL_BACKOFF_MAX;
        p->retry_ms = clock_boottime_ms() + wait;
        p->status.retry_at = clock_wall_ms() + wait;
        str_copy_utf8(p->status.last_error, sizeof(p->status.last_error), reason);
        copy.status = p->status;
        memcpy(copy.id, p->id, sizeof(copy.id));
    }
    /* The reason once, not with every try. */
    if (first && db_write(core->db, failing_fn, NULL, &copy, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store that pool %s fails", pool->name);
    log_at(LOG_LEVEL_WARNING, "a VM of pool %s did not get ready: %s", pool->name, reason);
}

/* Its owner's quota is used up: nothing is wrong with the template, so it is tried again soon. */
static void note_held(struct core *core, const struct pool *pool, const char *reason)
{
    struct pool_state copy = {.pool = (struct pool *)(uintptr_t)pool};
    struct lease_keeper *k = core->leases;
    struct pool_state *p;
    struct error err;
    bool first;

    {
        LOCK_SCOPE(&k->lock);
        HASH_FIND_STR(k->pools, pool->id, p);
        if (!p)
            return;
        first = !p->held;
        p->held = true;
        p->retry_ms = clock_boottime_ms() + POOL_BACKOFF_MS;
        p->status.retry_at = clock_wall_ms() + POOL_BACKOFF_MS;
        str_copy_utf8(p->status.last_error, sizeof(p->status.last_error), reason);
        copy.status = p->status;
        memcpy(copy.id, p->id, sizeof(copy.id));
    }
    if (first && db_write(core->db, failing_fn, NULL, &copy, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store that pool %s is held up", pool->name);
}

static void note_success(struct lease_keeper *k, const char *pool_id)
{
    struct pool_state *p;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->pools, pool_id, p);
    if (!p)
        return;
    p->status.failures = 0;
    p->retry_ms = p->status.retry_at = 0;
    p->status.last_error[0] = '\0';
}

/* ---- the VMs that wait ---- */

static int delete_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                         struct error *err)
{
    (void)core;
    (void)arg;
    (void)err;
    if (*next->lease_id || next->state == VM_STATE_DELETING)
        return 1; /* somebody was faster */
    change->op_insert = op_new(&actor_system, next, "vm.delete", "{\"force\":true}");
    change->event_type = "vm.state";
    change->event_data = json_pack("{s:s, s:s, s:s}", "state", "deleting", "previous",
                                   vm_state_name(next->state), "reason", "replaced by its pool");
    next->state = VM_STATE_DELETING;
    str_copy_utf8(next->state_reason, sizeof(next->state_reason), "replaced by its pool");
    return 0;
}

int member_delete(struct core *core, const char *vm_id, struct error *err)
{
    struct change change = {.actor = &actor_system};
    int rc = vm_change(core, vm_id, delete_mutate, NULL, &change, NULL, err);

    CRASH_POINT(POOL_RETIRED);
    json_decref(change.event_data);
    op_unref(change.op_insert);
    return rc && err->code == ERROR_VM_NOT_FOUND ? 0 : rc;
}

static void discard(struct core *core, const struct member *m)
{
    struct error err;

    if (!book_member_move(core->leases, m->vm_id, m->phase, MEMBER_LEAVING))
        return;
    if (member_delete(core, m->vm_id, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot delete VM %s of a pool", m->vm_id);
}

static void fail(struct core *core, const struct pool *pool, const struct member *m,
                 const char *reason)
{
    pool_note_failure(core, pool, reason);
    discard(core, m);
}

static bool reached(struct core *core, const struct vm *vm, int point)
{
    if (vm->state != VM_STATE_RUNNING)
        return false;
    if (point == WAIT_VM_READY)
        return vm->marks[VM_MARK_READY] != 0;
    return point == WAIT_VM_RUNNING || console_has_output(core->consoles, vm->id, "console");
}

/*
 * busy was asked before vm was read: what an operation goes through (a VM is paused while its memory
 * is written, and stopped before it says so) is no failure, and its end is not seen too early.
 */
static bool is_broken(const struct vm *vm, bool busy)
{
    switch (vm->state) {
    case VM_STATE_FAILED:
    case VM_STATE_CRASHED:
        return true;
    case VM_STATE_PAUSED:
    case VM_STATE_STOPPING:
    case VM_STATE_STOPPED:
        return !busy;
    default:
        return false;
    }
}

static void save(struct core *core, const struct member *m, const struct vm *vm)
{
    struct error err;
    struct op *op = NULL;
    bool replayed;

    if (!book_member_move(core->leases, m->vm_id, MEMBER_WARMING, MEMBER_SAVING))
        return;
    if (vm_act(core, &actor_system, m->vm_id, VM_VERB_SAVE, false, 0, NULL, &op, &replayed, &err)) {
        log_failure(LOG_LEVEL_WARNING, &err, "cannot save VM %s of a pool", vm->spec->name);
        /* Tried again at the next look, within the time it has for getting ready. */
        (void)book_member_move(core->leases, m->vm_id, MEMBER_SAVING, MEMBER_WARMING);
    }
    op_unref(op);
}

/* To be handed out; or the first that was saved, with whose memory the others will begin. */
static void is_ready(struct core *core, const struct pool *pool, const struct member *m,
                     const struct vm *vm)
{
    char why[256];
    struct vm *template;
    struct error err;

    note_success(core->leases, pool->id);
    if (pool->spec->depth != POOL_SNAPSHOT || *vm->template_id ||
        !template_is_shareable(core, pool, why, sizeof(why))) {
        (void)book_member_move(core->leases, m->vm_id, m->phase, MEMBER_READY);
        if (pool->spec->depth == POOL_SNAPSHOT && !*vm->template_id)
            template_report(core, pool, false, why, NULL);
        return;
    }
    template = template_take(core, pool);
    template_give(core, template);
    if (template)
        discard(core, m); /* there is one already */
    else if (template_keep(core, m->vm_id, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot make VM %s a template", vm->spec->name);
    else
        book_member_stale(core->leases, m->vm_id, false);
}

static void look_warming(struct core *core, const struct pool *pool, const struct member *m,
                         struct vm *vm, bool busy)
{
    bool snapshot = pool->spec->depth == POOL_SNAPSHOT;
    char reason[128];

    if (is_broken(vm, busy)) {
        fail(core, pool, m, *vm->state_reason ? vm->state_reason : vm_state_name(vm->state));
    } else if (snapshot ? vm->state == VM_STATE_SAVED : reached(core, vm, pool->spec->ready_when)) {
        is_ready(core, pool, m, vm);
    } else if (snapshot && !busy && reached(core, vm, pool->spec->ready_when)) {
        save(core, m, vm);
    } else if (clock_boottime_ms() - m->since_ms > pool->spec->boot_seconds * 1000) {
        snprintf(reason, sizeof(reason), "it did not get ready in %lld s",
                 (long long)pool->spec->boot_seconds);
        fail(core, pool, m, reason);
    }
}

static void look_saving(struct core *core, const struct pool *pool, const struct member *m,
                        struct vm *vm, bool busy)
{
    if (vm->state == VM_STATE_SAVED) {
        is_ready(core, pool, m, vm);
    } else if (is_broken(vm, busy) || (vm->state == VM_STATE_RUNNING && !busy)) {
        fail(core, pool, m, "its memory could not be saved");
    }
}

bool member_is_current(struct core *core, const struct pool *pool, const struct member *m,
                       const struct vm *vm)
{
    const char *ref = json_string_value(json_object_get(pool->spec->vm, "image"));
    struct error ignored;
    auto_image struct image *image =
        ref ? image_find(core, pool->project_id, ref, &ignored) : NULL;

    if (m->generation != pool->generation)
        return false;
    return !image || str_eq(image->id, vm->image_id);
}

bool member_is_old(const struct pool *pool, const struct member *m)
{
    return pool->spec->recycle_seconds &&
           clock_boottime_ms() - m->since_ms > pool->spec->recycle_seconds * 1000;
}

static void look_template(struct core *core, const struct pool *pool, const struct member *m,
                          const struct vm *vm)
{
    enum template_fit fit = TEMPLATE_STALE;
    struct error err;
    char why[256];

    if (pool && pool->spec->depth == POOL_SNAPSHOT &&
        template_is_shareable(core, pool, why, sizeof(why)))
        fit = template_fits(core, pool, m, vm, why, sizeof(why));
    if (fit == TEMPLATE_UNKNOWN)
        return;
    book_member_stale(core->leases, m->vm_id, fit == TEMPLATE_STALE);
    if (fit == TEMPLATE_FITS) {
        template_report(core, pool, true, "", vm);
        return;
    }
    if (pool && !m->stale)
        template_report(core, pool, true, why, NULL);
    if (template_retire(core, m->vm_id) && member_delete(core, m->vm_id, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot delete template %s", vm->spec->name);
}

/* Is a fresh one at hand, or will soon be, when this one goes? */
static bool has_successor(struct core *core, const struct pool *pool)
{
    char ignored[256];
    struct vm *template;

    if (pool->spec->depth != POOL_SNAPSHOT ||
        !template_is_shareable(core, pool, ignored, sizeof(ignored)))
        return true;
    template = template_take(core, pool);
    template_give(core, template);
    return template != NULL;
}

/* How many of the pool to make now; a surplus counts negative. */
static int64_t missing(struct lease_keeper *k, const struct pool *pool, int64_t *ret_warming)
{
    int64_t wanted = pool->spec->depth == POOL_COLD ? 0 : pool->spec->ready, have = 0, all = 0;
    struct pool_state *p;

    *ret_warming = 0;
    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->pools, pool->id, p);
    if (!p || clock_boottime_ms() < p->retry_ms)
        return 0;
    for (struct member *m = k->members; m; m = m->hh.next) {
        bool warming = m->phase == MEMBER_WARMING || m->phase == MEMBER_SAVING;

        *ret_warming += warming;
        if (!str_eq(m->pool_id, pool->id) || m->phase == MEMBER_LEAVING)
            continue;
        all++;
        have += warming || m->phase == MEMBER_READY;
    }
    all += p->reserved;
    if (wanted - have > p->pool->spec->max - all)
        return p->pool->spec->max - all;
    return wanted - have;
}

/*
 * Nothing is on its way and nothing is missing, so that one less is all that a change costs at a time; and when the
 * new ones do not boot, the old ones stay. A quota that is used up leaves no other way than to begin with the old one.
 */
static bool is_settled(struct lease_keeper *k, const struct pool *pool)
{
    int64_t ignored, wanted = missing(k, pool, &ignored);
    struct pool_state *p;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->pools, pool->id, p);
    if (!p || p->held)
        return p != NULL;
    for (struct member *m = k->members; m; m = m->hh.next) {
        if (str_eq(m->pool_id, pool->id) && (m->phase == MEMBER_WARMING || m->phase == MEMBER_SAVING))
            return false;
    }
    return wanted <= 0 && clock_boottime_ms() >= p->retry_ms;
}

/* *replaced: one VM of a pool at a time, so that a change never leaves the pool empty at once. */
static void look_ready(struct core *core, const struct pool *pool, const struct member *m,
                       struct vm *vm, bool *replaced)
{
    enum vm_state wanted = pool->spec->depth == POOL_SNAPSHOT ? VM_STATE_SAVED : VM_STATE_RUNNING;
    bool outdated = !member_is_current(core, pool, m, vm) || book_stands_on_stale(core->leases, vm);

    book_member_stale(core->leases, m->vm_id, outdated);
    if (vm->state != wanted) {
        if (m->generation == pool->generation)
            fail(core, pool, m, "it stopped while it waited");
        else
            discard(core, m);
    } else if (!*replaced &&
               (outdated || (!*vm->template_id && member_is_old(pool, m))) && has_successor(core, pool) &&
               is_settled(core->leases, pool)) {
        *replaced = true;
        discard(core, m);
    }
}

static void look_member(struct core *core, const struct member *m, bool *replaced)
{
    bool busy = op_vm_busy(core->ops, m->vm_id); /* before its state is read */
    auto_vm struct vm *vm = registry_get(core->registry, m->vm_id);
    auto_pool struct pool *pool = book_pool(core->leases, m->pool_id);
    struct error err;

    if (!vm || m->phase == MEMBER_TAKEN)
        return;
    if (m->phase == MEMBER_LEAVING) {
        /* Its deletion failed, or was never asked for: a crash came between. */
        if (vm->state != VM_STATE_DELETING && !busy &&
            clock_boottime_ms() - m->since_ms > LEAVING_RETRY_MS && member_delete(core, vm->id, &err))
            log_failure(LOG_LEVEL_WARNING, &err, "cannot delete VM %s of a pool", vm->spec->name);
    } else if (m->phase == MEMBER_TEMPLATE) {
        look_template(core, pool, m, vm);
    } else if (!pool || pool->spec->depth == POOL_COLD) {
        discard(core, m);
    } else if (m->phase == MEMBER_WARMING) {
        look_warming(core, pool, m, vm, busy);
    } else if (m->phase == MEMBER_SAVING) {
        look_saving(core, pool, m, vm, busy);
    } else {
        look_ready(core, pool, m, vm, replaced);
    }
}

void pools_look(struct core *core)
{
    struct member *members;
    bool replaced = false;
    size_t count;

    book_members(core->leases, &members, &count);
    for (size_t i = 0; i < count; i++)
        look_member(core, &members[i], &replaced);
    free(members);
}

/* ---- the VMs that are missing ---- */

static int make_one(struct core *core, const struct pool *pool, const struct vm *template,
                    struct error *err)
{
    const struct actor actor = {"system", pool->project_id, "", pool->owner_token};
    struct change change = {.actor = &actor};
    struct vm_birth birth = {
        .pool_id = pool->id, .pool_generation = pool->generation, .change = &change,
        .template_id = template ? template->id : NULL};
    auto_vm_spec struct vm_spec *spec = NULL;
    auto_vm struct vm *vm = NULL;
    auto_op struct op *op = NULL;

    if (pool_vm_spec(pool, template, &spec, err))
        return -1;
    if (vm_create_born(core, &actor, spec, !template, &birth, &vm, &op, err))
        return -1;
    CRASH_POINT(POOL_INTENT);
    return 0;
}

/* Too many, because `ready` was lowered: the newest go. */
static void drop_one(struct core *core, const struct pool *pool)
{
    struct member *members, *newest = NULL;
    size_t count;

    book_members(core->leases, &members, &count);
    for (size_t i = 0; i < count; i++) {
        if (str_eq(members[i].pool_id, pool->id) && members[i].phase == MEMBER_READY &&
            (!newest || members[i].since_ms > newest->since_ms))
            newest = &members[i];
    }
    if (newest)
        discard(core, newest);
    free(members);
}

/* Does one boot already that will be the template? */
static bool template_boots(struct core *core, const struct pool *pool)
{
    struct member *members;
    bool found = false;
    size_t count;

    book_members(core->leases, &members, &count);
    for (size_t i = 0; i < count && !found; i++) {
        auto_vm struct vm *vm = registry_get(core->registry, members[i].vm_id);

        found = vm && str_eq(members[i].pool_id, pool->id) && !*vm->template_id &&
                members[i].generation == pool->generation &&
                (members[i].phase == MEMBER_WARMING || members[i].phase == MEMBER_SAVING);
    }
    free(members);
    return found;
}

static bool pool_is_due(struct lease_keeper *k, const char *pool_id)
{
    struct pool_state *p;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->pools, pool_id, p);
    return p && clock_boottime_ms() >= p->retry_ms;
}

/*
 * Making VMs takes disk and CPU from those who claim some right now. Half a pool can wait a moment;
 * what is left of it after that is filled by one at a time; when hardly any waits, claimers gain most
 * from there being more.
 */
static int64_t wave_now(struct lease_keeper *k, const struct pool *pool, int64_t wave)
{
    struct pool_state *p;
    int64_t ready = 0;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->pools, pool->id, p);
    if (!p || !p->claimed_ms || clock_boottime_ms() - p->claimed_ms > POOL_YIELD_MS)
        return wave;
    for (struct member *m = k->members; m; m = m->hh.next)
        ready += m->phase == MEMBER_READY && str_eq(m->pool_id, pool->id);
    if (!ready || 8 * ready < pool->spec->ready)
        return wave;
    return 2 * ready >= pool->spec->ready ? 0 : 1;
}

/* It is as full as it is to be: if its owner's quota holds it up again, that is news. */
static void note_full(struct lease_keeper *k, const char *pool_id)
{
    struct pool_state *p;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->pools, pool_id, p);
    if (p && p->held && clock_boottime_ms() >= p->retry_ms) {
        p->held = false;
        p->status.last_error[0] = '\0';
    }
}

static void fill(struct core *core, const struct pool *pool, int64_t wave)
{
    int64_t warming, count = missing(core->leases, pool, &warming);
    bool shared = false, due = pool_is_due(core->leases, pool->id);
    struct vm *template = NULL;
    struct error err;
    char why[256], key[256];

    if (count < 0)
        drop_one(core, pool);
    else if (count == 0)
        note_full(core->leases, pool->id);
    if (pool->spec->depth == POOL_SNAPSHOT && pool->spec->ready > 0)
        shared = template_is_shareable(core, pool, why, sizeof(why));
    if (shared) {
        template = template_take(core, pool);
        if (!template)
            count = due && template_key(core, key, sizeof(key)) && !template_boots(core, pool);
    }
    for (int64_t i = 0; i < count && warming + i < wave; i++) {
        if (make_one(core, pool, template, &err) == 0 || err.code == ERROR_NAME_IN_USE)
            continue;
        if (err.code == ERROR_QUOTA_EXCEEDED) {
            note_held(core, pool, err.detail);
            break;
        }
        /* While libvirt or the disk is away nothing is wrong with the template. */
        if (err.code != ERROR_HYPERVISOR_UNAVAILABLE && err.code != ERROR_DATABASE_FAILED)
            pool_note_failure(core, pool, err.detail);
        break;
    }
    template_give(core, template);
}

void pools_fill(struct core *core)
{
    struct pool **pools;
    size_t count;

    book_pools(core->leases, &pools, &count);
    for (size_t i = 0; i < count; i++) {
        int64_t wave = wave_now(core->leases, pools[i], core->settings->pool_wave);

        if (wave)
            fill(core, pools[i], wave);
        pool_unref(pools[i]);
    }
    free(pools);
}
