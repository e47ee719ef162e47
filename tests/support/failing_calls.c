/*
 * Preloaded, it lets one system call fail. FAILING_CALLS names a file that a test maps as well (struct ledger):
 * every place that makes a call has a row there, found by the call and the address it returns to, which
 * counts how often it was passed. The test writes the key of one, how many more times it shall pass, and the
 * error; SHORT instead of an error lets half of what was asked for be read or written. One fails, once.
 *
 * With FAILING_ALLOCATIONS in its environment so may allocations. Libraries have one function that allocates for
 * all, so these are known by who called whom, six deep; the one that fails is told on the standard error.
 */
/* Each name is itself here, and none is another one in disguise. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SITES   16384
#define MODULES 128
#define NAME    32
#define SHORT   10000
#define DEPTH   6
#define OURS    6 /* frames of this file above those, at most */

#define CALLS(X) \
    X(open) X(openat) X(read) X(pread) X(readv) X(write) X(pwrite) X(writev) X(pwritev) X(fsync) X(fdatasync) \
    X(rename) X(unlink) X(unlinkat) X(mkdir) X(rmdir) X(ftruncate) X(fallocate) X(link) X(socket) X(socketpair) \
    X(bind) X(listen) X(connect) X(accept4) X(recv) X(recvmsg) X(send) X(sendmsg) X(epoll_create1) X(epoll_ctl) \
    X(epoll_wait) X(eventfd) X(pipe2) X(clone) X(pthread_create) X(mmap) X(getrandom) X(poll) X(memfd_create) \
    X(copy_file_range) X(fchmod) X(mkostemp) X(opendir) X(flock) X(shutdown) X(malloc) X(calloc) X(realloc)

enum call {
#define X(name) CALL_##name,
    CALLS(X)
#undef X
    CALL_COUNT
};

struct site {
    uint64_t key; /* call + 1, module, offset in it */
    uint64_t count;
};

struct ledger {
    uint64_t fail_key, failed;
    int64_t pass; /* so many more times it is let through */
    int64_t error;
    char calls[64][NAME], modules[MODULES][NAME];
    struct site sites[SITES];
};

static struct ledger *ledger;
static struct {
    uintptr_t begin, end, base;
} modules[MODULES];
static int module_count, allocations_count;

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    const char *name = strrchr(info->dlpi_name, '/');

    (void)size;
    (void)arg;
    for (int i = 0; i < info->dlpi_phnum && module_count < MODULES; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];

        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
            continue;
        modules[module_count].base = info->dlpi_addr;
        modules[module_count].begin = info->dlpi_addr + p->p_vaddr;
        modules[module_count].end = info->dlpi_addr + p->p_vaddr + p->p_memsz;
        strncpy(ledger->modules[module_count++], name ? name + 1 : "droverd", NAME - 1);
    }
    return 0;
}

