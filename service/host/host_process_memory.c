/*
 * The dear figures of one process: who else has its pages, what kind of pages they are, and how
 * long its control group had to wait. The kernel walks page tables for it, so seldom.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/host/host_internal.h"
#include "service/host/host_parse.h"

#define TEXT_MAX 8192

static bool kib(const char *text, const char *name, uint64_t *ret)
{
    int64_t value;

    if (!parse_line(text, name, &value) || value < 0 || value > INT64_MAX / 1024)
        return false;
    *ret = (uint64_t)value * 1024;
    return true;
}

void parse_smaps_rollup(const char *text, struct host_process_memory *ret)
{
    uint64_t clean, dirty, shared = 0, own = 0;

    ret->has_rollup = kib(text, "Pss", &ret->pss_bytes) && kib(text, "Private_Clean", &clean) &&
                      kib(text, "Private_Dirty", &dirty) &&
                      kib(text, "Anonymous", &ret->anonymous_bytes);
    if (!ret->has_rollup)
        return;
    ret->private_bytes = clean + dirty;
    kib(text, "AnonHugePages", &ret->huge_bytes);
    kib(text, "Pss_Shmem", &ret->shmem_bytes);
    kib(text, "Shared_Hugetlb", &shared);
    kib(text, "Private_Hugetlb", &own);
    ret->hugetlb_bytes = shared + own;
    ret->has_merged = kib(text, "KSM", &ret->merged_bytes);
}

bool parse_pressure(const char *text, double *ret_percent)
{
    static const char lead[] = "some avg10=";
    char *end;
    double value;

    if (strncmp(text, lead, sizeof(lead) - 1) != 0)
        return false;
    value = strtod(text + sizeof(lead) - 1, &end);
    if (end == text + sizeof(lead) - 1 || *end != ' ' || !(value >= 0 && value <= 100))
        return false;
    *ret_percent = value;
    return true;
}

static bool read_pressure(struct host *h, const char *group, const char *what, double *ret)
{
    char path[512], text[512];

    snprintf(path, sizeof(path), "sys/fs/cgroup%s/%s.pressure", group, what);
    return host_read(h, path, text, sizeof(text)) > 0 && parse_pressure(text, ret);
}

/* A group that the VM shares with the daemon would tell of something else. */
static bool own_group(struct host *h, pid_t pid, char *ret, size_t size)
{
    char path[64], text[1024], own[1024];
    const char *line, *ours;
    size_t len;

    snprintf(path, sizeof(path), "proc/%d/cgroup", (int)pid);
    if (host_read(h, path, text, sizeof(text)) <= 0 || !(line = strstr(text, "0::/")))
        return false;
    line += 3;
    len = strcspn(line, "\n");
    if (len < 2 || len >= size || strstr(line, ".."))
        return false;
    if (host_read(h, "proc/self/cgroup", own, sizeof(own)) > 0 && (ours = strstr(own, "0::/")) &&
        strncmp(ours + 3, line, len) == 0 && (ours[3 + len] == '\n' || !ours[3 + len]))
        return false;
    memcpy(ret, line, len);
    ret[len] = '\0';
    return true;
}

int host_process_memory_read(struct host *h, pid_t pid, struct host_process_memory *ret)
{
    char path[64], text[TEXT_MAX], group[384];
    struct host_pressure *p = &ret->pressure;

    *ret = (struct host_process_memory){0};
    snprintf(path, sizeof(path), "proc/%d/status", (int)pid);
    if (pid <= 0 || host_read(h, path, text, sizeof(text)) <= 0)
        return 0;
    ret->has_swap = kib(text, "VmSwap", &ret->swap_bytes);
    snprintf(path, sizeof(path), "proc/%d/smaps_rollup", (int)pid);
    if (host_read(h, path, text, sizeof(text)) > 0)
        parse_smaps_rollup(text, ret);
    if (!own_group(h, pid, group, sizeof(group)))
        return 1;
    p->has_cpu = read_pressure(h, group, "cpu", &p->cpu_percent);
    p->has_memory = read_pressure(h, group, "memory", &p->memory_percent);
    p->has_io = read_pressure(h, group, "io", &p->io_percent);
    return 1;
}
