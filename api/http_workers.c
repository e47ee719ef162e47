/*
 * Request workers: a small pool for what may block, and the parking of what waits for long. The
 * queue needs no bound of its own: there is at most one entry for each connection.
 */
#include <stdio.h>
#include <string.h>

#include "api/http_internal.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"

/*
 * A parked request: shared by the wait, which calls back exactly once, perhaps only when the core
 * stops, and the exchange, which may have to go earlier. The wait's call frees it.
 */
struct parking {
    struct parking *prev, *next;
    struct http *http;
    struct exchange *exchange; /* NULL: it went ahead */
};

/* Taken before a workers' lock. Static, because a wait may end after its struct http. */
static pthread_mutex_t parking_lock = PTHREAD_MUTEX_INITIALIZER;

void workers_post(struct exchange *x, void (*job)(struct exchange *))
{
    struct http *h = x->http;

    x->job = job;
    x->next = NULL;
    LOCK_SCOPE(&h->work.lock);
    *h->work.tail = x;
    h->work.tail = &x->next;
    pthread_cond_signal(&h->work.more);
}

static struct exchange *take(struct http *h)
{
    struct exchange *x;

    LOCK_SCOPE(&h->work.lock);
    while (!h->work.head && !h->work.stop)
        cond_wait_until(&h->work.more, &h->work.lock, clock_monotonic_ms() + 60000);
    x = h->work.head;
    if (!x)
        return NULL;
    h->work.head = x->next;
    if (!h->work.head)
        h->work.tail = &h->work.head;
    h->work.running++;
    return x;
}

static void *worker(void *arg)
{
    struct http *h = arg;
    struct exchange *x;

    while ((x = take(h))) {
        log_set_request(x->req.id);
        x->job(x); /* x is not ours afterwards */
        log_set_request(NULL);
        LOCK_SCOPE(&h->work.lock);
        h->work.running--;
    }
    return NULL;
}

/* ---- parking ---- */

static void unlink_parking(struct parking *p)
{
    struct http *h = p->http;

    if (p->prev)
        p->prev->next = p->next;
    else
        h->work.parkings = p->next;
    if (p->next)
        p->next->prev = p->prev;
    atomic_fetch_sub(&h->count.parked, 1);
}

static void job_resume(struct exchange *x);

/* parking_lock is held. */
static void unpark(struct parking *p, enum wait_result result)
{
    struct exchange *x = p->exchange;

    if (!x)
        return; /* went ahead already */
    unlink_parking(p);
    p->exchange = NULL;
    x->park.result = result;
    workers_post(x, job_resume);
}

static void on_wait_over(void *opaque, enum wait_result result)
{
    struct parking *p = opaque;

    {
        LOCK_SCOPE(&parking_lock);
        unpark(p, result);
    }
    free(p);
}

void workers_end_parked(struct http *h)
{
    LOCK_SCOPE(&parking_lock);
    h->work.park_closed = true;
    while (h->work.parkings)
        unpark(h->work.parkings, WAIT_STOPPING);
}

/* False: not any more. Else x is not the calling worker's now: the wait may bring it back. */
static bool park(struct exchange *x)
{
    struct http *h = x->http;
    struct core *core = h->core;
    struct parking *p = xcalloc(1, sizeof(*p));
    char id[sizeof(x->park.id)];
    enum park_kind kind = x->park.kind;
    park_arm_fn *arm = x->park.arm;
    void *arg = x->park.arg;
    enum wait_vm what = x->park.what;
    int64_t deadline_ms = x->park.deadline_ms;

    memcpy(id, x->park.id, sizeof(id));
    p->http = h;
    p->exchange = x;
    {
        LOCK_SCOPE(&parking_lock);
        if (h->work.park_closed) {
            free(p);
            return false;
        }
        p->next = h->work.parkings;
        if (p->next)
            p->next->prev = p;
        h->work.parkings = p;
        atomic_fetch_add(&h->count.parked, 1);
    }
    if (arm)
        arm(arg, on_wait_over, p);
    else if (kind == PARK_OP)
        wait_for_op(core, id, deadline_ms, on_wait_over, p);
    else if (kind == PARK_LEASE)
        wait_for_lease(core, id, deadline_ms, on_wait_over, p);
    else
        wait_for_vm(core, id, what, deadline_ms, on_wait_over, p);
    return true;
}

