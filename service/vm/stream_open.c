/*
 * Opening the streams that belong to one client: the display, through libvirt, and the guest's vsock
 * ports. The only caller of vsock_dial().
 */
#include <stdatomic.h>

#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "service/vm/picture.h"
#include "service/vm/stream.h"
#include "service/vsock/vsock.h"

#define DIAL_MS      3000
#define PICTURES_MAX 2 /* each some ten MiB in memory */

static int not_on(const struct vm *vm, struct error *err)
{
    error_set(err, ERROR_STREAM_UNAVAILABLE, "VM %s is %s", vm->spec->name, vm_state_name(vm->state));
    error_remedy(err, vm->state == VM_STATE_PAUSED ? "Resume the VM first." : "Start the VM first.");
    return -1;
}

/*
 * Libvirt's own account of the running guest, and ours of the CID, must agree: the guest may have
 * been started without the device, and then somebody else's may have that address.
 */
int vm_require_vsock(struct core *core, const struct vm *vm, struct error *err)
{
    uint32_t cid = 0;

    if (vsock_is_shim()) /* the guest's QEMU has no part in it */
        return 0;
    if (virt_vsock_cid(core->virt, vm->id, &cid, err))
        return -1;
    if (cid && cid == vm->vsock_cid)
        return 0;
    error_set(err, ERROR_STREAM_UNAVAILABLE, "VM %s was started without its vsock device", vm->spec->name);
    error_remedy(err, "Look at GET /v1/host/checks for whether the host has vsock, then stop and start the VM.");
    return -1;
}

/* A guest that does not answer holds a request worker for seconds: some must be left for the others. */
static int dial(struct core *core, const struct vm *vm, uint32_t port, int *ret_fd, struct error *err)
{
    unsigned max = (unsigned)core->settings->request_workers / 2;
    int rc;

    if (atomic_fetch_add(&core->dialling, 1) >= (max ? max : 1)) {
        atomic_fetch_sub(&core->dialling, 1);
        error_set(err, ERROR_UNAVAILABLE, "too many vsock connections are being made at this moment");
        error_remedy(err, "Try again in a second.");
        return -1;
    }
    rc = vsock_dial(vm->vsock_cid, port, DIAL_MS, ret_fd, err);
    atomic_fetch_sub(&core->dialling, 1);
    return rc;
}

static int open_vsock(struct core *core, const struct vm *vm, uint32_t port, int *ret_fd,
                      struct error *err)
{
    char cause[256];

    if (!vsock_usable(cause, sizeof(cause))) {
        error_set(err, ERROR_NOT_SUPPORTED_BY_HOST, "this host has no vsock: %s", cause);
        error_remedy(err, "sudo modprobe vhost_vsock, then start the VM anew.");
        return -1;
    }
    if (vm->state != VM_STATE_RUNNING && vm->state != VM_STATE_STOPPING)
        return not_on(vm, err);
    if (vm_require_vsock(core, vm, err))
        return -1;
    return dial(core, vm, port, ret_fd, err);
}

/* Off since a moment ago, or started before it was given one. */
static int no_display(const struct vm *vm, struct error *err)
{
    error_set(err, ERROR_STREAM_UNAVAILABLE, "VM %s was started without a display", vm->spec->name);
    error_remedy(err, "Stop and start the VM.");
    return -1;
}

static int open_display(struct core *core, const struct vm *vm, int *ret_fd, struct error *err)
{
    if (!stream_vm_is_on(vm))
        return not_on(vm, err);
    if (virt_graphics_open(core->virt, vm->id, ret_fd, err) == 0)
        return 0;
    return err->code == ERROR_VM_STATE_CONFLICT ? no_display(vm, err) : -1;
}

int stream_screenshot(struct core *core, const struct vm *vm, char **ret, size_t *ret_len,
                      struct error *err)
{
    auto_free char *picture = NULL;
    size_t len = 0;
    int rc;

    if (stream_require(vm, "display", err))
        return -1;
    if (!stream_vm_is_on(vm))
        return not_on(vm, err);
    if (atomic_fetch_add(&core->picturing, 1) >= PICTURES_MAX) {
        atomic_fetch_sub(&core->picturing, 1);
        error_set(err, ERROR_UNAVAILABLE, "too many pictures are being taken at this moment");
        error_remedy(err, "Try again in a second.");
        return -1;
    }
    rc = virt_screenshot(core->virt, vm->id, PICTURE_BYTES_MAX, &picture, &len, err);
    if (rc == 0)
        rc = picture_to_png(picture, len, ret, ret_len, err);
    atomic_fetch_sub(&core->picturing, 1);
    if (rc && err->code == ERROR_VM_STATE_CONFLICT)
        return no_display(vm, err);
    return rc;
}

int stream_open_pipe(struct core *core, const struct vm *vm, const struct console_pipe *pipe,
                     struct source **ret, struct error *err)
{
    struct console_pipe own = *pipe;
    bool vsock = str_starts(pipe->stream, "vsock/");

    own.fd = -1;
    if (vsock && pipe->mode == CONSOLE_VIEW) {
        error_set_at(err, ERROR_INVALID_ARGUMENT, "mode", "%s has no view mode", pipe->stream);
        error_remedy(err, "Ask for mode control; the connection is for you alone.");
        return -1;
    }
    if (vsock ? open_vsock(core, vm, stream_vsock_port(pipe->stream), &own.fd, err)
              : open_display(core, vm, &own.fd, err))
        return -1;
    return console_pipe(core->consoles, &own, ret, err);
}
