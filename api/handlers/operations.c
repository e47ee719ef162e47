/*
 * Operations: list, read (and wait for), cancel.
 */
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/access.h"
#include "service/vm/op.h"

#define CANCEL_WAIT_MS 10000

static int state_argument(const struct request *req, const char **ret, struct error *err)
{
    const char *name = request_query(req, "state");

    for (int i = 0; name && i < OP_STATE_COUNT; i++) {
        if (str_eq(name, op_state_name((enum op_state)i))) {
            *ret = name;
            return 0;
        }
    }
    return name ? error_set_at(err, ERROR_INVALID_ARGUMENT, "state", "there is no state %s", name)
                : 0;
}

int handle_op_list(struct request *req, struct response *res, struct error *err)
{
    struct op_list_filter filter = {.project_id = req->principal.project_id};
    char vm_id[UUID_TEXT] = "", cursor[PAGE_CURSOR_SIZE];
    const char *next = NULL;
    struct page page;
    struct op **ops;
    size_t count;
    json_t *items;

    if (page_read(req, &page, err) || state_argument(req, &filter.state, err) ||
        vm_argument(req, vm_id, err))
        return -1;
    filter.vm_id = *vm_id ? vm_id : NULL;
    filter.before_seq = page.after;
    filter.limit = (int)page.limit + 1; /* one more tells whether there is a next page */
    if (op_list(req->core, &filter, &ops, &count, err))
        return -1;
    if (count > (size_t)page.limit)
        next = page_next(req, res, ops[page.limit - 1]->seq, cursor);
    items = json_array();
    for (size_t i = 0; i < count; i++) {
        if (i < (size_t)page.limit)
            json_array_append_new(items, codec_op(ops[i]));
        op_unref(ops[i]);
    }
    free(ops);
    response_json(res, 200, codec_list(items, next));
    return 0;
}

static int get_resume(struct request *req, struct response *res, struct error *err)
{
    auto_op struct op *op =
        op_find(req->core, req->principal.project_id, request_param(req, "operation"), err);

    if (!op)
        return -1;
    response_json(res, 200, codec_op(op));
    return 0;
}

int handle_op_get(struct request *req, struct response *res, struct error *err)
{
    const char *id = request_param(req, "operation");
    int64_t wait_ms = 0;

    if (wait_read(req, &wait_ms, err))
        return -1;
    auto_op struct op *op = op_find(req->core, req->principal.project_id, id, err);
    if (!op)
        return -1;
    if (wait_ms && !op_is_finished(op))
        return request_park_op(req, op->id, wait_ms, get_resume);
    response_json(res, 200, codec_op(op));
    return 0;
}

/* One that copies bytes takes a moment to end; the answer shows what became of it. */
int handle_op_cancel(struct request *req, struct response *res, struct error *err)
{
    auto_op struct op *op = op_find(req->core, req->principal.project_id, request_param(req, "operation"), err);

    /* What concerns everybody on the host takes the right that it took to ask for it. */
    if (!op || (str_starts(op->kind, "host.") && access_require(&req->principal, ACCESS_HOST_WRITE, err)))
        return -1;
    op_unref(TAKE_PTR(op));
    if (op_cancel(req->core, req->principal.project_id, request_param(req, "operation"), &op, err))
        return -1;
    if (!op_is_finished(op))
        return request_park_op(req, op->id, CANCEL_WAIT_MS, get_resume);
    response_json(res, 200, codec_op(op));
    return 0;
}