__attribute__((constructor)) static void open_ledger(void)
{
    static const char *const names[] = {
#define X(name) #name,
        CALLS(X)
#undef X
    };
    const char *path = getenv("FAILING_CALLS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    unsetenv("LD_PRELOAD"); /* children are not who is tested */
    if (p == MAP_FAILED)
        return;
    ledger = p;
    for (int i = 0; i < CALL_COUNT; i++)
        strncpy(ledger->calls[i], names[i], NAME - 1);
    dl_iterate_phdr(add_module, NULL);
    if (getenv("FAILING_ALLOCATIONS")) {
        void *here[1];

        (void)backtrace(here, 1); /* which loads what unwinds, and that allocates */
        allocations_count = 1;
    }
}

static uint64_t key_of(enum call call, const void *address)
{
    uintptr_t at = (uintptr_t)address;

    for (int i = 0; i < module_count; i++) {
        if (at >= modules[i].begin && at < modules[i].end)
            return (uint64_t)(call + 1) << 48 | (uint64_t)i << 40 | (at - modules[i].base);
    }
    return 0; /* of a library that was loaded later */
}

static void count(uint64_t key)
{
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15ull >> 50);

    for (size_t n = 0; n < SITES; n++, i = (i + 1) % SITES) {
        uint64_t there = 0;

        if (__atomic_compare_exchange_n(&ledger->sites[i].key, &there, key, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
            there == key) {
            __atomic_add_fetch(&ledger->sites[i].count, 1, __ATOMIC_RELAXED);
            return;
        }
    }
}

/* A descriptor that waits never says EAGAIN. */
static int is_possible(int64_t error, int fd)
{
    int flags;

    if (error != EAGAIN || fd < 0)
        return 1;
    flags = fcntl(fd, F_GETFL);
    return flags >= 0 && flags & O_NONBLOCK;
}

/* 0: go on; 1: fail, errno says with what. *size: of what is read or written; halved when it is to be short. */
static int is_refused_at(uint64_t key, int fd, size_t *size)
{
    int64_t error;

    count(key);
    if (key != __atomic_load_n(&ledger->fail_key, __ATOMIC_ACQUIRE))
        return 0;
    error = ledger->error;
    if (!is_possible(error, fd) || (error == SHORT && (!size || *size < 2)) ||
        __atomic_fetch_sub(&ledger->pass, 1, __ATOMIC_RELAXED) != 0)
        return 0;
    __atomic_store_n(&ledger->fail_key, 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&ledger->failed, 1, __ATOMIC_RELAXED);
    if (error == SHORT) {
        *size /= 2;
        return 0;
    }
    errno = (int)error;
    return 1;
}

static int is_refused(enum call call, const void *from, int fd, size_t *size)
{
    uint64_t key = ledger ? key_of(call, from) : 0;

    return key ? is_refused_at(key, fd, size) : 0;
}

/* ---- allocations ---- */

/* glibc's own, which need no looking up: dlsym() allocates. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static int is_scarce(enum call call, const void *from)
{
    static _Thread_local int within __attribute__((tls_model("initial-exec")));
    void *frames[DEPTH + OURS];
    uint64_t first, hash = 0;
    int n, i = 0, refused;

    if (!allocations_count || within || !(first = key_of(call, from)))
        return 0;
    within = 1;
    n = backtrace(frames, DEPTH + OURS);
    while (i < n && frames[i] != from)
        i++;
    for (int last = i + DEPTH; i < n && i < last; i++)
        hash = (hash ^ key_of(call, frames[i])) * 0x100000001b3ull;
    refused = is_refused_at((first & ~0xffffffffffull) | (hash & 0xffffffffffull), -1, NULL);
    if (refused)
        backtrace_symbols_fd(frames, n, STDERR_FILENO);
    within = 0;
    if (refused)
        errno = ENOMEM;
    return refused;
}

#define FROM __builtin_return_address(0)

/* What glibc has under this name. */
#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        *(void **)&real = dlsym(RTLD_NEXT, #name)

#define WRAP(type, failure, call, fd, name, parameters, arguments) \
    type name parameters \
    { \
        REAL(name); \
        if (is_refused(CALL_##call, FROM, fd, NULL)) \
            return failure; \
        return real arguments; \
    }

/* What reads or writes n bytes. */
#define WRAP_SIZE(call, name, parameters, arguments) \
    ssize_t name parameters \
    { \
        REAL(name); \
        if (is_refused(CALL_##call, FROM, fd, &n)) \
            return -1; \
        return real arguments; \
    }

#define WRAP_OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list list; \
        mode_t mode; \
        REAL(name); \
        va_start(list, flags); \
        mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        if (is_refused(CALL_open, FROM, -1, NULL)) \
            return -1; \
        return real(path, flags, mode); \
    }

#define WRAP_OPENAT(name) \
    int name(int dir, const char *path, int flags, ...) \
    { \
        va_list list; \
        mode_t mode; \
        REAL(name); \
        va_start(list, flags); \
        mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        if (is_refused(CALL_openat, FROM, -1, NULL)) \
            return -1; \
        return real(dir, path, flags, mode); \
    }

void *malloc(size_t size)
{
    return is_scarce(CALL_malloc, FROM) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return is_scarce(CALL_calloc, FROM) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    return is_scarce(CALL_realloc, FROM) ? NULL : __libc_realloc(p, size);
}

WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

WRAP_SIZE(read, read, (int fd, void *p, size_t n), (fd, p, n))
WRAP_SIZE(pread, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
WRAP_SIZE(pread, pread64, (int fd, void *p, size_t n, off64_t at), (fd, p, n, at))
WRAP_SIZE(write, write, (int fd, const void *p, size_t n), (fd, p, n))
WRAP_SIZE(pwrite, pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
WRAP_SIZE(pwrite, pwrite64, (int fd, const void *p, size_t n, off64_t at), (fd, p, n, at))
WRAP_SIZE(recv, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
WRAP_SIZE(send, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))

WRAP(ssize_t, -1, getrandom, -1, getrandom, (void *p, size_t n, unsigned flags), (p, n, flags))
WRAP(ssize_t, -1, readv, fd, readv, (int fd, const struct iovec *v, int n), (fd, v, n))
WRAP(ssize_t, -1, writev, fd, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
WRAP(ssize_t, -1, pwritev, fd, pwritev, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at))
WRAP(ssize_t, -1, pwritev, fd, pwritev64, (int fd, const struct iovec *v, int n, off64_t at), (fd, v, n, at))
WRAP(ssize_t, -1, recvmsg, fd, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
WRAP(ssize_t, -1, sendmsg, fd, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
WRAP(ssize_t, -1, copy_file_range, in, copy_file_range,
     (int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags), (in, from, out, to, n, flags))

WRAP(int, -1, fsync, fd, fsync, (int fd), (fd))
WRAP(int, -1, fdatasync, fd, fdatasync, (int fd), (fd))
WRAP(int, -1, ftruncate, fd, ftruncate, (int fd, off_t n), (fd, n))
WRAP(int, -1, ftruncate, fd, ftruncate64, (int fd, off64_t n), (fd, n))
WRAP(int, -1, fallocate, fd, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
WRAP(int, -1, fallocate, fd, fallocate64, (int fd, int mode, off64_t at, off64_t n), (fd, mode, at, n))
WRAP(int, -1, fchmod, fd, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, -1, flock, fd, flock, (int fd, int how), (fd, how))

WRAP(int, -1, rename, -1, rename, (const char *from, const char *to), (from, to))
WRAP(int, -1, unlink, -1, unlink, (const char *path), (path))
WRAP(int, -1, unlinkat, -1, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
WRAP(int, -1, mkdir, -1, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, -1, rmdir, -1, rmdir, (const char *path), (path))
WRAP(int, -1, link, -1, link, (const char *from, const char *to), (from, to))
WRAP(int, -1, mkostemp, -1, mkostemp, (char *path, int flags), (path, flags))
WRAP(int, -1, mkostemp, -1, mkostemp64, (char *path, int flags), (path, flags))
WRAP(DIR *, NULL, opendir, -1, opendir, (const char *path), (path))
WRAP(int, -1, memfd_create, -1, memfd_create, (const char *name, unsigned flags), (name, flags))

WRAP(int, -1, socket, -1, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, -1, socketpair, -1, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds))
WRAP(int, -1, bind, fd, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, -1, listen, fd, listen, (int fd, int n), (fd, n))
WRAP(int, -1, connect, fd, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, -1, shutdown, fd, shutdown, (int fd, int how), (fd, how))
WRAP(int, -1, accept4, fd, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
WRAP(int, -1, epoll_create1, -1, epoll_create1, (int flags), (flags))
WRAP(int, -1, epoll_ctl, -1, epoll_ctl, (int e, int what, int fd, struct epoll_event *event), (e, what, fd, event))
WRAP(int, -1, epoll_wait, -1, epoll_wait, (int e, struct epoll_event *events, int n, int ms), (e, events, n, ms))
WRAP(int, -1, poll, -1, poll, (struct pollfd *fds, nfds_t n, int ms), (fds, n, ms))
WRAP(int, -1, eventfd, -1, eventfd, (unsigned n, int flags), (n, flags))
WRAP(int, -1, pipe2, -1, pipe2, (int fds[2], int flags), (fds, flags))
/* Its errors are what it returns. */
WRAP(int, errno, pthread_create, -1, pthread_create,
     (pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *), void *arg), (ret, attr, fn, arg))
WRAP(void *, MAP_FAILED, mmap, -1, mmap, (void *p, size_t n, int prot, int flags, int fd, off_t at),
     (p, n, prot, flags, fd, at))
WRAP(void *, MAP_FAILED, mmap, -1, mmap64, (void *p, size_t n, int prot, int flags, int fd, off64_t at),
     (p, n, prot, flags, fd, at))

int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
    va_list list;
    void *parent, *tls, *child;
    REAL(clone);

    va_start(list, arg);
    parent = va_arg(list, void *);
    tls = va_arg(list, void *);
    child = va_arg(list, void *);
    va_end(list);
    if (is_refused(CALL_clone, FROM, -1, NULL))
        return -1;
    return real(fn, stack, flags, arg, parent, tls, child);
}
