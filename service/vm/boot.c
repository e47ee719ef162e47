/*
 * How far a guest's boot came: what the console shows, and what the guest says itself. A mark is set
 * once for each boot; a new boot begins when the VM is started, or when the guest reboots.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"

#define ONCE_MS 1000

struct boot {
    int64_t at;
    bool rebooted;
    enum vm_mark mark;
    const char *text; /* how, or the status */
};

static int begin_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                        struct error *err)
{
    const struct boot *b = arg;

    (void)core;
    (void)change;
    (void)err;
    memset(next->marks, 0, sizeof(next->marks));
    next->boot_status[0] = '\0';
    next->boot_began_at = b->at;
    next->rebooted_at = b->rebooted ? b->at : 0;
    return 0;
}

static int begin(struct core *core, const char *vm_id, bool rebooted, struct error *err)
{
    struct boot b = {.at = clock_wall_ms(), .rebooted = rebooted};
    struct change change = {.quiet = true};

    return vm_change(core, vm_id, begin_mutate, &b, &change, NULL, err);
}

int vm_boot_begin(struct core *core, const char *vm_id, struct error *err)
{
    return begin(core, vm_id, false, err);
}

void vm_boot_again(struct core *core, const struct vm *vm)
{
    struct error err;

    /* It may have been deleted since it was seen to do so. */
    if ((event_write(core, vm->project_id, "vm.rebooted", "vm", vm->id, NULL, &err) ||
         begin(core, vm->id, true, &err)) && err.code != ERROR_VM_NOT_FOUND)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store a reboot of VM %s", vm->id);
    vm_boot_watch(core, vm, true);
}

/* Is what was seen then about the boot that goes on now? */
static bool concerns(const struct vm *vm, int64_t at)
{
    return at >= vm->boot_began_at &&
           (vm->state == VM_STATE_STARTING || vm->state == VM_STATE_RUNNING ||
            vm->state == VM_STATE_PAUSED || vm->state == VM_STATE_STOPPING);
}

static int mark_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                       struct error *err)
{
    const struct boot *b = arg;
    int64_t since = next->rebooted_at ? next->rebooted_at : next->started_at;

    (void)core;
    (void)err;
    if (next->marks[b->mark] || !concerns(next, b->at))
        return 1;
    next->marks[b->mark] = b->at;
    if (b->mark != VM_MARK_READY)
        return 0;
    change->event_type = "vm.ready";
    change->event_data = json_pack("{s:s, s:I}", "how", b->text, "boot_ms",
                                   (json_int_t)(since && b->at > since ? b->at - since : 0));
    return 0;
}

int vm_mark(struct core *core, const char *vm_id, enum vm_mark mark, const char *how, int64_t at,
            struct error *err)
{
    struct boot b = {.at = at, .mark = mark, .text = how};
    struct change change = {.quiet = true};
    int rc = vm_change(core, vm_id, mark_mutate, &b, &change, NULL, err);

    if (rc == 0 && mark == VM_MARK_READY && change.event_data)
        timing_add(core->timing, TIMING_READY,
                   (double)json_integer_value(json_object_get(change.event_data, "boot_ms")) / 1e3);
    json_decref(change.event_data);
    return rc;
}

void vm_boot_shown(struct core *core, const char *vm_id, enum vm_mark mark, int64_t at)
{
    struct error err;

    if (vm_mark(core, vm_id, mark, "console", at, &err) && err.code != ERROR_VM_NOT_FOUND)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store how far the boot of VM %s came", vm_id);
}

static int status_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                         struct error *err)
{
    const struct boot *b = arg;

    (void)core;
    (void)change;
    (void)err;
    if (!concerns(next, b->at) || str_eq(next->boot_status, b->text))
        return 1;
    str_copy_utf8(next->boot_status, sizeof(next->boot_status), b->text);
    return 0;
}

int vm_boot_status(struct core *core, const char *vm_id, const char *status, struct error *err)
{
    struct boot b = {.at = clock_wall_ms(), .text = status};
    struct change change = {.quiet = true};

    return vm_change(core, vm_id, status_mutate, &b, &change, NULL, err);
}

static int attached_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                           struct error *err)
{
    const struct boot *b = arg;

    (void)core;
    (void)change;
    (void)err;
    if (b->at < next->last_attached_at + ONCE_MS)
        return 1;
    next->last_attached_at = b->at;
    return 0;
}

int vm_note_attached(struct core *core, const char *vm_id, int64_t at, struct error *err)
{
    struct boot b = {.at = at};
    struct change change = {.quiet = true};

    return vm_change(core, vm_id, attached_mutate, &b, &change, NULL, err);
}

void vm_boot_watch(struct core *core, const struct vm *vm, bool fresh)
{
    unsigned wanted = 0;
    struct error err;

    for (int mark = 0; mark < VM_MARK_COUNT; mark++) {
        if (fresh || !vm->marks[mark])
            wanted |= 1u << mark;
    }
    if (!vm->spec->ready_pattern)
        wanted &= ~(1u << VM_MARK_READY);
    if (wanted &&
        console_scan(core->consoles, vm->id, "console", wanted, vm->spec->ready_pattern, &err))
        log_failure(LOG_LEVEL_DEBUG, &err, "the boot of VM %s is not watched", vm->id);
}
