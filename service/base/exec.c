/*
 * Running another program. The child shares our memory until it execs (as posix_spawn does), so
 * the cost does not grow with the daemon and no page is copied; therefore everything between
 * clone and exec is plain system calls on its own stack. Deliberately knows nothing of any program.
 */
#include "service/base/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/str.h"

#define END_POLL_MS       500
#define CHILD_STACK_BYTES ((size_t)64 * 1024)

/* The child runs in our memory without a thread of its own: no instrumentation may look at it. */
#define CHILD_CODE __attribute__((no_sanitize("address", "undefined", "thread")))

/*
 * Thread sanitizer cannot follow a child in its own memory, so there it gets a copy; what the child
 * tells us lies in shared memory either way.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_FLAGS CLONE_PIDFD
#endif
#endif
#if !defined(CHILD_FLAGS) && defined(__SANITIZE_THREAD__)
#define CHILD_FLAGS CLONE_PIDFD
#endif
#ifndef CHILD_FLAGS
#define CHILD_FLAGS (CLONE_PIDFD | CLONE_VM | CLONE_VFORK)
#endif

static char *const child_environment[] = {(char[]){"LC_ALL=C"}, (char[]){"PATH=/usr/bin:/bin"},
                                          NULL};

struct child {
    const struct exec_options *options;
    int in, out, err;
    char confine[64]; /* what the kernel is told of the profile, or "" */
    const int *keep; /* becomes 3 and following; none of them lies among these */
    unsigned keep_count;
    volatile int *failed; /* errno of what went wrong before exec; at the bottom of its stack */
};

struct kernel_sigaction {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
};

/* By number, since a sanitizer's own signal() keeps notes in the memory we share. */
CHILD_CODE static void child_signals_default(void)
{
    struct kernel_sigaction act = {0};

    for (int i = 1; i < NSIG; i++)
        syscall(SYS_rt_sigaction, i, &act, NULL, sizeof(act.mask));
}

/* 0 leaves the limit as it is. */
CHILD_CODE static int child_limit(int resource, uint64_t value)
{
    struct rlimit limit = {.rlim_cur = value, .rlim_max = value};

    return value ? setrlimit((__rlimit_resource_t)resource, &limit) : 0;
}

/*
 * The kernel changes over at exec. A host without AppArmor, or without the profile, goes without: it
 * is one more wall, not the only one.
 */
CHILD_CODE static void child_confine(const struct child *c)
{
    size_t len = 0;
    long fd;

    while (c->confine[len])
        len++;
    if (!len)
        return;
    fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!syscall(SYS_write, fd, c->confine, len);
    syscall(SYS_close, fd);
}

CHILD_CODE static int child_keep(const struct child *c)
{
    for (unsigned i = 0; i < c->keep_count; i++) {
        if (dup2(c->keep[i], 3 + (int)i) < 0)
            return -1;
    }
    return 0;
}

CHILD_CODE static int child_main(void *arg)
{
    struct child *c = arg;
    const struct exec_options *o = c->options;
    struct rlimit no_core = {0};
    sigset_t none;

    /* Handlers end with exec, but "ignored" and the mask would be inherited. */
    child_signals_default();
    sigemptyset(&none);
    if (setpgid(0, 0) || dup2(c->in, 0) < 0 || dup2(c->out, 1) < 0 || dup2(c->err, 2) < 0 ||
        child_keep(c) ||
        close_range(3 + c->keep_count, ~0U, 0) || chdir("/") || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) || setrlimit(RLIMIT_CORE, &no_core) ||
        child_limit(RLIMIT_AS, o->address_space_bytes) || child_limit(RLIMIT_CPU, o->cpu_seconds) ||
        child_limit(RLIMIT_FSIZE, o->file_bytes) || child_limit(RLIMIT_NOFILE, o->open_files) ||
        (o->nice && setpriority(PRIO_PROCESS, 0, o->nice)))
        goto out;
    umask(077);
    sigprocmask(SIG_SETMASK, &none, NULL);
    child_confine(c);
    execve(o->argv[0], (char *const *)(uintptr_t)o->argv, child_environment);
out:
    *c->failed = errno;
    _exit(127);
}

static void *stack_new(struct error *err)
{
    void *stack =
        mmap(NULL, CHILD_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (stack != MAP_FAILED)
        return stack;
    error_errno(err, errno, "cannot start a program");
    return NULL;
}

static void stack_free(void *stack)
{
    if (stack)
        munmap(stack, CHILD_STACK_BYTES);
}
DEFINE_CLEANUP(stack, void *, stack_free);

/* Starts the child; returns when it has exec'ed or failed to. */
static int spawn(struct child *c, char *stack, pid_t *ret_pid, int *ret_pidfd, struct error *err)
{
    sigset_t all, old;
    int pidfd = -1, errnum;
    pid_t pid;

    c->failed = (volatile int *)(void *)stack;
    /* No handler of ours may run in the child while it uses our memory. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    pid = clone(child_main, stack + CHILD_STACK_BYTES, CHILD_FLAGS | SIGCHLD, c, &pidfd);
    errnum = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (pid < 0)
        return error_errno(err, errnum, "cannot start a program");
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}

struct capture {
    int fd;
    char *data;
    size_t len, max;
    bool truncated;
    const struct exec_options *tell; /* of stdout, when somebody listens */
};

static void cleanup_capture(struct capture (*cap)[2])
{
    for (int i = 0; i < 2; i++)
        cleanup_close(&(*cap)[i].fd);
}

/*
 * Descriptors 0 to 2 are avoided on our side, should the daemon have them free: the child puts its
 * own there one after the other, and dup2 onto itself would leave it close-on-exec.
 */
static int open_null(struct error *err)
{
    auto_close int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);

    return high < 0 ? error_errno(err, errno, "cannot open /dev/null") : high;
}

