/*
 * The VMs of a set: making one, finding them, counting what they are.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/quota_internal.h"
#include "service/vm/set_internal.h"

struct vm *set_vm_new(struct core *core, const struct actor *actor, const struct set *set,
                      const struct set_slot *slot, struct error *err)
{
    auto_vm struct vm *vm = xcalloc(1, sizeof(*vm));
    char at[160];
    bool comes;

    atomic_init(&vm->refs, 1);
    vm->spec = vm_spec_ref(slot->spec);
    if (vm_check_new(core, actor->project_id, vm->spec, vm->image_id, &comes, err)) {
        if (*err->pointer) {
            snprintf(at, sizeof(at), "/machines/%zu%s", slot->machine, err->pointer);
            str_copy_utf8(err->pointer, sizeof(err->pointer), at);
        }
        return NULL;
    }
    uuid_new(vm->id);
    str_copy_utf8(vm->project_id, sizeof(vm->project_id), set->project_id);
    str_copy_utf8(vm->host_id, sizeof(vm->host_id), set->host_id);
    memcpy(vm->place.set_id, set->id, sizeof(vm->place.set_id));
    memcpy(vm->place.set_name, set->name, sizeof(vm->place.set_name));
    str_copy_utf8(vm->place.machine, sizeof(vm->place.machine),
                  set_machine_name(set->spec, slot->machine));
    vm->place.member = slot->member;
    memcpy(vm->owner_token, set->owner_token, sizeof(vm->owner_token));
    quota_measure(core, vm);
    vm->state = VM_STATE_STOPPED;
    str_copy_utf8(vm->state_reason, sizeof(vm->state_reason), "waits for its turn in the set");
    vm->generation = 1;
    vm->created_at = vm->updated_at = clock_wall_ms();
    return TAKE_PTR(vm);
}

static size_t machine_index(const struct set_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->machine_count; i++) {
        if (str_eq(set_machine_name(spec, i), name))
            return i;
    }
    return spec->machine_count;
}

/* Puts a VM where its place is; one without a place there (it cannot be) is left out. */
static bool put(const struct set *set, struct vm **slots, struct vm *vm)
{
    size_t machine = machine_index(set->spec, vm->place.machine), at;

    if (machine == set->spec->machine_count || vm->place.member < 1 ||
        vm->place.member > set->spec->count)
        return false;
    at = (size_t)(vm->place.member - 1) * set->spec->machine_count + machine;
    if (slots[at])
        return false;
    slots[at] = vm;
    return true;
}

struct vm **set_vms(struct core *core, const struct set *set)
{
    const struct vm_filter filter = {
        .project_id = set->project_id, .state = -1, .set = set->id, .limit = SIZE_MAX};
    struct vm **slots = xcalloc((size_t)set->spec->count * set->spec->machine_count, sizeof(*slots));
    struct vm **found;
    size_t count;
    bool more;

    registry_list(core->registry, &filter, &found, &count, &more);
    for (size_t i = 0; i < count; i++) {
        if (!put(set, slots, found[i]))
            vm_unref(found[i]);
    }
    free(found);
    return slots;
}

/* ---- how a set is ---- */

static const char *const state_names[SET_STATE_COUNT] = {
    "creating", "starting", "stopping", "reimaging", "resetting",
    "deleting", "running",  "stopped",  "mixed",     "incomplete",
};

const char *set_state_name(enum set_state state)
{
    return state_names[state];
}

static enum set_state working_state(enum set_verb verb)
{
    static const enum set_state states[SET_VERB_COUNT] = {
        [SET_VERB_CREATE] = SET_CREATING,   [SET_VERB_START] = SET_STARTING,
        [SET_VERB_STOP] = SET_STOPPING,     [SET_VERB_REIMAGE] = SET_REIMAGING,
        [SET_VERB_RESET] = SET_RESETTING,   [SET_VERB_DELETE] = SET_DELETING,
    };

    return states[verb];
}

static void at_rest(struct set_status *s)
{
    int64_t broken = s->counts[VM_STATE_FAILED] + s->counts[VM_STATE_CRASHED];
    int64_t off = s->counts[VM_STATE_STOPPED] + s->counts[VM_STATE_SAVED];

    if (s->missing || broken) {
        s->state = SET_INCOMPLETE;
        snprintf(s->reason, sizeof(s->reason), "of %lld VMs, %lld are missing and %lld have failed",
                 (long long)s->total, (long long)s->missing, (long long)broken);
    } else if (s->counts[VM_STATE_RUNNING] == s->total) {
        s->state = SET_RUNNING;
    } else {
        s->state = off == s->total ? SET_STOPPED : SET_MIXED;
    }
}

/* The oldest operation at work on the whole set, else on a member. */
static struct op *at_work(struct core *core, const struct set *set)
{
    struct op **ops, *found = NULL;
    struct set_params p;
    bool whole = false;
    size_t count;

    op_driven(core->ops, "set.", &ops, &count);
    for (size_t i = 0; i < count; i++) {
        set_params_read(ops[i], &p);
        if (str_eq(ops[i]->set_id, set->id) && (!found || (!whole && !p.member))) {
            op_unref(found);
            found = op_ref(ops[i]);
            whole = !p.member;
        }
        op_unref(ops[i]);
    }
    free(ops);
    return found;
}

void set_status_read(struct core *core, const struct set *set, struct set_status *ret)
{
    size_t total = (size_t)set->spec->count * set->spec->machine_count;
    auto_free struct vm **vms = set_vms(core, set);
    auto_op struct op *op = at_work(core, set);

    *ret = (struct set_status){.total = (int64_t)total};
    for (size_t i = 0; i < total; i++) {
        if (vms[i])
            ret->counts[vms[i]->state]++;
        else
            ret->missing++;
        vm_unref(vms[i]);
    }
    at_rest(ret);
    if (set->deleting)
        ret->state = SET_DELETING;
    if (!op)
        return;
    ret->state = set->deleting ? SET_DELETING : working_state(set_verb_of(op));
    memcpy(ret->operation_id, op->id, sizeof(ret->operation_id));
    ret->done = atomic_load(&op->progress->done_bytes);
    ret->of = atomic_load(&op->progress->total_bytes);
    ret->failed = atomic_load(&op->progress->failed);
    set_book_waits(core->sets, set->id, ret->waits_for);
    str_copy_utf8(ret->reason, sizeof(ret->reason), ret->waits_for);
}

void set_counts_read(struct core *core, struct set_counts *ret)
{
    struct set **all;
    size_t count;

    *ret = (struct set_counts){0};
    set_book_all(core->sets, &all, &count);
    for (size_t i = 0; i < count; i++) {
        struct set_status status;

        set_status_read(core, all[i], &status);
        ret->sets[status.state]++;
        for (int s = 0; s < VM_STATE_COUNT; s++)
            ret->vms[s] += status.counts[s];
        set_unref(all[i]);
    }
    free(all);
}
