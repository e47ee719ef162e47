/*
 * One process: CPU, faults, memory, and what KSM merged of it. Each source is optional, and the
 * process may end between two reads. Who reads again and again keeps the files open (struct
 * host_watch): finding and opening them is most of what a reading costs, and an open file of a
 * process that ended never becomes another's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/host/host_internal.h"
#include "service/host/host_parse.h"

enum file { FILE_STAT, FILE_IO, FILE_KSM, FILE_COUNT };
static const char *const names[FILE_COUNT] = {"stat", "io", "ksm_stat"};

struct host_watch {
    struct host *host;
    pid_t pid;
    int fd[FILE_COUNT]; /* -1: opened at each reading */
    bool has_last;
    struct host_process last; /* its figures of KSM */
};

static ssize_t read_file(const struct host_watch *w, enum file file, char *buf, size_t size)
{
    char path[64];
    ssize_t n;

    if (w->fd[file] < 0) {
        snprintf(path, sizeof(path), "proc/%d/%s", (int)w->pid, names[file]);
        return host_read(w->host, path, buf, size);
    }
    do
        n = pread(w->fd[file], buf, size - 1, 0);
    while (n < 0 && errno == EINTR);
    buf[n > 0 ? n : 0] = '\0';
    return n;
}

static void read_memory(const struct procstat *st, struct host_process *ret)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (st->resident_pages < 0 || !st->virtual_bytes)
        return;
    ret->has_memory =
        !__builtin_mul_overflow((uint64_t)st->resident_pages, page, &ret->resident_bytes);
    ret->virtual_bytes = st->virtual_bytes;
}

static void read_io(const struct host_watch *w, struct host_process *ret)
{
    char text[512];
    int64_t in, out;

    if (read_file(w, FILE_IO, text, sizeof(text)) <= 0 || !parse_line(text, "read_bytes", &in) ||
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

static void read_ksm(const struct host_watch *w, struct host_process *ret)
{
    char text[1024];
    ssize_t n = read_file(w, FILE_KSM, text, sizeof(text));
    int errnum = errno;

    if (n < 0 && (errnum == EACCES || errnum == EPERM)) {
        char request[32];

        snprintf(request, sizeof(request), "stat %d", (int)w->pid);
        n = host_helper_ask(w->host, request, false, text, sizeof(text));
    }
    if (n >= 0)
        parse_ksm_stat(text, ret);
    if (!ret->has_ksm_merging_pages) /* ksm_stat of Linux 6.1 has no such line */
        read_merging_pages(w->host, w->pid, ret);
    ret->has_ksm |= ret->has_ksm_merging_pages;
    if (!ret->has_ksm)
        explain(n < 0 ? errnum : 0, ret);
}

/* What KSM did to a process changes when ksmd scans, and it did not. */
static void repeat_ksm(const struct host_process *last, struct host_process *ret)
{
    ret->has_ksm = last->has_ksm;
    ret->has_ksm_merging_pages = last->has_ksm_merging_pages;
    ret->has_ksm_rmap_items = last->has_ksm_rmap_items;
    ret->has_ksm_zero_pages = last->has_ksm_zero_pages;
    ret->has_ksm_profit = last->has_ksm_profit;
    ret->has_ksm_mergeable = last->has_ksm_mergeable;
    ret->ksm_merging_pages = last->ksm_merging_pages;
    ret->ksm_rmap_items = last->ksm_rmap_items;
    ret->ksm_zero_pages = last->ksm_zero_pages;
    ret->ksm_profit_bytes = last->ksm_profit_bytes;
    ret->ksm_mergeable = last->ksm_mergeable;
    str_copy_utf8(ret->ksm_reason, sizeof(ret->ksm_reason), last->ksm_reason);
}

int host_watch_read(struct host_watch *w, bool same_ksm, struct host_process *ret)
{
    char text[2048];
    struct procstat st;

    if (w->pid <= 0 || read_file(w, FILE_STAT, text, sizeof(text)) <= 0 || !parse_procstat(text, &st))
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
    read_io(w, ret);
    if (same_ksm && w->has_last) {
        repeat_ksm(&w->last, ret);
        return 1;
    }
    read_ksm(w, ret);
    w->has_last = true;
    w->last = *ret;
    return 1;
}

int host_process_read(struct host *h, pid_t pid, struct host_process *ret)
{
    struct host_watch once = {.host = h, .pid = pid, .fd = {-1, -1, -1}};

    return host_watch_read(&once, false, ret);
}

struct host_watch *host_watch_open(struct host *h, pid_t pid)
{
    struct host_watch *w = xcalloc(1, sizeof(*w));
    auto_close int dir = -1;
    char path[64];

    *w = (struct host_watch){.host = h, .pid = pid, .fd = {-1, -1, -1}};
    if (pid <= 0 || atomic_fetch_add(&h->watches, 1) >= h->watches_max)
        return w;
    snprintf(path, sizeof(path), "proc/%d", (int)pid);
    dir = openat(h->root, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < FILE_COUNT && dir >= 0; i++)
        w->fd[i] = openat(dir, names[i], O_RDONLY | O_CLOEXEC);
    return w;
}

void host_watch_close(struct host_watch *w)
{
    if (!w)
        return;
    for (int i = 0; i < FILE_COUNT; i++) {
        if (w->fd[i] >= 0)
            close(w->fd[i]);
    }
    if (w->pid > 0)
        atomic_fetch_sub(&w->host->watches, 1);
    free(w);
}
