/*
 * The operation engine: a small pool of workers, one operation at a time per VM, in the order they
 * were accepted. A shutdown that waits for its guest gives its worker back and lets later
 * operations (a stop, say) overtake it.
 */
#include <stddef.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/host_stop_internal.h"
#include "service/vm/set.h"

#define OPERATION_THREADS_MAX 64
#define COPY_THREADS_MAX      16
#define POLL_MS  1000 /* how often waiting shutdowns are looked at without being poked */
#define AGAIN_MS 100  /* what libvirt's connection broke under waits that long before it is tried again */

/* PHASE_UNSTORED: done, but the disk did not take the outcome; until it does, nobody is told. */
enum phase { PHASE_QUEUED, PHASE_ACTIVE, PHASE_WAITING, PHASE_UNSTORED };

struct job {
    struct op *op;      /* the newest snapshot */
    struct op *outcome; /* PHASE_UNSTORED */
    enum phase phase;
    unsigned traits, tries;
    int64_t deadline; /* PHASE_WAITING: until then; PHASE_QUEUED: not before; monotonic ms */
    struct job *prev, *next;
    UT_hash_handle hh;
};

struct op_engine {
    struct core *core;
    pthread_mutex_t lock; /* leaf locks of the registry, virt and the database may be taken under it */
    /* A worker that cannot take a job must not be the one that is woken for it: [1] copies. */
    pthread_cond_t work[2];
    struct job *jobs, *by_id; /* in order of acceptance */
    struct job *last;
    bool stopping, started;
    unsigned thread_count;
    pthread_t threads[OPERATION_THREADS_MAX + COPY_THREADS_MAX];
};

struct op_engine *op_engine_new(struct core *core)
{
    struct op_engine *e = xcalloc(1, sizeof(*e));

    e->core = core;
    mutex_init(&e->lock);
    cond_init(&e->work[0]);
    cond_init(&e->work[1]);
    return e;
}

void op_engine_free(struct op_engine *e)
{
    struct job *job, *next;

    if (!e)
        return;
    HASH_CLEAR(hh, e->by_id);
    for (job = e->jobs; job; job = next) {
        next = job->next;
        op_unref(job->op);
        op_unref(job->outcome);
        free(job);
    }
    pthread_cond_destroy(&e->work[0]);
    pthread_cond_destroy(&e->work[1]);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static void wake_all(struct op_engine *e)
{
    pthread_cond_broadcast(&e->work[0]);
    pthread_cond_broadcast(&e->work[1]);
}

void op_enqueue(struct op_engine *e, struct op *op)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->op = op_ref(op);
    job->traits = op_kind_traits(op->kind);
    LOCK_SCOPE(&e->lock);
    job->prev = e->last;
    if (e->last)
        e->last->next = job;
    else
        e->jobs = job;
    e->last = job;
    HASH_ADD_KEYPTR(hh, e->by_id, job->op->id, strlen(job->op->id), job);
    pthread_cond_signal(&e->work[!!(job->traits & OP_COPIES)]);
}

static void job_remove(struct op_engine *e, struct job *job)
{
    if (job->prev)
        job->prev->next = job->next;
    else
        e->jobs = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        e->last = job->prev;
    HASH_DELETE(hh, e->by_id, job);
}

struct op *op_in_memory(struct op_engine *e, const char *id)
{
    struct job *job;

    LOCK_SCOPE(&e->lock);
    HASH_FIND(hh, e->by_id, id, strlen(id), job);
    return job ? op_ref(job->op) : NULL;
}

struct op *op_of_image(struct op_engine *e, const char *image_id)
{
    LOCK_SCOPE(&e->lock);
    for (struct job *job = e->jobs; job; job = job->next) {
        if (strcmp(job->op->image_id, image_id) == 0)
            return op_ref(job->op);
    }
    return NULL;
}

