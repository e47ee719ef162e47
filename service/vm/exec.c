/*
 * Which programs there are, from being asked for to being forgotten, and who may ask twice.
 */
#include "service/vm/exec_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/str.h"

#define KEPT_MAX       64 /* ended ones */
#define KEPT_BYTES_MAX (32 * 1024 * 1024)

const char *exec_state_name(enum exec_state state)
{
    static const char *const names[] = {
        [EXEC_STARTING] = "starting",
        [EXEC_RUNNING] = "running",
        [EXEC_ENDED] = "ended",
        [EXEC_FAILED] = "failed",
    };

    return names[state];
}

/* ---- one of them ---- */

struct exec *exec_new(struct core *core, const char *actor, const char *vm_id, struct guest_exec *x)
{
    struct exec *e = xcalloc(1, sizeof(*e));

    atomic_init(&e->refs, 1);
    e->hub = core->guests;
    uuid_new(e->id);
    str_copy_utf8(e->vm_id, sizeof(e->vm_id), vm_id);
    str_copy_utf8(e->actor, sizeof(e->actor), actor);
    e->x = x;
    e->stream = x->stream;
    e->created_at = clock_wall_ms();
    e->began = clock_monotonic_ms();
    e->kept.deadline_at = e->created_at + x->steps[0].timeout_ms;
    e->kept.own_input = x->steps[0].input != NULL;
    e->wake_fd = -1;
    e->exit_code = -1;
    mutex_init(&e->lock);
    cond_init(&e->decided);
    return e;
}

