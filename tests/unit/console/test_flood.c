/* The hub under load: everybody fast gets everything, nobody slow costs anybody anything. */
#include "tests/unit/console/rig.h"

static struct rig rig;

struct flood {
    int fd;
    uint64_t total;
    pthread_t thread;
    int64_t took_ms;
};

static void *flood_run(void *opaque)
{
    struct flood *f = opaque;
    struct error err = ERROR_INIT;
    int64_t began = clock_monotonic_ms();

    for (uint64_t at = 0; at < f->total; at += 65536) {
        if (fd_write_all(f->fd, pattern_at(at), 65536, &err))
            break;
    }
    f->took_ms = clock_monotonic_ms() - began;
    return NULL;
}

static void flood_start(struct flood *f, uint64_t total)
{
    struct error err = ERROR_INIT;

    *f = (struct flood){.fd = rig.guest, .total = total};
    CHECK_OK(thread_start(&f->thread, "flood", flood_run, f, &err));
}

#if defined(__SANITIZE_THREAD__)
#define SHADOWED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHADOWED 1
#endif
#endif
#ifndef SHADOWED
#define SHADOWED 0
#endif

/* The thread sanitiser shadows every byte several times: there is nothing to learn from it then. */
static size_t resident_kib(void)
{
    char buf[4096];
    const char *line;
    ssize_t n;

    if (SHADOWED)
        return 0;
    n = file_read_at(AT_FDCWD, "/proc/self/status", buf, sizeof(buf));

    CHECK(n > 0);
    line = strstr(buf, "VmRSS:");
    CHECK(line);
    return strtoul(line + 6, NULL, 10);
}

static void finish(struct flood *f)
{
    pthread_join(f->thread, NULL);
    EVENTUALLY(rig_printed(&rig) == f->total, 60000);
    console_end(rig.hub, VM);
}

TEST(a_flood_of_256_mib_reaches_a_viewer_whole_in_flat_memory)
{
    const uint64_t total = 256ull << 20;
    struct client c;
    struct flood f;
    size_t before;

    /* What threads and sanitizers take once is not what a flood takes. */
    rig_open(&rig, 262144, 8);
    client_start(&c, rig_attach(&rig));
    flood_start(&f, 8 << 20);
    finish(&f);
    client_join(&c, false);
    rig_close(&rig);
    rig_open(&rig, 262144, 8);
    before = resident_kib();
    client_start(&c, rig_attach(&rig));
    flood_start(&f, total);
    finish(&f);
    client_join(&c, false);
    printf("# %llu MiB in %lld ms\n", (unsigned long long)(total >> 20), (long long)f.took_ms);
    CHECK_INT(c.received, total);
    CHECK_INT(c.wrong_at, UINT64_MAX);
    CHECK_INT(c.close_code, 1000);
    CHECK(resident_kib() < before + 4096);
    rig_close(&rig);
}

TEST(several_viewers_get_identical_bytes)
{
    const uint64_t total = 16ull << 20;
    struct client c[5];
    struct flood f;

    rig_open(&rig, 262144, 8);
    for (int i = 0; i < 5; i++)
        client_start(&c[i], rig_attach(&rig));
    flood_start(&f, total);
    finish(&f);
    for (int i = 0; i < 5; i++) {
        client_join(&c[i], false);
        CHECK_INT(c[i].received, total);
        CHECK_INT(c[i].wrong_at, UINT64_MAX);
    }
    rig_close(&rig);
}

TEST(a_stalled_viewer_is_dropped_and_a_fast_one_loses_nothing)
{
    const uint64_t total = 32ull << 20;
    struct source *stalled;
    enum source_kind kind;
    struct client fast;
    struct flood f;
    size_t before;
    char buf[4];

    rig_open(&rig, 262144, 8);
    stalled = rig_attach(&rig);
    CHECK_INT(stalled->read(stalled, buf, sizeof(buf), &kind), 0);
    client_start(&fast, rig_attach(&rig));
    before = resident_kib();
    flood_start(&f, total);
    finish(&f);
    client_join(&fast, false);
    CHECK_INT(fast.received, total);
    CHECK_INT(fast.wrong_at, UINT64_MAX);
    CHECK_INT(stalled->read(stalled, buf, sizeof(buf), &kind), -1);
    CHECK_INT(stalled->close_code, 1013);
    CHECK(resident_kib() < before + 4096);
    rig_detach(stalled);
    rig_close(&rig);
}

