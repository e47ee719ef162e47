/*
 * Bits that flip, pages that are gone, files that end too early: the database opens or says why not,
 * never crashes, and whoever met the damage is told that it is damage. 200 ways, 10,000 with
 * DROVER_TEST_LONG; DROVER_SEED repeats a run.
 */
#include "tests/unit/db/store_rig.h"

#include <fcntl.h>
#include <inttypes.h>

#include "db/backup.h"
#include "service/base/clock.h"
#include "service/base/fd.h"

#define VMS    60
#define EVENTS 200

static char *good;
static size_t good_len;

static void fill(void)
{
    char id[40], name[24];

    start();
    for (int i = 0; i < VMS; i++) {
        struct vm_row vm;

        snprintf(id, sizeof(id), "00000000-0000-4000-8000-%012d", i);
        snprintf(name, sizeof(name), "vm-%d", i);
        vm = fixture_vm(id, name);
        CHECK_OK(vm_insert(&vm, NULL));
    }
    for (int i = 0; i < EVENTS; i++) {
        struct event_row event = fixture_event("vm-1");
        int64_t seq;

        CHECK_OK(event_append(&event, &seq));
    }
    stop(); /* everything is in the one file */
    CHECK_INT(file_read(fixture_path, 64u << 20, &good, &good_len, &err), 1);
}

static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

/* In words, for the test's output. */
static void damage(char *data, size_t *len, char ret[64])
{
    size_t at = draw(*len);
    unsigned kind = (unsigned)draw(6);

    if (kind == 0) {
        *len = at;
    } else if (kind < 4) {
        data[at] = (char)(data[at] ^ 1 << draw(8));
    } else {
        size_t n = kind == 4 ? 16 : 4096;

        for (size_t i = at; i < *len && i < at + n; i++)
            data[i] = (char)draw(256);
    }
    snprintf(ret, 64, "%s at %zu", kind == 0 ? "cut" : kind < 4 ? "bit" : kind == 4 ? "bytes" : "page", at);
}

static void put(const char *data, size_t len)
{
    auto_close int fd = -1;
    struct error e = ERROR_INIT;

    for (size_t i = 0; i < 3; i++) {
        auto_free char *path = xasprintf("%s%s", fixture_path, (const char *const[]){"", "-wal", "-shm"}[i]);

        CHECK_OK(file_remove(path, &e));
    }
    fd = open(fixture_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_OK(fd_write_all(fd, data, len, &e));
}

static int see(void *arg, const struct vm_row *row)
{
    size_t *n = arg;

    CHECK(row->id && row->name && row->spec && row->state);
    *n += 1;
    return 0;
}

/* What the daemon does at first; its failures have a code, words and, for damage, a remedy. */
static bool use(size_t *ret_seen)
{
    struct event_row event = fixture_event("vm-1");
    char install[UUID_TEXT];
    int64_t seq;
    bool whole = store_install_id(db, install, &err) == 0;

    *ret_seen = 0;
    whole = store_vm_each(db, see, ret_seen, &err) == 0 && whole;
    whole = event_append(&event, &seq) == 0 && whole;
    if (!whole)
        CHECK(err.code == ERROR_DATABASE_FAILED || err.code == ERROR_INTERNAL);
    if (!whole && str_eq(err.detail, "the database is damaged"))
        CHECK(db_is_damaged(db) && strstr(err.remedy, "drover db rebuild"));
    return whole;
}

TEST(damage_of_every_kind_is_met_with_words)
{
    const char *seed = getenv("DROVER_SEED");
    const char *many = getenv("DROVER_TEST_LONG");
    int rounds = many && *many ? 10000 : 200;
    int refused = 0, told = 0, unnoticed = 0;

    state = seed ? strtoull(seed, NULL, 10) | 1 : (uint64_t)clock_monotonic_ns() | 1;
    printf("# DROVER_SEED=%" PRIu64 "\n", state);
    fill();
    log_set_level((enum log_level)0);
    for (int i = 0; i < rounds; i++) {
        auto_free char *data = xcalloc(good_len, 1);
        struct backup_facts facts;
        size_t len = good_len, seen;
        bool is_good;
        char what[64];

        memcpy(data, good, good_len);
        damage(data, &len, what);
        put(data, len);
        err = ERROR_INIT;
        is_good = backup_check(fixture_path, &facts, &err) == 0;
        if (!is_good)
            CHECK(*err.detail);
        err = ERROR_INIT;
        if (db_open(fixture_path, &db, &err)) {
            refused++;
            CHECK(*err.detail && (err.code == ERROR_DATABASE_FAILED || err.code == ERROR_CONFIG ||
                                  err.code == ERROR_INTERNAL));
            /* Of a file that is only read SQLite skips CHECK constraints and the version for writers. */
            if (is_good)
                printf("# %s: good to read, but: %s: %s\n", what, err.detail, err.cause);
            continue;
        }
        if (!use(&seen))
            told++;
        else if (is_good)
            unnoticed++;
        if (is_good) /* a bit in a value can end a row, and no structure tells */
            CHECK(seen <= VMS);
        stop();
    }
    log_set_level(LOG_LEVEL_ERROR);
    printf("# %d ways: %d refused, %d told at run time, %d in bytes that nobody asks for or checks\n", rounds, refused,
           told, unnoticed);
    CHECK(refused > 0);
    free(good);
}

TEST_MAIN();
