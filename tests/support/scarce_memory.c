/*
 * Preloaded, it lets one allocation fail. SCARCE_MEMORY names a file of three 64-bit numbers that a test
 * maps as well: how many allocations there were, the number of the one that shall fail, and how many did.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct ledger {
    uint64_t count, fail_at, failed;
};

/* glibc's own, which need no looking up: dlsym() allocates. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static struct ledger *ledger;

__attribute__((constructor)) static void open_ledger(void)
{
    const char *path = getenv("SCARCE_MEMORY");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    unsetenv("LD_PRELOAD"); /* children have memory enough */
    if (p != MAP_FAILED)
        ledger = p;
}

static int is_refused(void)
{
    if (!ledger || __atomic_add_fetch(&ledger->count, 1, __ATOMIC_RELAXED) !=
                       __atomic_load_n(&ledger->fail_at, __ATOMIC_RELAXED))
        return 0;
    __atomic_add_fetch(&ledger->failed, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return is_refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return is_refused() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    return is_refused() ? NULL : __libc_realloc(p, size);
}