/* Whether the guest took hardly longer with them than alone. */
static bool stalled_viewers_cost_little(void)
{
    const uint64_t total = 32ull << 20;
    struct source *stalled[20];
    enum source_kind kind;
    struct flood f;
    int64_t alone_ms;
    char buf[4];

    rig_open(&rig, 262144, 32);
    flood_start(&f, total);
    finish(&f);
    alone_ms = f.took_ms;
    rig_close(&rig);

    rig_open(&rig, 262144, 32);
    for (int i = 0; i < 20; i++) {
        stalled[i] = rig_attach(&rig);
        CHECK_INT(stalled[i]->read(stalled[i], buf, sizeof(buf), &kind), 0);
    }
    flood_start(&f, total);
    finish(&f);
    printf("# %lld ms alone, %lld ms with 20 stalled viewers\n", (long long)alone_ms,
           (long long)f.took_ms);
    for (int i = 0; i < 20; i++)
        rig_detach(stalled[i]);
    rig_close(&rig);
    /* One wait in vain for all of them, and room for a busy machine. */
    return f.took_ms < 2 * alone_ms + 500;
}

/* Two times are compared: something else may have had the processors during the second. */
TEST(stalled_viewers_cost_the_guest_next_to_no_time)
{
    bool little = false;

    for (int i = 0; i < 4 && !little; i++)
        little = stalled_viewers_cost_little();
    CHECK(little);
}

TEST(the_end_of_a_flood_is_not_lost_when_the_guest_hangs_up)
{
    const uint64_t total = 8ull << 20;
    struct client c;
    struct flood f;

    rig_open(&rig, 65536, 8);
    client_start(&c, rig_attach(&rig));
    flood_start(&f, total);
    pthread_join(f.thread, NULL);
    close(rig.guest);
    rig.guest = -1;
    EVENTUALLY(atomic_load(&rig.ended) == 1, 60000);
    console_end(rig.hub, VM);
    client_join(&c, false);
    CHECK_INT(c.received, total);
    CHECK_INT(c.wrong_at, UINT64_MAX);
    rig_close(&rig);
}

TEST(many_streams_and_viewers_cost_the_rings_and_little_more)
{
    enum { STREAMS = 100, EACH = 20 };
    static struct source *viewers[STREAMS][EACH];
    static int guests[STREAMS];
    static unsigned char chunk[65536];
    struct error err = ERROR_INIT;
    size_t before, after;

    pattern_fill(chunk, 0, sizeof(chunk));
    rig_open(&rig, 262144, 32);
    before = resident_kib();
    for (int i = 0; i < STREAMS; i++) {
        char id[16];
        struct console_attach attach = {.vm_id = id, .stream = "console", .viewer = "v"};
        int fd;

        snprintf(id, sizeof(id), "vm-%d", i);
        guests[i] = rig_pair(&fd);
        CHECK_OK(console_feed(rig.hub, id, "console", fd, true, &err));
        for (int j = 0; j < EACH; j++)
            CHECK_OK(console_attach(rig.hub, &attach, &viewers[i][j], &err));
    }
    for (int i = 0; i < STREAMS; i++)
        CHECK_OK(fd_write_all(guests[i], chunk, sizeof(chunk), &err));
    EVENTUALLY(rig_printed(&rig) == STREAMS * sizeof(chunk), 20000);
    for (int i = 0; i < STREAMS; i++) {
        for (int j = 0; j < EACH; j++) {
            static unsigned char got[65536];

            CHECK_INT(rig_read_all(viewers[i][j], got, sizeof(got)), sizeof(chunk));
            CHECK(memcmp(got, chunk, sizeof(chunk)) == 0);
        }
    }
    after = resident_kib();
    printf("# %zu KiB for %d viewers on %d streams\n", after - before, STREAMS * EACH, STREAMS);
    CHECK(after - before < STREAMS * 64 + STREAMS * EACH * 4); /* rings as far as written */
    for (int i = 0; i < STREAMS; i++) {
        for (int j = 0; j < EACH; j++)
            rig_detach(viewers[i][j]);
        close(guests[i]);
    }
    rig_close(&rig);
}

TEST_MAIN();
