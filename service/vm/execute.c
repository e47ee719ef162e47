/*
 * What an operation does. Every step may be repeated: after a crash the operation runs again from
 * its beginning and finds part of its work done.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"
#include "service/vm/execute_internal.h"
#include "service/vm/guest.h"
#include "service/vm/host_stop_internal.h"
#include "service/vm/image_import.h"
#include "service/vm/pool.h"
#include "service/vm/project_internal.h"

#define DELETE_TRIES 10

static int set_state(struct vm *next, enum vm_state state, const char *reason)
{
    next->state = state;
    str_copy_utf8(next->state_reason, sizeof(next->state_reason), reason);
    return 0;
}

struct state_change {
    enum vm_state state;
    bool deletes; /* by the deletion itself */
    const char *reason;
};

static int state_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                        struct error *err)
{
    const struct state_change *s = arg;

    (void)core;
    (void)err;
    if (next->state == s->state && str_eq(next->state_reason, s->reason))
        return 1;
    /*
     * Asked for in the middle of a start, and promised: were it stored as running again, a pool
     * would hand it out after a crash of ours, in the state its last holder left it in.
     */
    if (next->state == VM_STATE_DELETING && !s->deletes)
        return 1;
    if (next->state != s->state) {
        change->event_type = "vm.state";
        change->event_data = json_pack("{s:s, s:s, s:s}", "state", vm_state_name(s->state),
                                       "previous", vm_state_name(next->state), "reason", s->reason);
    }
    return set_state(next, s->state, s->reason);
}

int execute_state(struct core *core, const struct op *op, enum vm_state state,
                        const char *reason, struct error *err)
{
    struct actor actor = {op->actor, op->project_id, op->request_id};
    struct state_change s = {state, str_eq(op->kind, "vm.delete"), reason};
    struct change change = {.actor = &actor};
    int rc = vm_change(core, op->vm_id, state_mutate, &s, &change, NULL, err);

    json_decref(change.event_data);
    return rc;
}

struct defining {
    struct vm_domain_choice choice;
    enum vm_merges merges;
};

static int defined_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                          struct error *err)
{
    const struct defining *d = arg;
    const struct vm_domain_choice *choice = &d->choice;

    (void)core;
    (void)change;
    (void)err;
    next->defined_generation = next->generation;
    next->merges = d->merges;
    str_copy_utf8(next->acceleration, sizeof(next->acceleration), choice->kvm ? "kvm" : "emulated");
    str_copy_utf8(next->acceleration_reason, sizeof(next->acceleration_reason), choice->reason);
    return 0;
}

/* Not every driver can rename a domain, so that of a renamed VM is defined anew. */
static int define(struct core *core, const struct vm *vm, struct error *err)
{
    struct defining d = {.merges = project_may_merge(core, vm)};
    struct virt_info info;
    struct error ignored;

    if (virt_info(core->virt, vm->id, &info, &ignored) == 0 &&
        !virt_name_fits(info.name, vm->spec->name, vm->id) && virt_undefine(core->virt, vm->id, err))
        return -1;
    if (vm_disks_ensure(core, vm, err))
        return -1;
    CRASH_POINT(CREATE_FILES_READY);
    if (vm_domain_define(core, vm, d.merges, &d.choice, err))
        return -1;
    CRASH_POINT(CREATE_DEFINED);
    if (vm_change(core, vm->id, defined_mutate, &d, NULL, NULL, err))
        return -1;
    CRASH_POINT(CREATE_DEFINED_STORED);
    return 0;
}

static int merges_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                         struct error *err)
{
    const enum vm_merges *merges = arg;

    (void)core;
    (void)err;
    if (next->merges == *merges)
        return 1;
    change->quiet = true;
    next->merges = *merges;
    return 0;
}

/* One that begins with its pool's saved memory may have been defined long ago. */
static int decide_merging(struct core *core, const struct vm *vm, struct error *err)
{
    enum vm_merges merges = project_may_merge(core, vm);
    struct change change = {0};

    return vm_change(core, vm->id, merges_mutate, &merges, &change, NULL, err);
}