void exec_unref(struct exec *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    guest_exec_free(e->x);
    for (int i = 0; i < EXEC_OUTPUTS; i++)
        free(e->out[i].data);
    free(e->input);
    if (e->wake_fd >= 0)
        close(e->wake_fd);
    pthread_cond_destroy(&e->decided);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static void drop(void *exec)
{
    exec_unref(exec);
}

static struct exec *ref(struct exec *e)
{
    atomic_fetch_add(&e->refs, 1);
    return e;
}

void exec_wake(struct exec *e)
{
    if (e->wake_fd >= 0)
        (void)fd_wake(e->wake_fd);
}

static void tell_waiters(struct exec_waiter *w)
{
    while (w) {
        struct exec_waiter *next = w->next;

        w->done(w->opaque, WAIT_DONE);
        free(w);
        w = next;
    }
}

void exec_settle(struct exec *e, enum exec_state state, const struct error *err)
{
    struct exec_waiter *waiters;

    {
        LOCK_SCOPE(&e->lock);
        e->state = state;
        if (state == EXEC_FAILED)
            e->error = *err;
        e->settled = true;
        waiters = TAKE_PTR(e->waiters);
    }
    tell_waiters(waiters);
}

void exec_finish(struct exec *e, enum exec_state state, const struct error *err)
{
    {
        LOCK_SCOPE(&e->lock);
        e->ended_at = clock_wall_ms();
        if (!e->duration_ms)
            e->duration_ms = clock_monotonic_ms() - e->began;
        for (int i = 0; i < EXEC_OUTPUTS; i++)
            e->out[i].complete = true;
        free(e->input);
        e->input = NULL;
        e->input_len = 0;
    }
    exec_settle(e, state, err);
    if (e->stream)
        exec_keep(e);
    exec_tell(e);
}

void exec_leave(struct exec *e, const struct error *err)
{
    {
        LOCK_SCOPE(&e->lock);
        exec_end_viewer_locked(e, 1001, "the daemon is stopping; the program goes on");
    }
    exec_settle(e, EXEC_FAILED, err);
    exec_tell(e);
}

void exec_park(void *arg, wait_fn *done, void *opaque)
{
    struct exec *e = arg;

    {
        LOCK_SCOPE(&e->lock);
        if (!e->settled) {
            struct exec_waiter *w = xcalloc(1, sizeof(*w));

            *w = (struct exec_waiter){e->waiters, done, opaque};
            e->waiters = w;
            return;
        }
    }
    done(opaque, WAIT_DONE);
}

int exec_result(struct exec *e, struct error *err)
{
    LOCK_SCOPE(&e->lock);
    if (e->error.code == ERROR_NONE)
        return 0;
    *err = e->error;
    return -1;
}

const struct guest_exec *exec_outcomes(const struct exec *e)
{
    return e->stream ? NULL : e->x;
}

void exec_info_read(struct exec *e, struct exec_info *ret)
{
    *ret = (struct exec_info){
        .step = &e->x->steps[0], .stream = e->stream, .created_at = e->created_at};
    str_copy_utf8(ret->id, sizeof(ret->id), e->id);
    str_copy_utf8(ret->vm_id, sizeof(ret->vm_id), e->vm_id);
    str_copy_utf8(ret->actor, sizeof(ret->actor), e->actor);
    LOCK_SCOPE(&e->lock);
    ret->state = e->state;
    ret->exit_code = e->exit_code;
    ret->signal = e->signal;
    ret->timed_out = e->timed_out;
    ret->cut = e->cut;
    ret->attached = e->viewer != NULL;
    ret->ended_at = e->ended_at;
    ret->duration_ms = e->ended_at ? e->duration_ms : clock_monotonic_ms() - e->began;
    for (int i = 0; i < EXEC_OUTPUTS; i++)
        ret->total[i] = e->out[i].end;
    ret->input = e->input_taken;
    ret->error = e->error;
}

void exec_kill(struct exec *e)
{
    bool keep;

    {
        LOCK_SCOPE(&e->lock);
        e->killed = true;
        keep = e->stream && !e->ended_at;
    }
    exec_wake(e);
    if (keep)
        exec_keep(e);
}

/* ---- all of them ---- */

static size_t held_locked(const struct exec *e)
{
    size_t bytes = sizeof(*e) + sizeof(*e->x);

    for (int i = 0; i < EXEC_OUTPUTS; i++)
        bytes += e->out[i].data ? EXEC_WINDOW : 0;
    for (size_t i = 0; !e->stream && i < e->x->step_count; i++)
        bytes += e->x->outcomes[i].out.len + e->x->outcomes[i].err.len;
    return bytes;
}

/* The newest come first: what is beyond the bounds is oldest. */
static struct exec *take_old_locked(struct guest_hub *hub)
{
    struct exec *taken = NULL;
    int64_t now = clock_wall_ms();
    size_t kept = 0, bytes = 0;

    for (struct exec **at = &hub->execs; *at;) {
        struct exec *e = *at;
        bool old;

        {
            LOCK_SCOPE(&e->lock);
            bytes += e->ended_at ? held_locked(e) : 0;
            old = e->ended_at && !e->viewer &&
                  (++kept > KEPT_MAX || bytes > KEPT_BYTES_MAX ||
                   now - e->ended_at > EXEC_KEEP_MS);
        }
        if (!old) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        e->next = taken;
        taken = e;
    }
    return taken;
}

static void unref_all(struct exec *e)
{
    while (e) {
        struct exec *next = e->next;

        exec_unref(e);
        e = next;
    }
}

void exec_sweep(struct guest_hub *hub)
{
    struct exec *old;

    {
        LOCK_SCOPE(&hub->lock);
        old = take_old_locked(hub);
    }
    exec_keep_drop(hub, old);
    unref_all(old);
}

void exec_forget_all(struct guest_hub *hub)
{
    unref_all(TAKE_PTR(hub->execs));
}

static struct exec *find(struct guest_hub *hub, const char *vm_id, const char *id)
{
    LOCK_SCOPE(&hub->lock);
    for (struct exec *e = hub->execs; e; e = e->next) {
        if (strcmp(e->id, id) == 0 && strcmp(e->vm_id, vm_id) == 0)
            return ref(e);
    }
    return NULL;
}

int exec_find(struct core *core, const char *vm_id, const char *id, struct exec **ret,
              struct error *err)
{
    exec_sweep(core->guests);
    *ret = find(core->guests, vm_id, id);
    if (*ret)
        return 0;
    error_set(err, ERROR_EXEC_NOT_FOUND, "the VM has no program %s", id);
    error_remedy(err, "A program is forgotten ten minutes after its end, one that is not streamed also when "
                      "the daemon restarts.");
    return -1;
}

size_t exec_list(struct core *core, const char *vm_id, struct exec **ret, size_t max)
{
    struct guest_hub *hub = core->guests;
    size_t n = 0;

    exec_sweep(hub);
    LOCK_SCOPE(&hub->lock);
    for (struct exec *e = hub->execs; e && n < max; e = e->next) {
        if (strcmp(e->vm_id, vm_id) == 0)
            ret[n++] = ref(e);
    }
    return n;
}

void exec_revoke(struct core *core, const char *right)
{
    struct guest_hub *hub = core->guests;
    struct exec *found[EXEC_LIST_MAX];
    size_t n = 0;

    {
        LOCK_SCOPE(&hub->lock);
        for (struct exec *e = hub->execs; e && n < EXEC_LIST_MAX; e = e->next) {
            LOCK_SCOPE(&e->lock);
            if (exec_viewer_has_right_locked(e, right)) {
                exec_end_viewer_locked(e, 1008, "the right to run programs was revoked or has expired");
                found[n++] = ref(e);
            }
        }
    }
    while (n--) {
        exec_tell(found[n]);
        exec_unref(found[n]);
    }
}

/* ---- beginning ---- */

/* The key's row is on the disk before the program runs, so it never runs twice. */
static bool is_to_run(struct exec *e)
{
    LOCK_SCOPE(&e->lock);
    while (e->decision == EXEC_UNDECIDED)
        pthread_cond_wait(&e->decided, &e->lock);
    return e->decision == EXEC_GO;
}

static void decide(struct exec *e, bool go)
{
    LOCK_SCOPE(&e->lock);
    e->decision = go ? EXEC_GO : EXEC_DROPPED;
    pthread_cond_signal(&e->decided);
}

static int run(struct core *core, void *arg, struct error *err)
{
    struct exec *e = arg;
    int rc;

    if (!is_to_run(e))
        return 0;
    if (e->stream)
        return exec_run_streamed(core, e, err);
    rc = guest_exec_run(core, e->x, err);
    exec_finish(e, rc ? EXEC_FAILED : EXEC_ENDED, err);
    return rc;
}

struct remember {
    const struct actor *actor;
    const struct idem *idem;
    struct exec *exec;
};

static int remember_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct remember *r = arg;

    if (r->exec->stream && exec_keep_in(tx, r->exec, err))
        return -1;
    if (!r->idem || !r->idem->key)
        return 0;
    if (idem_race(tx, r->actor, r->idem, err))
        return -1;
    return idem_put(tx, r->actor, r->idem, r->exec->stream ? 201 : 200, "exec", r->exec->id, err);
}