bool op_vm_busy(struct op_engine *e, const char *vm_id)
{
    LOCK_SCOPE(&e->lock);
    for (struct job *job = e->jobs; job; job = job->next) {
        if (job->phase != PHASE_WAITING && strcmp(job->op->vm_id, vm_id) == 0)
            return true;
    }
    return false;
}

/* Is its VM on when it is done? */
static bool starts(const struct job *job)
{
    const char *params = job->op->params;

    return job->traits & OP_STARTS && (strcmp(params, "{}") == 0 || strstr(params, "\"start\":true"));
}

bool op_vm_starts(struct op_engine *e, const char *vm_id)
{
    LOCK_SCOPE(&e->lock);
    for (struct job *job = e->jobs; job; job = job->next) {
        if (job->phase == PHASE_ACTIVE && starts(job) && strcmp(job->op->vm_id, vm_id) == 0)
            return true;
    }
    return false;
}

bool op_vm_active(struct op_engine *e, const char *vm_id)
{
    LOCK_SCOPE(&e->lock);
    for (struct job *job = e->jobs; job; job = job->next) {
        if (job->phase == PHASE_ACTIVE && strcmp(job->op->vm_id, vm_id) == 0)
            return true;
    }
    return false;
}

void op_engine_poke(struct op_engine *e)
{
    LOCK_SCOPE(&e->lock);
    wake_all(e);
}

/* Do two operations touch the same VM or the same image? */
static bool same_subject(const struct op *a, const struct op *b)
{
    return (*a->vm_id && strcmp(a->vm_id, b->vm_id) == 0) ||
           (*a->image_id && strcmp(a->image_id, b->image_id) == 0);
}

/*
 * Is an older operation of the same subject still to be done? Waiting shutdowns do not count, but before a start:
 * a guest that is on again would be one that did not obey, and be shut down again after a crash of ours.
 */
static bool is_blocked(const struct job *job)
{
    if (strcmp(job->op->params, OP_OVERTAKES) == 0)
        return false; /* what it would wait for may be what hangs */
    for (const struct job *j = job->prev; j; j = j->prev) {
        if ((j->phase != PHASE_WAITING || starts(job)) && same_subject(j->op, job->op))
            return true;
    }
    return false;
}

/* Starts that have not begun wait while the guests are shut down: until the next boot, if need be. */
static bool is_held(struct op_engine *e, const struct job *job)
{
    return starts(job) && job->op->state == OP_PENDING && host_stop_holds(e->core);
}

static bool wait_is_over(struct op_engine *e, const struct job *job)
{
    auto_vm struct vm *vm = registry_get(e->core->registry, job->op->vm_id);

    return clock_monotonic_ms() >= job->deadline || !vm ||
           (vm->state != VM_STATE_RUNNING && vm->state != VM_STATE_STOPPING &&
            vm->state != VM_STATE_PAUSED);
}

/*
 * The next job a worker can do something about. What copies bytes has workers of its own, so that
 * no download keeps a VM from starting. *until: when to look again, if nobody says so before.
 */
static struct job *pick(struct op_engine *e, unsigned copies, int64_t *until)
{
    int64_t now = clock_monotonic_ms();
    struct error ignored;
    char reason[8];
    bool up = virt_is_up(e->core->virt, reason, sizeof(reason));

    *until = now + POLL_MS;
    if (!db_is_writable(e->core->db, &ignored))
        return NULL;
    for (struct job *job = e->jobs; job; job = job->next) {
        if ((job->traits & OP_COPIES) != copies)
            continue;
        if (job->phase == PHASE_QUEUED && job->deadline > now) {
            *until = job->deadline < *until ? job->deadline : *until;
            continue;
        }
        if (job->phase == PHASE_UNSTORED || (job->phase == PHASE_WAITING && wait_is_over(e, job)) ||
            (job->phase == PHASE_QUEUED && !(job->traits & OP_DRIVEN) &&
             (up || job->traits & OP_OFFLINE) && !is_blocked(job) && !is_held(e, job)))
            return job;
    }
    return NULL;
}

