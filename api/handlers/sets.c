/*
 * Sets: list, make (or only show what would be made), read, extend, start, stop, put back to their
 * images, reset one member, delete.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/set.h"

static json_t *shown(struct request *req, const struct set *set)
{
    struct set_status status;

    set_status_read(req->core, set, &status);
    return codec_set(set, &status);
}

static json_t *shown_whole(struct request *req, const struct set *set)
{
    size_t total = (size_t)set->spec->count * set->spec->machine_count;
    auto_free struct vm **vms = set_vms(req->core, set);
    struct set_status status;
    json_t *object;

    set_status_read(req->core, set, &status);
    object = codec_set_whole(set, &status, vms);
    for (size_t i = 0; i < total; i++)
        vm_unref(vms[i]);
    return object;
}

int handle_set_list(struct request *req, struct response *res, struct error *err)
{
    char cursor[PAGE_CURSOR_SIZE];
    const char *next = NULL;
    struct set **sets;
    struct page page;
    size_t count, n = 0;
    json_t *items;

    if (page_read(req, &page, err))
        return -1;
    set_list(req->core, req->principal.project_id, &sets, &count);
    items = json_array();
    for (size_t i = 0; i < count; i++) {
        if (sets[i]->seq > page.after && n < (size_t)page.limit) {
            json_array_append_new(items, shown(req, sets[i]));
            n++;
            if (n == (size_t)page.limit && i + 1 < count)
                next = page_next(req, res, sets[i]->seq, cursor);
        }
        set_unref(sets[i]);
    }
    free(sets);
    response_json(res, 200, codec_list(items, next));
    return 0;
}

int handle_set_get(struct request *req, struct response *res, struct error *err)
{
    auto_set struct set *set =
        set_find(req->core, req->principal.project_id, request_param(req, "set"), err);

    if (!set)
        return -1;
    response_json(res, 200, shown_whole(req, set));
    return 0;
}

/* ---- making ---- */

struct made {
    char set_id[UUID_TEXT], op_id[UUID_TEXT];
    bool replayed;
};

static int answer_made(struct request *req, struct response *res, const struct made *made,
                       struct error *err)
{
    const char *project = req->principal.project_id;
    auto_set struct set *set = set_find(req->core, project, made->set_id, err);
    auto_op struct op *op = NULL;
    json_t *object;

    if (!set)
        return -1;
    if (*made->op_id)
        op = op_find(req->core, project, made->op_id, err);
    object = shown_whole(req, set);
    json_object_set_new(object, "operation", op ? codec_op(op) : json_null());
    response_header(res, "Location", "/v1/sets/%s", set->id);
    answer_replayed(res, made->replayed);
    response_json(res, 201, object);
    return 0;
}

static int made_resume(struct request *req, struct response *res, struct error *err)
{
    return answer_made(req, res, request_kept(req), err);
}

static int preview(struct request *req, struct response *res, const char *name,
                   const struct set_spec *spec, struct error *err)
{
    auto_set_plan struct set_plan plan = {0};
    struct actor actor = request_actor(req);

    if (set_preview(req->core, &actor, name, spec, &plan, err))
        return -1;
    response_json(res, 200, codec_set_plan(name, spec, &plan));
    return 0;
}

int handle_set_create(struct request *req, struct response *res, struct error *err)
{
    auto_set_spec struct set_spec *spec = NULL;
    auto_set struct set *set = NULL;
    auto_op struct op *op = NULL;
    auto_free char *name = NULL;
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    struct made made = {0}, *kept;
    bool dry_run = false;
    int64_t wait_ms;

    if (request_query_bool(req, "dry_run", &dry_run, err) || wait_read(req, &wait_ms, err) ||
        set_spec_decode(req->json, &spec, &name, err))
        return -1;
    if (dry_run)
        return preview(req, res, name, spec, err);
    if (set_create(req->core, &actor, name, spec, &idem, &set, &op, &made.replayed, err))
        return -1;
    memcpy(made.set_id, set->id, sizeof(made.set_id));
    if (op)
        memcpy(made.op_id, op->id, sizeof(made.op_id));
    if (!op || !wait_ms)
        return answer_made(req, res, &made, err);
    kept = xcalloc(1, sizeof(*kept));
    *kept = made;
    request_keep(req, kept, free);
    return request_park_op(req, kept->op_id, wait_ms, made_resume);
}

/* ---- what is done with it ---- */

static int act(struct request *req, struct response *res, const struct set_ask *ask, struct error *err)
{
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    struct op *op = NULL;
    bool replayed;
    int64_t wait_ms;

    /* Looked at before the work: a bad parameter must not leave an operation behind. */
    if (wait_read(req, &wait_ms, err) || set_act(req->core, &actor, request_param(req, "set"), ask,
                                                 &idem, &op, &replayed, err))
        return -1;
    return answer_op(req, res, op, replayed, err);
}

int handle_set_start(struct request *req, struct response *res, struct error *err)
{
    return act(req, res, &(struct set_ask){.verb = SET_VERB_START, .start = 1}, err);
}

int handle_set_stop(struct request *req, struct response *res, struct error *err)
{
    return act(req, res, &(struct set_ask){.verb = SET_VERB_STOP}, err);
}

int handle_set_reimage(struct request *req, struct response *res, struct error *err)
{
    struct set_ask ask = {.verb = SET_VERB_REIMAGE, .start = -1};
    struct codec_set_act body;

    if (codec_decode_set_act(req->json, true, &body, err))
        return -1;
    if (body.has_start)
        ask.start = body.start;
    ask.images = body.images;
    return act(req, res, &ask, err);
}

int handle_set_reset(struct request *req, struct response *res, struct error *err)
{
    struct set_ask ask = {.verb = SET_VERB_RESET, .start = 1};
    const char *text = request_param(req, "member");
    struct codec_set_act body;
    uint64_t member;

    if (!str_to_u64(text, SET_MEMBERS_MAX, &member) || member == 0)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "member",
                            "a member is a whole number from 1 to %d", SET_MEMBERS_MAX);
    if (codec_decode_set_act(req->json, false, &body, err))
        return -1;
    if (body.has_start)
        ask.start = body.start;
    ask.member = (int64_t)member;
    return act(req, res, &ask, err);
}

int handle_set_delete(struct request *req, struct response *res, struct error *err)
{
    return act(req, res, &(struct set_ask){.verb = SET_VERB_DELETE}, err);
}

int handle_set_patch(struct request *req, struct response *res, struct error *err)
{
    auto_set struct set *set = NULL;
    struct actor actor = request_actor(req);
    int64_t ttl_seconds;

    if (codec_decode_set_patch(req->json, &ttl_seconds, err) ||
        set_extend(req->core, &actor, request_param(req, "set"), ttl_seconds, &set, err))
        return -1;
    response_json(res, 200, shown_whole(req, set));
    return 0;
}
