/* Running programs: what the child gets, what it may use up, and how it ends. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/base/exec.h"
#include "service/base/str.h"
#include "tests/support/test.h"

static int run_sh(const char *script, struct exec_options o, struct exec_result *ret,
                  struct error *err)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};

    o.argv = argv;
    if (!o.timeout_ms)
        o.timeout_ms = 20000;
    if (!o.output_max)
        o.output_max = 4096;
    return exec_run(&o, ret, err);
}

static int count_fds(void)
{
    auto_closedir DIR *d = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(d))
        n++;
    return n;
}

static bool is_gone(pid_t pid)
{
    char path[64], state = 0;
    auto_fclose FILE *f = NULL;

    if (kill(pid, 0) && errno == ESRCH)
        return true;
    /* An orphan may wait for init as a zombie: dead is dead. */
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "re");
    return !f || (fscanf(f, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z');
}

TEST(output_and_status_come_back)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    CHECK_OK(run_sh("echo out; echo err >&2", (struct exec_options){0}, &r, &err));
    CHECK_STR(r.out, "out\n");
    CHECK_STR(r.err, "err\n");
    CHECK_INT(r.status, 0);
    CHECK(!r.truncated && !r.timed_out);
}

TEST(a_failing_program_is_an_error_with_its_last_words_as_cause)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    CHECK_INT(
        run_sh("echo first >&2; echo last words >&2; exit 3", (struct exec_options){0}, &r, &err),
        -1);
    CHECK_INT(err.code, ERROR_SYSTEM);
    CHECK_STR(err.detail, "sh failed");
    CHECK_STR(err.cause, "exit status 3: last words");
    CHECK_INT(r.status, 3);
}

TEST(a_signal_is_told_apart_from_a_status)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    CHECK_INT(run_sh("kill -TERM $$", (struct exec_options){0}, &r, &err), -1);
    CHECK_INT(r.signal, SIGTERM);
    CHECK_INT(r.status, -1);
}

TEST(a_missing_program_is_an_error)
{
    const char *argv[] = {"/nonexistent/program", NULL};
    struct exec_options o = {.argv = argv, .timeout_ms = 20000};
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    CHECK_INT(exec_run(&o, &r, &err), -1);
    CHECK_STR(err.detail, "cannot run /nonexistent/program");
    CHECK_STR(err.cause, "No such file or directory");
}

TEST(a_relative_program_is_refused)
{
    const char *argv[] = {"sh", NULL};
    struct exec_options o = {.argv = argv, .timeout_ms = 1000};
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    CHECK_INT(exec_run(&o, &r, &err), -1);
    CHECK_INT(err.code, ERROR_INTERNAL);
}

TEST(arguments_are_not_seen_by_a_shell)
{
    const char *argv[] = {"/bin/echo", "$(id); `id` *", NULL};
    struct exec_options o = {.argv = argv, .timeout_ms = 20000, .output_max = 100};
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    CHECK_OK(exec_run(&o, &r, &err));
    CHECK_STR(r.out, "$(id); `id` *\n");
}

TEST(output_is_bounded_and_the_program_is_not_stuck)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    CHECK_OK(run_sh("head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2",
                    (struct exec_options){.output_max = 1000}, &r, &err));
    CHECK_INT(r.out_len, 1000);
    CHECK_INT(r.err_len, 1000);
    CHECK(r.truncated);
}

TEST(the_deadline_kills_the_whole_group)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;
    int64_t start = clock_monotonic_ms();
    int child = 0;

    /* Long enough for its first words, which say whom to look for. */
    CHECK_INT(
        run_sh("sleep 100 & echo $!; wait", (struct exec_options){.timeout_ms = 1500}, &r, &err),
        -1);
    CHECK_INT(err.code, ERROR_TIMEOUT);
    CHECK(r.timed_out);
    CHECK(clock_monotonic_ms() - start < 30000);
    CHECK_INT(sscanf(r.out, "%d", &child), 1);
    CHECK(child > 1);
    EVENTUALLY(is_gone(child), 5000);
}

TEST(what_a_program_leaves_behind_is_killed_and_not_waited_for)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;
    int64_t start = clock_monotonic_ms();
    int child = 0;

    CHECK_OK(run_sh("sleep 100 & echo $!", (struct exec_options){0}, &r, &err));
    CHECK(clock_monotonic_ms() - start < 30000);
    CHECK_INT(sscanf(r.out, "%d", &child), 1);
    EVENTUALLY(is_gone(child), 5000);
}

