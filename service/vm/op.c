/*
 * Operation values: names, references, rows, look-ups. What runs them is op_engine.c.
 */
#include "service/vm/op.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"

static const char *const state_names[OP_STATE_COUNT] = {"pending", "running", "succeeded", "failed",
                                                        "cancelled"};

const char *op_state_name(enum op_state state)
{
    return state_names[state];
}

struct op *op_ref(struct op *op)
{
    atomic_fetch_add_explicit(&op->refs, 1, memory_order_relaxed);
    return op;
}

void op_unref(struct op *op)
{
    if (!op || atomic_fetch_sub_explicit(&op->refs, 1, memory_order_acq_rel) != 1)
        return;
    op_progress_unref(op->progress);
    free(op);
}

static struct op_progress *progress_new(int64_t done, int64_t total)
{
    struct op_progress *p = xcalloc(1, sizeof(*p));

    atomic_init(&p->refs, 1);
    atomic_init(&p->done_bytes, done);
    atomic_init(&p->total_bytes, total);
    return p;
}

void op_progress_unref(struct op_progress *p)
{
    if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free(p);
}

bool op_should_end(const struct op *op)
{
    return atomic_load(&op->progress->cancel) || atomic_load(&op->progress->stop);
}

bool op_is_finished(const struct op *op)
{
    return op->state != OP_PENDING && op->state != OP_RUNNING;
}

static struct op *op_new_bare(const struct actor *actor, const char *kind, const char *params)
{
    struct op *op = xcalloc(1, sizeof(*op));

    atomic_init(&op->refs, 1);
    op->progress = progress_new(0, 0);
    uuid_new(op->id);
    str_copy_utf8(op->project_id, sizeof(op->project_id), actor->project_id);
    str_copy_utf8(op->host_id, sizeof(op->host_id), HOST_LOCAL);
    str_copy_utf8(op->kind, sizeof(op->kind), kind);
    str_copy_utf8(op->params, sizeof(op->params), params);
    str_copy_utf8(op->actor, sizeof(op->actor), actor->id);
    str_copy_utf8(op->request_id, sizeof(op->request_id), actor->request_id);
    op->created_at = clock_wall_ms();
    return op;
}

struct op *op_new(const struct actor *actor, const struct vm *vm, const char *kind, const char *params)
{
    struct op *op = op_new_bare(actor, kind, params);

    str_copy_utf8(op->project_id, sizeof(op->project_id), vm->project_id);
    str_copy_utf8(op->host_id, sizeof(op->host_id), vm->host_id);
    str_copy_utf8(op->vm_id, sizeof(op->vm_id), vm->id);
    return op;
}

struct op *op_new_for_set(const struct actor *actor, const char *set_id, const char *kind,
                          const char *params)
{
    struct op *op = op_new_bare(actor, kind, params);

    str_copy_utf8(op->set_id, sizeof(op->set_id), set_id);
    return op;
}

struct op *op_new_for_host(const struct actor *actor, const char *kind, const char *params)
{
    return op_new_bare(actor, kind, params);
}

struct op *op_new_image(const struct actor *actor, const char *image_id, const char *kind,
                        const char *params)
{
    struct op *op = op_new_bare(actor, kind, params);

    str_copy_utf8(op->image_id, sizeof(op->image_id), image_id);
    return op;
}

struct op *op_from_row(const struct op_row *row)
{
    struct op *op = xcalloc(1, sizeof(*op));

