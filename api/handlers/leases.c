/*
 * Leases: list, ask, read, renew, give back, and the record of what happened.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/console.h"
#include "service/vm/core.h"
#include "service/vm/lease.h"

#define ASK_WAIT_SECONDS  30
#define LABEL_FILTERS_MAX 8

static json_t *shown(struct request *req, const struct lease *lease)
{
    return codec_lease(lease, lease_queue_position(req->core, lease));
}

/* ---- list and read ---- */

struct label_filter {
    json_t *wanted;
    struct error *err;
};

static int label_argument(void *arg, const char *name, const char *value)
{
    struct label_filter *f = arg;
    const char *equals = strchr(value, '=');
    auto_free char *key = NULL;

    if (!str_eq(name, "label"))
        return 0;
    if (!equals || equals == value)
        return error_set_at(f->err, ERROR_INVALID_ARGUMENT, "label", "label must be key=value");
    key = xstrndup(value, (size_t)(equals - value));
    if (json_object_set_new(f->wanted, key, json_string(equals + 1)))
        return error_set_at(f->err, ERROR_INVALID_ARGUMENT, "label", "label must be UTF-8");
    if (json_object_size(f->wanted) > LABEL_FILTERS_MAX)
        return error_set_at(f->err, ERROR_INVALID_ARGUMENT, "label",
                            "label may be given at most %d times", LABEL_FILTERS_MAX);
    return 0;
}

int handle_lease_list(struct request *req, struct response *res, struct error *err)
{
    struct lease_filter filter = {.project_id = req->principal.project_id};
    const char *next = NULL, *pool_ref = request_query(req, "pool");
    auto_json json_t *labels = json_object();
    struct label_filter label_filter = {labels, err};
    auto_pool struct pool *pool = NULL;
    char cursor[PAGE_CURSOR_SIZE];
    struct lease **leases;
    struct page page;
    json_t *items;
    size_t count;

    filter.state = request_query(req, "state");
    filter.labels = labels;
    if (page_read(req, &page, err) || request_query_each(req, label_argument, &label_filter))
        return -1;
    if (filter.state && !str_eq(filter.state, "queued") && !str_eq(filter.state, "active") &&
        !str_eq(filter.state, "ended"))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "state",
                            "state must be queued, active or ended");
    if (pool_ref) {
        pool = pool_find(req->core, req->principal.project_id, pool_ref, err);
        if (!pool)
            return error_set_at(err, ERROR_INVALID_ARGUMENT, "pool", "there is no pool %s", pool_ref);
        filter.pool_id = pool->id;
    }
    filter.before_seq = page.after;
    filter.limit = (int)page.limit;
    if (lease_list(req->core, &filter, &leases, &count, err))
        return -1;
    if (count == (size_t)page.limit)
        next = page_next(req, res, leases[count - 1]->seq, cursor);
    items = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(items, shown(req, leases[i]));
        lease_unref(leases[i]);
    }
    free(leases);
    response_json(res, 200, codec_list(items, next));
    return 0;
}

struct kept_id {
    char id[UUID_TEXT];
};

static int get_resume(struct request *req, struct response *res, struct error *err)
{
    const struct kept_id *kept = request_kept(req);
    auto_lease struct lease *lease =
        lease_find(req->core, req->principal.project_id, kept->id, err);

    if (!lease)
        return -1;
    response_json(res, 200, shown(req, lease));
    return 0;
}

static struct kept_id *keep_id(struct request *req, const struct lease *lease)
{
    struct kept_id *kept = xcalloc(1, sizeof(*kept));

    memcpy(kept->id, lease->id, sizeof(kept->id));
    request_keep(req, kept, free);
    return kept;
}

int handle_lease_get(struct request *req, struct response *res, struct error *err)
{
    auto_lease struct lease *lease =
        lease_find(req->core, req->principal.project_id, request_param(req, "lease"), err);
    int64_t wait_ms;

    if (!lease || wait_read(req, &wait_ms, err))
        return -1;
    if (wait_ms && lease->state == LEASE_QUEUED)
        return request_park_lease(req, keep_id(req, lease)->id, wait_ms, get_resume);
    response_json(res, 200, shown(req, lease));
    return 0;
}

int handle_lease_record(struct request *req, struct response *res, struct error *err)
{
    auto_lease struct lease *lease =
        lease_find(req->core, req->principal.project_id, request_param(req, "lease"), err);
    json_t *record;

    if (!lease)
        return -1;
    record = lease_record(req->core, lease);
    response_json(res, 200,
                  codec_lease_record(lease, lease_queue_position(req->core, lease), record));
    json_decref(record);
    return 0;
}

/* ---- ask ---- */

enum ask_until { ASK_NOTHING, ASK_CLAIMED, ASK_RUNNING, ASK_CONSOLE, ASK_READY };

struct ask {
    char id[UUID_TEXT], vm_id[UUID_TEXT];
    enum ask_until until;
    int64_t seconds;
    bool replayed, vm_phase;
};

static int ask_read(const struct request *req, struct ask *ret, struct error *err)
{
    static const char *const names[] = {"", "claimed", "running", "console", "ready", NULL};
    const char *what = request_query(req, "wait");

    *ret = (struct ask){.seconds = ASK_WAIT_SECONDS};
    if (request_query_int(req, "timeout", 1, WAIT_MAX_SECONDS, &ret->seconds, err))
        return -1;
    for (int i = ASK_CLAIMED; what && names[i]; i++) {
        if (str_eq(what, names[i]))
            ret->until = (enum ask_until)i;
    }
    if (what && ret->until == ASK_NOTHING)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "wait",
                            "wait must be claimed, running, console or ready");
    return 0;
}

