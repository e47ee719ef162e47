/* kill -9 while many threads write: whatever was acknowledged is there, whole. */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "db/db_internal.h"
#include "tests/unit/db/db_fixture.h"

extern char **environ;

/* Starts the torturer; returns its pid and what it says. */
static pid_t spawn(int *ret_fd)
{
    const char *program = getenv("DB_TORTURE");
    char *argv[] = {(char *)(uintptr_t)program, fixture_path, NULL};
    posix_spawn_file_actions_t actions;
    int fds[2];
    pid_t pid;

    CHECK(program);
    CHECK(pipe2(fds, O_CLOEXEC) == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    CHECK(posix_spawn(&pid, program, &actions, NULL, argv, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    *ret_fd = fds[0];
    return pid;
}

static size_t read_some(int fd, char *buf, size_t len, size_t want)
{
    size_t have = 0;

    while (have < want && have < len) {
        ssize_t n = read(fd, buf + have, len - have);

        if (n <= 0)
            break;
        have += (size_t)n;
    }
    return have;
}

static void check_row(struct db *db, const char *id)
{
    auto_free char *sql = xasprintf("SELECT count(*) FROM vms JOIN operations ON vm_id = vms.id "
                                    "JOIN events ON subject_id = vms.id WHERE vms.id = '%s'",
                                    id);
    struct error err = ERROR_INIT;
    int64_t n;

    CHECK_OK(conn_int(&db->readers[0], sql, &n, &err));
    CHECK_INT(n, 1);
}

static void check_file(struct db *db)
{
    struct error err = ERROR_INIT;
    int64_t ok;

    CHECK_OK(conn_int(&db->readers[0],
                      "SELECT count(*) = 1 AND max(integrity_check) = 'ok' FROM "
                      "pragma_integrity_check",
                      &ok, &err));
    CHECK_INT(ok, 1);
    CHECK_OK(conn_int(&db->readers[0], "SELECT count(*) FROM pragma_foreign_key_check", &ok, &err));
    CHECK_INT(ok, 0);
    /* A write is there with all its parts or not at all. */
    CHECK_OK(conn_int(&db->readers[0],
                      "SELECT (SELECT count(*) FROM vms) = (SELECT count(*) FROM "
                      "operations) AND (SELECT count(*) FROM vms) = "
                      "(SELECT count(*) FROM events)",
                      &ok, &err));
    CHECK_INT(ok, 1);
}

TEST(a_kill_loses_nothing_that_was_acknowledged)
{
    static char acked[1 << 20];
    size_t total = 0;

    fixture_new();
    for (int round = 0; round < 8; round++) {
        size_t have, first = total;
        struct db *db;
        pid_t pid;
        int fd;

        pid = spawn(&fd);
        /* Another moment each time; the count is what makes it one, no clock. */
        have = read_some(fd, acked + total, sizeof(acked) - total, UUID_TEXT * (20 + 37 * round));
        CHECK(have > 0);
        CHECK(kill(pid, SIGKILL) == 0);
        total += have;
        total += read_some(fd, acked + total, sizeof(acked) - total, SIZE_MAX);
        close(fd);
        CHECK(waitpid(pid, NULL, 0) == pid);
        CHECK_INT(total % UUID_TEXT, 0);
        db = fixture_open();
        check_file(db);
        for (size_t at = 0; at < total; at += UUID_TEXT) {
            acked[at + UUID_TEXT - 1] = '\0';
            check_row(db, acked + at);
        }
        printf("# round %d: %zu acknowledged writes survived\n", round,
               (total - first) / UUID_TEXT);
        db_close(db);
    }
}

TEST_MAIN();
