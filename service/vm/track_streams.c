/*
 * The guest's ends of a VM's streams: opened when it starts, found again when the daemon or libvirt
 * came back, and opened once more when somebody took one. What cannot be opened now is the tracker's
 * to look at again.
 */
#include <string.h>

#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"

int core_stream_ensure(struct core *core, const char *vm_id, const char *stream, struct error *err)
{
    bool channel = str_starts(stream, "channels/");
    int fd = -1;

    if (console_is_fed(core->consoles, vm_id, stream))
        return 0;
    if (channel ? virt_channel_open(core->virt, vm_id, stream + strlen("channels/"), &fd, err)
                : virt_console_open(core->virt, vm_id, NULL, &fd, err)) {
        /* Just gone off, and we shall hear of it: what it printed can be read all the same. */
        return err->code == ERROR_VM_STATE_CONFLICT ? 0 : -1;
    }
    return console_feed(core->consoles, vm_id, stream, fd, false, err);
}

/* False: not now; most likely the guest is just ending. */
static bool open_stream(struct core *core, const struct vm *vm, const char *stream, bool fresh)
{
    struct error err;
    int fd = -1, rc;

    if (!fresh && console_is_fed(core->consoles, vm->id, stream))
        return true;
    rc = str_starts(stream, "channels/")
             ? virt_channel_open(core->virt, vm->id, stream + strlen("channels/"), &fd, &err)
             : virt_console_open(core->virt, vm->id, NULL, &fd, &err);
    if (rc == 0)
        rc = console_feed(core->consoles, vm->id, stream, fd, fresh, &err);
    if (rc == 0 || err.code == ERROR_NOT_SUPPORTED_BY_HOST) /* the test driver has none */
        return true;
    if (err.code != ERROR_VM_STATE_CONFLICT)
        log_failure(fresh ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, &err, "cannot open %s of VM %s",
                    stream, vm->id);
    return false;
}

void vm_streams_open(struct core *core, const struct vm *vm, bool fresh)
{
    bool done = open_stream(core, vm, "console", fresh);

    for (size_t i = 0; i < vm->spec->channel_count; i++) {
        auto_free char *stream = xasprintf("channels/%s", vm->spec->channels[i]);

        done &= open_stream(core, vm, stream, fresh);
    }
    if (!done)
        tracker_look_again(core->tracker, vm->id);
}
