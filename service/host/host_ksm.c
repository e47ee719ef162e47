/*
 * Kernel samepage merging: the kernel's counters under the kernel's names. Deliberately interprets
 * nothing but saved_bytes: the places that cost no page of their own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/host/host_internal.h"
#include "service/host/host_parse.h"

#define KSM_DIR        "sys/kernel/mm/ksm"
#define PF_KTHREAD     0x00200000u /* include/linux/sched.h; a stable part of /proc/PID/stat */
#define KSMD_SEARCH_MS 60000       /* where ksmd cannot be seen (a container), look this seldom */

enum ksm_kind { KNOB, GAUGE, COUNTER };

static const struct {
    const char *name, *path;
    enum ksm_kind kind;
} keys[HOST_KSM_COUNT] = {
#define K(name_, kind_, help) [HOST_KSM_##name_] = {#name_, KSM_DIR "/" #name_, kind_},
#include "service/host/ksm.def"
#undef K
};

const char *host_ksm_name(enum host_ksm_key key)
{
    return keys[key].name;
}

/* Anybody can name a process ksmd; only the kernel makes kernel threads. */
static bool read_ksmd(struct host *h, pid_t pid, double *ret_seconds)
{
    char path[64], buf[1024];
    struct procstat st;
    int64_t ns;

    snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
    if (host_read(h, path, buf, sizeof(buf)) <= 0 || !parse_procstat(buf, &st) ||
        strcmp(st.comm, "ksmd") != 0 || !(st.flags & PF_KTHREAD))
        return false;
    *ret_seconds = host_ticks_seconds(st.user_ticks) + host_ticks_seconds(st.system_ticks);
    /* In nanoseconds where the kernel counts them: a controller cannot steer by hundredths. */
    snprintf(path, sizeof(path), "proc/%d/schedstat", (int)pid);
    if (host_read(h, path, buf, sizeof(buf)) > 0) {
        buf[strcspn(buf, " \n")] = '\0';
        if (parse_integer(buf, &ns) && ns > 0)
            *ret_seconds = (double)ns / 1e9;
    }
    return true;
}

static pid_t search_ksmd(struct host *h, double *ret_seconds)
{
    int fd = openat(h->root, "proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    auto_closedir DIR *proc = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    if (!proc) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    while ((entry = readdir(proc))) {
        char path[280], comm[32];
        uint64_t pid;

        if (!str_to_u64(entry->d_name, INT32_MAX, &pid))
            continue;
        snprintf(path, sizeof(path), "proc/%s/comm", entry->d_name);
        if (host_read(h, path, comm, sizeof(comm)) <= 0 || strcmp(comm, "ksmd\n") != 0)
            continue;
        if (read_ksmd(h, (pid_t)pid, ret_seconds))
            return (pid_t)pid;
    }
    return 0;
}

static bool ksmd_cpu(struct host *h, double *ret_seconds)
{
    int64_t now = clock_monotonic_ms();
    pid_t pid;

    {
        LOCK_SCOPE(&h->lock);
        pid = h->ksmd;
        if (!pid && now < h->ksmd_search_ms)
            return false;
    }
    if (pid && read_ksmd(h, pid, ret_seconds))
        return true;
    pid = search_ksmd(h, ret_seconds);
    LOCK_SCOPE(&h->lock);
    h->ksmd = pid;
    h->ksmd_search_ms = now + KSMD_SEARCH_MS;
    return pid != 0;
}

bool host_ksm_is_knob(enum host_ksm_key key)
{
    return keys[key].kind == KNOB;
}

void host_ksm_read(struct host *h, struct host_ksm *ret)
{
    char buf[256];
    int64_t sharing, zero;
    uint64_t saved, empty;

    *ret = (struct host_ksm){.available = host_has(h, KSM_DIR)};
    ret->page_size_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    if (!ret->available)
        return;
    for (int i = 0; i < HOST_KSM_COUNT; i++)
        ret->has[i] =
            host_read(h, keys[i].path, buf, sizeof(buf)) > 0 && parse_integer(buf, &ret->value[i]);
    ret->has_advisor_mode = host_read(h, KSM_DIR "/advisor_mode", buf, sizeof(buf)) > 0 &&
                            parse_choice(buf, ret->advisor_mode, sizeof(ret->advisor_mode));
    ret->has_ksmd_cpu = ksmd_cpu(h, &ret->ksmd_cpu_seconds);
    sharing = ret->value[HOST_KSM_pages_sharing];
    if (ret->has[HOST_KSM_pages_sharing] && sharing >= 0 &&
        !__builtin_mul_overflow((uint64_t)sharing, ret->page_size_bytes, &saved)) {
        ret->has_saved = true;
        ret->saved_bytes = saved;
        zero = ret->has[HOST_KSM_ksm_zero_pages] ? ret->value[HOST_KSM_ksm_zero_pages] : 0;
        if (zero > 0 && !__builtin_mul_overflow((uint64_t)zero, ret->page_size_bytes, &empty) &&
            !__builtin_add_overflow(saved, empty, &saved)) {
            ret->saved_bytes = saved;
            ret->zero_bytes = empty;
        }
    }
}

static int write_failed(int errnum, const char *name, const char *value, struct error *err)
{
    switch (errnum) {
    case ENOENT:
        error_set(err, ERROR_NOT_SUPPORTED_BY_HOST, "this kernel has no KSM setting %s", name);
        error_remedy(err, "use a kernel with CONFIG_KSM; newer ones have more settings");
        return -1;
    case EACCES:
    case EPERM:
    case EROFS:
        error_set(err, ERROR_FORBIDDEN, "the daemon may not change the host's KSM settings");
        error_remedy(
            err,
            "start its helper (drover-ksm.socket), run it as root, or set it by hand: "
            "echo %s | sudo tee /" KSM_DIR "/%s",
            value, name);
        return -1;
    case EINVAL:
    case ERANGE:
        return error_set_at(err, ERROR_INVALID_ARGUMENT, name,
                            "the kernel refuses %s for %s", value, name);
    case EBUSY:
        error_set_at(err, ERROR_VM_STATE_CONFLICT, name, "%s cannot change while pages are merged",
                     name);
        error_remedy(err, "set run to 2, which unmerges all pages, then try again");
        return -1;
    default:
        return error_errno(err, errnum, "cannot write the KSM setting %s", name);
    }
}

static int write_text(struct host *h, const char *path, const char *text)
{
    auto_close int fd = openat(h->root, path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    char request[96], answer[16];
    size_t len = strlen(text);

    if (fd >= 0)
        return write(fd, text, len) == (ssize_t)len ? 0 : -1;
    if (errno != EACCES && errno != EPERM && errno != EROFS)
        return -1;
    snprintf(request, sizeof(request), "set %s %s", strrchr(path, '/') + 1, text);
    return host_helper_ask(h, request, true, answer, sizeof(answer)) < 0 ? -1 : 0;
}

int host_ksm_write_advisor(struct host *h, const char *mode, struct error *err)
{
    if (write_text(h, KSM_DIR "/advisor_mode", mode))
        return write_failed(errno, "advisor_mode", mode, err);
    return 0;
}

int host_ksm_write(struct host *h, enum host_ksm_key key, int64_t value, struct error *err)
{
    char text[32];

    if (keys[key].kind != KNOB)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, keys[key].name, "%s can only be read",
                            keys[key].name);
    snprintf(text, sizeof(text), "%" PRId64, value);
    if (write_text(h, keys[key].path, text))
        return write_failed(errno, keys[key].name, text, err);
    return 0;
}
