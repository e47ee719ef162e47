/*
 * Starts that wait for memory: with ?queue_seconds= a request that would be refused for want of it is
 * parked and tried again, oldest first, until it fits or its time is up. Nothing is promised before
 * the answer, so a crash loses a request that was not answered, and nothing else.
 */
#include <stdlib.h>

#include "api/handlers/handlers.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/admission.h"
#include "service/vm/core.h"

#define RETRY_MS 500

struct queued {
    struct core *core;
    uint64_t ticket;
    int64_t since, deadline; /* monotonic */
    handler_fn *again;
    struct error why;
};

static void queued_free(void *arg)
{
    struct queued *q = arg;

    admission_line_leave(q->core, q->ticket);
    free(q);
}

static void arm(void *arg, wait_fn *done, void *opaque)
{
    struct queued *q = arg;
    int64_t next = clock_monotonic_ms() + RETRY_MS;

    wait_for_time(q->core, next < q->deadline ? next : q->deadline, done, opaque);
}

static int give_up(const struct queued *q, struct error *err)
{
    struct error why = q->why;

    *err = why;
    error_set(err, why.code, "after %lld s in line: %s",
              (long long)(clock_monotonic_ms() - q->since) / 1000, why.detail);
    error_remedy(err, "%s", why.remedy);
    return -1;
}

static int resume(struct request *req, struct response *res, struct error *err)
{
    struct queued *q = request_kept(req);

    if (request_wait_result(req) == WAIT_STOPPING)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    if (clock_monotonic_ms() >= q->deadline)
        return give_up(q, err);
    if (!admission_line_first(q->core, q->ticket))
        return request_park_on(req, arm, q, resume);
    return q->again(req, res, err);
}

int queue_check(const struct request *req, struct error *err)
{
    int64_t seconds;

    return request_query_int(req, "queue_seconds", 0, 3600, &seconds, err);
}

int queue_for_memory(struct request *req, handler_fn *again, struct error *err)
{
    struct queued *place = request_kept(req); /* nobody keeps anything else before it is admitted */
    struct error ignored;
    int64_t seconds = 0;

    if (err->code != ERROR_INSUFFICIENT_MEMORY)
        return -1;
    if (!place) {
        if (request_query_int(req, "queue_seconds", 0, 3600, &seconds, &ignored) || !seconds)
            return -1;
        place = xcalloc(1, sizeof(*place));
        place->core = req->core;
        place->ticket = admission_line_enter(req->core);
        place->since = clock_monotonic_ms();
        place->deadline = place->since + seconds * 1000;
        place->again = again;
        request_keep(req, place, queued_free);
        if (!place->ticket)
            return -1;
    }
    place->why = *err;
    return request_park_on(req, arm, place, resume);
}