static int park_note(struct request *req, const char *id, enum park_kind kind, int64_t timeout_ms,
                     handler_fn *resume)
{
    struct exchange *x = exchange_of(req);

    str_copy_utf8(x->park.id, sizeof(x->park.id), id);
    x->park.kind = kind;
    x->park.arm = NULL;
    x->park.deadline_ms = clock_monotonic_ms() + timeout_ms;
    x->resume = resume;
    return HANDLER_PARKED;
}

int request_park_op(struct request *req, const char *op_id, int64_t timeout_ms, handler_fn *resume)
{
    return park_note(req, op_id, PARK_OP, timeout_ms, resume);
}

int request_park_vm(struct request *req, const char *vm_id, enum wait_vm what, int64_t timeout_ms,
                    handler_fn *resume)
{
    exchange_of(req)->park.what = what;
    return park_note(req, vm_id, PARK_VM, timeout_ms, resume);
}

int request_park_lease(struct request *req, const char *lease_id, int64_t timeout_ms,
                       handler_fn *resume)
{
    return park_note(req, lease_id, PARK_LEASE, timeout_ms, resume);
}

int request_park_on(struct request *req, park_arm_fn *arm, void *arg, handler_fn *resume)
{
    struct exchange *x = exchange_of(req);

    x->park.arm = arm;
    x->park.arg = arg;
    x->resume = resume;
    return HANDLER_PARKED;
}

enum wait_result request_wait_result(const struct request *req)
{
    return exchange_of(req)->park.result;
}

/* ---- handlers ---- */

void workers_outcome(struct exchange *x, int rc)
{
    if (rc == HANDLER_PARKED) {
        if (park(x))
            return;
        rc = error_set(&x->err, ERROR_SHUTTING_DOWN, "The daemon is stopping.");
    }
    exchange_outcome(x, rc);
    exchange_resume(x);
}

static void run(struct exchange *x, handler_fn *handler)
{
    struct audit_ride ride;
    int rc;

    request_work_begin(x, &ride);
    rc = handler(&x->req, &x->res, &x->err);
    request_work_end(x, &ride);
    workers_outcome(x, rc);
}

static void job_resume(struct exchange *x)
{
    run(x, x->resume);
}

void workers_run_handler(struct exchange *x)
{
    if (body_parse(x, &x->err) < 0) {
        exchange_outcome(x, -1);
        exchange_resume(x);
        return;
    }
    run(x, x->req.route->handler);
}

/* ---- start, stop ---- */

int workers_start(struct http *h, size_t count, struct error *err)
{
    mutex_init(&h->work.lock);
    cond_init(&h->work.more);
    h->work.tail = &h->work.head;
    h->work.threads = xcalloc(count, sizeof(*h->work.threads));
    for (; h->work.count < count; h->work.count++) {
        char name[16];

        snprintf(name, sizeof(name), "request-%u", (unsigned)h->work.count % 1000);
        if (thread_start(&h->work.threads[h->work.count], name, worker, h, err) < 0)
            return -1;
    }
    return 0;
}

bool workers_idle(struct http *h)
{
    LOCK_SCOPE(&h->work.lock);
    return !h->work.head && !h->work.running;
}

void workers_stop(struct http *h)
{
    if (!h->work.threads)
        return;
    {
        LOCK_SCOPE(&h->work.lock);
        h->work.stop = true;
        pthread_cond_broadcast(&h->work.more);
    }
    for (size_t i = 0; i < h->work.count; i++)
        pthread_join(h->work.threads[i], NULL);
    pthread_mutex_destroy(&h->work.lock);
    pthread_cond_destroy(&h->work.more);
    free(h->work.threads);
    h->work.threads = NULL;
}