TEST(the_child_has_three_descriptors)
{
    const char *argv[] = {"/bin/ls", "/proc/self/fd", NULL};
    struct exec_options o = {.argv = argv, .timeout_ms = 20000, .output_max = 100};
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;
    int leaked = open("/dev/null", O_RDONLY); /* on purpose not close-on-exec */
    int rc = exec_run(&o, &r, &err);

    close(leaked);
    CHECK_OK(rc);
    CHECK_STR(r.out, "0\n1\n2\n3\n"); /* 3 is the directory that ls reads */
}

TEST(the_childs_surroundings_are_clean)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    setenv("DROVER_TEST_SECRET", "1", 1);
    CHECK_OK(
        run_sh("pwd; umask; tr '\\0' ' ' </proc/$$/environ", (struct exec_options){0}, &r, &err));
    unsetenv("DROVER_TEST_SECRET");
    CHECK_STR(r.out, "/\n0077\nLC_ALL=C PATH=/usr/bin:/bin ");
}

TEST(signals_are_at_their_defaults_in_the_child)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;
    sigset_t all, old;

    signal(SIGPIPE, SIG_IGN);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    CHECK_OK(
        run_sh("grep -E 'SigBlk|SigIgn' /proc/self/status", (struct exec_options){0}, &r, &err));
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, SIG_DFL);
    CHECK_STR(r.out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST(limits_hold)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;
    char path[] = "/tmp/drover-exec-XXXXXX";
    auto_free char *script = NULL;
    struct stat st;
    int fd = mkstemp(path);

    script = xasprintf("head -c 100000 /dev/zero >%s", path);
    CHECK_INT(run_sh(script, (struct exec_options){.file_bytes = 4096}, &r, &err), -1);
    CHECK_INT(fstat(fd, &st), 0);
    CHECK_INT(st.st_size, 4096);
    close(fd);
    unlink(path);

    CHECK_INT(run_sh("while :; do :; done", (struct exec_options){.cpu_seconds = 1}, &r, &err), -1);
    CHECK(r.signal == SIGXCPU || r.signal == SIGKILL);

    CHECK_OK(run_sh("ulimit -v; ulimit -n; ulimit -c",
                    (struct exec_options){.address_space_bytes = 1 << 30, .open_files = 32}, &r,
                    &err));
    CHECK(str_starts(r.out, "1048576\n"));
    if (!getenv("DROVER_TEST_VALGRIND")) /* which tells the kernel nothing of the limit on descriptors */
        CHECK_STR(r.out, "1048576\n32\n0\n");
}

TEST(no_descriptor_is_left_over)
{
    struct error err = ERROR_INIT;
    int before = count_fds();

    for (int i = 0; i < 50; i++) {
        auto_exec_result struct exec_result r = {0};

        (void)run_sh(i % 2 ? "exit 1" : "sleep 100",
                     (struct exec_options){.timeout_ms = i % 2 ? 0 : 5}, &r, &err);
    }
    CHECK_INT(count_fds(), before);
}

static _Atomic bool reaping;

static void *reap_everything(void *arg)
{
    (void)arg;
    while (reaping) {
        if (waitpid(-1, NULL, WNOHANG) <= 0)
            sched_yield();
    }
    return NULL;
}

TEST(somebody_else_reaping_is_survived)
{
    pthread_t thread;
    bool good = true;

    reaping = true;
    CHECK_INT(pthread_create(&thread, NULL, reap_everything, NULL), 0);
    for (int i = 0; i < 100 && good; i++) {
        auto_exec_result struct exec_result r = {0};
        struct error err = ERROR_INIT;

        /* Either we were first, or the error says that nobody knows; the output is there anyway. */
        if (run_sh("echo done", (struct exec_options){0}, &r, &err))
            good = strcmp(err.detail, "the outcome of sh is not known") == 0;
        good = good && strcmp(r.out, "done\n") == 0;
    }
    reaping = false;
    pthread_join(thread, NULL);
    CHECK(good);
}

TEST(ignored_children_are_survived)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    signal(SIGCHLD, SIG_IGN);
    CHECK_INT(run_sh("echo done", (struct exec_options){0}, &r, &err), -1);
    signal(SIGCHLD, SIG_DFL);
    CHECK_STR(err.detail, "the outcome of sh is not known");
    CHECK_STR(r.out, "done\n");
}

static void *run_many(void *arg)
{
    _Atomic int *good = arg;

    for (int i = 0; i < 50; i++) {
        auto_exec_result struct exec_result r = {0};
        struct error err = ERROR_INIT;

        if (run_sh("echo $$; exit 0", (struct exec_options){0}, &r, &err) == 0 && atoi(r.out) > 1)
            (*good)++;
    }
    return NULL;
}

TEST(threads_do_not_take_each_others_children)
{
    pthread_t threads[4];
    _Atomic int good = 0;

    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, run_many, &good), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(good, 200);
}

TEST_MAIN();
