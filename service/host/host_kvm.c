/*
 * Is /dev/kvm usable, and if not, why: by trying it, and only then by looking at what the processor
 * and the kernel say. Does not start a guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/host/host_internal.h"
#include "service/host/host_parse.h"

#define CPUINFO_MAX      16384 /* the first processor's entry is all that is needed */
#define KMSG_RECORDS_MAX 8192

struct cpu {
    bool x86, vmx, svm, guest;
};

static struct cpu read_cpu(struct host *h)
{
    auto_free char *text = xcalloc(1, CPUINFO_MAX);
    char word[16];

    if (host_read(h, "proc/cpuinfo", text, CPUINFO_MAX) <= 0)
        return (struct cpu){0};
    return (struct cpu){
        .x86 = parse_word(text, "flags", word, sizeof(word)),
        .vmx = parse_has_flag(text, "vmx"),
        .svm = parse_has_flag(text, "svm"),
        .guest = parse_has_flag(text, "hypervisor"),
    };
}

static void __attribute__((format(printf, 4, 5)))
fail(struct host_kvm *k, const char *cause, const char *fix, const char *fmt, ...)
{
    va_list ap;

    str_copy_utf8(k->cause, sizeof(k->cause), cause);
    str_copy_utf8(k->fix, sizeof(k->fix), fix);
    va_start(ap, fmt);
    vsnprintf(k->detail, sizeof(k->detail), fmt, ap);
    va_end(ap);
}

