/*
 * VMs and operations as JSON. A VM is rendered once per snapshot: readers share the bytes.
 */
#include "api/codec/codec.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "api/problem.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"

static void add_time(struct strbuf *b, const char *member, int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];

    doc_add_text(b, member, wall_ms ? clock_format(wall_ms, text) : NULL);
}

static void add_place(struct strbuf *b, const struct vm *vm)
{
    strbuf_adds(b, ",\"set\":");
    if (!*vm->place.set_id) {
        strbuf_adds(b, "null");
        return;
    }
    strbuf_adds(b, "{\"id\":");
    doc_add_string(b, vm->place.set_id);
    doc_add_text(b, "name", vm->place.set_name);
    doc_add_int(b, "member", vm->place.member);
    doc_add_text(b, "machine", vm->place.machine);
    strbuf_addc(b, '}');
}

/* All of the VM but the closing brace. The definition's own encoder stays the only one of its kind. */
static void add_vm(struct strbuf *b, const struct vm *vm)
{
    auto_free char *spec = vm_spec_text(vm->spec);
    char etag[24];

    strbuf_add(b, spec, strlen(spec) - 1);
    doc_add_text(b, "id", vm->id);
    doc_add_text(b, "project_id", vm->project_id);
    doc_add_text(b, "host_id", vm->host_id);
    doc_add_text(b, "state", vm_state_name(vm->state));
    doc_add_text(b, "state_reason", vm->state_reason);
    doc_add_text(b, "effective_acceleration", *vm->acceleration ? vm->acceleration : NULL);
    doc_add_text(b, "acceleration_reason", vm->acceleration_reason);
    if (vm->vsock_cid)
        doc_add_int(b, "vsock_cid", vm->vsock_cid);
    else
        doc_add_text(b, "vsock_cid", NULL);
    doc_add_text(b, "image_id", *vm->image_id ? vm->image_id : NULL);
    doc_add_text(b, "pool_id", *vm->pool_id ? vm->pool_id : NULL);
    doc_add_text(b, "lease_id", *vm->lease_id ? vm->lease_id : NULL);
    add_place(b, vm);
    doc_add_text(b, "template_id", *vm->template_id ? vm->template_id : NULL);
    doc_add_bool(b, "pending_changes", vm_has_pending_changes(vm));
    snprintf(etag, sizeof(etag), "%lld", (long long)vm->generation);
    doc_add_text(b, "etag", etag);
    add_time(b, "created_at", vm->created_at);
    add_time(b, "updated_at", vm->updated_at);
    add_time(b, "started_at", vm->started_at);
    add_time(b, "ready_at", vm->marks[VM_MARK_READY]);
    add_time(b, "last_attached_at", vm->last_attached_at);
}

struct blob *codec_vm(struct vm *vm)
{
    struct blob *blob = atomic_load_explicit(&vm->rendered, memory_order_acquire), *none = NULL;

    if (!blob) {
        auto_strbuf struct strbuf b = {0};

        add_vm(&b, vm);
        strbuf_addc(&b, '}');
        blob = blob_new(b.data, b.len);
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

/* What no other VM made from the same image has, and what the guest has to see to itself. */
static void add_identity(struct strbuf *b, const struct vm *vm)
{
    bool seed = vm_spec_has_seed(vm->spec);

    strbuf_adds(b, ",\"identity\":{\"fresh\":[\"id\",\"generation_id\"");
    if (vm->spec->network_count)
        strbuf_adds(b, ",\"mac\"");
    if (vm->vsock_cid)
        strbuf_adds(b, ",\"vsock_cid\"");
    if (seed)
        strbuf_adds(b, ",\"instance_id\",\"hostname\",\"ssh_host_keys\"");
    strbuf_adds(b, "],\"left_to_guest\":[\"machine_id\"");
    if (!seed)
        strbuf_adds(b, ",\"hostname\",\"ssh_host_keys\"");
    strbuf_adds(b, "]}");
}

struct blob *codec_vm_created(struct vm *vm, const struct op *op)
{
    auto_json json_t *object = op ? codec_op(op) : json_null();
    auto_free char *text = doc_text(object);
    auto_strbuf struct strbuf b = {0};

    add_vm(&b, vm);
    add_identity(&b, vm);
    strbuf_addf(&b, ",\"operation\":%s}", text);
    return blob_new(b.data, b.len);
}

json_t *codec_timeline(const struct vm *vm)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "created_at",
                     codec_time(vm->created_at), "started_at", codec_time(vm->started_at),
                     "rebooted_at", codec_time(vm->rebooted_at), "first_output_at",
                     codec_time(vm->marks[VM_MARK_FIRST_OUTPUT]), "kernel_at",
                     codec_time(vm->marks[VM_MARK_KERNEL]), "userland_at",
                     codec_time(vm->marks[VM_MARK_USERLAND]), "ready_at",
                     codec_time(vm->marks[VM_MARK_READY]), "status", codec_text(vm->boot_status));
}

json_t *codec_problem(const struct error *err, const char *request_id)
{
    auto_blob struct blob *problem = problem_render(err, request_id);

    return json_loadb(problem->data, problem->len, 0, NULL);
}

static json_t *op_error(const struct op *op)
{
    if (op->state != OP_FAILED && op->state != OP_CANCELLED)
        return json_null();
    return op->error.code == ERROR_NONE ? json_null() : codec_problem(&op->error, op->request_id);
}

/* Of operations that copy bytes, from the moment they do. */
static json_t *op_progress(const struct op *op)
{
    int64_t done = atomic_load(&op->progress->done_bytes);
    int64_t total = atomic_load(&op->progress->total_bytes);
    const char *stage = op_is_finished(op) ? NULL : atomic_load(&op->progress->stage);

    if (!stage && !done && !total)
        return json_null();
    if (*op->set_id || str_starts(op->kind, "host.")) {
        int64_t failed = atomic_load(&op->progress->failed);

        if (op->state == OP_FAILED) /* all others got there */
            failed = total - done;
        return json_pack("{s:o, s:I, s:I, s:I}", "stage", codec_text(stage), "done_vms",
                         (json_int_t)done, "failed_vms", (json_int_t)failed, "total_vms",
                         (json_int_t)total);
    }
    return json_pack("{s:o, s:I, s:o}", "stage", codec_text(stage), "done_bytes", (json_int_t)done,
                     "total_bytes", total ? json_integer(total) : json_null());
}

json_t *codec_op(const struct op *op)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "id", op->id,
                     "kind", op->kind, "state", op_state_name(op->state), "vm_id",
                     codec_text(op->vm_id), "image_id", codec_text(op->image_id), "set_id",
                     codec_text(op->set_id), "actor", op->actor, "request_id", op->request_id, "created_at",
                     codec_time(op->created_at), "started_at", codec_time(op->started_at),
                     "finished_at", codec_time(op->finished_at), "progress",
                     op_progress(op), "error", op_error(op));
}
