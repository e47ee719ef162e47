/*
 * The byte streams a VM has, by name: "console", "serial/1" to "serial/3", "channels/NAME",
 * "vsock/PORT", "display". The first three kinds are in the hub with a ring; the last two belong to
 * one client each and are opened for it.
 */
#ifndef DROVER_VM_STREAM_H
#define DROVER_VM_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "service/vm/vm.h"

#define STREAM_NAME_MAX 79

struct source;
struct console_pipe;

/* Is it a name of that form at all? Pure. */
bool stream_name_ok(const char *name);
/* "exec/ID/stream", a program's: only tickets speak of it as a stream. */
bool stream_is_exec(const char *name);
/* Is it opened for each client, and not in the hub? */
bool stream_is_pipe(const char *name);
/* The port of "vsock/PORT", 0 when that is no port. */
uint32_t stream_vsock_port(const char *name);

/* STREAM_NOT_FOUND when the VM's definition has no such stream; INVALID_ARGUMENT: a port that is none. */
int stream_require(const struct vm *vm, const char *name, struct error *err);

/* Is the VM in a state in which the guest's end can be there? */
bool stream_vm_is_on(const struct vm *vm);

/*
 * What the screen shows now, as a PNG; caller frees. STREAM_UNAVAILABLE when the VM does not run.
 * Blocks on libvirt.
 */
int stream_screenshot(struct core *core, const struct vm *vm, char **ret, size_t *ret_len,
                      struct error *err);

/*
 * Connects a pipe to the guest and makes it a source; pipe->fd is filled in here. What can be wrong
 * is found out before it returns: STREAM_UNAVAILABLE (the VM does not run, or nothing listens on the
 * port), TIMEOUT, NOT_SUPPORTED_BY_HOST, TOO_MANY_VIEWERS, and libvirt's own. Blocks, at most some
 * seconds.
 */
int stream_open_pipe(struct core *core, const struct vm *vm, const struct console_pipe *pipe,
                     struct source **ret, struct error *err);

#endif
