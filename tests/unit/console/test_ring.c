/* The ring: offsets, wrap-around and eviction. */
#include "service/vm/console_ring.h"
#include "tests/support/test.h"

TEST(a_new_ring_is_empty)
{
    struct error err = ERROR_INIT;
    struct ring r;
    char buf[8];

    CHECK_OK(ring_init(&r, 4096, &err));
    CHECK_INT(r.start, 0);
    CHECK_INT(r.next, 0);
    CHECK_INT(ring_copy(&r, 0, buf, sizeof(buf)), 0);
    ring_done(&r);
}

TEST(every_window_reads_back_what_was_written)
{
    struct error err = ERROR_INIT;
    struct ring r;
    char model[4096 * 3];
    char buf[200];
    unsigned seed = 7;

    for (size_t i = 0; i < sizeof(model); i++)
        model[i] = (char)(i * 31 + i / 97);
    CHECK_OK(ring_init(&r, 100, &err));
    for (size_t at = 0; at + 300 < sizeof(model);) {
        size_t len = (size_t)rand_r(&seed) % 250; /* also longer than the ring */

        ring_append(&r, model + at, len);
        at += len;
        CHECK_INT(r.next, at);
        CHECK(r.next - r.start <= 100);
        CHECK_INT(r.start, at < 100 ? 0 : at - 100);
        for (uint64_t from = r.start; from <= r.next; from++) {
            size_t want = (size_t)(r.next - from);

            CHECK_INT(ring_copy(&r, from, buf, sizeof(buf)), want);
            CHECK(memcmp(buf, model + from, want) == 0);
        }
    }
    ring_done(&r);
}

TEST(clearing_forgets_the_bytes_and_keeps_the_offset)
{
    struct error err = ERROR_INIT;
    struct ring r;
    char buf[16];

    CHECK_OK(ring_init(&r, 4096, &err));
    ring_append(&r, "secret", 6);
    ring_clear(&r);
    CHECK_INT(r.start, 6);
    CHECK_INT(r.next, 6);
    for (size_t i = 0; i < 6; i++)
        CHECK_INT(r.data[i], 0);
    ring_append(&r, "new", 3);
    CHECK_INT(ring_copy(&r, 6, buf, sizeof(buf)), 3);
    CHECK(memcmp(buf, "new", 3) == 0);
    ring_done(&r);
}

TEST(offsets_beyond_32_bits_work)
{
    struct error err = ERROR_INIT;
    struct ring r;
    char buf[16];

    CHECK_OK(ring_init(&r, 10, &err));
    r.start = r.next = (1ull << 40) + 3;
    ring_append(&r, "0123456789ab", 12);
    CHECK_INT(r.start, (1ull << 40) + 5);
    CHECK_INT(ring_copy(&r, r.start, buf, sizeof(buf)), 10);
    CHECK(memcmp(buf, "23456789ab", 10) == 0);
    ring_done(&r);
}

TEST_MAIN();
