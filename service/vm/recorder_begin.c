/*
 * Beginning a recording, by hand or with a boot, and asking for its end: what others do to the
 * recorder, on their own threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/recording_internal.h"

#define STOP_MS 10000 /* that a client waits for the end of its recording */

static int check_room(struct core *core, struct error *err)
{
    uint64_t floor = (uint64_t)core->settings->free_space_floor_mib << 20, free_bytes, total;

    if (host_disk_space(core->state_dir, &free_bytes, &total, err))
        return -1;
    if (free_bytes < floor) {
        error_set(err, ERROR_INSUFFICIENT_STORAGE,
                  "only %llu MiB are free below the state directory",
                  (unsigned long long)(free_bytes >> 20));
        error_remedy(err, "Make room, or lower the setting free_space_floor_mib.");
        return -1;
    }
    if (!recording_make_room(core->recorder, CAST_LINE_MAX)) {
        error_set(err, ERROR_INSUFFICIENT_STORAGE,
                  "recordings that are being made take all the room");
        error_remedy(err, "Stop one of them, or raise the setting recordings_bytes.");
        return -1;
    }
    return 0;
}

static int open_file(struct tape *t, struct error *err)
{
    auto_free char *path = recording_path(t->recorder, t->info.id);
    auto_free char *title = xasprintf("%s %s", t->info.vm_name, t->info.stream);
    const struct cast_header header = {.rows = t->info.rows,
                                       .cols = t->info.cols,
                                       .started_at = t->info.started_at,
                                       .title = title};

    t->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (t->fd < 0)
        return error_errno(err, errno, "cannot make %s", path);
    cast_header(&t->out, &header);
    tape_write(t);
    return t->ended ? error_set(err, ERROR_INSUFFICIENT_STORAGE, "%s", t->info.state_reason) : 0;
}

static struct tape *tape_new(struct core *core, const struct actor *actor, const struct vm *vm,
                             const char *stream)
{
    struct tape *t = xcalloc(1, sizeof(*t));
    struct recording *rec = &t->info;

    t->recorder = core->recorder;
    t->fd = -1;
    uuid_new(rec->id);
    str_copy_utf8(rec->project_id, sizeof(rec->project_id), vm->project_id);
    str_copy_utf8(rec->vm_id, sizeof(rec->vm_id), vm->id);
    str_copy_utf8(rec->vm_name, sizeof(rec->vm_name), vm->spec->name);
    str_copy_utf8(rec->stream, sizeof(rec->stream), stream);
    str_copy_utf8(rec->actor, sizeof(rec->actor), actor->id);
    str_copy_utf8(t->stopped_by, sizeof(t->stopped_by), actor_system.id);
    console_size(core->consoles, vm->id, stream, &rec->rows, &rec->cols);
    rec->rows = rec->rows ? rec->rows : CAST_ROWS;
    rec->cols = rec->cols ? rec->cols : CAST_COLS;
    rec->started_at = clock_wall_ms();
    t->started_us = clock_monotonic_ns() / 1000;
    return t;
}

static int begin(struct tape *t, struct core *core, const struct actor *actor, bool live,
                 struct error *err)
{
    const struct console_attach attach = {.vm_id = t->info.vm_id,
                                          .stream = t->info.stream,
                                          .mode = CONSOLE_VIEW,
                                          .protocol = CONSOLE_V1,
                                          .recorder = true,
                                          .live = live};

    if (open_file(t, err) || console_attach(core->consoles, &attach, &t->source, err))
        return -1;
    return recording_store_begin(core, actor, &t->info, err);
}

static int start(struct core *core, const struct actor *actor, const struct vm *vm,
                 const char *stream, bool live, struct recording *ret, struct error *err)
{
    struct recorder *r = core->recorder;
    struct tape *t;

    if (!console_is_fed(core->consoles, vm->id, stream)) {
        error_set(err, ERROR_STREAM_UNAVAILABLE, "the %s of VM %s is not open", stream,
                  vm->spec->name);
        error_remedy(err, "Start the VM, or set its record_console and each boot is recorded.");
        return -1;
    }
    if (check_room(core, err))
        return -1;
    t = tape_new(core, actor, vm, stream);
    if (begin(t, core, actor, live, err)) {
        auto_free char *path = recording_path(r, t->info.id);

        atomic_fetch_sub(&r->bytes, t->info.size_bytes);
        (void)unlink(path);
        tape_free(t);
        return -1;
    }
    *ret = t->info;
    t->source->set_notify(t->source, tape_on_news, t);
    LOCK_SCOPE(&r->lock);
    TAILQ_INSERT_TAIL(&r->tapes, t, link);
    tape_due_locked(t);
    return 0;
}

int recording_start(struct core *core, const struct actor *actor, const struct vm *vm,
                    const char *stream, struct recording *ret, struct error *err)
{
    return start(core, actor, vm, stream, true, ret, err);
}

/* Was the newest recording of this VM cut off by something else than its own end? */
static bool goes_on(struct core *core, const struct vm *vm)
{
    auto_free struct recording *last = NULL;
    struct error err;
    size_t n;

    if (recording_list(core, vm->project_id, vm->id, 0, 1, &last, &n, &err))
        return false;
    return n == 0 || last->finished_at < vm->started_at ||
           str_eq(last->state_reason, REASON_VM_STOPPED) ||
           str_eq(last->state_reason, REASON_DAEMON_STOPPED) ||
           str_eq(last->state_reason, REASON_DAEMON_KILLED);
}

void recording_of_boot(struct core *core, const struct vm *vm, bool fresh)
{
    struct recording rec;
    struct error err;

    if (!vm->spec->record_console || !console_is_fed(core->consoles, vm->id, "console") ||
        (!fresh && !goes_on(core, vm)))
        return;
    if (start(core, &actor_system, vm, "console", !fresh, &rec, &err) &&
        err.code != ERROR_RECORDING_STATE_CONFLICT)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot record the console of VM %s", vm->spec->name);
}

int recording_stop(struct core *core, const struct actor *actor, const char *id,
                   struct recording *ret, struct error *err)
{
    struct recorder *r = core->recorder;
    int64_t until = clock_monotonic_ms() + STOP_MS;
    struct tape *t;

    if (recording_get(core, actor->project_id, id, ret, err))
        return -1;
    {
        LOCK_SCOPE(&r->lock);
        t = tape_find_locked(r, id);
        if (!t)
            return error_set(err, ERROR_RECORDING_STATE_CONFLICT, "the recording is %s already",
                             recording_state_name(RECORDING_FINISHED));
        t->stop = true;
        str_copy_utf8(t->stopped_by, sizeof(t->stopped_by), actor->id);
        tape_due_locked(t);
        while (tape_find_locked(r, id)) {
            if (!cond_wait_until(&r->gone, &r->lock, until))
                return error_set(err, ERROR_UNAVAILABLE, "the recording could not be closed yet");
        }
    }
    return recording_get(core, actor->project_id, id, ret, err);
}