    atomic_init(&op->refs, 1);
    op->progress = progress_new(row->done_bytes, row->total_bytes);
    op->seq = row->seq;
    str_copy_utf8(op->id, sizeof(op->id), row->id);
    str_copy_utf8(op->project_id, sizeof(op->project_id), row->project_id);
    str_copy_utf8(op->host_id, sizeof(op->host_id), row->host_id);
    str_copy_utf8(op->vm_id, sizeof(op->vm_id), row->vm_id);
    str_copy_utf8(op->image_id, sizeof(op->image_id), row->image_id);
    str_copy_utf8(op->set_id, sizeof(op->set_id), row->set_id ? row->set_id : "");
    str_copy_utf8(op->kind, sizeof(op->kind), row->kind);
    str_copy_utf8(op->params, sizeof(op->params), row->params);
    str_copy_utf8(op->actor, sizeof(op->actor), row->actor);
    str_copy_utf8(op->request_id, sizeof(op->request_id), row->request_id);
    for (int i = 0; i < OP_STATE_COUNT; i++) {
        if (strcmp(row->state, state_names[i]) == 0)
            op->state = (enum op_state)i;
    }
    if (*row->error_code) {
        enum error_code code = error_from_slug(row->error_code);

        op->error.code = code == ERROR_COUNT ? ERROR_INTERNAL : code;
        str_copy_utf8(op->error.detail, sizeof(op->error.detail), row->error_detail);
        str_copy_utf8(op->error.remedy, sizeof(op->error.remedy), row->error_remedy);
        str_copy_utf8(op->error.pointer, sizeof(op->error.pointer), row->error_pointer);
    }
    op->created_at = row->created_at;
    op->started_at = row->started_at;
    op->finished_at = row->finished_at;
    return op;
}

void op_to_row(const struct op *op, struct op_row *ret)
{
    bool failed = op->state == OP_FAILED || op->state == OP_CANCELLED;

    *ret = (struct op_row){
        .seq = op->seq,
        .id = op->id,
        .project_id = op->project_id,
        .host_id = op->host_id,
        .vm_id = op->vm_id,
        .image_id = op->image_id,
        .set_id = op->set_id,
        .kind = op->kind,
        .state = state_names[op->state],
        .params = op->params,
        .actor = op->actor,
        .request_id = op->request_id,
        .error_code = failed ? error_slug(op->error.code) : "",
        .error_detail = failed ? op->error.detail : "",
        .error_remedy = failed ? op->error.remedy : "",
        .error_pointer = failed ? op->error.pointer : "",
        .created_at = op->created_at,
        .started_at = op->started_at,
        .finished_at = op->finished_at,
        .done_bytes = atomic_load(&op->progress->done_bytes),
        .total_bytes = atomic_load(&op->progress->total_bytes),
    };
}

struct rows {
    struct op **list;
    size_t count;
};

static int add_row(void *arg, const struct op_row *row)
{
    struct rows *rows = arg;

    rows->list[rows->count++] = op_from_row(row);
    return 0;
}

struct op *op_find(struct core *core, const char *project_id, const char *id, struct error *err)
{
    auto_op struct op *op = op_in_memory(core->ops, id);

    if (!op) {
        struct op *found = NULL;
        struct rows rows = {.list = &found};
        int rc = store_op_get(core->db, id, add_row, &rows, err);

        if (rc < 0)
            return NULL;
        op = found;
    }
    if (!op || strcmp(op->project_id, project_id) != 0) {
        error_set(err, ERROR_OPERATION_NOT_FOUND, "there is no operation %s", id);
        return NULL;
    }
    return TAKE_PTR(op);
}

struct op *op_that_made(struct core *core, const struct vm *vm, struct error *err)
{
    auto_op struct op *stored = NULL;
    struct rows rows = {.list = &stored};

    if (store_op_created(core->db, vm->id, add_row, &rows, err) <= 0)
        return NULL;
    return op_find(core, vm->project_id, stored->id, err); /* in memory it is further, while it goes on */
}

int op_list(struct core *core, const struct op_list_filter *filter, struct op ***ret,
            size_t *ret_count, struct error *err)
{
    struct rows rows = {.list = xcalloc((size_t)filter->limit, sizeof(*rows.list))};
    const struct op_filter f = {
        .project_id = filter->project_id,
        .vm_id = filter->vm_id,
        .state = filter->state,
        .before_seq = filter->before_seq,
        .limit = filter->limit,
    };

    if (store_op_list(core->db, &f, add_row, &rows, err)) {
        for (size_t i = 0; i < rows.count; i++)
            op_unref(rows.list[i]);
        free(rows.list);
        return -1;
    }
    *ret = rows.list;
    *ret_count = rows.count;
    return 0;
}
