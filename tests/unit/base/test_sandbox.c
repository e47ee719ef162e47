/*
 * What a process can still do once it has shut itself in. Each case in a child; built with a sanitizer, system calls
 * stay as they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/base/sandbox.h"
#include "tests/support/test.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static void shut(void)
{
    const char *const paths[] = {"/etc/passwd", "/dev", NULL};
    struct error err;

    if (sandbox_files(paths, &err) < 0 || sandbox_calls(&err) < 0)
        _exit(99);
}

/* The errno with which a system call failed in a child that is shut in; 0: it did not. */
static int tried(long (*call)(void))
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        shut();
        _exit(call() < 0 ? errno : 0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static long open_allowed(void)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long open_beneath(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static long open_other(void)
{
    return open("/etc/hostname", O_RDONLY | O_CLOEXEC);
}

static long open_to_write(void)
{
    return open("/dev/null", O_WRONLY | O_CLOEXEC);
}

static long open_our_memory(void)
{
    return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
}

static long make_file(void)
{
    return open("/tmp/drover-sandbox", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

TEST(files_are_those_that_were_named_and_only_to_be_read)
{
    CHECK_INT(tried(open_allowed), 0);
    CHECK_INT(tried(open_beneath), 0);
    CHECK_INT(tried(open_other), EACCES);
    CHECK_INT(tried(open_to_write), EACCES);
    CHECK_INT(tried(open_our_memory), EACCES);
    CHECK_INT(tried(make_file), EACCES);
}

static long make_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long start_process(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return pid;
}

static long start_program(void)
{
    char *const argv[] = {(char[]){"true"}, NULL};

    return execv("/bin/true", argv);
}

static long signal_another(void)
{
    return kill(getppid(), 0);
}

static long map_a_program(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static long map_memory(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static long make_pair(void)
{
    int pair[2];

    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}

TEST(connections_programs_and_other_processes_are_out_of_reach)
{
    CHECK_INT(tried(map_memory), 0);
    CHECK_INT(tried(make_pair), 0);
    if (SANITIZED)
        return;
    CHECK_INT(tried(make_socket), EPERM);
    CHECK_INT(tried(start_process), EPERM);
    CHECK_INT(tried(start_program), EPERM);
    CHECK_INT(tried(signal_another), EPERM);
    CHECK_INT(tried(map_a_program), EPERM);
}

TEST_MAIN();
