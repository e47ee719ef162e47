/* The names of streams, and which of them a VM has. */
#include "service/vm/stream.h"

#include <string.h>

#include "service/base/str.h"

#define PORT_MAX 4294967294u /* all ones means any */

static const char *after(const char *name, const char *prefix)
{
    return str_starts(name, prefix) ? name + strlen(prefix) : NULL;
}

/* Digits without a sign or a leading zero, so that a stream has one name. */
static bool number(const char *text, uint64_t max, uint64_t *ret)
{
    return *text >= '1' && *text <= '9' && str_to_u64(text, max, ret);
}

uint32_t stream_vsock_port(const char *name)
{
    const char *text = after(name, "vsock/");
    uint64_t port;

    return text && number(text, PORT_MAX, &port) ? (uint32_t)port : 0;
}

bool stream_is_exec(const char *name)
{
    const char *id = after(name, "exec/");
    char text[UUID_TEXT];

    if (!id || strlen(id) != UUID_TEXT - 1 + strlen("/stream") ||
        !str_eq(id + UUID_TEXT - 1, "/stream"))
        return false;
    memcpy(text, id, UUID_TEXT - 1);
    text[UUID_TEXT - 1] = '\0';
    return uuid_is_valid(text);
}

bool stream_name_ok(const char *name)
{
    const char *rest;
    uint64_t n;

    if (strlen(name) > STREAM_NAME_MAX)
        return false;
    if (str_eq(name, "console") || str_eq(name, "display"))
        return true;
    if ((rest = after(name, "serial/")))
        return number(rest, VM_SERIALS_MAX - 1, &n);
    if ((rest = after(name, "channels/")))
        return *rest != '\0';
    return stream_is_exec(name) || stream_vsock_port(name) != 0;
}

bool stream_is_pipe(const char *name)
{
    return str_eq(name, "display") || str_starts(name, "vsock/") || stream_is_exec(name);
}

bool stream_vm_is_on(const struct vm *vm)
{
    return vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_PAUSED ||
           vm->state == VM_STATE_STOPPING;
}

static int none(const struct vm *vm, struct error *err, const char *what, const char *remedy)
{
    error_set(err, ERROR_STREAM_NOT_FOUND, "VM %s has no %s", vm->spec->name, what);
    error_remedy(err, "%s", remedy);
    return -1;
}

static int require_serial(const struct vm *vm, const char *port, struct error *err)
{
    auto_free char *what = xasprintf("serial port %s", port);
    uint64_t n;

    if (number(port, VM_SERIALS_MAX - 1, &n) && (int64_t)n < vm->spec->serial_ports)
        return 0;
    return none(vm, err, what, "Set serial_ports to the number of ports it should have, the console included.");
}

static int require_channel(const struct vm *vm, const char *name, struct error *err)
{
    auto_free char *what = xasprintf("channel %s", name);

    for (size_t i = 0; i < vm->spec->channel_count; i++) {
        if (str_eq(vm->spec->channels[i], name))
            return 0;
    }
    return none(vm, err, what, "Add its name to channels.");
}

int stream_require(const struct vm *vm, const char *name, struct error *err)
{
    const char *rest;

    if (str_eq(name, "console") || stream_is_exec(name)) /* a VM does not know its programs */
        return 0;
    if (str_eq(name, "display"))
        return vm->spec->display ? 0 : none(vm, err, "display", "Set display to true and start it anew.");
    if ((rest = after(name, "serial/")))
        return require_serial(vm, rest, err);
    if ((rest = after(name, "channels/")))
        return require_channel(vm, rest, err);
    if (!str_starts(name, "vsock/"))
        return none(vm, err, "stream of that name", "Its streams are console, serial/N, channels/NAME, "
                    "vsock/PORT and display.");
    if (!stream_vsock_port(name)) {
        error_set_at(err, ERROR_INVALID_ARGUMENT, "port", "a vsock port is a number from 1 to %u", PORT_MAX);
        return -1;
    }
    return vm->spec->vsock ? 0 : none(vm, err, "vsock device", "Set vsock to true and start it anew.");
}
