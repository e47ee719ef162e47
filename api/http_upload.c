/*
 * Bodies of any size: gathered into one chunk, handed to a worker while the connection is
 * suspended, so that memory stays at one chunk however fast the client is and however slow the
 * disk.
 */
#include <string.h>

#include "api/http_internal.h"
#include "service/base/str.h"

static void job_begin(struct exchange *x)
{
    if (x->req.route->upload->begin(&x->req, &x->upload.state, &x->err) < 0) {
        exchange_outcome(x, -1);
    } else {
        x->upload.begun = true;
        x->phase = PHASE_BEGUN;
    }
    exchange_resume(x);
}

/* A failed write ends the upload; what still arrives is not read any more. */
static void fail(struct exchange *x)
{
    x->upload.over = true;
    x->req.route->upload->abort(x->upload.state);
    exchange_outcome(x, -1);
}

static int write_chunk(struct exchange *x)
{
    size_t len = x->upload.len;

    x->upload.len = 0;
    return len ? x->req.route->upload->write(x->upload.state, x->upload.chunk, len, &x->err) : 0;
}

static void job_write(struct exchange *x)
{
    if (write_chunk(x) < 0)
        fail(x);
    else
        x->phase = PHASE_BODY;
    exchange_resume(x);
}

static void job_end(struct exchange *x)
{
    if (write_chunk(x) < 0) {
        fail(x);
        exchange_resume(x);
        return;
    }
    x->upload.over = true;
    workers_outcome(x, x->req.route->upload->finish(&x->req, x->upload.state, &x->res, &x->err));
}

static void job_abort(struct exchange *x)
{
    x->req.route->upload->abort(x->upload.state);
    exchange_free(x);
}

void upload_begin(struct exchange *x)
{
    x->upload.chunk = malloc(HTTP_UPLOAD_CHUNK);
    if (!x->upload.chunk)
        abort();
    exchange_suspend(x);
    workers_post(x, job_begin);
}

void upload_data(struct exchange *x, const char *data, size_t *size)
{
    size_t room = HTTP_UPLOAD_CHUNK - x->upload.len;
    size_t n = *size < room ? *size : room;

    memcpy(x->upload.chunk + x->upload.len, data, n);
    x->upload.len += n;
    x->upload.received += n;
    *size -= n;
    if (x->upload.len == HTTP_UPLOAD_CHUNK) {
        exchange_suspend(x);
        workers_post(x, job_write);
    }
}

void upload_end(struct exchange *x)
{
    exchange_suspend(x);
    workers_post(x, job_end);
}

bool upload_gone(struct exchange *x)
{
    if (!x->upload.begun || x->upload.over)
        return false;
    x->upload.over = true;
    x->mhd = NULL;
    x->conn = NULL;
    workers_post(x, job_abort); /* from here on the worker's, and soon gone */
    return true;
}