/* Whether its memory is offered was settled when it was saved. */
static int refuse_strangers(struct core *core, const struct vm *vm, struct error *err)
{
    if (vm->merges != VM_MERGES_YES || project_claim_merging(core, vm))
        return 0;
    error_set(err, ERROR_PROJECT_IN_USE,
              "the saved memory of %s offers itself for merging, and a project that its own does not "
              "trust merges on this host", vm->spec->name);
    error_remedy(err, "Stop it (which drops what was saved) and start it: it then runs without "
                      "merging.");
    return -1;
}

struct started {
    bool restored, born; /* with its template's memory */
    int64_t at; /* before its first instruction, so that nothing it does was earlier */
};

/* The guest came as far as its template had: here, in this moment. */
static void inherit_marks(struct core *core, struct vm *next, int64_t at)
{
    auto_vm struct vm *template = registry_get(core->registry, next->template_id);

    for (int i = 0; template && i < VM_MARK_COUNT; i++)
        next->marks[i] = template->marks[i] ? at : 0;
}

static int started_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                          struct error *err)
{
    const struct started *s = arg;

    (void)core;
    (void)err;
    if (next->state == VM_STATE_DELETING)
        return 1; /* as above */
    change->event_data = json_pack("{s:s, s:s, s:s}", "state", "running", "previous",
                                   vm_state_name(next->state), "reason",
                                   s->restored ? "restored" : "started");
    if (!s->restored || s->born) {
        next->started_at = s->at;
        next->running_generation = next->defined_generation;
    }
    if (s->born)
        inherit_marks(core, next, s->at);
    return set_state(next, VM_STATE_RUNNING, s->restored ? "restored" : "started");
}

/* Has the domain a managed save image? Then starting restores, and it is not redefined. */
static int look(struct core *core, const struct vm *vm, struct virt_info *ret, struct error *err)
{
    *ret = (struct virt_info){.state = VIRT_STATE_GONE};
    if (virt_info(core->virt, vm->id, ret, err)) {
        if (err->code != ERROR_VM_NOT_FOUND)
            return -1;
        ret->state = VIRT_STATE_GONE;
    }
    return 0;
}

/* QEMU's remains from before the daemon died in the middle of this very start: libvirt gives them up. */
static int clear_remains(struct core *core, const struct vm *vm, struct virt_info *info,
                         struct error *err)
{
    if (info->state != VIRT_STATE_PAUSED || !str_eq(info->reason, "starting-up"))
        return 0;
    if (virt_destroy(core->virt, vm->id, err) && err->code != ERROR_VM_STATE_CONFLICT &&
        err->code != ERROR_VM_NOT_FOUND)
        return -1;
    return look(core, vm, info, err);
}

static int boot_instead_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                               struct error *err)
{
    (void)core;
    (void)change;
    (void)arg;
    (void)err;
    next->template_id[0] = '\0';
    next->defined_generation = 0;
    return 0;
}

/*
 * With its template's memory; or, when libvirt or QEMU will not have that, *ret_booted: it is made
 * anew from the image and boots, and the template is not used any more.
 */
static int begin_life(struct core *core, const struct vm *vm, bool defined, bool *ret_booted,
                      struct error *err)
{
    auto_vm struct vm *now = NULL;

    if (defined ? decide_merging(core, vm, err) : define(core, vm, err))
        return -1;
    now = registry_get(core->registry, vm->id);
    if (guest_listen(core, vm, err))
        return -1;
    if (vm_domain_clone(core, now ? now : vm, err) == 0)
        return 0;
    if (err->code == ERROR_HYPERVISOR_UNAVAILABLE || err->code == ERROR_VM_NOT_FOUND)
        return -1;
    template_spoil(core, vm->template_id, err);
    if (vm_disks_remove(core, vm->id, err) ||
        vm_change(core, vm->id, boot_instead_mutate, NULL, NULL, NULL, err))
        return -1;
    *ret_booted = true;
    return 0;
}

