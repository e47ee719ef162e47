/*
 * The KSM helper from both ends: what it understands, and a daemon without rights that gets from it
 * what it is refused, of a host that is a directory of text files.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "service/base/thread.h"
#include "service/host/helper_request.h"
#include "tests/unit/host/fixture.h"

#define NOBODY 65534

#define root fixture_root
static pid_t helper;

static bool parses(const char *text)
{
    struct helper_request r;

    return helper_request_parse(text, strlen(text), &r);
}

TEST(only_two_things_are_understood)
{
    static const char *const bad[] = {
        "", "stat", "stat ", "stat 0", "stat 1", "stat -5", "stat 12x", "stat 99999999999", "stat ../1",
        "stat 12 13", "set run 3", "set run -1", "set run", "set run ", "set  1", "set pages_shared 1",
        "set ../run 1", "set run/.. 1", "set max_page_sharing 2", "set pages_to_scan 99999999999",
        "set advisor_mode x", "set advisor_mode none\n", "get run", "STAT 12",
        "set pages_to_scan 000000000000000000000000000000000000000000000000000000000000000000000000000001"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        CHECK_STR(parses(bad[i]) ? bad[i] : "refused", "refused");
    CHECK(!helper_request_parse("stat 12\0", 8, &(struct helper_request){0}));
    CHECK(parses("stat 12") && parses("set run 2") && parses("set advisor_mode scan-time"));
    CHECK(helper_is_qemu("/usr/bin/qemu-system-x86_64\0-name", 33));
    CHECK(!helper_is_qemu("/usr/bin/qemu-img\0", 18) && !helper_is_qemu("/qemu-system-x/sh\0", 18));
    CHECK(!helper_is_qemu("", 0) && !helper_is_qemu("qemu-system-x86_64", 18));
}

static void write_file(const char *path, const char *text, size_t len, mode_t mode)
{
    auto_free char *whole = xasprintf("%s/%s", root, path);
    int fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(fd >= 0 && write(fd, text, len) == (ssize_t)len && fchmod(fd, mode) == 0);
    close(fd);
}

static void make_dir(const char *path)
{
    auto_free char *whole = xasprintf("%s/%s", root, path);

    CHECK(mkdir(whole, 0755) == 0 && chmod(whole, 0755) == 0);
}

static const char stat_line[] =
    " (qemu) S 1 1 1 0 -1 4194304 100 0 2 0 50 25 0 0 20 0 4 0 777 1000000 2000 18446744073709551615 "
    "0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
static const char ksm_stat[] = "ksm_rmap_items 10\nksm_zero_pages 2\nksm_merging_pages 7\nksm_process_profit 4096\n";

static void make_process(int pid, const char *cmdline, size_t len, const char *stat, const char *merging)
{
    char path[64], text[512];

    snprintf(path, sizeof(path), "proc/%d", pid);
    make_dir(path);
    snprintf(path, sizeof(path), "proc/%d/stat", pid);
    write_file(path, text, (size_t)snprintf(text, sizeof(text), "%d%s", pid, stat_line), 0444);
    snprintf(path, sizeof(path), "proc/%d/cmdline", pid);
    write_file(path, cmdline, len, 0444);
    snprintf(path, sizeof(path), "proc/%d/ksm_stat", pid);
    write_file(path, stat, strlen(stat), 0400);
    snprintf(path, sizeof(path), "proc/%d/ksm_merging_pages", pid);
    write_file(path, merging, strlen(merging), 0400);
}

static void make_host(void)
{
    static const char *const dirs[] = {"proc", "run", "sys", "sys/kernel", "sys/kernel/mm", "sys/kernel/mm/ksm"};

    host_close(fixture_open()); /* leaves the empty directory */
    for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
        make_dir(dirs[i]);
    write_file("sys/kernel/mm/ksm/run", "0\n", 2, 0644);
    write_file("sys/kernel/mm/ksm/max_page_sharing", "256\n", 4, 0644);
    make_process(500, "/usr/bin/qemu-system-x86_64\0-name\0guest=a", 42, ksm_stat, "7\n");
    make_process(501, "/bin/sh\0-c\0qemu-system-x86_64", 30, ksm_stat, "7\n");
    /* Linux 6.1 */
    make_process(502, "/usr/bin/qemu-system-x86_64\0-name\0guest=b", 42, "ksm_rmap_items 10\n", "9\n");
}

static char *socket_path(void)
{
    return xasprintf("%s/" HELPER_SOCKET, root);
}

