/* The root directory, and the facts that are one file each. */
#include "service/host/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/fd.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/host/host_internal.h"
#include "service/host/host_parse.h"

#define WATCH_FILES 3

/* A quarter of the descriptors; none for a directory of text files, which are replaced, not rewritten. */
static unsigned watches_max(int root)
{
    auto_close int proc = openat(root, "proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    struct rlimit limit;

    if (proc < 0 || fstatfs(proc, &fs) || fs.f_type != PROC_SUPER_MAGIC ||
        getrlimit(RLIMIT_NOFILE, &limit))
        return 0;
    if (limit.rlim_cur > 1u << 20)
        limit.rlim_cur = 1u << 20;
    return (unsigned)(limit.rlim_cur / 4 / WATCH_FILES);
}

int host_open(const char *root, struct host **ret, struct error *err)
{
    struct host *h;
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", root);
    h = xcalloc(1, sizeof(*h));
    h->root = fd;
    mutex_init(&h->lock);
    mutex_init(&h->helper_lock);
    h->helper = -1;
    h->watches_max = watches_max(fd);
    *ret = h;
    return 0;
}

void host_close(struct host *h)
{
    if (!h)
        return;
    close(h->root);
    if (h->helper >= 0)
        close(h->helper);
    pthread_mutex_destroy(&h->helper_lock);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

ssize_t host_read(struct host *h, const char *path, char *buf, size_t size)
{
    ssize_t n = file_read_at(h->root, path, buf, size);

    if (n < 0)
        buf[0] = '\0';
    return n;
}

bool host_has(struct host *h, const char *path)
{
    return faccessat(h->root, path, F_OK, 0) == 0;
}

double host_ticks_seconds(uint64_t ticks)
{
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

unsigned host_cpu_count(struct host *h)
{
    char buf[4096];
    unsigned n = 0;
    long online;

    if (host_read(h, "sys/devices/system/cpu/online", buf, sizeof(buf)) > 0)
        n = parse_cpu_list(buf);
    if (n)
        return n;
    online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

int host_boot_id(struct host *h, char ret[37], struct error *err)
{
    char buf[64];

    if (host_read(h, "proc/sys/kernel/random/boot_id", buf, sizeof(buf)) < 0)
        return error_errno(err, errno, "cannot read the kernel's boot id");
    buf[strcspn(buf, "\n")] = '\0';
    if (!uuid_is_valid(buf))
        return error_set(err, ERROR_SYSTEM, "the kernel's boot id is not a UUID");
    memcpy(ret, buf, 37);
    return 0;
}

int host_disk_space(const char *path, uint64_t *ret_free, uint64_t *ret_total, struct error *err)
{
    struct statvfs st;

    if (statvfs(path, &st))
        return error_errno(err, errno, "cannot ask for the free space of %s", path);
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize; /* what is left for others than root */
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    return 0;
}

void host_processor(struct host *h, char *ret_model, size_t size)
{
    char buf[4096]; /* the first processor's lines */
    const char *at;

    host_read(h, "proc/cpuinfo", buf, sizeof(buf));
    at = strstr(buf, "model name");
    at = at ? strchr(at, ':') : NULL;
    if (!at) {
        *ret_model = '\0';
        return;
    }
    at += strspn(at, ": \t");
    buf[(size_t)(at - buf) + strcspn(at, "\n")] = '\0';
    str_copy_utf8(ret_model, size, at);
}

void host_kernel(struct host *h, char *ret_release, size_t size)
{
    char buf[256];

    host_read(h, "proc/sys/kernel/osrelease", buf, sizeof(buf));
    buf[strcspn(buf, "\n")] = '\0';
    str_copy_utf8(ret_release, size, buf);
}
