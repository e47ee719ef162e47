/*
 * Autostart belongs to the host's boot, not to the daemon's start. What is to be started is marked in
 * the rows, so that a crash in the middle forgets nobody, and worked off in waves: a host that boots
 * has enough to do. Who does not fit waits, with the arithmetic, until there is room.
 */
#include <stdio.h>
#include <string.h>

#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/host_stop_internal.h"

#define MARK  "autostart: "
#define TURN  MARK "waits for its turn"
/* Those that ran when the guests were shut down, whether they start by themselves or not. */
#define AGAIN "ran before the shutdown: "

/* Who crashed before the host went down is started, too. */
static bool is_off(const struct vm *vm)
{
    return vm->state == VM_STATE_STOPPED || vm->state == VM_STATE_SAVED || vm->state == VM_STATE_CRASHED;
}

static bool is_marked(const struct vm *vm)
{
    return is_off(vm) && vm->spec->autostart && str_starts(vm->state_reason, MARK);
}

/* Is it to be started? Looked at once for each VM in a look. */
static bool waits(struct core *core, const struct vm *vm)
{
    if (is_marked(vm))
        return true;
    if (!host_stop_is_due(core, vm->id) || op_vm_busy(core->ops, vm->id))
        return false;
    if (is_off(vm))
        return true;
    /* On its way down it may still be what was asked before the boot. */
    if (vm->state != VM_STATE_STOPPING && vm->state != VM_STATE_STARTING)
        host_stop_settled(core, vm->id);
    return false;
}

/* arg: the reason, or NULL to take the mark away. A VM that was started or changed meanwhile stays as it is. */
static int mark_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                       struct error *err)
{
    const char *reason = arg;

    (void)core;
    (void)err;
    if (!is_off(next) || str_eq(next->state_reason, reason))
        return 1;
    str_copy_utf8(next->state_reason, sizeof(next->state_reason), reason);
    if (change->event_type)
        change->event_data = json_pack("{s:s}", "reason", reason);
    return 0;
}

static void mark(struct core *core, const struct vm *vm, const char *reason, bool tell)
{
    struct change change = {.quiet = true, .event_type = tell ? "vm.waiting" : NULL};
    struct error err;

    if (vm_change(core, vm->id, mark_mutate, (void *)(uintptr_t)reason, &change, NULL, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store why VM %s waits", vm->spec->name);
    json_decref(change.event_data);
}

/* True: it is on its way. */
static bool start(struct core *core, const struct vm *vm)
{
    auto_op struct op *op = NULL;
    const char *lead = is_marked(vm) ? MARK : AGAIN;
    bool replayed, told = str_starts(vm->state_reason, lead) && !str_eq(vm->state_reason, TURN);
    char reason[sizeof(vm->state_reason)];
    struct error err;

    if (vm_act(core, &actor_system, vm->id, VM_VERB_START, false, 0, NULL, &op, &replayed, &err) == 0) {
        host_stop_settled(core, vm->id);
        return true;
    }
    if (err.code == ERROR_HYPERVISOR_UNAVAILABLE || err.code == ERROR_HOST_SHUTTING_DOWN)
        return false;
    if (err.code != ERROR_INSUFFICIENT_MEMORY)
        host_stop_settled(core, vm->id);
    snprintf(reason, sizeof(reason), "%s%.220s",
             err.code == ERROR_INSUFFICIENT_MEMORY ? lead : "not started after the boot: ", err.detail);
    if (err.code != ERROR_INSUFFICIENT_MEMORY || !told)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot start VM %s after the boot", vm->spec->name);
    /* The figures move all the time: they are told as they were when it began to wait. */
    if (err.code != ERROR_INSUFFICIENT_MEMORY || !told)
        mark(core, vm, reason, true);
    return false;
}

bool vm_autostart_work(struct core *core)
{
    auto_free struct vm **vms = NULL;
    size_t count = 0, flying = 0, waiting = 0;
    bool fits = !host_stop_holds(core);

    registry_all(core->registry, &vms, &count);
    for (size_t i = 0; i < count; i++)
        flying += vms[i]->state == VM_STATE_STARTING;
    for (size_t i = 0; i < count; i++) {
        bool wants = waits(core, vms[i]);

        waiting += wants;
        /* Oldest first; who does not fit keeps those behind it waiting, or it might wait for ever. */
        if (wants && fits && flying < (size_t)core->settings->autostart_wave) {
            fits = start(core, vms[i]);
            flying += fits;
        }
        vm_unref(vms[i]);
    }
    return waiting;
}

static void mark_all(struct core *core)
{
    auto_free struct vm **vms = NULL;
    size_t count = 0;

    registry_all(core->registry, &vms, &count);
    for (size_t i = 0; i < count; i++) {
        if (vms[i]->spec->autostart && is_off(vms[i]))
            mark(core, vms[i], TURN, false);
        vm_unref(vms[i]);
    }
}

struct boot {
    char id[UUID_TEXT];
    bool due; /* the guests had been shut down in order, or as far as that went */
};

static int store_boot(struct db_tx *tx, void *arg, struct error *err)
{
    const struct boot *boot = arg;

    return host_stop_forget(tx, boot->due, err) || store_meta_set(tx, "boot_id", boot->id, err) ? -1 : 0;
}

/* This boot and the one that was dealt with last, NULL before the first. */
static int read_boots(struct core *core, struct boot *ret, char **ret_known, struct error *err)
{
    if (host_boot_id(core->host, ret->id, err) || store_meta_get(core->db, "boot_id", ret_known, err) < 0)
        return -1;
    return 0;
}

bool vm_host_was_booted(struct core *core)
{
    auto_free char *known = NULL;
    struct boot boot;
    struct error ignored; /* vm_autostart_after_boot() says it */

    return read_boots(core, &boot, &known, &ignored) == 0 && known && !str_eq(known, boot.id);
}

void vm_autostart_after_boot(struct core *core)
{
    auto_free char *known = NULL;
    struct boot boot;
    struct error err;

    if (read_boots(core, &boot, &known, &err)) {
        log_failure(LOG_LEVEL_WARNING, &err, "cannot tell whether the host was booted");
        return;
    }
    if (known && strcmp(known, boot.id) == 0)
        return;
    /* First who is to be started, then that this boot was dealt with. */
    if (known)
        mark_all(core);
    boot.due = known && host_stop_is_recorded(core);
    if (db_write(core->db, store_boot, NULL, &boot, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store the boot id");
    else
        host_stop_forgotten(core->host_stop, boot.due);
}
