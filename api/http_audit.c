/*
 * What goes into the audit log: every write, every stream that was opened, whatever was done inside a
 * guest, and every credential that was refused. Reads that went well do not: they change nothing. What a
 * handler changes takes the entry with it (service/vm/audit_log.h), which the answer then completes.
 */
#include <stdio.h>
#include <string.h>

#include "api/http_internal.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/access.h"
#include "service/vm/audit_log.h"
#include "service/vm/core.h"

static bool belongs(const struct exchange *x, int status)
{
    const struct route *route = x->req.route;

    if (!route)
        return false; /* an address that is none, or no request at all */
    if (strcmp(x->req.method, "GET") != 0 && strcmp(x->req.method, "HEAD") != 0)
        return strcmp(x->req.method, "OPTIONS") != 0;
    return status == 101 || status == 401 || status == 403 || route->scope == ACCESS_VM_EXEC;
}

/* Of the path; never the query or a body, which may hold secrets. */
static json_t *params(const struct request *req)
{
    json_t *object = json_object();

    for (size_t i = 0; i < req->param_count; i++) {
        const char *name = req->params[i].name; /* of the template, up to its brace */
        const char *value = req->params[i].value;
        char key[32];

        snprintf(key, sizeof(key), "%.*s", (int)strcspn(name, "}"), name);
        json_object_set_new(object, key, json_string(str_is_utf8(value, strlen(value)) ? value : "?"));
    }
    return object;
}

static struct audit_entry entry(const struct exchange *x, int status, int64_t ns)
{
    const struct request *req = &x->req;

    return (struct audit_entry){
        .seq = x->audit_seq,
        .at = clock_wall_ms() - ns / 1000000,
        .project_id = req->principal.project_id,
        .principal = req->principal.id,
        .name = req->principal.name,
        .address = req->peer,
        .method = req->method,
        .operation = req->route->operation_id,
        .params = params(req),
        .status = status,
        .code = x->failed ? error_slug(x->err.code) : "",
        .request_id = req->id,
        .duration_us = ns / 1000,
    };
}

void request_audit(struct exchange *x, int status, int64_t ns)
{
    if (belongs(x, status)) {
        struct audit_entry e = entry(x, status, ns);

        audit_log_add(core_audit_log(x->http->core), &e);
    }
}

void request_work_begin(struct exchange *x, struct audit_ride *ride)
{
    x->audit_rides = !x->audit_seq && belongs(x, 0);
    if (x->audit_rides) {
        struct audit_entry e = entry(x, 0, clock_monotonic_ns() - x->started_ns);

        audit_ride_begin(ride, &e);
    }
}

void request_work_end(struct exchange *x, struct audit_ride *ride)
{
    if (x->audit_rides)
        x->audit_seq = audit_ride_end(ride);
}
