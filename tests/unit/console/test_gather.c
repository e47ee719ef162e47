/* A serial port gives away one byte at a time; whoever looks need not be woken for each. */
#include "tests/unit/console/rig.h"

#define BYTES       5000
#define EACH_NS     20000 /* as a fast guest prints: 50 kB/s */

static struct rig rig;
static atomic_int looked;

static void *trickle(void *opaque)
{
    size_t count = *(const size_t *)opaque;
    int64_t due = clock_monotonic_ns();

    for (size_t i = 0; i < count; i++) {
        while (clock_monotonic_ns() < due)
            ;
        due += EACH_NS;
        if (send(rig.guest, pattern_at(i), 1, MSG_NOSIGNAL) != 1)
            break;
    }
    return NULL;
}

static pthread_t trickle_start(size_t *count)
{
    struct error err = ERROR_INIT;
    pthread_t thread;

    CHECK_OK(thread_start(&thread, "trickle", trickle, count, &err));
    return thread;
}

/* Each read of the hub's that finds something is one notify of a viewer that has read everything. */
static size_t read_along(struct source *s, size_t total, unsigned char *got)
{
    size_t len = 0, told = 0;
    int64_t until = clock_monotonic_ms() + test_patience_ms(60000);

    atomic_store(&looked, 0);
    s->set_notify(s, rig_told, &looked);
    while (len < total) {
        size_t n = rig_read_all(s, got + len, total - len);

        told += n > 0;
        len += n;
        CHECK(clock_monotonic_ms() < until);
        if (!n)
            sched_yield();
    }
    return told;
}

TEST(what_trickles_comes_together_and_whole)
{
    static unsigned char got[BYTES];
    struct source *s;
    pthread_t thread;
    size_t count = BYTES, told;

    rig_open(&rig, 262144, 8);
    s = rig_attach(&rig);
    thread = trickle_start(&count);
    told = read_along(s, BYTES, got);
    pthread_join(thread, NULL);
    printf("# %d bytes, one by one, in %zu pieces\n", BYTES, told);
    CHECK(memcmp(got, pattern_at(0), BYTES) == 0);
    CHECK(told < BYTES / 4);
    rig_detach(s);
    rig_close(&rig);
}

TEST(its_end_comes_after_its_last_byte_and_at_once)
{
    struct client c;
    size_t count = 3000;
    pthread_t thread;
    int64_t began;

    rig_open(&rig, 262144, 8);
    client_start(&c, rig_attach(&rig));
    thread = trickle_start(&count);
    pthread_join(thread, NULL);
    began = clock_monotonic_ms();
    close(rig.guest);
    rig.guest = -1;
    console_end(rig.hub, VM);
    client_join(&c, false);
    CHECK_INT(c.received, count);
    CHECK_INT(c.wrong_at, UINT64_MAX);
    CHECK_INT(c.close_code, 1000);
    printf("# the end after %lld ms\n", (long long)(clock_monotonic_ms() - began));
    rig_close(&rig);
}

/* The guest says back what it hears, and prints on meanwhile. */
static void *answer(void *opaque)
{
    char byte;

    (void)opaque;
    while (recv(rig.guest, &byte, 1, 0) == 1) {
        for (int i = 0; i < 20; i++) {
            if (send(rig.guest, i ? "." : &byte, 1, MSG_NOSIGNAL) != 1)
                return NULL;
        }
    }
    return NULL;
}

TEST(keys_arrive_while_it_prints_on)
{
    struct error err = ERROR_INIT;
    struct source *s;
    pthread_t thread;

    rig_open(&rig, 262144, 8);
    s = rig_attach(&rig);
    CHECK_OK(thread_start(&thread, "answer", answer, NULL, &err));
    for (int i = 0; i < 200; i++) {
        char key[2] = {(char)('a' + i % 26), '\0'};

        CHECK_INT(s->write(s, SOURCE_BYTES, key, 1), 1);
        EVENTUALLY(rig_printed(&rig) == (uint64_t)(i + 1) * 20, 5000);
        CHECK_INT(rig_read_text(s)[0], key[0]);
    }
    shutdown(rig.guest, SHUT_RDWR);
    pthread_join(thread, NULL);
    rig_detach(s);
    rig_close(&rig);
}

TEST_MAIN();
