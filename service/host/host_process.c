/*
 * One process: CPU, faults, memory, and what KSM merged of it. Each source is optional, and the
 * process may end between two reads.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/host/host_internal.h"
#include "service/host/host_parse.h"

static void read_memory(const struct procstat *st, struct host_process *ret)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (st->resident_pages < 0 || !st->virtual_bytes)
        return;
    ret->has_memory =
        !__builtin_mul_overflow((uint64_t)st->resident_pages, page, &ret->resident_bytes);
    ret->virtual_bytes = st->virtual_bytes;
}

static void read_io(struct host *h, pid_t pid, struct host_process *ret)
{
    char path[64], text[512];
    int64_t in, out;

    snprintf(path, sizeof(path), "proc/%d/io", (int)pid);
    if (host_read(h, path, text, sizeof(text)) <= 0 || !parse_line(text, "read_bytes", &in) ||
        !parse_line(text, "write_bytes", &out) || in < 0 || out < 0)
        return;
    ret->has_io = true;
    ret->read_bytes = (uint64_t)in;
    ret->write_bytes = (uint64_t)out;
}

static void explain(int errnum, struct host_process *ret)
{
    const char *reason = "the kernel could not say";

    if (errnum == EACCES || errnum == EPERM)
        reason = "no permission: /proc/PID/ksm_stat needs root or the VM's own user";
    else if (errnum == ESRCH)
        reason = "the process ended";
    else if (errnum == ENOENT)
        reason = "this kernel has no figures per process (needs CONFIG_KSM and Linux 5.19)";
    str_copy_utf8(ret->ksm_reason, sizeof(ret->ksm_reason), reason);
}

/* The file of Linux 5.19, before there was ksm_stat: one number. */
static void read_merging_pages(struct host *h, pid_t pid, struct host_process *ret)
{
    char path[64], text[64];

    snprintf(path, sizeof(path), "proc/%d/ksm_merging_pages", (int)pid);
    ret->has_ksm_merging_pages =
        host_read(h, path, text, sizeof(text)) > 0 && parse_integer(text, &ret->ksm_merging_pages);
}

static void read_ksm(struct host *h, pid_t pid, struct host_process *ret)
{
    char path[64], text[1024];
    ssize_t n;
    int errnum;

    snprintf(path, sizeof(path), "proc/%d/ksm_stat", (int)pid);
    n = host_read(h, path, text, sizeof(text));
    errnum = errno;
    if (n < 0 && (errnum == EACCES || errnum == EPERM)) {
        char request[32];

        snprintf(request, sizeof(request), "stat %d", (int)pid);
        n = host_helper_ask(h, request, text, sizeof(text));
    }
    if (n >= 0)
        parse_ksm_stat(text, ret);
    if (!ret->has_ksm_merging_pages) /* ksm_stat of Linux 6.1 has no such line */
        read_merging_pages(h, pid, ret);
    ret->has_ksm |= ret->has_ksm_merging_pages;
    if (!ret->has_ksm)
        explain(n < 0 ? errnum : 0, ret);
}

int host_process_read(struct host *h, pid_t pid, struct host_process *ret)
{
    char path[64], text[2048];
    struct procstat st;

    snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
    if (pid <= 0 || host_read(h, path, text, sizeof(text)) <= 0 || !parse_procstat(text, &st))
        return 0;
    *ret = (struct host_process){
        .start_ticks = st.start_ticks,
        .has_cpu = true,
        .cpu_user_seconds = host_ticks_seconds(st.user_ticks),
        .cpu_system_seconds = host_ticks_seconds(st.system_ticks),
        .has_faults = true,
        .minor_faults = st.minor_faults,
        .major_faults = st.major_faults,
    };
    read_memory(&st, ret);
    read_io(h, pid, ret);
    read_ksm(h, pid, ret);
    return 1;
}
