/* The daemon's own process, for the process_* metrics. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/host/host_internal.h"
#include "service/host/host_parse.h"

static unsigned count_fds(struct host *h)
{
    int fd = openat(h->root, "proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    auto_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    uint64_t number;
    unsigned n = 0;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    while ((entry = readdir(dir)))
        n += str_to_u64(entry->d_name, INT32_MAX, &number) && (int)number != fd;
    return n;
}

/* Wall time of the boot; stands before the long interrupt lines only on small hosts. */
static bool boot_time(struct host *h, int64_t *ret)
{
    size_t size = 1u << 20;
    auto_free char *text = xcalloc(1, size);

    return host_read(h, "proc/stat", text, size) > 0 && parse_line(text, "btime", ret);
}

void host_self_read(struct host *h, struct host_self *ret)
{
    char text[2048];
    struct procstat st;
    struct rlimit limit;
    int64_t booted;

    *ret = (struct host_self){.open_fds = count_fds(h)};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        ret->max_fds = limit.rlim_cur > UINT32_MAX ? UINT32_MAX : (unsigned)limit.rlim_cur;
    if (host_read(h, "proc/self/stat", text, sizeof(text)) <= 0 || !parse_procstat(text, &st))
        return;
    ret->cpu_seconds = host_ticks_seconds(st.user_ticks) + host_ticks_seconds(st.system_ticks);
    ret->virtual_bytes = st.virtual_bytes;
    if (st.resident_pages > 0)
        ret->resident_bytes = (uint64_t)st.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    if (boot_time(h, &booted))
        ret->start_time_seconds = (double)booted + host_ticks_seconds(st.start_ticks);
}
