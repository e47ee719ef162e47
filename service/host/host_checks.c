/* The preflight: each check says what it found, why it matters, and what to type. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/host/host_internal.h"

#define MIB               (1024.0 * 1024.0)
#define DISK_FAILED_BYTES (512ull << 20)
#define DISK_LOW_BYTES    (4096ull << 20)

typedef void check_fn(struct host *h, const char *state_dir, struct host_check *c);

static void __attribute__((format(printf, 2, 3))) found(struct host_check *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
    va_end(ap);
}

static void warn(struct host_check *c, const char *cause, const char *fix)
{
    c->result = HOST_CHECK_WARNING;
    str_copy_utf8(c->cause, sizeof(c->cause), cause);
    str_copy_utf8(c->fix, sizeof(c->fix), fix);
}

static void check_kvm(struct host *h, const char *state_dir, struct host_check *c)
{
    struct host_kvm kvm;
    struct stat st;
    char cause[256];

    host_kvm_probe(h, &kvm);
    found(c, "%s", kvm.detail);
    snprintf(cause, sizeof(cause), "%s: %.200s", kvm.cause, kvm.detail);
    if (!kvm.usable) {
        found(c, "guests are emulated, which is many times slower");
        warn(c, cause, kvm.fix);
        c->result = HOST_CHECK_FAILED;
    } else if (kvm.limited) {
        found(c, "/dev/kvm makes VMs, but not every kernel runs in them");
        warn(c, cause, kvm.fix);
    } else if (fstatat(h->root, "dev/kvm", &st, 0) == 0 && (st.st_mode & 0060) != 0060) {
        /* QEMU runs as a user of its own, and libvirt then probes it for 40 s at every define. */
        warn(c, "root-only: /dev/kvm is open to root alone; QEMU under another user cannot use it",
             "sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm");
    }
}

static bool module_allows_nesting(struct host *h, const char *path)
{
    char text[8];

    return host_read(h, path, text, sizeof(text)) > 0 && (text[0] == 'Y' || text[0] == '1');
}

static void check_nested(struct host *h, const char *state_dir, struct host_check *c)
{
    struct host_kvm kvm;
    bool allowed = module_allows_nesting(h, "sys/module/kvm_intel/parameters/nested") ||
                   module_allows_nesting(h, "sys/module/kvm_amd/parameters/nested");

    host_kvm_probe(h, &kvm);
    found(c, "this host is %s; guests %s start KVM guests of their own",
          kvm.nested ? "itself a virtual machine" : "not a virtual machine, as far as it shows",
          allowed ? "may" : "cannot");
}

static void check_vsock(struct host *h, const char *state_dir, struct host_check *c)
{
    char cause[256];

    if (host_vsock_usable(h, cause, sizeof(cause))) {
        found(c, "/dev/vhost-vsock can be opened");
        return;
    }
    found(c, "VMs start without their vsock device; everything else works");
    warn(c, cause,
         str_starts(cause, "no-permission")
             ? "sudo usermod -aG kvm the daemon's user, then start the daemon again"
             : "sudo modprobe vhost_vsock; to keep it: echo vhost_vsock | sudo tee "
               "/etc/modules-load.d/vhost_vsock.conf");
}

static void check_ksm(struct host *h, const char *state_dir, struct host_check *c)
{
    struct host_ksm ksm;

    host_ksm_read(h, &ksm);
    if (!ksm.available) {
        found(c, "memory is not shared between VMs");
        warn(c, "unavailable: this kernel has no /sys/kernel/mm/ksm",
             "use a kernel with CONFIG_KSM (Debian's have it)");
        return;
    }
    if (ksm.has_saved)
        found(c, "saves %.1f MiB now", (double)ksm.saved_bytes / MIB);
    if (!ksm.has[HOST_KSM_run])
        warn(c, "unknown: /sys/kernel/mm/ksm/run cannot be read", "ls -l /sys/kernel/mm/ksm");
    else if (ksm.value[HOST_KSM_run] != 1)
        warn(c,
             ksm.value[HOST_KSM_run] == 2 ? "unmerging: run is 2, so nothing is merged"
                                          : "off: ksmd does not run, so nothing is merged",
             "echo 1 | sudo tee /sys/kernel/mm/ksm/run");
}