static struct op *op_next(const struct op *op, enum op_state state)
{
    struct op *next = xcopy_behind(op, offsetof(struct op, progress), sizeof(*next));

    atomic_init(&next->refs, 1);
    atomic_fetch_add_explicit(&next->progress->refs, 1, memory_order_relaxed);
    next->state = state;
    if (state == OP_RUNNING)
        next->started_at = clock_wall_ms();
    else if (state != OP_PENDING)
        next->finished_at = clock_wall_ms();
    return next;
}

/*
 * Commits the new snapshot and then shows it. -1: the disk does not take it for now, nothing has
 * changed and next is the caller's still. What cannot be stored for another reason is shown all
 * the same, and logged.
 */
static int advance(struct op_engine *e, struct job *job, struct op *next, struct error *err)
{
    struct error ignored;
    struct op *old;

    if (op_commit(e->core, next, err)) {
        log_failure(LOG_LEVEL_ERROR, err, "cannot store operation %s", next->id);
        if (!db_is_writable(e->core->db, &ignored))
            return -1;
    }
    LOCK_SCOPE(&e->lock);
    old = job->op;
    HASH_DELETE(hh, e->by_id, job);
    job->op = next;
    HASH_ADD_KEYPTR(hh, e->by_id, job->op->id, strlen(job->op->id), job);
    op_unref(old);
    return 0;
}

static void set_phase(struct op_engine *e, struct job *job, enum phase phase)
{
    LOCK_SCOPE(&e->lock);
    job->phase = phase;
    wake_all(e);
}

/* The outcome is stored and told, or kept until it can be. */
static void store_outcome(struct op_engine *e, struct job *job, struct op *outcome)
{
    auto_op struct op *kept = op_ref(outcome);
    struct error err;

    if (advance(e, job, outcome, &err)) {
        job->outcome = outcome;
        set_phase(e, job, PHASE_UNSTORED);
        return;
    }
    CRASH_POINT(OP_STORED);
    if (kept->started_at)
        timing_add_operation(e->core->timing, kept->kind, kept->finished_at - kept->started_at);
    {
        LOCK_SCOPE(&e->lock);
        job_remove(e, job);
        wake_all(e);
    }
    op_unref(job->op);
    free(job);
    wait_wake_op(e->core->waits, kept->id);
    wait_wake_vm(e->core->waits, kept->vm_id);
    set_keeper_poke(e->core->sets); /* the VM is not busy any more */
}

static void finish(struct op_engine *e, struct job *job, const struct error *failure)
{
    struct op *next = op_next(job->op, failure ? OP_FAILED : OP_SUCCEEDED);

    if (failure) {
        next->error = *failure;
        log_failure(LOG_LEVEL_WARNING, failure, "operation %s %s of %s %s failed", next->id,
                    next->kind, *next->vm_id ? "VM" : *next->set_id ? "set" : *next->image_id ? "image" : "host",
                    *next->vm_id      ? next->vm_id
                    : *next->set_id   ? next->set_id
                    : *next->image_id ? next->image_id
                                      : next->host_id);
    }
    store_outcome(e, job, next);
}

static void end_wait(struct op_engine *e, struct job *job)
{
    auto_vm struct vm *vm = registry_get(e->core->registry, job->op->vm_id);
    struct error err;

    if (!vm || (vm->state != VM_STATE_RUNNING && vm->state != VM_STATE_STOPPING &&
                vm->state != VM_STATE_PAUSED)) {
        finish(e, job, NULL);
        return;
    }
    error_set(&err, ERROR_TIMEOUT, "the guest did not shut down within %lld seconds",
              (long long)e->core->settings->shutdown_timeout_seconds);
    error_remedy(&err, "Look at its console, or stop it: that is like pulling the plug.");
    /* The guest runs on: its state must say so again. */
    struct error ignored;
    (void)vm_sync(e->core, job->op->vm_id, "shutdown not obeyed", &ignored);
    finish(e, job, &err);
}

