/*
 * Taking hold of one more VM of a set: its row, which says so from now on, and its own operation are
 * one commit. Keeper thread only.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/set_internal.h"

struct take {
    const struct actor *actor;
    const struct set_look *look;
    const char *image_id; /* another image; NULL: as it is */
    const char *image;    /* its name in the definition */
};

static int put_image(struct vm *next, const struct take *t, struct error *err)
{
    struct vm_spec *spec = NULL;
    auto_json json_t *value = NULL;

    if (!t->image_id || (str_eq(next->image_id, t->image_id) && str_eq(next->spec->image, t->image)))
        return 0;
    value = vm_spec_encode(next->spec);
    json_object_set_new(value, "image", json_string(t->image));
    if (vm_spec_decode(value, &spec, NULL, err))
        return -1;
    vm_spec_unref(next->spec);
    next->spec = spec;
    str_copy_utf8(next->image_id, sizeof(next->image_id), t->image_id);
    next->root_disk_bytes = 0; /* another disk: measured anew */
    next->generation++;
    return 0;
}

static bool is_on(const struct vm *vm)
{
    return vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_STARTING ||
           vm->state == VM_STATE_PAUSED || vm->state == VM_STATE_STOPPING;
}

static void intend(struct vm *next, struct change *change, enum vm_state state, const char *reason)
{
    change->event_type = "vm.state";
    change->event_data = json_pack("{s:s, s:s, s:s}", "state", vm_state_name(state), "previous",
                                   vm_state_name(next->state), "reason", reason);
    next->state = state;
    str_copy_utf8(next->state_reason, sizeof(next->state_reason), reason);
}

static int take_anew(struct vm *next, struct change *change, const struct take *t, struct error *err)
{
    int start = t->look->params.start;
    bool boots = start < 0 ? is_on(next) : start > 0;

    if (put_image(next, t, err))
        return -1;
    next->reimaged++;
    change->op_insert =
        op_new(t->actor, next, "vm.reimage", boots ? "{\"start\":true}" : "{\"start\":false}");
    change->event_type = "vm.reimaged";
    change->event_data = json_pack("{s:I, s:s}", "times", (json_int_t)next->reimaged, "image_id",
                                   next->image_id);
    return 0;
}

static int take_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                       struct error *err)
{
    const struct take *t = arg;
    bool boots = t->look->params.start > 0;

    (void)core;
    if (next->place.step >= t->look->params.step ||
        (next->state == VM_STATE_DELETING && t->look->verb != SET_VERB_DELETE))
        return 1;
    next->place.step = t->look->params.step;
    switch (t->look->verb) {
    case SET_VERB_CREATE:
        change->op_insert =
            op_new(t->actor, next, "vm.create", boots ? "{\"start\":true}" : "{\"start\":false}");
        str_copy_utf8(change->op_insert->image_id, sizeof(change->op_insert->image_id),
                      next->image_id);
        if (boots)
            intend(next, change, VM_STATE_STARTING, "its turn in the set");
        else
            str_copy_utf8(next->state_reason, sizeof(next->state_reason), "created");
        return 0;
    case SET_VERB_START:
        if (next->state == VM_STATE_PAUSED) {
            change->op_insert = op_new(t->actor, next, "vm.resume", "{}");
            return 0;
        }
        change->op_insert = op_new(t->actor, next, "vm.start", "{}");
        intend(next, change, VM_STATE_STARTING, "its turn in the set");
        return 0;
    case SET_VERB_STOP:
        change->op_insert = op_new(t->actor, next, "vm.stop", "{}");
        return 0;
    case SET_VERB_DELETE:
        change->op_insert = op_new(t->actor, next, "vm.delete", "{\"force\":true}");
        intend(next, change, VM_STATE_DELETING, "its set is being deleted");
        return 0;
    default:
        return take_anew(next, change, t, err);
    }
}

