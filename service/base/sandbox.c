/*
 * Landlock and seccomp, in the one place that knows them.
 */
#include "service/base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/fd.h"
#include "service/base/log.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Landlock's first version, which Debian 12's kernel and every later one has. */
#define FILES_ALL                                                                                                      \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |                       \
     LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                    \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                        \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                     \
     LANDLOCK_ACCESS_FS_MAKE_SYM)

static bool files_are_shut;

static int allow_reading(int ruleset, const char *path, uint64_t more, struct error *err)
{
    auto_close int fd = open(path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | more, .parent_fd = fd};

    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", path);
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return error_errno(err, errno, "cannot allow %s", path);
    return 0;
}

int sandbox_files(const char *const *paths, struct error *err)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs = FILES_ALL};
    auto_close int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

    if (ruleset < 0) {
        log_info("this kernel has no Landlock (%s): the network's process opens no file at all", strerror(errno));
        return 0;
    }
    for (; *paths; paths++) {
        if (file_exists(*paths) && allow_reading(ruleset, *paths, 0, err) < 0)
            return -1;
    }
    /* Where a sanitizer looks for the threads when it looks for leaks. */
    if (SANITIZED && allow_reading(ruleset, "/proc", LANDLOCK_ACCESS_FS_READ_DIR, err) < 0)
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return error_errno(err, errno, "cannot give up the files");
    files_are_shut = true;
    return 0;
}

#if SANITIZED

int sandbox_calls(struct error *err)
{
    (void)err;
    return 0;
}

#else

static const int allowed[] = {
    SCMP_SYS(accept4),         SCMP_SYS(brk),               SCMP_SYS(clock_gettime),   SCMP_SYS(clock_nanosleep),
    SCMP_SYS(close),           SCMP_SYS(dup3),              SCMP_SYS(epoll_create1),   SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_pwait),     SCMP_SYS(epoll_wait),        SCMP_SYS(eventfd2),        SCMP_SYS(exit),
    SCMP_SYS(exit_group),      SCMP_SYS(fcntl),             SCMP_SYS(fstat),           SCMP_SYS(futex),
    SCMP_SYS(getpeername),     SCMP_SYS(getpid),            SCMP_SYS(getrandom),       SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),      SCMP_SYS(gettid),            SCMP_SYS(gettimeofday),    SCMP_SYS(ioctl),
    SCMP_SYS(lseek),           SCMP_SYS(madvise),           SCMP_SYS(mremap),          SCMP_SYS(munmap),
    SCMP_SYS(nanosleep),       SCMP_SYS(newfstatat),        SCMP_SYS(pipe2),           SCMP_SYS(poll),
    SCMP_SYS(ppoll),           SCMP_SYS(pread64),           SCMP_SYS(read),            SCMP_SYS(readv),
    SCMP_SYS(recvfrom),        SCMP_SYS(recvmsg),           SCMP_SYS(restart_syscall), SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction),    SCMP_SYS(rt_sigprocmask),    SCMP_SYS(rt_sigreturn),    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),     SCMP_SYS(sendfile),          SCMP_SYS(sendmsg),         SCMP_SYS(sendto),
    SCMP_SYS(set_robust_list), SCMP_SYS(setsockopt),        SCMP_SYS(shutdown),        SCMP_SYS(sigaltstack),
    SCMP_SYS(socketpair),      SCMP_SYS(write),             SCMP_SYS(writev),
};

/* What depends on an argument: memory that never becomes a program, signals to nobody but ourselves (abort). */
static int fill_bounded(scmp_filter_ctx f)
{
    const struct scmp_arg_cmp data = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    int rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, data);

    if (!rc)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, data);
    if (!rc)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    /* Which files, Landlock says; for a certificate that is read again. Without it, none: /proc has our memory. */
    if (!rc && files_are_shut)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 0);
    return rc;
}

static int fill(scmp_filter_ctx f)
{
    int rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1); /* the threads that there are, too */

    for (size_t i = 0; !rc && i < sizeof(allowed) / sizeof(*allowed); i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
    if (!rc)
        rc = fill_bounded(f);
    return rc ? rc : seccomp_load(f);
}

int sandbox_calls(struct error *err)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc = f ? fill(f) : -ENOMEM;

    if (f)
        seccomp_release(f);
    return rc ? error_errno(err, -rc, "cannot give up system calls") : 0;
}

#endif
