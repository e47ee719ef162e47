/*
 * How long the writes and reads take that others wait for, beside what the disk itself needs for a
 * sync. Run by `meson test --benchmark`; prints, and fails only far beyond its targets.
 */
#include <fcntl.h>

#include "tests/unit/db/db_fixture.h"

#define WRITES 200
#define ROWS   10000

static int write_one(struct db_tx *tx, const char *id, struct error *err)
{
    struct vm_row vm = fixture_vm(id, id);
    struct op_row op = fixture_op(id, id);
    struct event_row event = fixture_event(id);
    int64_t seq;

    if (store_vm_insert(tx, &vm, &seq, err) || store_op_insert(tx, &op, err))
        return -1;
    return store_event_append(tx, &event, &seq, err);
}

static int insert(struct db_tx *tx, void *arg, struct error *err)
{
    return write_one(tx, arg, err);
}

static int fill(struct db_tx *tx, void *arg, struct error *err)
{
    char id[UUID_TEXT];

    for (int i = 0; i < ROWS; i++) {
        uuid_new(id);
        if (write_one(tx, id, err))
            return -1;
    }
    return 0;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static double median_ms(int64_t *ns)
{
    qsort(ns, WRITES, sizeof(*ns), ascending);
    return (double)ns[WRITES / 2] / 1e6;
}

TEST(a_create_is_committed_quickly)
{
    static int64_t write_ns[WRITES], sync_ns[WRITES];
    auto_free char *plain = NULL;
    struct error err = ERROR_INIT;
    char page[4096] = {0};
    double write_ms, sync_ms;
    struct db *db;
    int fd;

    fixture_new();
    plain = xasprintf("%s/plain", fixture_dir);
    fd = open(plain, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    db = fixture_open();
    for (int i = 0; i < WRITES; i++) {
        char id[UUID_TEXT];
        int64_t start = clock_monotonic_ns();

        CHECK(write(fd, page, sizeof(page)) == sizeof(page) && fdatasync(fd) == 0);
        sync_ns[i] = clock_monotonic_ns() - start;
        uuid_new(id);
        start = clock_monotonic_ns();
        CHECK_OK(db_write(db, insert, NULL, id, &err));
        write_ns[i] = clock_monotonic_ns() - start;
    }
    close(fd);
    sync_ms = median_ms(sync_ns);
    write_ms = median_ms(write_ns);
    printf("# VM, operation and event: median %.2f ms, worst %.2f ms; write and sync of a page: "
           "median %.2f ms\n",
           write_ms, (double)write_ns[WRITES - 1] / 1e6, sync_ms);
    CHECK(write_ms < 5 + 4 * sync_ms);
    db_close(db);
}

static int see(void *arg, const struct vm_row *row)
{
    ++*(int *)arg;
    return 0;
}

TEST(ten_thousand_vms_load_quickly)
{
    struct error err = ERROR_INIT;
    int64_t start, took;
    struct db *db;
    int n = 0;

    fixture_new();
    db = fixture_open();
    CHECK_OK(db_write(db, fill, NULL, NULL, &err));
    db_close(db);
    start = clock_monotonic_ns();
    db = fixture_open();
    took = clock_monotonic_ns() - start;
    start = clock_monotonic_ns();
    CHECK_OK(store_vm_each(db, see, &n, &err));
    printf("# open %.1f ms, %d rows %.1f ms\n", (double)took / 1e6, n,
           (double)(clock_monotonic_ns() - start) / 1e6);
    CHECK_INT(n, ROWS);
    CHECK(clock_monotonic_ns() - start < 1000000000);
    db_close(db);
}

TEST_MAIN();
