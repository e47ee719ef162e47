/* Memory and huge pages, from /proc/meminfo. */
#include "service/host/host_internal.h"
#include "service/host/host_parse.h"

static bool kib(const char *text, const char *name, uint64_t *ret)
{
    int64_t value;

    if (!parse_line(text, name, &value) || value < 0 || value > INT64_MAX / 1024)
        return false;
    *ret = (uint64_t)value * 1024;
    return true;
}

static bool count(const char *text, const char *name, uint64_t *ret)
{
    int64_t value;

    if (!parse_line(text, name, &value) || value < 0)
        return false;
    *ret = (uint64_t)value;
    return true;
}

void host_memory_read(struct host *h, struct host_memory *ret)
{
    char buf[8192];

    *ret = (struct host_memory){0};
    if (host_read(h, "proc/meminfo", buf, sizeof(buf)) <= 0)
        return;
    ret->ok = kib(buf, "MemTotal", &ret->total_bytes) && kib(buf, "MemFree", &ret->free_bytes);
    if (!kib(buf, "MemAvailable", &ret->available_bytes)) /* before Linux 3.14 */
        ret->available_bytes = ret->free_bytes;
    kib(buf, "SwapTotal", &ret->swap_total_bytes);
    kib(buf, "SwapFree", &ret->swap_free_bytes);
    ret->has_hugepages = count(buf, "HugePages_Total", &ret->hugepages_total) &&
                         count(buf, "HugePages_Free", &ret->hugepages_free) &&
                         kib(buf, "Hugepagesize", &ret->hugepage_size_bytes);
}