/* From off, from a saved image, or from where an earlier attempt came to. */
static int start_paused(struct core *core, const struct op *op, const struct vm *vm,
                        const struct virt_info *info, struct started *s, struct error *err)
{
    bool restored = info->state == VIRT_STATE_SAVED || s->born, booted = false;
    auto_vm struct vm *anew = NULL;
    int rc;

    if (execute_state(core, op, VM_STATE_STARTING, restored ? "restoring" : "starting", err))
        return -1;
    if (info->state == VIRT_STATE_PAUSED)
        return 0;
    if (s->born) {
        bool defined = info->state == VIRT_STATE_SHUTOFF && vm->defined_generation == vm->generation;

        if (begin_life(core, vm, defined, &booted, err))
            return -1;
        if (!booted)
            return 0;
        s->restored = s->born = restored = false;
        vm = anew = registry_get(core->registry, vm->id);
        if (!vm || execute_state(core, op, VM_STATE_STARTING, "booting: its pool's saved memory was of no use",
                                err))
            return vm ? -1 : error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone");
    }
    if (restored ? refuse_strangers(core, vm, err)
                 : define(core, vm, err) || vm_boot_begin(core, vm->id, err))
        return -1;
    guest_end(core, vm->id); /* what an earlier power-on left */
    if (guest_listen(core, vm, err))
        return -1;
    /* Paused first, so that the hub reads from the very first byte. */
    rc = virt_start(core->virt, vm->id, VIRT_START_PAUSED, err);
    rc = execute_unless_already(core, vm->id, rc, VIRT_STATE_PAUSED, err);
    return execute_unless_already(core, vm->id, rc, VIRT_STATE_RUNNING, err);
}

static int start(struct core *core, const struct op *op, struct error *err)
{
    auto_vm struct vm *vm = registry_get(core->registry, op->vm_id), *defined = NULL;
    struct actor actor = {op->actor, op->project_id, op->request_id};
    struct change change = {.event_type = "vm.state", .actor = &actor};
    struct virt_info info;
    struct started started = {.born = vm && vm_is_unborn(vm)};
    bool running;
    int rc;

    if (!vm)
        return error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone");
    if (look(core, vm, &info, err) || clear_remains(core, vm, &info, err))
        return -1;
    if (SEEDED_BUG(SKIP_RESUME) && info.state == VIRT_STATE_PAUSED)
        return vm_sync(core, vm->id, "already running", err);
    running = info.state == VIRT_STATE_RUNNING; /* all but the last commit of an earlier attempt */
    started.restored =
        started.born || info.state == VIRT_STATE_SAVED ||
        ((running || info.state == VIRT_STATE_PAUSED) && str_eq(vm->state_reason, "restoring"));
    if (running && vm->state != VM_STATE_STARTING)
        return vm_sync(core, vm->id, "already running", err);
    if (!running && start_paused(core, op, vm, &info, &started, err))
        return -1;
    defined = registry_get(core->registry, op->vm_id);
    vm_streams_open(core, defined ? defined : vm, !started.restored && !running);
    started.at = clock_wall_ms();
    CRASH_POINT(START_PAUSED);
    rc = running ? 0 : virt_resume(core->virt, vm->id, err);
    if (execute_unless_already(core, vm->id, rc, VIRT_STATE_RUNNING, err))
        return -1;
    CRASH_POINT(START_RESUMED);
    rc = vm_change(core, vm->id, started_mutate, &started, &change, NULL, err);
    CRASH_POINT(START_STORED);
    json_decref(change.event_data);
    if (rc == 0 && started.born)
        guest_refresh_clone(core, vm->id);
    else if (rc == 0 && started.restored)
        guest_clock_after_pause(core, vm->id);
    return rc;
}

static int create(struct core *core, const struct op *op, struct error *err)
{
    auto_vm struct vm *vm = registry_get(core->registry, op->vm_id);

    if (!vm)
        return error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone");
    if (strstr(op->params, "\"start\":true"))
        return start(core, op, err);
    if (define(core, vm, err))
        return -1;
    return vm_is_unborn(vm)
               ? execute_state(core, op, VM_STATE_SAVED, "in its pool's saved memory", err)
               : 0;
}

static int stop(struct core *core, const struct op *op, struct error *err)
{
    auto_vm struct vm *vm = NULL;
    struct error ignored;

    if (virt_destroy(core->virt, op->vm_id, err) && err->code != ERROR_VM_STATE_CONFLICT &&
        err->code != ERROR_VM_NOT_FOUND)
        return -1;
    CRASH_POINT(STOP_DESTROYED);
    /* Pulling the plug also drops the memory of a saved VM; not of one that was saved just in time. */
    if (!str_eq(op->params, OP_OVERTAKES))
        (void)virt_drop_save(core->virt, op->vm_id, &ignored);
    if (vm_sync(core, op->vm_id, "stopped", err))
        return -1;
    /* Off is off: also after a crash, and after an end that libvirt took for one. */
    vm = registry_get(core->registry, op->vm_id);
    if (!vm || (vm->state != VM_STATE_CRASHED && vm->state != VM_STATE_FAILED))
        return 0;
    return execute_state(core, op, VM_STATE_STOPPED, "stopped", err);
}