/* A pipe whose read end never blocks. */
static int capture_open(struct capture *c, char *data, size_t max, int *ret_write_fd,
                        struct error *err)
{
    int p[2], errnum;

    if (pipe2(p, O_CLOEXEC))
        return error_errno(err, errno, "cannot make a pipe");
    *c = (struct capture){.fd = fcntl(p[0], F_DUPFD_CLOEXEC, 3), .data = data, .max = max};
    *ret_write_fd = fcntl(p[1], F_DUPFD_CLOEXEC, 3);
    errnum = errno;
    close(p[0]);
    close(p[1]);
    if (c->fd < 0 || *ret_write_fd < 0)
        return error_errno(err, errnum, "cannot make a pipe");
    return fd_set_nonblock(c->fd, err);
}

/* Takes what is there; at the end of the stream closes it. Beyond max, reads and drops. */
static void capture_read(struct capture *c)
{
    char drop[4096];

    while (c->fd >= 0) {
        bool keep = c->len < c->max;
        ssize_t n =
            keep ? read(c->fd, c->data + c->len, c->max - c->len) : read(c->fd, drop, sizeof(drop));

        if (n > 0 && c->tell)
            c->tell->on_output(c->tell->opaque, keep ? c->data + c->len : drop, (size_t)n);
        if (n > 0 && keep) {
            c->len += (size_t)n;
        } else if (n > 0) {
            c->truncated = true;
        } else if (n < 0 && errno == EAGAIN) {
            return;
        } else if (n == 0 || errno != EINTR) {
            close(c->fd);
            c->fd = -1;
        }
    }
}

/* Until it exited (true), or the deadline passed or it was not wanted any more (false). */
static bool collect(const struct exec_options *o, int pidfd, struct capture cap[2],
                    int64_t deadline_ms, bool *ret_ended)
{
    for (;;) {
        struct pollfd p[3] = {{.fd = pidfd, .events = POLLIN},
                              {.fd = cap[0].fd, .events = POLLIN},
                              {.fd = cap[1].fd, .events = POLLIN}};
        int64_t left = deadline_ms - clock_monotonic_ms();

        if (left <= 0)
            return false;
        *ret_ended = o->should_end && o->should_end(o->opaque);
        if (*ret_ended)
            return false;
        if (o->should_end && left > END_POLL_MS)
            left = END_POLL_MS;
        if (poll(p, 3, left > 60000 ? 60000 : (int)left) < 0)
            continue; /* EINTR; anything else ends at the deadline */
        capture_read(&cap[0]);
        capture_read(&cap[1]);
        if (p[0].revents)
            return true;
    }
}

/*
 * Kills whatever is left of the group. While the leader is not reaped its number cannot belong to
 * anybody else; if somebody took it from us, the group may be gone and is left alone.
 */
static void kill_group(pid_t pid, int pidfd)
{
    siginfo_t info;

    if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        kill(-pid, SIGKILL);
}

/* 0, or -1 with errno when somebody else took the status. */
static int reap(int pidfd, struct exec_result *r)
{
    siginfo_t info = {0};
    int rc;

    do
        rc = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
    while (rc && errno == EINTR);
    if (rc)
        return -1;
    if (info.si_code == CLD_EXITED)
        r->status = info.si_status;
    else
        r->signal = info.si_status;
    return 0;
}

static const char *last_line(char *text, size_t len)
{
    char *start;

    while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
        text[--len] = '\0';
    start = memrchr(text, '\n', len);
    return start ? start + 1 : text;
}

static int outcome(const struct exec_options *o, struct exec_result *r, int reap_errno,
                   struct error *err)
{
    const char *slash = strrchr(o->argv[0], '/');
    const char *name = slash ? slash + 1 : o->argv[0];
    auto_free char *said = xstrdup(r->err);

    if (r->ended)
        return error_set(err, ERROR_CANCELLED, "%s was ended", name);
    if (r->timed_out)
        return error_set(err, ERROR_TIMEOUT, "%s took longer than %lld ms", name,
                         (long long)o->timeout_ms);
    if (reap_errno)
        return error_errno(err, reap_errno, "the outcome of %s is not known", name);
    if (r->status == 0)
        return 0;
    error_set(err, ERROR_SYSTEM, "%s failed", name);
    if (r->signal)
        error_cause(err, "ended by signal %d: %s", r->signal, last_line(said, strlen(said)));
    else
        error_cause(err, "exit status %d: %s", r->status, last_line(said, strlen(said)));
    return -1;
}