static int answer_lease(struct request *req, struct response *res, const struct lease *lease,
                        bool replayed)
{
    response_header(res, "Location", "/v1/leases/%s", lease->id);
    answer_replayed(res, replayed);
    response_json(res, 201, shown(req, lease));
    return 0;
}

static bool vm_came_true(struct request *req, const struct ask *ask, const struct vm *vm)
{
    if (ask->until == ASK_CONSOLE)
        return console_has_output(core_consoles(req->core), vm->id, "console");
    if (ask->until == ASK_READY)
        return vm->state == VM_STATE_RUNNING && vm->marks[VM_MARK_READY];
    return vm->state == VM_STATE_RUNNING;
}

static int not_in_time(const struct ask *ask, const struct lease *lease, const struct vm *vm,
                       bool timed_out, struct error *err)
{
    if (lease->state == LEASE_ENDED)
        error_set(err, ERROR_LEASE_STATE_CONFLICT, "lease %s has ended: %s", lease->id,
                  lease->end_reason);
    else if (lease->state == LEASE_QUEUED)
        error_set(err, ERROR_TIMEOUT, "lease %s still waits for a VM after %lld s", lease->id,
                  (long long)ask->seconds);
    else
        error_set(err, timed_out ? ERROR_TIMEOUT : ERROR_VM_STATE_CONFLICT,
                  "lease %s has the VM %s, which is %s%s%s", lease->id, lease->vm_name,
                  vm ? vm_state_name(vm->state) : "deleted", vm && *vm->state_reason ? ": " : "",
                  vm ? vm->state_reason : "");
    if (lease->state != LEASE_ENDED)
        error_remedy(err, "The lease stays: look at /v1/leases/%s, or give it back.", lease->id);
    return -1;
}

static int ask_resume(struct request *req, struct response *res, struct error *err)
{
    struct ask *ask = request_kept(req);
    auto_lease struct lease *lease = lease_find(req->core, req->principal.project_id, ask->id, err);
    auto_vm struct vm *vm = NULL;
    bool timed_out = request_wait_result(req) == WAIT_TIMEOUT;
    struct error ignored;

    if (request_wait_result(req) == WAIT_STOPPING)
        return error_set(err, ERROR_SHUTTING_DOWN, "lease %s exists; the daemon stopped", ask->id);
    if (!lease)
        return -1;
    if (lease->state == LEASE_ACTIVE) {
        vm = vm_find(req->core, lease->project_id, lease->vm_id, &ignored);
        if (ask->until == ASK_CLAIMED || (vm && vm_came_true(req, ask, vm)))
            return answer_lease(req, res, lease, ask->replayed);
        if (!ask->vm_phase && !timed_out) {
            ask->vm_phase = true;
            memcpy(ask->vm_id, lease->vm_id, sizeof(ask->vm_id));
            return request_park_vm(req, ask->vm_id,
                                   ask->until == ASK_CONSOLE ? WAIT_VM_CONSOLE
                                   : ask->until == ASK_READY ? WAIT_VM_READY
                                                             : WAIT_VM_RUNNING,
                                   ask->seconds * 1000, ask_resume);
        }
    }
    return not_in_time(ask, lease, vm, timed_out, err);
}

int handle_lease_create(struct request *req, struct response *res, struct error *err)
{
    auto_lease_request struct codec_lease_request body = {0};
    auto_lease struct lease *lease = NULL;
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    struct ask ask, *kept;

    if (codec_decode_lease(req->json, &body, err) || ask_read(req, &ask, err))
        return -1;
    /* A definition of one's own needs the right to make VMs; a pool's was made by who had it. */
    if (body.vm && access_require(&req->principal, ACCESS_VM_WRITE, err))
        return -1;
    const struct lease_request request = {
        .pool = body.pool,
        .spec = body.vm,
        .ttl_seconds = body.ttl_seconds,
        .max_seconds = body.max_seconds,
        .idle_seconds = body.idle_seconds,
        .queue_seconds = body.queue_seconds,
        .on_expiry = body.on_expiry,
        .holder = body.holder,
        .labels = body.labels,
    };
    if (lease_create(req->core, &actor, &request, &idem, &lease, &ask.replayed, err))
        return -1;
    if (ask.until == ASK_NOTHING)
        return answer_lease(req, res, lease, ask.replayed);
    kept = xcalloc(1, sizeof(*kept));
    *kept = ask;
    memcpy(kept->id, lease->id, sizeof(kept->id));
    request_keep(req, kept, free);
    return request_park_lease(req, kept->id, ask.seconds * 1000, ask_resume);
}

/* ---- renew and give back ---- */

int handle_lease_renew(struct request *req, struct response *res, struct error *err)
{
    auto_lease struct lease *lease = NULL;
    struct actor actor = request_actor(req);
    int64_t ttl_seconds;

    if (codec_decode_renewal(req->json, &ttl_seconds, err) ||
        lease_renew(req->core, &actor, request_param(req, "lease"), ttl_seconds, &lease, err))
        return -1;
    response_json(res, 200, shown(req, lease));
    return 0;
}

int handle_lease_release(struct request *req, struct response *res, struct error *err)
{
    auto_lease struct lease *lease = NULL;
    struct actor actor = request_actor(req);

    if (lease_release(req->core, &actor, request_param(req, "lease"), &lease, err))
        return -1;
    response_json(res, 200, shown(req, lease));
    return 0;
}
