/*
 * VMs and operations as JSON. A VM is rendered once per snapshot: readers share the bytes.
 */
#include "api/codec/codec.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/problem.h"
#include "service/base/str.h"
#include "service/json/doc.h"

static json_t *vm_object(const struct vm *vm)
{
    json_t *object = vm_spec_encode(vm->spec);
    char etag[24];
    /* Built apart and merged, so that the definition's own encoder stays the only one of its kind.
     */
    auto_json json_t *rest = NULL;

    snprintf(etag, sizeof(etag), "%lld", (long long)vm->generation);
    rest = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:b, s:s, s:o, s:o, s:o}", "id",
                     vm->id, "project_id", vm->project_id, "host_id", vm->host_id, "state",
                     vm_state_name(vm->state), "state_reason", vm->state_reason,
                     "effective_acceleration", codec_text(vm->acceleration), "acceleration_reason",
                     vm->acceleration_reason, "vsock_cid",
                     vm->vsock_cid ? json_integer(vm->vsock_cid) : json_null(), "image_id",
                     codec_text(vm->image_id), "pending_changes", vm_has_pending_changes(vm),
                     "etag", etag, "created_at", codec_time(vm->created_at), "updated_at",
                     codec_time(vm->updated_at), "started_at", codec_time(vm->started_at));
    if (!rest || !object || json_object_update(object, rest))
        abort(); /* stored text is UTF-8; anything else is a fault of ours */
    return object;
}

struct blob *codec_vm(struct vm *vm)
{
    struct blob *blob = atomic_load_explicit(&vm->rendered, memory_order_acquire), *none = NULL;

    if (!blob) {
        auto_json json_t *object = vm_object(vm);
        auto_free char *text = doc_text(object);

        blob = blob_new_text(text);
        /* Two threads may render the same snapshot; the second gives its bytes up. */
        if (!atomic_compare_exchange_strong_explicit(&vm->rendered, &none, blob,
                                                     memory_order_acq_rel, memory_order_acquire)) {
            blob_unref(blob);
            blob = none;
        }
    }
    return blob_ref(blob);
}

struct blob *codec_vm_list(struct vm *const *vms, size_t count, const char *next_cursor)
{
    auto_free struct blob **items = xcalloc(count + 1, sizeof(struct blob *));
    struct blob *list;

    for (size_t i = 0; i < count; i++)
        items[i] = codec_vm(vms[i]);
    list = codec_list_rendered(items, count, next_cursor);
    for (size_t i = 0; i < count; i++)
        blob_unref(items[i]);
    return list;
}

struct blob *codec_vm_created(struct vm *vm, const struct op *op)
{
    auto_json json_t *object = vm_object(vm);
    auto_free char *text = NULL;

    if (json_object_set_new(object, "operation", op ? codec_op(op) : json_null()))
        abort();
    text = doc_text(object);
    return blob_new_text(text);
}

static json_t *op_error(const struct op *op)
{
    auto_blob struct blob *problem = NULL;

    if (op->state != OP_FAILED && op->state != OP_CANCELLED)
        return json_null();
    if (op->error.code == ERROR_NONE)
        return json_null();
    problem = problem_render(&op->error, op->request_id);
    return json_loadb(problem->data, problem->len, 0, NULL);
}

json_t *codec_op(const struct op *op)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o}", "id", op->id,
                     "kind", op->kind, "state", op_state_name(op->state), "vm_id",
                     codec_text(op->vm_id), "image_id", codec_text(op->image_id), "actor",
                     op->actor, "request_id", op->request_id, "created_at",
                     codec_time(op->created_at), "started_at", codec_time(op->started_at),
                     "finished_at", codec_time(op->finished_at), "error", op_error(op));
}
