/*
 * The guest's ends of a VM's streams: opened when it starts, found again when the daemon or libvirt
 * came back, and opened once more when somebody took one. What cannot be opened now is the tracker's
 * to look at again.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "service/vm/stream.h"

/*
 * The embedded driver's QEMU listens below our state directory: no pump in between, and no terminal
 * whose line discipline a crash of ours resets. 1: connected, 0: nobody listens there, -1.
 */
static int connect_directly(struct core *core, const char *vm_id, const char *stream, int *ret_fd,
                            struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    auto_free char *path = vm_stream_socket(core, vm_id, stream);
    auto_close int fd = -1;

    if (!path || !file_exists(path))
        return 0;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, errno, "cannot make a socket");
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
        if (errno == ECONNREFUSED || errno == ENOENT) /* off, or of an earlier start */
            return 0;
        return error_errno(err, errno, "cannot connect to %s of VM %s", stream, vm_id);
    }
    *ret_fd = TAKE_FD(fd);
    return 1;
}

static int open_upstream(struct core *core, const char *vm_id, const char *stream, int *ret_fd,
                         struct error *err)
{
    int rc = connect_directly(core, vm_id, stream, ret_fd, err);

    if (rc)
        return rc < 0 ? -1 : 0;
    if (str_starts(stream, "channels/"))
        return virt_channel_open(core->virt, vm_id, stream + strlen("channels/"), ret_fd, err);
    if (str_starts(stream, "serial/")) {
        auto_free char *device = xasprintf("serial%s", stream + strlen("serial/"));

        return virt_console_open(core->virt, vm_id, device, ret_fd, err);
    }
    return virt_console_open(core->virt, vm_id, NULL, ret_fd, err);
}

/*
 * A stream is opened by one thread at a time, for the next one to find it open: after a restart the tracker
 * opens what a viewer who comes back asks for. The second would throw the first out, and what that had read.
 */
struct stream_opening {
    struct stream_opening *next;
    struct core *core;
    const char *vm_id, *stream;
};

/* Lock held. */
static bool is_being_opened(const struct core *core, const struct stream_opening *o)
{
    for (const struct stream_opening *other = core->openings; other; other = other->next) {
        if (str_eq(other->vm_id, o->vm_id) && str_eq(other->stream, o->stream))
            return true;
    }
    return false;
}

static void opening_begin(struct stream_opening *o)
{
    struct core *core = o->core;

    LOCK_SCOPE(&core->openings_lock);
    while (is_being_opened(core, o))
        pthread_cond_wait(&core->openings_changed, &core->openings_lock);
    o->next = core->openings;
    core->openings = o;
}

static void opening_end(struct stream_opening *o)
{
    struct core *core = o->core;
    struct stream_opening **at = &core->openings;

    LOCK_SCOPE(&core->openings_lock);
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    pthread_cond_broadcast(&core->openings_changed);
}

#define auto_opening auto_scope(opening_end)

int core_stream_ensure(struct core *core, const char *vm_id, const char *stream, struct error *err)
{
    auto_opening struct stream_opening opening = {.core = core, .vm_id = vm_id, .stream = stream};
    int fd = -1;

    opening_begin(&opening);
    if (console_is_fed(core->consoles, vm_id, stream))
        return 0;
    if (open_upstream(core, vm_id, stream, &fd, err)) {
        /* Just gone off, and we shall hear of it: what it printed can be read all the same. */
        return err->code == ERROR_VM_STATE_CONFLICT ? 0 : -1;
    }
    return console_feed(core->consoles, vm_id, stream, fd, false, err);
}

/* False: not now; most likely the guest is just ending. */
static bool open_stream(struct core *core, const struct vm *vm, const char *stream, bool fresh)
{
    auto_opening struct stream_opening opening = {.core = core, .vm_id = vm->id, .stream = stream};
    struct error err;
    int fd = -1, rc;

    opening_begin(&opening);
    if (!fresh && console_is_fed(core->consoles, vm->id, stream))
        return true;
    rc = open_upstream(core, vm->id, stream, &fd, &err);
    if (rc == 0)
        rc = console_feed(core->consoles, vm->id, stream, fd, fresh, &err);
    if (rc == 0 || err.code == ERROR_NOT_SUPPORTED_BY_HOST) /* the test driver has none */
        return true;
    if (err.code != ERROR_VM_STATE_CONFLICT)
        log_failure(fresh ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, &err, "cannot open %s of VM %s",
                    stream, vm->id);
    return false;
}

/*
 * An operation may end the guest while we are at it, with the directory the socket is in; it also
 * ends what was opened too late, unless it was over by then.
 */
static void listen_for_agent(struct core *core, const struct vm *vm)
{
    struct error err;
    int rc = guest_listen(core, vm, &err);
    bool busy = op_vm_busy(core->ops, vm->id);
    auto_vm struct vm *now = registry_get(core->registry, vm->id);

    if (!busy && (!now || !stream_vm_is_on(now)))
        guest_end(core, vm->id);
    else if (rc)
        log_failure(busy ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, &err,
                    "cannot listen for the agent of VM %s", vm->id);
}

void vm_streams_open(struct core *core, const struct vm *vm, bool fresh)
{
    bool done;

    if (fresh || !console_is_fed(core->consoles, vm->id, "console"))
        vm_boot_watch(core, vm, fresh);
    done = open_stream(core, vm, "console", fresh);

    listen_for_agent(core, vm);
    if (!fresh)
        guest_thaw_left(core, vm->id);
    for (int64_t i = 1; i < vm->spec->serial_ports; i++) {
        char stream[32];

        snprintf(stream, sizeof(stream), "serial/%d", (int)i);
        done &= open_stream(core, vm, stream, fresh);
    }
    for (size_t i = 0; i < vm->spec->channel_count; i++) {
        auto_free char *stream = xasprintf("channels/%s", vm->spec->channels[i]);

        done &= open_stream(core, vm, stream, fresh);
    }
    recording_of_boot(core, vm, fresh);
    if (!done)
        tracker_look_again(core->tracker, vm->id);
}