void exec_result_done(struct exec_result *r)
{
    free(r->out);
    free(r->err);
    *r = (struct exec_result){0};
}

/* Collects until it ended or has to; afterwards nothing of the group is left. */
static int supervise(const struct exec_options *o, pid_t pid, int pidfd, struct capture cap[2], int64_t deadline_ms,
                     struct exec_result *r)
{
    int errnum = 0;

    r->timed_out = !collect(o, pidfd, cap, deadline_ms, &r->ended) && !r->ended;
    kill_group(pid, pidfd);
    if (reap(pidfd, r))
        errnum = errno;
    for (int i = 0; i < 2; i++)
        capture_read(&cap[i]);
    r->out_len = cap[0].len;
    r->err_len = cap[1].len;
    r->truncated = cap[0].truncated || cap[1].truncated;
    return errnum;
}

int exec_run(const struct exec_options *o, struct exec_result *ret, struct error *err)
{
    auto_scope(cleanup_capture) struct capture cap[2] = {{.fd = -1}, {.fd = -1}};
    auto_scope(cleanup_stack) void *stack = NULL;
    auto_close int in = -1, out = -1, errors = -1, pidfd = -1;
    int64_t deadline = clock_monotonic_ms() + o->timeout_ms;
    struct child child = {.options = o};
    pid_t pid = 0;
    int reap_errno;

    exec_result_done(ret);
    ret->status = -1;
    ret->out = xcalloc(1, o->output_max + 1);
    ret->err = xcalloc(1, o->output_max + 1);
    if (o->argv[0][0] != '/' || o->timeout_ms <= 0)
        return error_set(err, ERROR_INTERNAL,
                         "a program is named by its absolute path and has a deadline");
    in = open_null(err);
    stack = stack_new(err);
    if (in < 0 || !stack || capture_open(&cap[0], ret->out, o->output_max, &out, err) ||
        capture_open(&cap[1], ret->err, o->output_max, &errors, err))
        return -1;
    if (o->on_output)
        cap[0].tell = o;
    child.in = in, child.out = out, child.err = errors;
    if (o->profile)
        snprintf(child.confine, sizeof(child.confine), "exec %s", o->profile);
    if (spawn(&child, stack, &pid, &pidfd, err))
        return -1;
    close(TAKE_FD(out));
    close(TAKE_FD(errors));
    reap_errno = supervise(o, pid, pidfd, cap, deadline, ret);
    if (*child.failed)
        return error_errno(err, *child.failed, "cannot run %s", o->argv[0]);
    return outcome(o, ret, reap_errno, err);
}

#define KEEP_MAX 16

static void cleanup_keep(int (*keep)[KEEP_MAX])
{
    for (int i = 0; i < KEEP_MAX; i++)
        cleanup_close(&(*keep)[i]);
}

int exec_child(const char *const *argv, const int *fds, size_t count, int *ret_pidfd, struct error *err)
{
    const struct exec_options options = {.argv = argv};
    auto_scope(cleanup_stack) void *stack = stack_new(err);
    auto_scope(cleanup_keep) int keep[KEEP_MAX];
    auto_close int in = -1, out = -1, errors = -1;
    struct child child = {.options = &options, .keep = keep, .keep_count = (unsigned)count};
    int pidfd = -1;
    pid_t pid;

    for (size_t i = 0; i < KEEP_MAX; i++)
        keep[i] = -1;
    if (!stack || count > KEEP_MAX || argv[0][0] != '/')
        return stack ? error_set(err, ERROR_INTERNAL, "a program is named by its absolute path") : -1;
    in = open_null(err);
    if (in < 0)
        return -1;
    out = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (out < 0 || errors < 0)
        return error_errno(err, errno, "cannot start %s", argv[0]);
    for (size_t i = 0; i < count; i++) {
        keep[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3 + (int)count);
        if (keep[i] < 0)
            return error_errno(err, errno, "cannot start %s", argv[0]);
    }
    child.in = in, child.out = out, child.err = errors;
    if (spawn(&child, stack, &pid, &pidfd, err))
        return -1;
    if (*child.failed) {
        int errnum = *child.failed;

        exec_child_end(pidfd, 0);
        return error_errno(err, errnum, "cannot run %s", argv[0]);
    }
    *ret_pidfd = pidfd;
    return 0;
}

void exec_child_end(int pidfd, int64_t wait_ms)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    struct exec_result ignored = {0};

    if (poll(&p, 1, (int)wait_ms) <= 0)
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    (void)reap(pidfd, &ignored);
    close(pidfd);
}

int exec_replace(const char *const *argv, struct error *err)
{
    execve(argv[0], (char *const *)(uintptr_t)argv, environ);
    return error_errno(err, errno, "cannot run %s", argv[0]);
}