static void check_tun(struct host *h, const char *state_dir, struct host_check *c)
{
    auto_close int fd = openat(h->root, "dev/net/tun", O_RDWR | O_CLOEXEC);

    if (fd >= 0) {
        found(c, "/dev/net/tun can be opened");
        return;
    }
    found(c, "user-mode networks work without it; bridged ones do not");
    if (errno == EACCES || errno == EPERM)
        warn(c, "no-permission: /dev/net/tun cannot be opened by this user",
             "run the daemon as root, or let libvirtd (qemu:///system) make the interfaces");
    else
        warn(c, "module-missing: there is no /dev/net/tun", "sudo modprobe tun");
}

static void check_disk_space(struct host *h, const char *state_dir, struct host_check *c)
{
    struct error err = ERROR_INIT;
    uint64_t available, total;
    char fix[256];

    snprintf(fix, sizeof(fix), "free some space below %.180s, or move it (state_dir)", state_dir);
    if (host_disk_space(state_dir, &available, &total, &err)) {
        found(c, "%s", state_dir);
        warn(c, "unknown: the state directory's file system does not answer", fix);
        return;
    }
    found(c, "%.1f GiB of %.1f GiB are free", (double)available / MIB / 1024,
          (double)total / MIB / 1024);
    if (available < DISK_LOW_BYTES)
        warn(c, "low: less than 4 GiB are free for images and disks", fix);
    if (available < DISK_FAILED_BYTES)
        c->result = HOST_CHECK_FAILED;
}

static void check_hugepages(struct host *h, const char *state_dir, struct host_check *c)
{
    struct host_memory memory;

    host_memory_read(h, &memory);
    if (!memory.has_hugepages)
        found(c, "this kernel has none; they are optional");
    else
        found(c, "%" PRIu64 " of %" PRIu64 " reserved pages of %" PRIu64 " KiB are free (optional)",
              memory.hugepages_free, memory.hugepages_total, memory.hugepage_size_bytes / 1024);
}

static void check_qemu_binary(struct host *h, const char *state_dir, struct host_check *c)
{
#if defined(__aarch64__)
    static const char *const names[] = {"qemu-system-aarch64"};
    static const char fix[] = "sudo apt-get install qemu-system-arm";
#else
    static const char *const names[] = {"qemu-system-x86_64", "kvm"};
    static const char fix[] = "sudo apt-get install qemu-system-x86";
#endif
    static const char *const dirs[] = {"usr/bin", "usr/local/bin", "bin"};
    char path[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        for (size_t j = 0; j < sizeof(dirs) / sizeof(*dirs); j++) {
            snprintf(path, sizeof(path), "%s/%s", dirs[j], names[i]);
            if (faccessat(h->root, path, X_OK, 0) == 0) {
                found(c, "/%s", path);
                return;
            }
        }
    }
    found(c, "fine only where libvirt runs on another host");
    warn(c, "missing: QEMU is not installed here", fix);
}

static const struct {
    const char *id, *title;
    check_fn *fn;
} checks[] = {
    {"kvm", "Hardware virtualisation (KVM)", check_kvm},
    {"nested", "Virtualisation inside guests", check_nested},
    {"vsock", "Sockets between host and guest (vsock)", check_vsock},
    {"ksm", "Memory merging (KSM)", check_ksm},
    {"tun", "Network interfaces for guests (TUN)", check_tun},
    {"disk_space", "Disk space", check_disk_space},
    {"hugepages", "Huge pages", check_hugepages},
    {"qemu_binary", "QEMU program", check_qemu_binary},
};

size_t host_checks(struct host *h, const char *state_dir, struct host_check *ret, size_t max)
{
    size_t count = sizeof(checks) / sizeof(*checks);

    if (count > max)
        count = max;
    for (size_t i = 0; i < count; i++) {
        ret[i] = (struct host_check){.result = HOST_CHECK_OK};
        str_copy_utf8(ret[i].id, sizeof(ret[i].id), checks[i].id);
        str_copy_utf8(ret[i].title, sizeof(ret[i].title), checks[i].title);
        checks[i].fn(h, state_dir, &ret[i]);
    }
    return count;
}