/* fn as somebody else, in a process of its own; what it found comes back as the exit status. */
static int as_user(unsigned user, int (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (setgid(user) || setuid(user))
            _exit(99);
        _exit(fn());
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int reachable(void)
{
    auto_free char *path = socket_path();
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 ? 0 : 1;
}

static void start_helper(void)
{
    auto_free char *path = socket_path();

    helper = fork();
    if (helper == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a check that fails must not leave it behind */
        execl(HELPER_PROGRAM, HELPER_PROGRAM, "--user", "65534", "--root", root, "--socket", path, (char *)NULL);
        _exit(127);
    }
    /* Its name is there before it listens, and before it is the user's. */
    EVENTUALLY(as_user(NOBODY, reachable) == 0, 20000);
}

static void stop_helper(void)
{
    kill(helper, SIGTERM);
    (void)waitpid(helper, NULL, 0);
}

static int without(void)
{
    struct host_process p;
    struct host *h;
    struct error err;

    if (host_open(root, &h, &err) || host_process_read(h, 500, &p) != 1)
        return 1;
    if (p.has_ksm || !*p.ksm_reason)
        return 2;
    if (!host_ksm_write(h, HOST_KSM_run, 1, &err) || err.code != ERROR_FORBIDDEN)
        return 3;
    host_close(h);
    return 0;
}

static int with(void)
{
    struct host_process p;
    struct host *h;
    struct error err;

    if (host_open(root, &h, &err) || host_process_read(h, 500, &p) != 1)
        return 1;
    if (!p.has_ksm || p.ksm_merging_pages != 7 || p.ksm_profit_bytes != 4096)
        return 2;
    if (host_process_read(h, 501, &p) != 1 || p.has_ksm) /* no QEMU */
        return 3;
    if (host_process_read(h, 502, &p) != 1 || p.ksm_rmap_items != 10 || p.ksm_merging_pages != 9)
        return 7;
    if (host_ksm_write(h, HOST_KSM_run, 1, &err))
        return 4;
    if (!host_ksm_write(h, HOST_KSM_max_page_sharing, 2, &err)) /* not a tuner's knob */
        return 5;
    if (!host_ksm_write(h, HOST_KSM_sleep_millisecs, 5, &err) ||
        err.code != ERROR_NOT_SUPPORTED_BY_HOST) /* this kernel lacks it: the helper's own finding */
        return 6;
    host_close(h);
    return 0;
}

static int to_test[2], to_child[2]; /* a byte each way, in turns */

/* The helper hangs, and goes on once this says so. */
static int after_a_pause(void)
{
    struct host_process p;
    struct host *h;
    struct error err;
    char byte = 0;

    if (host_open(root, &h, &err) || host_process_read(h, 500, &p) != 1 || p.has_ksm)
        return 1;
    if (write(to_test[1], &byte, 1) != 1 || read(to_child[0], &byte, 1) != 1)
        return 2;
    if (host_ksm_write(h, HOST_KSM_run, 1, &err))
        return 3;
    host_close(h);
    return 0;
}

static void *wake_helper(void *arg)
{
    char byte;

    (void)arg;
    if (read(to_test[0], &byte, 1) == 1 && kill(helper, SIGCONT) == 0)
        (void)!write(to_child[1], &byte, 1);
    return NULL;
}

static int raw(void)
{
    auto_free char *path = socket_path();
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char answer[64] = "", large[4096];
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    memset(large, 'x', sizeof(large));
    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
        return 1;
    if (send(fd, large, sizeof(large), 0) < 0 || recv(fd, answer, sizeof(answer) - 1, 0) <= 0 ||
        answer[0] != HELPER_BAD || strtol(answer + 1, NULL, 10) != EINVAL)
        return 2;
    memset(answer, 0, sizeof(answer));
    if (send(fd, "stat 501", 8, 0) < 0 || recv(fd, answer, sizeof(answer) - 1, 0) <= 0 ||
        strtol(answer + 1, NULL, 10) != EPERM)
        return 3;
    return 0;
}

static int stranger(void)
{
    auto_free char *path = socket_path();
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    return connect(fd, (struct sockaddr *)&to, sizeof(to)) && errno == EACCES ? 0 : 1;
}

TEST(a_daemon_without_rights_gets_them_through_it_and_no_others)
{
    auto_free char *path = NULL;
    char run[8] = "";
    pthread_t waker;
    struct error err;
    int fd;

    if (geteuid() != 0)
        return; /* it takes root to lack rights and to have them */
    make_host();
    CHECK_INT(as_user(NOBODY, without), 0);
    start_helper();
    CHECK_INT(as_user(NOBODY, with), 0);
    CHECK_INT(as_user(NOBODY, raw), 0);
    CHECK_INT(as_user(NOBODY, with), 0); /* after a client that was rude */
    CHECK_INT(as_user(NOBODY - 1, stranger), 0);
    /* A figure that did not come in time is no reason to refuse a change. */
    CHECK(pipe2(to_test, O_CLOEXEC) == 0 && pipe2(to_child, O_CLOEXEC) == 0);
    CHECK_OK(thread_start(&waker, "waker", wake_helper, NULL, &err));
    CHECK(kill(helper, SIGSTOP) == 0);
    CHECK_INT(as_user(NOBODY, after_a_pause), 0);
    pthread_join(waker, NULL);
    path = xasprintf("%s/sys/kernel/mm/ksm/run", root);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, run, sizeof(run) - 1) == 1 && run[0] == '1');
    close(fd);
    stop_helper();
    CHECK_INT(as_user(NOBODY, without), 0); /* gone: the figures are absent again, with the reason */
    nftw(root, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TEST_MAIN();
