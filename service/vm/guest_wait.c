/* Waiting for what only a look can tell. */
#include "service/vm/guest_wait.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/guest_address.h"
#include "service/vm/guest_internal.h"

#define LOOK_MS 100
#define CHUNK   16384
#define OVERLAP 4096 /* an expression that needs more than that on both sides of a cut is not found */

struct guest_wait *guest_wait_new(const char *vm_id, enum guest_wait_for what, int64_t timeout_ms)
{
    struct guest_wait *w = xcalloc(1, sizeof(*w));

    str_copy_utf8(w->vm_id, sizeof(w->vm_id), vm_id);
    w->what = what;
    w->deadline = clock_monotonic_ms() + timeout_ms;
    return w;
}

void guest_wait_free(void *arg)
{
    struct guest_wait *w = arg;

    pattern_free(w->pattern);
    free(w);
}

/* 1: it runs, 0: it may yet, -1: it will not. */
static int look_at_vm(struct core *core, const char *vm_id, struct error *err)
{
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);

    if (!vm)
        return error_set(err, ERROR_VM_NOT_FOUND, "the VM was deleted");
    switch (vm->state) {
    case VM_STATE_RUNNING:
        return 1;
    case VM_STATE_STARTING:
    case VM_STATE_PAUSED:
        return 0;
    case VM_STATE_STOPPED:
    case VM_STATE_SAVED:
        if (op_vm_busy(core->ops, vm_id))
            return 0;
        break;
    default:
        break;
    }
    error_set(err, ERROR_VM_STATE_CONFLICT, "VM %s is %s%s%s", vm->spec->name,
              vm_state_name(vm->state), *vm->state_reason ? ": " : "", vm->state_reason);
    return -1;
}

static int until_it_runs(struct core *core, const struct guest_wait *w, struct error *err)
{
    for (;;) {
        int rc = look_at_vm(core, w->vm_id, err);

        if (rc)
            return rc < 0 ? -1 : 0;
        if (clock_monotonic_ms() >= w->deadline)
            return error_set(err, ERROR_TIMEOUT, "the VM does not run yet");
        if (guest_pause(core->guests, LOOK_MS, err))
            return -1;
    }
}

struct window {
    uint64_t from;
    size_t len;
    char data[CHUNK + OVERLAP];
};

/* More of the console into the window; *ret_more: there may be still more at once. */
static int read_on(struct core *core, const char *vm_id, struct window *win, bool *ret_more,
                   struct error *err)
{
    struct console_log log = {0};

    *ret_more = false;
    if (console_log_read(core->consoles, vm_id, "console", win->from, CHUNK, &log, err))
        return err->code == ERROR_STREAM_UNAVAILABLE ? 0 : -1;
    auto_free char *data = log.data;
    if (win->from < log.oldest) {
        /* What an earlier boot printed does not count. */
        win->from = log.oldest;
        *ret_more = true;
        return 0;
    }
    if (win->len > OVERLAP) {
        memmove(win->data, win->data + win->len - OVERLAP, OVERLAP);
        win->len = OVERLAP;
    }
    if (log.len) {
        memcpy(win->data + win->len, data, log.len);
        win->len += log.len;
    }
    win->from = log.end;
    *ret_more = log.len == CHUNK;
    return 0;
}

static int until_printed(struct core *core, const struct guest_wait *w, struct error *err)
{
    auto_free struct window *win = xcalloc(1, sizeof(*win));

    for (;;) {
        bool more;
        int rc;

        if (read_on(core, w->vm_id, win, &more, err))
            return -1;
        rc = win->len ? pattern_find(w->pattern, win->data, win->len, err) : 0;
        if (rc)
            return rc < 0 ? -1 : 0;
        if (more)
            continue;
        if (look_at_vm(core, w->vm_id, err) < 0)
            return -1;
        if (clock_monotonic_ms() >= w->deadline)
            return error_set(err, ERROR_TIMEOUT, "the console did not print that in time");
        if (guest_pause(core->guests, LOOK_MS, err))
            return -1;
    }
}

int guest_wait_run(struct core *core, void *arg, struct error *err)
{
    const struct guest_wait *w = arg;

    if (until_it_runs(core, w, err))
        return -1;
    switch (w->what) {
    case GUEST_WAIT_AGENT:
        return guest_wait_contact(core, w->vm_id, w->deadline, err);
    case GUEST_WAIT_IP:
        return guest_wait_address(core, w->vm_id, w->deadline, err);
    case GUEST_WAIT_PATTERN:
        return until_printed(core, w, err);
    }
    abort();
}