/* By its name, which may have moved on to another build since. */
static int find_image(struct core *core, const struct set_look *l, size_t slot, struct image **ret,
                      const char **ret_name, struct error *err)
{
    const json_t *machine = json_array_get(l->set->spec->machines, slot % l->set->spec->machine_count);

    *ret = NULL;
    *ret_name = json_string_value(json_object_get(machine, "image"));
    if (l->verb != SET_VERB_REIMAGE || !*ret_name)
        return 0;
    *ret = image_find(core, l->set->project_id, *ret_name, err);
    if (!*ret)
        return -1;
    if ((*ret)->state == IMAGE_READY)
        return 0;
    error_set(err, ERROR_IMAGE_STATE_CONFLICT, "the image %s is %s", *ret_name,
              image_state_name((*ret)->state));
    image_unref(*ret);
    *ret = NULL;
    return -1;
}

static int take_old(struct core *core, const struct set_look *l, const struct actor *actor, size_t slot,
                    struct error *err)
{
    auto_image struct image *image = NULL;
    struct take take = {.actor = actor, .look = l};
    struct change change = {.actor = actor};
    struct vm *vm = l->vms[slot];
    int rc;

    if (find_image(core, l, slot, &image, &take.image, err))
        return -1;
    take.image_id = image ? image->id : NULL;
    if (set_look_starts(l) && !is_on(vm) && admission_admit(core, vm, err))
        return -1;
    rc = vm_change(core, vm->id, take_mutate, &take, &change, NULL, err);
    json_decref(change.event_data);
    op_unref(change.op_insert);
    return rc && err->code == ERROR_VM_NOT_FOUND ? 0 : rc;
}

/* One that is missing, as it was: the same name, the same addresses. */
static int take_new(struct core *core, const struct set_look *l, const struct actor *actor, size_t slot,
                    struct error *err)
{
    const struct set_spec *spec = l->set->spec;
    struct set_slot s = {.member = (int64_t)(slot / spec->machine_count) + 1,
                         .machine = slot % spec->machine_count};
    struct change change = {.actor = actor, .event_type = "vm.created"};
    auto_vm struct vm *vm = NULL;
    auto_op struct op *op = NULL;
    auto_json json_t *data = NULL;
    bool boots = l->params.start != 0;

    if (set_slot_make(spec, l->set->name, core->sets->salt, &s, err))
        return -1;
    vm = set_vm_new(core, actor, l->set, &s, err);
    vm_spec_unref(s.spec);
    if (!vm || (boots && admission_admit(core, vm, err)))
        return -1;
    vm->place.step = l->params.step;
    vm->state = boots ? VM_STATE_STARTING : VM_STATE_STOPPED;
    str_copy_utf8(vm->state_reason, sizeof(vm->state_reason), "made again by its set");
    op = op_new(actor, vm, "vm.create", boots ? "{\"start\":true}" : "{\"start\":false}");
    data = json_pack("{s:s}", "state", vm_state_name(vm->state));
    change.event_data = data;
    change.op_insert = op;
    return vm_insert(core, vm, &change, err);
}

bool set_take_passes(const struct error *err)
{
    return err->code == ERROR_INSUFFICIENT_MEMORY || err->code == ERROR_QUOTA_EXCEEDED ||
           err->code == ERROR_HYPERVISOR_UNAVAILABLE || err->code == ERROR_DATABASE_FAILED ||
           err->code == ERROR_INSUFFICIENT_STORAGE || err->code == ERROR_UNAVAILABLE ||
           err->code == ERROR_HOST_SHUTTING_DOWN;
}

int set_take(struct core *core, const struct set_look *l, size_t slot, struct error *err)
{
    const struct actor actor = {l->op->actor, l->op->project_id, l->op->request_id};
    char reason[200];

    if (!virt_is_up(core->virt, reason, sizeof(reason)))
        return error_set(err, ERROR_HYPERVISOR_UNAVAILABLE, "libvirt cannot be reached: %s", reason);
    return l->vms[slot] ? take_old(core, l, &actor, slot, err) : take_new(core, l, &actor, slot, err);
}
