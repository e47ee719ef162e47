/*
 * The embedded driver: libvirt's QEMU driver inside our own process, everything of its below
 * STATE_DIR/libvirt. Writes its configuration and collects dead QEMU processes.
 *
 * Also where a QEMU's pid is found, because that is a matter of the driver's directories.
 */
#include "service/virt/virt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"

#define CONF_MARK                                                                                  \
    "# Written by droverd at every start; without this line droverd leaves the file alone.\n"

static const char conf_common[] =
    CONF_MARK "# There is no virtlogd in an embedded driver.\n"
              "stdio_handler = \"file\"\n"
              "# Owners are Drover's business; extended attributes would outlive a crash.\n"
              "remember_owner = 0\n"
              "security_driver = \"none\"\n";
static const char conf_root[] =
    "# The state directory is root's alone, so QEMU is too, with root's capabilities (libvirt drops\n"
    "# them only for another user), a /dev of its own and seccomp. Run droverd as a user of its own\n"
    "# to run QEMU as that user.\n"
    "user = \"root\"\n"
    "group = \"root\"\n";

static int write_conf(const char *root, struct error *err)
{
    auto_free char *etc = xasprintf("%s/etc", root);
    auto_free char *path = xasprintf("%s/qemu.conf", etc);
    auto_free char *old = NULL;
    auto_strbuf struct strbuf text = {0};
    int rc;

    if (dir_ensure(root, 0711, err) || dir_ensure(etc, 0755, err))
        return -1;
    rc = file_read(path, 65536, &old, NULL, err);
    if (rc < 0)
        return -1;
    if (rc && !str_starts(old, CONF_MARK))
        return 0;
    strbuf_adds(&text, conf_common);
    if (geteuid() == 0)
        strbuf_adds(&text, conf_root);
    if (rc && str_eq(old, text.data))
        return 0;
    return file_write_atomic(path, text.data, text.len, 0644, err);
}

/* ---- processes by pid file ---- */

static bool contains(const char *data, size_t len, const char *needle)
{
    return memmem(data, len, needle, strlen(needle)) != NULL;
}

/*
 * The process a pid file names, 0 if there is none. The file may be stale or another driver's:
 * the process must have the word among its arguments.
 */
static pid_t pid_in_file(const char *file, const char *word)
{
    auto_free char *text = NULL, *path = NULL;
    auto_close int proc = -1;
    char cmdline[8192];
    struct error ignored;
    ssize_t n;
    uint64_t pid;

    if (file_read(file, 32, &text, NULL, &ignored) != 1)
        return 0;
    text[strcspn(text, "\n")] = '\0';
    if (!str_to_u64(text, INT32_MAX, &pid) || pid < 2)
        return 0;
    path = xasprintf("/proc/%d", (int)pid);
    proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    n = proc >= 0 ? file_read_at(proc, "cmdline", cmdline, sizeof(cmdline)) : -1;
    return n > 0 && contains(cmdline, (size_t)n, word) ? (pid_t)pid : 0;
}

int64_t virt_pid(const struct virt *v, const char *name, const char *uuid)
{
    auto_free char *file = NULL;

    if (!v->run_dir || strchr(name, '/'))
        return 0;
    file = xasprintf("%s/%s.pid", v->run_dir, name);
    return pid_in_file(file, uuid);
}

/*
 * libvirt asks a QEMU daemon without a guest what it can do. Killed in the middle of that, we
 * would leave it behind for ever; its directory tells.
 */
static void sweep_probes(const char *root)
{
    auto_free char *lib = xasprintf("%s/lib/qemu", root);
    auto_closedir DIR *dir = opendir(lib);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        auto_free char *file = NULL, *socket = NULL, *word = NULL, *probe = NULL;
        pid_t pid;

        if (!str_starts(entry->d_name, "qmp-"))
            continue;
        probe = xasprintf("%s/%s", lib, entry->d_name);
        file = xasprintf("%s/qmp.pid", probe);
        socket = xasprintf("%s/qmp.monitor", probe);
        word = xasprintf("%s/qmp.pid", entry->d_name);
        pid = pid_in_file(file, word);
        if (pid)
            (void)kill(pid, SIGKILL);
        /* What cannot be removed costs a name in a directory of ours. */
        (void)unlink(file);
        (void)unlink(socket);
        (void)rmdir(probe);
    }
}

/* The value of root= in an explicit qemu:///embed URI, or NULL. */
static char *root_of(const char *uri)
{
    const char *root = strstr(uri, "root=");

    return root ? xstrndup(root + 5, strcspn(root + 5, "&")) : NULL;
}

/*
 * libvirt notes down that a guest is starting before there is a process. A note without a pid, left
 * by a daemon that was killed just then, would make it wait half a minute for a QEMU that was never
 * run (it is only released once its pid is noted).
 */
static void drop_stillborn(const struct virt *v)
{
    auto_closedir DIR *dir = opendir(v->run_dir);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        auto_close int fd = -1;
        char text[1024];
        ssize_t n;

        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
        if (n > 0 &&
            contains(text, (size_t)n, "<domstatus state='paused' reason='starting up' pid='0'>"))
            (void)unlinkat(dirfd(dir), entry->d_name, 0); /* at worst, libvirt waits */
    }
}

