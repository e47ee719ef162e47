/*
 * VM snapshots: reference counts, names of states, and the way between a snapshot and a row.
 */
#include <stddef.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"

static const char *const state_names[VM_STATE_COUNT] = {
#define V(sym, name) [VM_STATE_##sym] = name,
#include "service/vm/vm_states.def"
#undef V
};

const char *vm_state_name(enum vm_state state)
{
    return state_names[state];
}

enum vm_state vm_state_from_name(const char *name)
{
    for (int i = 0; i < VM_STATE_COUNT; i++) {
        if (strcmp(state_names[i], name) == 0)
            return (enum vm_state)i;
    }
    return VM_STATE_COUNT;
}

struct vm *vm_ref(struct vm *vm)
{
    atomic_fetch_add_explicit(&vm->refs, 1, memory_order_relaxed);
    return vm;
}

void vm_unref(struct vm *vm)
{
    if (!vm || atomic_fetch_sub_explicit(&vm->refs, 1, memory_order_acq_rel) != 1)
        return;
    vm_spec_unref(vm->spec);
    blob_unref(atomic_load(&vm->rendered));
    free(vm);
}

struct vm *vm_copy(const struct vm *vm)
{
    struct vm *copy = xcopy_behind(vm, offsetof(struct vm, seq), sizeof(*copy));

    atomic_init(&copy->refs, 1);
    atomic_init(&copy->rendered, NULL);
    vm_spec_ref(copy->spec);
    return copy;
}

bool vm_is_unborn(const struct vm *vm)
{
    return *vm->template_id && !vm->started_at;
}

int vm_refuse_waiting(const struct vm *vm, struct error *err)
{
    if (!*vm->pool_id || *vm->lease_id)
        return 0;
    error_set(err, ERROR_VM_STATE_CONFLICT, "the VM %s waits in a pool to be handed out clean",
              vm->spec->name);
    error_remedy(err, "Ask for a lease (POST /v1/leases), or delete the VM: the pool replaces it.");
    return -1;
}

int64_t vm_disk_bytes(const struct vm *vm)
{
    int64_t bytes = vm->root_disk_bytes;

    for (size_t i = 0; i < vm->spec->disk_count; i++)
        bytes += vm->spec->disks[i].size_gib << 30;
    return bytes;
}

bool vm_has_pending_changes(const struct vm *vm)
{
    return vm->running_generation && vm->running_generation != vm->generation;
}

struct vm *vm_from_row(const struct vm_row *row, struct error *err)
{
    auto_vm struct vm *vm = xcalloc(1, sizeof(*vm));

    atomic_init(&vm->refs, 1);
    if (vm_spec_from_text(row->spec, &vm->spec, err))
        return NULL;
    vm->state = vm_state_from_name(row->state);
    if (vm->state == VM_STATE_COUNT) {
        error_set(err, ERROR_INTERNAL, "a stored VM has the unknown state %s", row->state);
        return NULL;
    }
    vm->seq = row->seq;
    str_copy_utf8(vm->id, sizeof(vm->id), row->id);
    str_copy_utf8(vm->project_id, sizeof(vm->project_id), row->project_id);
    str_copy_utf8(vm->host_id, sizeof(vm->host_id), row->host_id);
    str_copy_utf8(vm->state_reason, sizeof(vm->state_reason), row->state_reason);
    str_copy_utf8(vm->acceleration, sizeof(vm->acceleration), row->acceleration);
    str_copy_utf8(vm->acceleration_reason, sizeof(vm->acceleration_reason), row->acceleration_reason);
    str_copy_utf8(vm->image_id, sizeof(vm->image_id), row->image_id);
    vm->generation = row->generation;
    vm->defined_generation = row->defined_generation;
    vm->running_generation = row->running_generation;
    vm->vsock_cid = row->vsock_cid;
    vm->created_at = row->created_at;
    vm->updated_at = row->updated_at;
    vm->started_at = row->started_at;
    vm->marks[VM_MARK_FIRST_OUTPUT] = row->first_output_at;
    vm->marks[VM_MARK_KERNEL] = row->kernel_at;
    vm->marks[VM_MARK_USERLAND] = row->userland_at;
    vm->marks[VM_MARK_READY] = row->ready_at;
    vm->rebooted_at = row->rebooted_at;
    vm->last_attached_at = row->last_attached_at;
    str_copy_utf8(vm->boot_status, sizeof(vm->boot_status), row->boot_status);
    str_copy_utf8(vm->place.set_id, sizeof(vm->place.set_id), row->set_id);
    str_copy_utf8(vm->place.set_name, sizeof(vm->place.set_name), row->set_name);
    str_copy_utf8(vm->place.machine, sizeof(vm->place.machine), row->set_machine);
    vm->place.member = row->set_member;
    vm->place.step = row->set_step;
    vm->reimaged = row->reimaged;
    str_copy_utf8(vm->owner_token, sizeof(vm->owner_token), row->owner_token);
    vm->root_disk_bytes = row->disk_bytes - vm_disk_bytes(vm);
    str_copy_utf8(vm->template_id, sizeof(vm->template_id), row->template_id);
    str_copy_utf8(vm->template_key, sizeof(vm->template_key), row->template_key);
    vm->merges = (enum vm_merges)row->merges;
    return TAKE_PTR(vm);
}

void vm_to_row(const struct vm *vm, struct vm_row *ret, char **ret_spec_text)
{
    *ret_spec_text = vm_spec_stored_text(vm->spec);
    *ret = (struct vm_row){
        .seq = vm->seq,
        .id = vm->id,
        .project_id = vm->project_id,
        .host_id = vm->host_id,
        .name = vm->spec->name,
        .spec = *ret_spec_text,
        .state = vm_state_name(vm->state),
        .state_reason = vm->state_reason,
        .acceleration = vm->acceleration,
        .acceleration_reason = vm->acceleration_reason,
        .image_id = vm->image_id,
        .generation = vm->generation,
        .defined_generation = vm->defined_generation,
        .running_generation = vm->running_generation,
        .vsock_cid = vm->vsock_cid,
        .created_at = vm->created_at,
        .updated_at = vm->updated_at,
        .started_at = vm->started_at,
        .first_output_at = vm->marks[VM_MARK_FIRST_OUTPUT],
        .kernel_at = vm->marks[VM_MARK_KERNEL],
        .userland_at = vm->marks[VM_MARK_USERLAND],
        .ready_at = vm->marks[VM_MARK_READY],
        .rebooted_at = vm->rebooted_at,
        .last_attached_at = vm->last_attached_at,
        .boot_status = vm->boot_status,
        .set_id = vm->place.set_id,
        .set_name = vm->place.set_name,
        .set_machine = vm->place.machine,
        .set_member = vm->place.member,
        .set_step = vm->place.step,
        .reimaged = vm->reimaged,
        .owner_token = vm->owner_token,
        .cpus = vm->spec->cpus,
        .memory_mib = vm->spec->memory_mib,
        .disk_bytes = vm_disk_bytes(vm),
        .template_id = vm->template_id,
        .template_key = vm->template_key,
        .merges = vm->merges,
    };
}
