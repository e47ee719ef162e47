/*
 * Preloaded, it lets a program's clocks jump while it runs: seconds are added to them that stand in
 * the file JUMPING_CLOCK names, two native 64-bit integers, of the wall clock and of the boot clock
 * (which goes on while a host is suspended). CLOCK_MONOTONIC stays as it is, as in a suspend.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offsets(void)
{
    static const volatile int64_t *shared;
    const char *path = getenv("JUMPING_CLOCK");
    int fd;

    if (shared || !path)
        return shared;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        abort();
    shared = mmap(NULL, 2 * sizeof(*shared), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (shared == MAP_FAILED)
        abort();
    return shared;
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ret);
    const volatile int64_t *jump = rc ? NULL : offsets();

    if (jump && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ret->tv_sec += jump[0];
    else if (jump && id == CLOCK_BOOTTIME)
        ret->tv_sec += jump[1];
    return rc;
}

time_t time(time_t *ret)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}