static int remember(struct core *core, const struct actor *actor, const struct idem *idem,
                    struct exec *e, struct error *err)
{
    struct remember r = {actor, idem, e};

    return e->stream || (idem && idem->key) ? db_write(core->db, remember_fn, NULL, &r, err) : 0;
}

/* 1: the key's program, 0: a new key, -1. */
static int seen(struct core *core, const struct actor *actor, const struct vm *vm,
                const struct idem *idem, struct exec **ret, struct error *err)
{
    struct idem_found found;
    int rc = idem_lookup(core, actor, idem, &found, err);

    if (rc <= 0)
        return rc;
    *ret = find(core->guests, vm->id, found.id);
    if (*ret)
        return 1;
    error_set(err, ERROR_OUTCOME_UNKNOWN, "this was begun before, and what came of it is not known any more");
    error_remedy(err, "Look in the guest at what it did; to run it again, send another Idempotency-Key.");
    return -1;
}

static void publish(struct exec *e)
{
    LOCK_SCOPE(&e->hub->lock);
    e->next = e->hub->execs;
    e->hub->execs = ref(e);
}

static void withdraw(struct exec *e)
{
    {
        LOCK_SCOPE(&e->hub->lock);
        struct exec **at = &e->hub->execs;

        while (*at != e)
            at = &(*at)->next;
        *at = e->next;
    }
    exec_unref(e);
}

static int go_on(struct core *core, void *arg, struct error *err)
{
    (void)core;
    return exec_run_restored(arg, err);
}

void exec_take_up(struct exec *e)
{
    struct error err = ERROR_INIT;

    publish(e);
    if (!e->ended_at) {
        e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (guest_task_start(e->hub->core, e->vm_id, go_on, ref(e), drop, NULL, &err))
            exec_finish(e, EXEC_FAILED, &err);
    }
    exec_unref(e);
}

int exec_begin(struct core *core, const struct actor *actor, const struct vm *vm,
               struct guest_exec *x, const struct idem *idem, struct exec **ret, bool *ret_replayed,
               struct error *err)
{
    auto_exec struct exec *e = exec_new(core, actor->id, vm->id, x);
    int rc = seen(core, actor, vm, idem, ret, err);

    *ret_replayed = rc > 0;
    if (rc)
        return rc < 0 ? -1 : 0;
    exec_sweep(core->guests);
    e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e->wake_fd < 0)
        return error_errno(err, errno, "cannot make an eventfd");
    if (guest_task_start(core, vm->id, run, ref(e), drop, NULL, err))
        return -1; /* the task's reference went with it */
    publish(e);
    if (remember(core, actor, idem, e, err)) {
        decide(e, false);
        withdraw(e);
        /* An equal request was quicker: its program is the answer. */
        *ret_replayed = err->code == ERROR_REQUEST_IN_PROGRESS && seen(core, actor, vm, idem, ret, err) > 0;
        return *ret_replayed ? 0 : -1;
    }
    decide(e, true);
    *ret = TAKE_PTR(e);
    return 0;
}
