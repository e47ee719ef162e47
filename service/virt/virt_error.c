/*
 * From libvirt's error to ours. libvirt's codes are coarse and differ between drivers, so a few
 * messages that a person can act upon are recognised by their words; the words themselves only
 * ever reach the log.
 */
#include "service/virt/virt_internal.h"

#include <errno.h>
#include <string.h>

static const struct {
    const char *needle; /* in libvirt's message */
    enum error_code code;
    const char *detail, *remedy;
} hints[] = {
    {"Could not access KVM", ERROR_NOT_SUPPORTED_BY_HOST, "QEMU cannot use /dev/kvm",
     "let QEMU's user open /dev/kvm, or choose acceleration \"emulated\""},
    {"failed to initialize kvm", ERROR_NOT_SUPPORTED_BY_HOST, "QEMU cannot use /dev/kvm",
     "let QEMU's user open /dev/kvm, or choose acceleration \"emulated\""},
    {"failed to set MSR", ERROR_NOT_SUPPORTED_BY_HOST,
     "this host's KVM does not accept the CPU that QEMU offers",
     "choose acceleration \"emulated\""},
    {"cannot set up guest memory", ERROR_UNAVAILABLE, "the host has too little free memory",
     "stop another VM or give this one less memory"},
    {"Cannot allocate memory", ERROR_UNAVAILABLE, "the host has too little free memory",
     "stop another VM or give this one less memory"},
    {"No space left on device", ERROR_INSUFFICIENT_STORAGE, "the disk is full",
     "free space on the file system of the state directory"},
    {"Failed to get \"write\" lock", ERROR_VM_STATE_CONFLICT, "another process uses the VM's disk",
     "stop the other user of the disk"},
    {"find any firmware", ERROR_NOT_SUPPORTED_BY_HOST, "no UEFI firmware is installed",
     "install the package ovmf, or choose firmware \"bios\""},
    {"vhost-vsock", ERROR_NOT_SUPPORTED_BY_HOST, "the host has no /dev/vhost-vsock",
     "load the module vhost_vsock, or switch vsock off for this VM"},
    {"set guest cid", ERROR_VM_STATE_CONFLICT,
     "another guest of this host has the VM's vsock address",
     "stop the other guest, or switch vsock off for this VM"},
    {"guest CID", ERROR_NOT_SUPPORTED_BY_HOST, "the host cannot give the VM its vsock address",
     "load the module vhost_vsock, or switch vsock off for this VM"},
    {"Unable to add bridge", ERROR_NOT_SUPPORTED_BY_HOST,
     "the VM's network cannot be attached to the bridge", "create the bridge on the host"},
    {"Cannot get interface MTU", ERROR_NOT_SUPPORTED_BY_HOST,
     "the bridge of the VM's network does not exist", "create the bridge on the host"},
    {"/dev/net/tun", ERROR_NOT_SUPPORTED_BY_HOST, "the host has no usable /dev/net/tun",
     "load the module tun, or use a network of mode \"user\""},
    {"Cannot access storage file", ERROR_HYPERVISOR_FAILED, "QEMU cannot open a file of the VM",
     "check that the image still exists and that QEMU's user may read it"},
    {"No graphics backend", ERROR_VM_STATE_CONFLICT, "the running guest has no display",
     "stop and start the VM"},
    {"screens to take screenshot from", ERROR_VM_STATE_CONFLICT, "the running guest has no display",
     "stop and start the VM"},
    {"State blocked", ERROR_NOT_SUPPORTED_BY_HOST, "a device of this VM cannot be saved",
     "shut the VM down instead"},
};

static enum error_code code_for(const virError *e)
{
    switch (e->code) {
    case VIR_ERR_NO_DOMAIN:
        return ERROR_VM_NOT_FOUND;
    case VIR_ERR_OPERATION_INVALID:
        return ERROR_VM_STATE_CONFLICT;
    case VIR_ERR_DOM_EXIST:
        return ERROR_NAME_IN_USE;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_NO_NETWORK:
        return ERROR_NOT_SUPPORTED_BY_HOST;
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_AGENT_UNRESPONSIVE:
        return ERROR_TIMEOUT;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
        return ERROR_HYPERVISOR_UNAVAILABLE;
    case VIR_ERR_SYSTEM_ERROR:
        return e->int1 == ENOSPC ? ERROR_INSUFFICIENT_STORAGE : ERROR_HYPERVISOR_FAILED;
    default:
        return ERROR_HYPERVISOR_FAILED;
    }
}

static const char *words_for(enum error_code code)
{
    switch (code) {
    case ERROR_VM_NOT_FOUND:
        return "libvirt does not know the VM";
    case ERROR_VM_STATE_CONFLICT:
        return "the VM's state does not allow it";
    case ERROR_NOT_SUPPORTED_BY_HOST:
        return "this host's hypervisor does not support it";
    case ERROR_TIMEOUT:
        return "libvirt or the guest did not answer in time";
    case ERROR_HYPERVISOR_UNAVAILABLE:
        return "the connection to libvirt is broken";
    default:
        return "libvirt refused; the log has its words";
    }
}

int virt_fail(virConnectPtr conn, struct error *err, const char *what)
{
    virErrorPtr e = virSaveLastError(); /* a copy: asking the connection resets it */
    enum error_code code;

    if (!e)
        return error_set(err, ERROR_HYPERVISOR_FAILED, "cannot %s: libvirt gave no reason", what);
    code = code_for(e);
    /* What the client library itself says is of the way to libvirt, also before it calls the connection dead. */
    if (e->domain == VIR_FROM_RPC || (conn && virConnectIsAlive(conn) == 0))
        code = ERROR_HYPERVISOR_UNAVAILABLE;
    error_set(err, code, "cannot %s: %s", what, words_for(code));
    if (code != ERROR_HYPERVISOR_UNAVAILABLE && code != ERROR_VM_NOT_FOUND) {
        for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
            if (!e->message || !strstr(e->message, hints[i].needle))
                continue;
            error_set(err, hints[i].code, "cannot %s: %s", what, hints[i].detail);
            error_remedy(err, "%s", hints[i].remedy);
            break;
        }
    }
    error_cause(err, "libvirt %d/%d: %s", e->code, e->domain, e->message ? e->message : "");
    virFreeError(e);
    return -1;
}

/* Without a handler libvirt prints every error to stderr. */
static void say_nothing(void *opaque, virErrorPtr error)
{
    (void)opaque;
    (void)error;
}

void virt_error_init(void)
{
    virSetErrorFunc(NULL, say_nothing);
}
