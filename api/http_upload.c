/*
 * Bodies of any size. The HTTP thread gathers what arrives into chunks; a worker takes them in turn,
 * as long as there are any, while more arrive. With every chunk full the connection is suspended, so
 * that memory stays at a few chunks however fast the client is and however slow the disk; a client
 * that is slower than the disk holds no worker.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "api/http_internal.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define CHUNK_BYTES (1024 * 1024)
#define CHUNKS      3 /* allocated as they are needed; pages of them as they are filled */

struct chunk {
    struct chunk *next;
    size_t len;
    char *data; /* CHUNK_BYTES of whole pages: a route may write them past the page cache */
};

struct upload_pipe {
    void *state;           /* of the route's; between begin() and finish() or abort() a worker's */
    bool begun;            /* begin() succeeded */
    struct chunk *filling; /* the HTTP thread's */
    size_t chunks;         /* how many there are; the HTTP thread's */

    pthread_mutex_t lock; /* of what follows; libmicrohttpd's own are taken below it */
    struct chunk *full, **full_tail, *spare;
    bool active;  /* a worker has it, or will */
    bool waiting; /* the connection is suspended until there is room */
    bool ended;   /* all has arrived; the connection is suspended until it is stored */
    bool gone;    /* the client left: whoever is active aborts and frees */
    bool failed;  /* err says why; what still arrives is of no use */
    bool over;    /* finish() or abort() was called */
    struct error err;
};

static void job_begin(struct exchange *x)
{
    struct upload_pipe *p = x->upload.pipe;
    struct audit_ride ride;
    int rc;

    request_work_begin(x, &ride);
    rc = x->req.route->upload->begin(&x->req, &p->state, &x->err);
    request_work_end(x, &ride);
    if (rc < 0) {
        exchange_outcome(x, -1);
    } else {
        p->begun = true;
        x->phase = PHASE_BEGUN;
    }
    exchange_resume(x);
}

/* The memory is the kernel's again at once: a heap would keep it. */
static struct chunk *chunk_new(void)
{
    struct chunk *c = xcalloc(1, sizeof(*c));

    c->data = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c->data == MAP_FAILED)
        out_of_memory();
    return c;
}

static void free_chunks(struct chunk *c)
{
    while (c) {
        struct chunk *next = c->next;

        munmap(c->data, CHUNK_BYTES);
        free(c);
        c = next;
    }
}