static struct op *cancelled(const struct op *op)
{
    struct op *next = op_next(op, OP_CANCELLED);

    error_set(&next->error, ERROR_CANCELLED, "cancelled by %s", op->actor);
    return next;
}

static void run(struct op_engine *e, struct job *job)
{
    enum execute_result result;
    struct error err;

    if (job->op->state == OP_PENDING) {
        auto_op struct op *next = op_next(job->op, OP_RUNNING);

        if (advance(e, job, next, &err)) {
            set_phase(e, job, PHASE_QUEUED);
            return;
        }
        (void)TAKE_PTR(next);
    }
    log_set_request(job->op->request_id);
    result = op_execute(e->core, job->op, job->tries, &err);
    CRASH_POINT(OP_EXECUTED);
    switch (result) {
    case EXECUTE_AGAIN:
        job->tries++;
        job->deadline = clock_monotonic_ms() + AGAIN_MS;
        set_phase(e, job, PHASE_QUEUED);
        break;
    case EXECUTE_WAITS:
        job->deadline = clock_monotonic_ms() + e->core->settings->shutdown_timeout_seconds * 1000;
        set_phase(e, job, PHASE_WAITING);
        break;
    case EXECUTE_DONE:
        finish(e, job, NULL);
        break;
    case EXECUTE_FAILED:
        finish(e, job, &err);
        break;
    case EXECUTE_CANCELLED:
        store_outcome(e, job, cancelled(job->op));
        break;
    }
    log_set_request(NULL);
}

static void *work(struct op_engine *e, unsigned copies)
{

    for (;;) {
        struct job *job = NULL;
        enum phase phase;
        int64_t until;

        {
            LOCK_SCOPE(&e->lock);
            while (!e->stopping && !(job = pick(e, copies, &until)))
                cond_wait_until(&e->work[!!copies], &e->lock, until);
            if (e->stopping)
                return NULL;
            phase = job->phase;
            job->phase = PHASE_ACTIVE;
        }
        if (phase == PHASE_WAITING)
            end_wait(e, job);
        else if (phase == PHASE_UNSTORED)
            store_outcome(e, job, TAKE_PTR(job->outcome));
        else
            run(e, job);
    }
}

static void *worker(void *arg)
{
    return work(arg, 0);
}

static void *copy_worker(void *arg)
{
    return work(arg, OP_COPIES);
}

static int load(void *arg, const struct op_row *row)
{
    struct op_engine *e = arg;
    auto_op struct op *op = op_from_row(row);

    op_enqueue(e, op);
    return 0;
}

int op_engine_load(struct op_engine *e, struct error *err)
{
    if (SEEDED_BUG(FORGET_OPERATIONS))
        return 0;
    return store_op_unfinished(e->core->db, load, e, err);
}

int op_engine_start(struct op_engine *e, struct error *err)
{
    unsigned workers = (unsigned)e->core->settings->operation_workers;
    unsigned want = workers + (unsigned)e->core->settings->copy_workers;

    /* A stop may have begun: who would be started now, nobody waits for before the engine is freed. */
    LOCK_SCOPE(&e->lock);
    for (; e->thread_count < want; e->thread_count++) {
        bool copies = e->thread_count >= workers;

        if (e->stopping)
            return error_set(err, ERROR_UNAVAILABLE, "the daemon is stopping");
        if (thread_start(&e->threads[e->thread_count], copies ? "copy" : "operation",
                         copies ? copy_worker : worker, e, err))
            return -1;
    }
    return 0;
}

