/*
 * The root disk of a VM that runs, as it is at one moment: its file systems are frozen through the
 * agent, QEMU begins a copy of that moment, and they are thawed at once, long before the copy is
 * whole. The agent's promise to thaw is on the disk before it freezes; whatever becomes of us, the
 * guest is held for seconds at most.
 */
#include "service/vm/image_import.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/virt/virt.h"
#include "service/vm/guest.h"
#include "service/vm/image_internal.h"

#define FREEZE_SECONDS 10
#define THAW_TRIES     5
#define LOOK_US        200000
#define ROOT_TARGET    "vda" /* the first disk of a definition, see domain.c */

struct capture {
    struct core *core;
    const struct op *op;
    const struct vm *vm;
    const struct image *image;
    bool frozen;
    int64_t frozen_at, frozen_ms, filesystems; /* monotonic */
};

static bool may_freeze(const struct capture *c)
{
    return c->image->source->freeze != IMAGE_FREEZE_NO && c->vm->state == VM_STATE_RUNNING &&
           c->vm->spec->guest_agent;
}

static void thaw(struct capture *c)
{
    int64_t count = 0;
    struct error err = ERROR_INIT;
    bool thawed = false;

    for (int i = 0; i < THAW_TRIES && !thawed; i++) {
        thawed = guest_thaw(c->core, c->vm->id, &count, &err) == 0;
        if (!thawed)
            usleep(LOOK_US);
    }
    if (!thawed)
        log_failure(LOG_LEVEL_INFO, &err, "VM %s is thawed when its time is up", c->vm->id);
    c->frozen_ms = clock_monotonic_ms() - c->frozen_at;
    /* Somebody else's thaw, or the clock's, came before: then nobody knows which was first. */
    if (thawed && (count < c->filesystems || c->frozen_ms >= FREEZE_SECONDS * 1000))
        c->frozen = false;
}

/* -1: it must be frozen and cannot. */
static int freeze(struct capture *c, struct error *err)
{
    bool must = c->image->source->freeze == IMAGE_FREEZE_REQUIRE;
    struct error why = ERROR_INIT;

    if (!may_freeze(c) || (!must && !guest_was_heard(c->core, c->vm->id)))
        return must ? error_set(err, ERROR_VM_STATE_CONFLICT, "the VM %s cannot be frozen: it %s", c->vm->spec->name,
                                c->vm->state == VM_STATE_RUNNING ? "has no guest agent" : "does not run")
                    : 0;
    c->frozen_at = clock_monotonic_ms();
    if (guest_freeze(c->core, c->vm->id, FREEZE_SECONDS, &c->filesystems, &why) == 0) {
        c->frozen = true;
        return 0;
    }
    thaw(c); /* some may be frozen all the same */
    c->frozen = false;
    if (must) {
        *err = why;
        return -1;
    }
    log_failure(LOG_LEVEL_INFO, &why, "VM %s is captured without being frozen", c->vm->id);
    return 0;
}

/* What an earlier attempt began, before a crash of ours, is of no use. */
static void end_earlier(const struct capture *c)
{
    struct virt_backup b;
    struct error ignored;

    while (virt_backup_look(c->core->virt, c->vm->id, &b, &ignored) == 0 && b.running &&
           !op_should_end(c->op)) {
        (void)virt_backup_end(c->core->virt, c->vm->id, &ignored);
        usleep(LOOK_US);
    }
}

static int begin(struct capture *c, const char *path, struct error *err)
{
    enum virt_disk_format format = c->image->format == IMAGE_FORMAT_RAW ? VIRT_DISK_RAW : VIRT_DISK_QCOW2;
    int rc;

    end_earlier(c);
    if (file_remove(path, err) || freeze(c, err))
        return -1;
    rc = virt_backup_begin(c->core->virt, c->vm->id, ROOT_TARGET, path, format, err);
    if (c->frozen)
        thaw(c);
    if (rc)
        return -1;
    if (c->image->source->freeze == IMAGE_FREEZE_REQUIRE && !c->frozen) {
        end_earlier(c);
        return error_set(err, ERROR_AGENT_FAILED, "the VM %s did not stay frozen", c->vm->spec->name);
    }
    return 0;
}

static enum fetch_result wait_until_whole(const struct capture *c, struct error *err)
{
    struct virt_backup b;

    for (int64_t looks = 0;; looks++) {
        if (virt_backup_look(c->core->virt, c->vm->id, &b, err))
            return op_should_end(c->op) ? FETCH_ENDED : FETCH_REFUSED;
        atomic_store(&c->op->progress->total_bytes, (int64_t)b.total_bytes);
        atomic_store(&c->op->progress->done_bytes, (int64_t)b.done_bytes);
        if (!b.running)
            break;
        /* Once a second: it may not take what must stay free. */
        if (op_should_end(c->op) || (looks % 5 == 0 && image_check_space(c->core, 0, err))) {
            enum fetch_result result = op_should_end(c->op) ? FETCH_ENDED : FETCH_REFUSED;

            end_earlier(c);
            return result;
        }
        usleep(LOOK_US);
    }
    if (b.whole)
        return FETCH_DONE;
    error_set(err, ERROR_HYPERVISOR_FAILED, "QEMU did not finish the copy of the disk");
    error_cause(err, "%s", b.reason);
    error_remedy(err, "Is the VM still running, and is there space on the disk?");
    return FETCH_REFUSED;
}

enum fetch_result image_capture(struct core *core, const struct op *op, const struct vm *vm,
                                const struct image *image, const char *path, struct image_source *ret,
                                struct error *err)
{
    struct capture c = {.core = core, .op = op, .vm = vm, .image = image};
    enum fetch_result result;

    atomic_store(&op->progress->stage, "capturing");
    if (begin(&c, path, err))
        return op_should_end(op) ? FETCH_ENDED : FETCH_REFUSED;
    atomic_store(&op->progress->stage, "copying");
    result = wait_until_whole(&c, err);
    ret->consistency = c.frozen ? IMAGE_CAPTURE_FROZEN : IMAGE_CAPTURE_CRASH;
    ret->frozen_ms = c.frozen_ms;
    ret->filesystems = c.filesystems;
    return result;
}