int virt_embed_prepare(struct virt *v, struct error *err)
{
    auto_free char *root = root_of(v->uri);
    auto_free char *real = NULL;

    if (!root)
        root = xasprintf("%s/libvirt", v->state_dir);
    if (write_conf(root, err))
        return -1;
    real = realpath(root, NULL);
    if (!real)
        return error_errno(err, errno, "cannot resolve %s", root);
    if (strcspn(real, "?&#%+ ") != strlen(real) || strlen(real) > VIRT_ROOT_MAX) {
        if (virt_root_shorten(v, real, err))
            return -1;
    }
    sweep_probes(real);
    free(v->uri);
    v->uri = xasprintf("qemu:///embed?root=%s", v->root_link ? v->root_link : real);
    v->run_dir = xasprintf("%s/run/qemu", real);
    v->log_dir = xasprintf("%s/log/qemu", real);
    v->save_dir = xasprintf("%s/lib/qemu/save", real);
    drop_stillborn(v);
    return 0;
}

void virt_embed_forget_log(const struct virt *v, const char *name)
{
    auto_free char *path = NULL;

    if (!v->log_dir || strchr(name, '/'))
        return;
    path = xasprintf("%s/%s.log", v->log_dir, name);
    (void)unlink(path); /* a log that stays does no harm */
}

/* ---- collecting QEMU ----
 *
 * libvirt starts QEMU as a daemon, so its parent is PID 1, and where that one reaps slowly every
 * stop takes a second or two of polling a zombie. As a subreaper we become the parent and collect
 * at once, but only QEMU that has left our session, as daemons do. What is still in it is a direct
 * child that somebody waits for: libvirt probes with "qemu -daemonize", whose first process it
 * waits for and whose second it polls.
 *
 * SIGCHLD wakes the thread: looking through hundreds of children ten times a second costs more than
 * sampling them. One signal may stand for many ends and one may be lost, so it looks now and then, too.
 */

#define REAP_EVERY_MS 500
#define KILL_WAIT_MS  2000

static bool is_qemu_daemon(pid_t pid)
{
    char path[64], comm[32];
    auto_close int proc = -1;

    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return proc >= 0 && getsid(pid) != getsid(0) &&
           file_read_at(proc, "comm", comm, sizeof(comm)) > 0 &&
           (str_starts(comm, "qemu-system") || str_starts(comm, "qemu-kvm"));
}

/* A zombie that is somebody else's stands first in the queue; look at every process behind it. */
static void reap_behind(pid_t first)
{
    auto_closedir DIR *proc = opendir("/proc");
    const struct dirent *entry;
    uint64_t pid;

    while (proc && (entry = readdir(proc))) {
        siginfo_t info = {0};

        if (!str_to_u64(entry->d_name, INT32_MAX, &pid) || (pid_t)pid == first)
            continue;
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == (pid_t)pid && is_qemu_daemon((pid_t)pid))
            (void)waitpid((pid_t)pid, NULL, WNOHANG);
    }
}

static void reap(void)
{
    siginfo_t info = {0};

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid) {
        if (!is_qemu_daemon(info.si_pid)) {
            reap_behind(info.si_pid);
            return;
        }
        (void)waitpid(info.si_pid, NULL, WNOHANG);
    }
}

void virt_embed_kill(const struct virt *v, const char *name, const char *uuid)
{
    pid_t pid = v->reaping && v->embedded ? (pid_t)virt_pid(v, name, uuid) : 0;
    struct pollfd p = {.events = POLLIN};
    auto_close int fd = -1;

    /* Our child, so the number cannot have become somebody else's. */
    if (!pid || !is_qemu_daemon(pid) || waitpid(pid, NULL, WNOHANG) != 0)
        return;
    p.fd = fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || kill(pid, SIGKILL))
        return;
    /* At once: libvirt sees the monitor's end, too, and sleeps if there is still something to kill. */
    (void)poll(&p, 1, KILL_WAIT_MS);
    (void)waitpid(pid, NULL, WNOHANG);
}

static void *reap_thread(void *arg)
{
    const struct timespec pause = {.tv_nsec = REAP_EVERY_MS * 1000000};
    struct virt *v = arg;
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (;;) {
        reap();
        (void)sigtimedwait(&child, NULL, &pause);
        LOCK_SCOPE(&v->lock);
        if (v->reap_stop)
            return NULL;
    }
}

int virt_reap_start(struct virt *v, struct error *err)
{
    int was = 0;

    (void)prctl(PR_GET_CHILD_SUBREAPER, &was, 0, 0, 0);
    v->was_subreaper = was;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
        return error_errno(err, errno, "cannot become a subreaper");
    if (thread_start(&v->reap_thread, "virt-reap", reap_thread, v, err))
        return -1;
    v->reaping = true;
    return 0;
}

void virt_reap_stop(struct virt *v)
{
    if (!v->reaping)
        return;
    {
        LOCK_SCOPE(&v->lock);
        v->reap_stop = true;
    }
    pthread_kill(v->reap_thread, SIGCHLD); /* blocked, so it only ends the wait */
    pthread_join(v->reap_thread, NULL);
    if (!v->was_subreaper)
        (void)prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    v->reaping = false;
}