void op_engine_stop(struct op_engine *e)
{
    unsigned count; /* from here on nobody is started */

    {
        LOCK_SCOPE(&e->lock);
        e->stopping = true;
        for (struct job *job = e->jobs; job; job = job->next)
            atomic_store(&job->op->progress->stop, true);
        wake_all(e);
        count = e->thread_count;
        e->thread_count = 0;
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(e->threads[i], NULL);
}

/* ---- operations of sets and of the host, which no worker runs ---- */

void op_driven(struct op_engine *e, const char *kind, struct op ***ret, size_t *ret_count)
{
    struct op **ops;
    size_t n = 0;

    LOCK_SCOPE(&e->lock);
    for (struct job *job = e->jobs; job; job = job->next)
        n += (job->traits & OP_DRIVEN) != 0;
    ops = xcalloc(n + 1, sizeof(struct op *));
    n = 0;
    for (struct job *job = e->jobs; job; job = job->next) {
        if (job->traits & OP_DRIVEN && job->phase == PHASE_QUEUED && str_starts(job->op->kind, kind))
            ops[n++] = op_ref(job->op);
    }
    *ret = ops;
    *ret_count = n;
}

/* Takes it as a worker would, so that nobody cancels it meanwhile; NULL: somebody has, or does. */
static struct job *claim(struct op_engine *e, const char *id)
{
    struct job *job;

    LOCK_SCOPE(&e->lock);
    HASH_FIND(hh, e->by_id, id, strlen(id), job);
    if (!job || job->phase != PHASE_QUEUED)
        return NULL;
    job->phase = PHASE_ACTIVE;
    return job;
}

int op_driven_start(struct op_engine *e, const char *id)
{
    struct job *job = claim(e, id);
    struct op *next;
    struct error err;
    int rc;

    if (!job)
        return -1;
    next = op_next(job->op, OP_RUNNING);
    rc = advance(e, job, next, &err);
    if (rc)
        op_unref(next);
    set_phase(e, job, PHASE_QUEUED);
    return rc;
}

void op_driven_finish(struct op_engine *e, const char *id, enum op_state state,
                      const struct error *why)
{
    struct job *job = claim(e, id);
    struct op *next;

    if (!job)
        return;
    if (state != OP_CANCELLED) {
        finish(e, job, state == OP_FAILED ? why : NULL);
        return;
    }
    next = op_next(job->op, OP_CANCELLED);
    next->error = *why;
    store_outcome(e, job, next);
}

int op_cancel(struct core *core, const char *project_id, const char *id, struct op **ret,
              struct error *err)
{
    auto_op struct op *op = op_find(core, project_id, id, err);
    struct op_engine *e = core->ops;
    struct job *job = NULL;
    struct op *next;

    if (!op)
        return -1;
    {
        LOCK_SCOPE(&e->lock);
        HASH_FIND(hh, e->by_id, id, strlen(id), job);
        /* A deletion is a promise: its VM is already on its way out. */
        if (job && job->phase == PHASE_QUEUED &&
            (job->op->state == OP_PENDING || job->traits & OP_DRIVEN) &&
            strcmp(job->op->kind, "vm.delete") != 0 && strcmp(job->op->kind, "set.delete") != 0)
            job->phase = PHASE_ACTIVE; /* ours now: no worker takes it */
        else if (job && job->phase != PHASE_UNSTORED && job->traits & OP_COPIES) {
            atomic_store(&job->op->progress->cancel, true);
            *ret = op_ref(job->op);
            return 0;
        } else
            job = NULL;
    }
    if (!job)
        return error_set(err, ERROR_OPERATION_STATE_CONFLICT, "the operation is %s",
                         op_state_name(op->state));
    next = cancelled(job->op);
    if (advance(e, job, next, err)) {
        op_unref(next);
        set_phase(e, job, PHASE_QUEUED);
        return -1;
    }
    *ret = op_ref(next);
    {
        LOCK_SCOPE(&e->lock);
        job_remove(e, job);
        wake_all(e);
    }
    op_unref(job->op);
    free(job);
    /* The intent showed in the VM's state; now its real state shows again. */
    struct error ignored;
    if (str_eq((*ret)->kind, HOST_STOP_KIND))
        host_stop_on_cancelled(core);
    if (*(*ret)->vm_id)
        (void)vm_sync_beside(core, (*ret)->vm_id, "cancelled", &ignored);
    wait_wake_op(core->waits, (*ret)->id);
    return 0;
}