static int gone_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                       struct error *err)
{
    (void)core;
    (void)arg;
    (void)err;
    change->remove = true;
    next->state = VM_STATE_DELETING;
    return 0;
}

static int delete(struct core *core, const struct op *op, struct error *err)
{
    struct actor actor = {op->actor, op->project_id, op->request_id};
    struct change change = {.event_type = "vm.deleted", .actor = &actor};

    if (execute_state(core, op, VM_STATE_DELETING, "deleting", err))
        return err->code == ERROR_VM_NOT_FOUND ? 0 : -1;
    if (SEEDED_BUG(BURY_FIRST) && vm_change(core, op->vm_id, gone_mutate, NULL, &change, NULL, err))
        return -1;
    if (virt_discard(core->virt, op->vm_id, err) && err->code != ERROR_VM_STATE_CONFLICT &&
        err->code != ERROR_VM_NOT_FOUND)
        return -1;
    CRASH_POINT(DELETE_DESTROYED);
    if (virt_undefine(core->virt, op->vm_id, err))
        return -1;
    CRASH_POINT(DELETE_UNDEFINED);
    if (vm_disks_remove(core, op->vm_id, err))
        return -1;
    CRASH_POINT(DELETE_FILES_GONE);
    console_forget(core->consoles, op->vm_id);
    guest_end(core, op->vm_id);
    if (!SEEDED_BUG(BURY_FIRST) && vm_change(core, op->vm_id, gone_mutate, NULL, &change, NULL, err))
        return -1;
    image_collect(core);
    return 0;
}

/*
 * Its disks anew, as at its creation; also its firmware's variables and what it saved. After a crash
 * it begins again: nothing of what was made until then is wanted.
 */
static int reimage(struct core *core, const struct op *op, struct error *err)
{
    auto_vm struct vm *vm = registry_get(core->registry, op->vm_id);

    if (!vm)
        return error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone");
    if (virt_destroy(core->virt, op->vm_id, err) && err->code != ERROR_VM_STATE_CONFLICT &&
        err->code != ERROR_VM_NOT_FOUND)
        return -1;
    guest_end(core, op->vm_id);
    if (virt_undefine(core->virt, op->vm_id, err) || vm_disks_remove(core, op->vm_id, err) ||
        execute_state(core, op, VM_STATE_STOPPED, "put back to its image", err))
        return -1;
    CRASH_POINT(REIMAGE_CLEARED);
    image_collect(core); /* it may have stood on another one */
    return strstr(op->params, "\"start\":true") ? start(core, op, err) : define(core, vm, err);
}

static const struct {
    const char *kind;
    int (*fn)(struct core *core, const struct op *op, struct error *err);
    bool waits;
    unsigned traits;
    /* Instead of fn: what knows by itself how it ended. */
    enum execute_result (*copy)(struct core *core, const struct op *op, struct error *err);
} kinds[] = {
    {"vm.create", create, false, OP_STARTS}, {"vm.start", start, false, OP_STARTS}, {"vm.stop", stop, false},
    {"vm.delete", delete, false}, {"vm.reset", execute_reset, false},   {"vm.reboot", execute_reboot, false},
    {"vm.pause", execute_pause, false}, {"vm.resume", execute_resume, false}, {"vm.save", execute_save, false},
    {"vm.shutdown", execute_shutdown, true}, {"vm.reimage", reimage, false, OP_STARTS},
    {"image.import", NULL, false, OP_COPIES | OP_OFFLINE, image_import_execute},
    {"image.publish", NULL, false, OP_COPIES, image_publish_execute},
    {"image.verify", NULL, false, OP_COPIES | OP_OFFLINE, image_verify_execute},
    {"vm.flatten", NULL, false, OP_COPIES, vm_rebase_execute},
    {"vm.rebase", NULL, false, OP_COPIES, vm_rebase_execute},
    {"set.create", NULL, false, OP_DRIVEN, NULL},
    {"set.start", NULL, false, OP_DRIVEN, NULL},
    {"set.stop", NULL, false, OP_DRIVEN, NULL},
    {"set.reimage", NULL, false, OP_DRIVEN, NULL},
    {"set.reset", NULL, false, OP_DRIVEN, NULL},
    {"set.delete", NULL, false, OP_DRIVEN, NULL},
    {HOST_STOP_KIND, NULL, false, OP_DRIVEN, NULL},
};

