/* The write-ahead log: how long it gets, whoever writes and reads. */
#include <stdatomic.h>

#include "db/db_internal.h"
#include "service/base/thread.h"
#include "tests/unit/db/db_fixture.h"

#define PAGE    4096
#define VALUE   (10 * PAGE)
#define LARGE   (100 * PAGE)
#define COMMITS 400

struct fact {
    char key[32];
    char *value;
};

static struct db *shared;
static char *wal;

static int put(struct db_tx *tx, void *arg, struct error *err)
{
    const struct fact *f = arg;

    return store_meta_set(tx, f->key, f->value, err);
}

static struct fact fact_new(size_t size)
{
    struct fact f = {.key = "key", .value = xcalloc(1, size + 1)};

    memset(f.value, 'x', size);
    return f;
}

/* Another value each time: pages that stay as they were are not written. */
static void put_many(struct fact *f)
{
    struct error err = ERROR_INIT;

    for (int i = 0; i < COMMITS; i++) {
        memset(f->value, 'a' + i % 26, strlen(f->value));
        CHECK_OK(db_write(shared, put, NULL, f, &err));
    }
}

static void begin(void)
{
    fixture_new();
    free(wal);
    wal = xasprintf("%s-wal", fixture_path);
    shared = fixture_open();
}

static int64_t file_size(const char *path)
{
    struct stat st;

    return stat(path, &st) ? -1 : (int64_t)st.st_size;
}

TEST(it_stays_small_under_many_commits)
{
    struct error err = ERROR_INIT;
    struct fact f = fact_new(VALUE);

    begin();
    for (int i = 0; i < 600; i++) {
        snprintf(f.key, sizeof(f.key), "key-%d", i);
        CHECK_OK(db_write(shared, put, NULL, &f, &err));
    }
    printf("# WAL %lld KiB after 600 commits\n", (long long)file_size(wal) / 1024);
    CHECK(file_size(wal) < 3LL * DB_CHECKPOINT_PAGES * PAGE);
    db_close(shared);
    free(f.value);
}

TEST(a_checkpoint_that_was_put_off_comes_without_another_write)
{
    struct error err = ERROR_INIT;
    struct fact f = fact_new(VALUE);
    int64_t before;

    begin();
    before = file_size(fixture_path);
    for (int i = 0; i < 400; i++) {
        snprintf(f.key, sizeof(f.key), "key-%d", i);
        CHECK_OK(db_write_first(shared, put, NULL, &f, &err));
    }
    printf("# WAL %lld KiB after 400 commits in a hurry\n", (long long)file_size(wal) / 1024);
    CHECK(file_size(wal) > DB_CHECKPOINT_PAGES * (int64_t)PAGE);
    CHECK(file_size(wal) < (DB_CHECKPOINT_MOST + DB_CHECKPOINT_PAGES) * (int64_t)PAGE);
    /* What was in the WAL alone is in the file now. */
    EVENTUALLY(file_size(fixture_path) > before + 50 * PAGE, 20000);
    db_close(shared);
    free(f.value);
}

/* ---- readers that overlap ---- */

static atomic_bool over;
static atomic_ullong reads;

/* Each for some commits' time, from the state that was the newest when it began. */
static void *read_on(void *arg)
{
    static const char slowly[] = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 30000) "
                                 "SELECT count(*) FROM c, meta";

    while (!over) {
        auto_reader struct reader r = reader_take(shared);
        struct error err = ERROR_INIT;
        int64_t n;

        CHECK_OK(conn_int(r.conn, slowly, &n, &err));
        reads++;
    }
    return NULL;
}

TEST(it_begins_anew_though_somebody_always_reads)
{
    struct error err = ERROR_INIT;
    struct fact f = fact_new(LARGE);
    pthread_t readers[DB_READERS];

    begin();
    for (int i = 0; i < DB_READERS; i++)
        CHECK_OK(thread_start(&readers[i], "reader", read_on, NULL, &err));
    put_many(&f);
    printf("# WAL %lld KiB after %d commits of %d KiB; %llu reads\n", (long long)file_size(wal) / 1024, COMMITS,
           LARGE / 1024, reads);
    CHECK(file_size(wal) < 3LL * DB_WAL_MOST * PAGE);
    over = true;
    for (int i = 0; i < DB_READERS; i++)
        pthread_join(readers[i], NULL);
    db_close(shared);
    free(f.value);
}

TEST(who_reads_for_long_is_not_waited_for)
{
    struct error err = ERROR_INIT;
    struct fact f = fact_new(LARGE);
    int64_t n;

    begin();
    {
        auto_reader struct reader r = reader_take(shared);

        CHECK_OK(conn_exec(r.conn, "BEGIN", &err));
        CHECK_OK(conn_int(r.conn, "SELECT count(*) FROM meta", &n, &err));
        put_many(&f);
        /* Nothing could be taken from under him. */
        CHECK(file_size(wal) > 2LL * DB_WAL_MOST * PAGE);
        CHECK_OK(conn_exec(r.conn, "COMMIT", &err));
    }
    n = file_size(wal);
    put_many(&f);
    CHECK(file_size(wal) <= n + 2LL * DB_CHECKPOINT_PAGES * PAGE);
    db_close(shared);
    free(f.value);
}

TEST_MAIN();
