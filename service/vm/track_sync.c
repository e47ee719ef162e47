/*
 * One VM: libvirt is asked how it is, and the answer becomes its state unless it comes too late, after
 * an operation went on.
 */
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"
#include "service/vm/track_internal.h"

#define SYNC_TRIES 8
#define SOON_MS    1000

/*
 * A guest that was on ended with its host. Libvirt calls that a crash, where it remembers that the guest ran,
 * and has no word for it elsewhere; but who was shut down in time was that.
 */
static bool ended_with_host(struct core *core, const struct vm *vm, const struct track_sync *s)
{
    bool was_on = vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_PAUSED || vm->state == VM_STATE_STOPPING ||
                  vm->state == VM_STATE_STARTING;

    return was_on && tracker_is_after_boot(core->tracker) &&
           (s->gone || s->info.state == VIRT_STATE_CRASHED || str_eq(s->info.reason, "unknown"));
}

static int sync_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                       struct error *err)
{
    struct track_sync *s = arg;
    auto_vm struct vm *current = registry_get(core->registry, next->id);
    enum vm_state state = vm_state_seen(next, s->gone ? NULL : &s->info);
    bool off = state != VM_STATE_RUNNING && state != VM_STATE_PAUSED && state != VM_STATE_STOPPING;
    int64_t running = state == VM_STATE_SAVED || !off ? next->running_generation : 0;
    int64_t defined = s->gone ? 0 : next->defined_generation;
    bool with_host = off && state != VM_STATE_SAVED && ended_with_host(core, next, s);
    const char *reason = *s->reason ? s->reason : with_host ? VM_REASON_HOST_DOWN : s->info.reason;
    bool knows_better = s->beside ? op_vm_starts(core->ops, next->id)
                                  : !*s->reason && op_vm_busy(core->ops, next->id);

    (void)err;
    /* An operation went on between question and answer: what libvirt said then is no news. */
    s->stale = s->seen && s->seen != current;
    if (s->stale)
        return 1;
    if (with_host)
        state = VM_STATE_STOPPED;
    /* A guest we asked to shut down still runs until it is off. */
    if (next->state == VM_STATE_STOPPING && state == VM_STATE_RUNNING && !*s->reason)
        state = VM_STATE_STOPPING;
    /*
     * An operation that is under way or queued knows better than a glance from outside. What is cancelled was
     * only queued: the start before it, whose guest may be paused still, goes on.
     */
    if (next->state == VM_STATE_DELETING || (next->state == VM_STATE_STARTING && knows_better))
        return 1;
    if (!off && !running)
        running = s->info.generation ? (int64_t)s->info.generation : next->generation;
    /* Starting defines anew in any case, so a vanished definition alone is not worth a commit. */
    if (next->state == state && next->running_generation == running)
        return 1;
    if (next->state != state) {
        change->event_type = "vm.state";
        change->event_data = json_pack("{s:s, s:s, s:s}", "state", vm_state_name(state), "previous",
                                       vm_state_name(next->state), "reason", reason);
        str_copy_utf8(next->state_reason, sizeof(next->state_reason), reason);
    }
    next->state = state;
    next->running_generation = running;
    next->defined_generation = defined;
    return 0;
}

int track_apply(struct core *core, const char *vm_id, struct track_sync *s, struct error *err)
{
    struct change change = {0};
    auto_vm struct vm *vm = NULL;
    int rc = vm_change(core, vm_id, sync_mutate, s, &change, &vm, err);

    json_decref(change.event_data);
    if (rc)
        return -1;
    if (s->stale)
        return 0;
    switch (vm->state) {
    case VM_STATE_RUNNING:
    case VM_STATE_PAUSED:
    case VM_STATE_STOPPING:
        vm_streams_open(core, vm, false);
        break;
    case VM_STATE_STOPPED:
    case VM_STATE_SAVED:
    case VM_STATE_CRASHED:
        console_end(core->consoles, vm_id);
        guest_end(core, vm_id);
        break;
    default:
        break;
    }
    op_engine_poke(core->ops);
    return 0;
}

/* Asks libvirt and applies the answer, unless it came too late. */
static int ask(struct core *core, const char *vm_id, struct track_sync *s, struct error *err)
{
    s->info = (struct virt_info){0};
    s->gone = false;
    if (s->soon ? virt_info_soon(core->virt, vm_id, SOON_MS, &s->info, err)
                : virt_info(core->virt, vm_id, &s->info, err)) {
        if (err->code != ERROR_VM_NOT_FOUND)
            return -1;
        s->gone = true;
        str_copy_utf8(s->info.reason, sizeof(s->info.reason), "libvirt does not know it any more");
    }
    return track_apply(core, vm_id, s, err);
}

static int sync_vm(struct core *core, const char *vm_id, struct track_sync s, struct error *err)
{
    s.stale = true;

    for (int i = 0; i < SYNC_TRIES && s.stale; i++) {
        auto_vm struct vm *seen = registry_get(core->registry, vm_id);

        s.seen = seen;
        if (ask(core, vm_id, &s, err))
            return -1;
    }
    /*
     * Somebody changes it all the time. An operation believes libvirt: the VM's power is its own. For the
     * tracker the answer may be one from before a start's last step, so it is asked again later.
     */
    if (!s.stale)
        return 0;
    if (s.soon) {
        tracker_look_again(core->tracker, vm_id);
        return 0;
    }
    s.seen = NULL;
    return ask(core, vm_id, &s, err);
}

int vm_sync(struct core *core, const char *vm_id, const char *reason, struct error *err)
{
    return sync_vm(core, vm_id, (struct track_sync){.reason = reason}, err);
}

int vm_sync_beside(struct core *core, const char *vm_id, const char *reason, struct error *err)
{
    return sync_vm(core, vm_id, (struct track_sync){.reason = reason, .beside = true}, err);
}

int track_sync_soon(struct core *core, const char *vm_id, struct error *err)
{
    return sync_vm(core, vm_id, (struct track_sync){.reason = "", .soon = true}, err);
}