static void upload_release(struct exchange *x)
{
    struct upload_pipe *p = x->upload.pipe;

    free_chunks(p->full);
    free_chunks(p->spare);
    if (p->filling)
        p->filling->next = NULL;
    free_chunks(p->filling);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void upload_begin(struct exchange *x)
{
    struct upload_pipe *p = xcalloc(1, sizeof(*p));

    mutex_init(&p->lock);
    p->full_tail = &p->full;
    x->upload.pipe = p;
    x->upload.release = upload_release;
    exchange_suspend(x);
    workers_post(x, job_begin);
}

/* ---- the worker ---- */

/* Under the lock, which it lets go of meanwhile. The first chunk is written and may be used again. */
static void write_first(struct exchange *x, struct upload_pipe *p)
{
    struct chunk *c = p->full;
    struct error err = ERROR_INIT;
    bool waiting;
    int rc;

    p->full = c->next;
    if (!p->full)
        p->full_tail = &p->full;
    pthread_mutex_unlock(&p->lock);
    rc = x->req.route->upload->write(p->state, c->data, c->len, &err);
    if (rc < 0)
        x->req.route->upload->abort(p->state);
    pthread_mutex_lock(&p->lock);
    c->next = p->spare;
    p->spare = c;
    if (rc < 0) {
        p->failed = p->over = true;
        p->err = err;
    }
    waiting = p->waiting && !p->gone;
    p->waiting = false;
    if (waiting) {
        x->phase = PHASE_BODY;
        exchange_resume(x);
    }
}

static void end(struct exchange *x, struct upload_pipe *p)
{
    if (p->failed) {
        x->err = p->err;
        exchange_outcome(x, -1);
        exchange_resume(x);
    } else {
        struct audit_ride ride;
        int rc;

        p->over = true;
        request_work_begin(x, &ride);
        rc = x->req.route->upload->finish(&x->req, p->state, &x->res, &x->err);
        request_work_end(x, &ride);
        workers_outcome(x, rc);
    }
}

/*
 * x may be read and answered by the HTTP thread as soon as `active` is false, so whatever is done to
 * it then is done before; only the last of all chunks leaves it suspended, and the worker's alone.
 */
static void job_drain(struct exchange *x)
{
    struct upload_pipe *p = x->upload.pipe;
    bool gone, ended;

    pthread_mutex_lock(&p->lock);
    while (p->full && !p->failed && !p->gone)
        write_first(x, p);
    gone = p->gone;
    ended = p->ended;
    p->active = false;
    pthread_mutex_unlock(&p->lock);
    if (gone) {
        if (!p->over)
            x->req.route->upload->abort(p->state);
        exchange_free(x);
    } else if (ended) {
        end(x, p);
    }
}

/* ---- the HTTP thread ---- */

/* Under the lock. */
static void wake_worker(struct exchange *x, struct upload_pipe *p)
{
    if (!p->active) {
        p->active = true;
        workers_post(x, job_drain);
    }
}

static void put_full(struct exchange *x, struct upload_pipe *p)
{
    p->filling->next = NULL;
    *p->full_tail = p->filling;
    p->full_tail = &p->filling->next;
    p->filling = NULL;
    wake_worker(x, p);
}

/* NULL: every chunk is full, and the connection is suspended until one is not. */
static struct chunk *take_empty(struct exchange *x, struct upload_pipe *p)
{
    struct chunk *c = p->spare;

    if (c) {
        p->spare = c->next;
    } else if (p->chunks < CHUNKS) {
        c = chunk_new();
        p->chunks++;
    } else {
        p->waiting = true;
        exchange_suspend(x);
        return NULL;
    }
    c->len = 0;
    return c;
}

/* Takes what there is room for. False: no more for now, or ever. */
static bool fill(struct exchange *x, struct upload_pipe *p, const char *data, size_t *size)
{
    struct chunk *c = p->filling;
    size_t room, n;

    if (!c) {
        LOCK_SCOPE(&p->lock);
        if (p->failed) {
            x->err = p->err;
            x->failed = true;
            return false;
        }
        c = p->filling = take_empty(x, p);
        if (!c)
            return false;
    }
    room = CHUNK_BYTES - c->len;
    n = *size < room ? *size : room;
    memcpy(c->data + c->len, data, n);
    c->len += n;
    x->upload.received += n;
    *size -= n;
    if (c->len == CHUNK_BYTES) {
        LOCK_SCOPE(&p->lock);
        put_full(x, p);
    }
    return true;
}

void upload_data(struct exchange *x, const char *data, size_t *size)
{
    while (*size) {
        size_t before = *size;

        if (!fill(x, x->upload.pipe, data, size))
            return;
        data += before - *size;
    }
}

void upload_end(struct exchange *x)
{
    struct upload_pipe *p = x->upload.pipe;
    LOCK_SCOPE(&p->lock);

    p->ended = true;
    exchange_suspend(x);
    if (p->filling)
        put_full(x, p);
    wake_worker(x, p);
}

bool upload_gone(struct exchange *x)
{
    struct upload_pipe *p = x->upload.pipe;

    if (!p || !p->begun)
        return false;
    LOCK_SCOPE(&p->lock);
    if (p->over && !p->active)
        return false;
    p->gone = true;
    x->mhd = NULL;
    x->conn = NULL;
    wake_worker(x, p); /* x is a worker's from here on, and soon gone */
    return true;
}