/* KVM's module says so at most once, when it is loaded. The kernel log needs a right to be read. */
static bool log_says_disabled(struct host *h)
{
    auto_close int fd = openat(h->root, "dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    char record[4096];

    for (int i = 0; fd >= 0 && i < KMSG_RECORDS_MAX; i++) {
        ssize_t n = read(fd, record, sizeof(record) - 1);

        if (n < 0 && (errno == EPIPE || errno == EINTR))
            continue; /* records were overwritten meanwhile: go on with the oldest */
        if (n <= 0)
            break;
        record[n] = '\0';
        if (strcasestr(record, "kvm") && strcasestr(record, "disabled by bios"))
            return true;
        if (strcasestr(record, "VMX") && strcasestr(record, "disabled by BIOS"))
            return true;
    }
    return false;
}

static void explain_missing_x86(struct host *h, const struct cpu *cpu, struct host_kvm *k)
{
    const char *module = cpu->svm ? "kvm_amd" : "kvm_intel";
    char path[64], fix[160];

    if (log_says_disabled(h)) {
        fail(k, "firmware-disabled",
             "turn on VT-x or SVM (AMD-V) in the firmware setup, then power the machine off and on",
             "the kernel log says that the firmware keeps hardware virtualisation off");
        return;
    }
    if (!cpu->vmx && !cpu->svm) {
        if (cpu->guest)
            fail(k, "nested-off",
                 "on the outer host: enable nested virtualisation (modprobe kvm_intel nested=1, or "
                 "kvm_amd) and give this machine the CPU model host-passthrough",
                 "this host is itself a virtual machine whose processor has neither vmx nor svm");
        else
            fail(k, "no-cpu-support",
                 "look for VT-x or SVM (AMD-V) in the firmware setup; without it guests are "
                 "emulated",
                 "the processor shows neither vmx nor svm: it has no virtualisation, or the "
                 "firmware "
                 "hides it");
        return;
    }
    snprintf(path, sizeof(path), "sys/module/%s", module);
    if (host_has(h, path)) {
        fail(k, "no-device",
             "in a container, pass the device in (--device /dev/kvm); elsewhere: sudo mknod -m 660 "
             "/dev/kvm c 10 232 && sudo chgrp kvm /dev/kvm",
             "the module %s is loaded, but there is no /dev/kvm here", module);
        return;
    }
    snprintf(fix, sizeof(fix),
             "sudo modprobe %s (if that is refused, turn on %s in the firmware setup)", module,
             cpu->svm ? "SVM" : "VT-x");
    fail(k, "module-missing", fix, "the processor has %s, but the module %s is not loaded",
         cpu->svm ? "svm" : "vmx", module);
}

static void explain_missing(struct host *h, const struct cpu *cpu, struct host_kvm *k)
{
    if (cpu->x86)
        explain_missing_x86(h, cpu, k);
    else
        fail(k, "no-device", "use a kernel with KVM; without it guests are emulated",
             "there is no /dev/kvm, and this processor does not tell whether it could");
}

static void explain_open(struct host *h, const struct cpu *cpu, int errnum, struct host_kvm *k)
{
    char fix[192];

    switch (errnum) {
    case ENOENT:
    case ENODEV: /* a device node without a driver */
    case ENXIO:
        explain_missing(h, cpu, k);
        return;
    case EACCES:
    case EPERM:
        if (geteuid() == 0)
            snprintf(fix, sizeof(fix), "allow the device to this container (--device /dev/kvm)");
        else
            snprintf(fix, sizeof(fix),
                     "sudo usermod -aG kvm \"$(id -nu %u)\", then start the daemon again",
                     (unsigned)geteuid());
        fail(k, "no-permission", fix, "/dev/kvm exists, but user %u may not open it",
             (unsigned)geteuid());
        return;
    case EBUSY:
        fail(k, "busy", "stop the other hypervisor (VirtualBox, VMware) and try again",
             "/dev/kvm is busy");
        return;
    default:
        fail(k, "failed", "ls -l /dev/kvm; dmesg | grep -i kvm", "/dev/kvm cannot be opened: %s",
             strerror(errnum));
    }
}

static int try_create_vm(int kvm)
{
    for (int tries = 0; tries < 10; tries++) {
        int vm = ioctl(kvm, KVM_CREATE_VM, 0);

        if (vm >= 0) {
            close(vm);
            return 0;
        }
        if (errno != EINTR)
            break;
    }
    return errno;
}

static void try_device(int kvm, struct host_kvm *k)
{
    int version = ioctl(kvm, KVM_GET_API_VERSION, 0), rc;

    if (version < 0) {
        fail(k, "failed", "ls -l /dev/kvm (it should be a character device, 10:232)",
             "/dev/kvm does not behave like KVM: %s", strerror(errno));
        return;
    }
    if (version != KVM_API_VERSION) {
        fail(k, "too-old", "use a newer kernel", "KVM's interface is version %d, not %d", version,
             KVM_API_VERSION);
        return;
    }
    rc = try_create_vm(kvm);
    if (rc == EBUSY)
        fail(k, "busy",
             "stop the other hypervisor (VirtualBox, VMware), or: sudo modprobe -r vboxdrv",
             "another hypervisor holds the processor's virtualisation");
    else if (rc)
        fail(k, "failed", "dmesg | grep -i kvm", "KVM refused to make a VM: %s", strerror(rc));
    else
        k->usable = true;
}

void host_kvm_probe(struct host *h, struct host_kvm *ret)
{
    const struct cpu cpu = read_cpu(h);
    auto_close int kvm = openat(h->root, "dev/kvm", O_RDWR | O_CLOEXEC);
    int errnum = errno;

    *ret = (struct host_kvm){.nested = cpu.guest};
    if (kvm < 0) {
        explain_open(h, &cpu, errnum, ret);
        return;
    }
    try_device(kvm, ret);
    if (!ret->usable)
        return;
    if (cpu.x86 && !cpu.vmx && !cpu.svm) {
        ret->limited = true;
        fail(ret, "limited",
             "emulate Linux guests (acceleration \"emulated\"), or have vmx or svm passed to this "
             "machine by its own host",
             "KVM works, but without the processor: it shows neither vmx nor svm%s. Guests that "
             "stay in firmware run; a stock Linux kernel is likely to hang",
             host_has(h, "sys/module/kvm_pvm") ? " (module kvm_pvm)" : "");
        return;
    }
    snprintf(ret->detail, sizeof(ret->detail), "KVM with %s",
             cpu.vmx   ? "Intel VT-x"
             : cpu.svm ? "AMD-V"
                       : "this processor's virtualisation");
}

bool host_vsock_usable(struct host *h, char *ret_cause, size_t size)
{
    auto_close int fd = openat(h->root, "dev/vhost-vsock", O_RDWR | O_CLOEXEC);

    if (size)
        ret_cause[0] = '\0';
    if (fd >= 0)
        return true;
    switch (errno) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        snprintf(
            ret_cause, size, "%s",
            host_has(h, "sys/module/vhost_vsock")
                ? "no-device: the module vhost_vsock is loaded, but there is no /dev/vhost-vsock"
                : "module-missing: there is no /dev/vhost-vsock; the module vhost_vsock is not "
                  "loaded");
        break;
    case EACCES:
    case EPERM:
        snprintf(ret_cause, size, "no-permission: user %u may not open /dev/vhost-vsock",
                 (unsigned)geteuid());
        break;
    default:
        snprintf(ret_cause, size, "failed: /dev/vhost-vsock: %s", strerror(errno));
    }
    return false;
}