unsigned op_kind_traits(const char *kind)
{
    for (size_t i = 0; i < DOC_COUNT(kinds); i++) {
        if (strcmp(kinds[i].kind, kind) == 0)
            return kinds[i].traits;
    }
    return 0;
}

/* What was promised is not given up because libvirt is away or the disk is full for a while. */
static bool comes_back(struct core *core, const struct error *failure)
{
    struct error ignored;

    return failure->code == ERROR_HYPERVISOR_UNAVAILABLE ||
           ((failure->code == ERROR_DATABASE_FAILED || failure->code == ERROR_INSUFFICIENT_STORAGE) &&
            !db_is_writable(core->db, &ignored));
}

/*
 * The VM shows what became of it; a VM that could not be made or started has failed. false: it cannot be shown
 * for now, and would stay for ever as it was in the middle of the operation.
 */
static bool after_failure(struct core *core, const struct op *op, const struct error *failure)
{
    bool fatal = str_eq(op->kind, "vm.create") || str_eq(op->kind, "vm.start") ||
                 str_eq(op->kind, "vm.reimage") || str_eq(op->kind, "vm.delete");
    struct error err;

    if (fatal) {
        struct virt_info info;

        /* A guest left paused half-way through its start would hold memory for nothing. */
        if (!str_eq(op->kind, "vm.delete") && virt_info(core->virt, op->vm_id, &info, &err) == 0 &&
            info.state == VIRT_STATE_PAUSED)
            (void)virt_destroy(core->virt, op->vm_id, &err);
        console_end(core->consoles, op->vm_id);
        guest_end(core, op->vm_id);
        if (execute_state(core, op, VM_STATE_FAILED, failure->detail, &err))
            log_failure(LOG_LEVEL_ERROR, &err, "cannot store that VM %s failed", op->vm_id);
    } else if (vm_sync(core, op->vm_id, failure->detail, &err)) {
        if (comes_back(core, &err))
            return false;
        log_failure(LOG_LEVEL_WARNING, &err, "cannot read the state of VM %s", op->vm_id);
    }
    return true;
}

/*
 * Who gave a lease back, or let it expire, will not ask again for the deletion of its VM: one refusal of the
 * disk must not leave it there, nor one of SQLite's, which without memory takes a good value for a bad one.
 */
static bool is_worth_another(const struct op *op, unsigned tries, const struct error *failure)
{
    return tries < DELETE_TRIES && (failure->code == ERROR_SYSTEM || failure->code == ERROR_INTERNAL) &&
           str_eq(op->kind, "vm.delete");
}

/* What was asked for before the VM's deletion, and has not begun. */
static bool is_in_vain(struct core *core, const struct op *op)
{
    auto_vm struct vm *vm = *op->vm_id ? registry_get(core->registry, op->vm_id) : NULL;

    return vm && vm->state == VM_STATE_DELETING && str_starts(op->kind, "vm.") &&
           !str_eq(op->kind, "vm.delete");
}

enum execute_result op_execute(struct core *core, const struct op *op, unsigned tries, struct error *err)
{
    if (is_in_vain(core, op))
        return EXECUTE_CANCELLED;
    for (size_t i = 0; i < DOC_COUNT(kinds); i++) {
        if (strcmp(kinds[i].kind, op->kind) != 0)
            continue;
        if (kinds[i].copy)
            return kinds[i].copy(core, op, err);
        if (kinds[i].fn(core, op, err) == 0)
            return kinds[i].waits ? EXECUTE_WAITS : EXECUTE_DONE;
        if (comes_back(core, err) || is_worth_another(op, tries, err) || !after_failure(core, op, err))
            return EXECUTE_AGAIN;
        return EXECUTE_FAILED;
    }
    error_set(err, ERROR_INTERNAL, "no such kind of operation: %s", op->kind);
    return EXECUTE_FAILED;
}
