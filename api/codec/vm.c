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

static void put(json_t *object, const char *name, json_t *value)
{
    /* Our own names need no check; a value that is NULL was not UTF-8, a fault of ours. */
    if (json_object_set_new_nocheck(object, name, value))
        abort();
}

/* The definition's members, then what became of it. Lists render thousands: no detours. */
static json_t *vm_object(const struct vm *vm)
{
    json_t *object = vm_spec_encode(vm->spec);
    char etag[24];

    snprintf(etag, sizeof(etag), "%lld", (long long)vm->generation);
    put(object, "id", json_string(vm->id));
    put(object, "project_id", json_string(vm->project_id));
    put(object, "host_id", json_string(vm->host_id));
    put(object, "state", json_string(vm_state_name(vm->state)));
    put(object, "state_reason", json_string(vm->state_reason));
    put(object, "effective_acceleration", codec_text(vm->acceleration));
    put(object, "acceleration_reason", json_string(vm->acceleration_reason));
    put(object, "vsock_cid", vm->vsock_cid ? json_integer(vm->vsock_cid) : json_null());
    put(object, "image_id", codec_text(vm->image_id));
    put(object, "pending_changes", json_boolean(vm_has_pending_changes(vm)));
    put(object, "etag", json_string(etag));
    put(object, "created_at", codec_time(vm->created_at));
    put(object, "updated_at", codec_time(vm->updated_at));
    put(object, "started_at", codec_time(vm->started_at));
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
