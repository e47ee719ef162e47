/*
 * A libvirtd of the test's own, as nobody when the test is root, with everything of its below one
 * temporary directory; only its socket is used.
 */
#ifndef DROVER_TESTS_PRIVATE_LIBVIRTD_H
#define DROVER_TESTS_PRIVATE_LIBVIRTD_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "tests/support/test.h"

#define NOBODY 65534
#define DAEMON "/usr/sbin/libvirtd"

static char base[64], socket_path[128];
static pid_t daemon_pid;

/* Makes the directory; nothing runs yet. */
static void prepare_daemon(void)
{
    static const char conf[] = "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n";
    static const char qemu_conf[] = "stdio_handler = \"file\"\n";
    struct error err = ERROR_INIT;
    auto_free char *conf_path = NULL, *dir = NULL, *qemu_path = NULL;

    strcpy(base, "/tmp/drover-link-XXXXXX");
    CHECK(mkdtemp(base));
    if (geteuid() == 0)
        CHECK_INT(chown(base, NOBODY, NOBODY), 0);
    conf_path = xasprintf("%s/libvirtd.conf", base);
    CHECK_OK(file_write_atomic(conf_path, conf, strlen(conf), 0644, &err));
    /* Without virtlogd, which would have to be found and started. */
    dir = xasprintf("%s/libvirt", base);
    qemu_path = xasprintf("%s/qemu.conf", dir);
    CHECK_OK(dir_ensure(dir, 0755, &err));
    if (geteuid() == 0)
        CHECK_INT(chown(dir, NOBODY, NOBODY), 0);
    CHECK_OK(file_write_atomic(qemu_path, qemu_conf, strlen(qemu_conf), 0644, &err));
    snprintf(socket_path, sizeof(socket_path), "%s/libvirt/libvirt-sock", base);
}

static void start_daemon(void)
{
    daemon_pid = fork();
    CHECK(daemon_pid >= 0);
    if (daemon_pid == 0) {
        auto_free char *conf = xasprintf("%s/libvirtd.conf", base);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (geteuid() == 0 && (setgid(NOBODY) || setuid(NOBODY)))
            _exit(126);
        setenv("HOME", base, 1);
        setenv("XDG_RUNTIME_DIR", base, 1);
        setenv("XDG_CONFIG_HOME", base, 1);
        setenv("XDG_CACHE_HOME", base, 1);
        setenv("XDG_DATA_HOME", base, 1);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execl(DAEMON, DAEMON, "-f", conf, (char *)NULL);
        _exit(127);
    }
}

static void kill_daemon(void)
{
    CHECK_INT(kill(daemon_pid, SIGKILL), 0);
    CHECK_INT(waitpid(daemon_pid, NULL, 0), daemon_pid);
    daemon_pid = 0;
}

static void remove_tree(const char *path)
{
    auto_closedir DIR *dir = opendir(path);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        auto_free char *child = xasprintf("%s/%s", path, entry->d_name);
        struct stat st;

        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, "..") || lstat(child, &st))
            continue;
        if (S_ISDIR(st.st_mode))
            remove_tree(child);
        else
            unlink(child);
    }
    rmdir(path);
}

/* TEST_MAIN() for a program that needs libvirtd, and leaves none behind. */
#define DAEMON_TEST_MAIN()                                                                         \
    int main(void)                                                                                 \
    {                                                                                              \
        volatile int failed = 0;                                                                   \
                                                                                                   \
        if (access(DAEMON, X_OK)) {                                                                \
            printf("1..0 # SKIP libvirtd is not installed (package libvirt-daemon)\n");            \
            return 0;                                                                              \
        }                                                                                          \
        secret_init();                                                                             \
        setvbuf(stdout, NULL, _IOLBF, 0);                                                          \
        printf("1..%d\n", test_count);                                                             \
        for (volatile int i = 0; i < test_count; i++) {                                            \
            if (setjmp(test_escape) == 0) {                                                        \
                test_list[i].fn();                                                                 \
                printf("ok %d - %s\n", i + 1, test_list[i].name);                                  \
            } else {                                                                               \
                printf("not ok %d - %s\n", i + 1, test_list[i].name);                              \
                failed++;                                                                          \
            }                                                                                      \
        }                                                                                          \
        if (daemon_pid)                                                                            \
            kill(daemon_pid, SIGKILL);                                                             \
        return failed ? 1 : 0;                                                                     \
    }                                                                                              \
    struct daemon_test_main_needs_semicolon

#endif
