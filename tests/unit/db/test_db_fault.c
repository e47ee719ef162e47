/*
 * A disk that refuses: full (a small tmpfs in a mount namespace of our own), and one that does not
 * let the file grow. What was acknowledged stays, what was refused is not there, and it heals.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "db/db_internal.h"
#include "tests/unit/db/db_fixture.h"

static char big_spec[9000];
static int told;

static int insert(struct db_tx *tx, void *arg, struct error *err)
{
    const int *index = arg;
    char id[32], name[32];
    struct vm_row vm;
    int64_t seq;

    snprintf(id, sizeof(id), "id-%d", *index);
    snprintf(name, sizeof(name), "vm-%d", *index);
    vm = fixture_vm(id, name);
    vm.spec = big_spec;
    return store_vm_insert(tx, &vm, &seq, err);
}

static void tell(void *arg)
{
    told++;
}

/* Inserts until it is refused; returns how many were acknowledged. */
static int insert_until_refused(struct db *db, int from, struct error *err)
{
    int i = from;

    told = 0;
    while (i < from + 5000 && db_write(db, insert, tell, &i, err) == 0)
        i++;
    CHECK(i < from + 5000);
    CHECK_INT(told, i - from);
    return i - from;
}

static int64_t count(struct db *db)
{
    auto_reader struct reader r = reader_take(db);
    struct error err = ERROR_INIT;
    int64_t n = -1;

    CHECK_OK(conn_int(r.conn, "SELECT count(*) FROM vms", &n, &err));
    return n;
}

static void fill_spec(void)
{
    memset(big_spec, 'x', sizeof(big_spec) - 1);
    big_spec[0] = '"';
    big_spec[sizeof(big_spec) - 2] = '"';
}

static bool mount_small_disk(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", fixture_dir, "tmpfs", 0, "size=4m") == 0;
}

TEST(a_full_disk_refuses_and_heals)
{
    struct error err = ERROR_INIT;
    auto_free char *ballast = NULL;
    char block[4096] = {0};
    struct db *db;
    int good, fd;

    fill_spec();
    fixture_new();
    if (!mount_small_disk()) {
        printf("# not run: a tmpfs cannot be mounted here (%s)\n", strerror(errno));
        return;
    }
    ballast = xasprintf("%s/ballast", fixture_dir);
    db = fixture_open();
    log_set_level((enum log_level)0); /* what follows is expected */
    fd = open(ballast, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    for (int i = 0; i < 512; i++)
        CHECK(write(fd, block, sizeof(block)) == sizeof(block));
    good = insert_until_refused(db, 0, &err);
    printf("# %d writes fitted\n", good);
    CHECK(good > 10);
    CHECK_STR(error_slug(err.code), "insufficient-storage");
    CHECK(!db_is_writable(db, &err));
    CHECK_INT(err.code, ERROR_INSUFFICIENT_STORAGE);
    CHECK_INT(count(db), good); /* reading goes on */
    CHECK_INT(ftruncate(fd, 0), 0);
    close(fd);
    EVENTUALLY(db_is_writable(db, &err), 10 * DB_PROBE_MS);
    CHECK_OK(db_write(db, insert, tell, &good, &err));
    CHECK_INT(count(db), good + 1);
    db_close(db);
    db = fixture_open();
    CHECK_INT(count(db), good + 1);
    db_close(db);
    CHECK(umount2(fixture_dir, MNT_DETACH) == 0);
}

TEST(a_file_that_cannot_grow_refuses_and_heals)
{
    struct error err = ERROR_INIT;
    struct rlimit old, small;
    struct db *db;
    int good;

    fill_spec();
    fixture_new();
    db = fixture_open();
    log_set_level((enum log_level)0);
    signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = old;
    small.rlim_cur = 1 << 20;
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    good = insert_until_refused(db, 0, &err);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    printf("# %d writes fitted\n", good);
    CHECK_STR(error_slug(err.code), "database-failed");
    CHECK(good > 10);
    CHECK_OK(db_write(db, insert, tell, &good, &err));
    CHECK(db_is_writable(db, &err));
    CHECK_INT(count(db), good + 1);
    db_close(db);
    db = fixture_open();
    CHECK_INT(count(db), good + 1);
    db_close(db);
}

TEST(a_first_start_that_the_disk_refused_can_be_repeated)
{
    struct error err = ERROR_INIT;
    struct rlimit old, small;
    struct db *db = NULL;

    fixture_new();
    log_set_level((enum log_level)0);
    signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = old;
    for (rlim_t size = 1; size < 200000; size *= 3) {
        small.rlim_cur = size;
        CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
        if (db_open(fixture_path, &db, &err) == 0)
            break;
        CHECK_STR(error_slug(err.code), "database-failed");
    }
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    if (!db)
        CHECK_OK(db_open(fixture_path, &db, &err));
    CHECK_INT(count(db), 0);
    db_close(db);
}

TEST_MAIN();
