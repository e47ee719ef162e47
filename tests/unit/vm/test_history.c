/* How figures are kept: codes, blocks, and blocks that are none. */
#include <math.h>

#include "service/base/str.h"
#include "service/vm/history_codec.h"
#include "tests/support/test.h"

TEST(small_values_are_exact_and_large_ones_close)
{
    static const double values[] = {0, 1, 7, 255, 256, 257, 1000, 65535, 1e6, 123456789, 4e12, 1e17};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        double back = history_value(history_code(values[i], 1), 1);

        CHECK(fabs(back - values[i]) <= values[i] / 250);
        CHECK(values[i] >= 256 || back == values[i]);
        CHECK(history_value(history_code(-values[i], 1), 1) == -back);
    }
    CHECK(history_value(history_code(12.34, 0.1), 0.1) > 12.29);
    CHECK_INT(history_code(NAN, 1), HISTORY_ABSENT);
    CHECK_INT(history_code(INFINITY, 1), HISTORY_ABSENT);
    CHECK_INT(history_code(1e30, 1), HISTORY_ABSENT);
}

TEST(codes_are_in_the_order_of_their_values)
{
    int16_t before = -1;

    for (double v = 0; v < 1e15; v = v < 300 ? v + 1 : v * 1.01) {
        int16_t code = history_code(v, 1);

        CHECK(code >= before);
        before = code;
    }
}

TEST(rounding_keeps_so_many_bits)
{
    CHECK_INT(history_round(HISTORY_ABSENT, 4), HISTORY_ABSENT);
    CHECK_INT(history_round(0, 4), 0);
    for (double v = 1; v < 1e15; v = v < 300 ? v + 1 : v * 1.01) {
        int16_t code = history_code(v, 1);
        double exact = history_value(code, 1), back = history_value(history_round(code, 4), 1);

        CHECK_INT(history_round(code, 8), code);
        CHECK_INT(history_round((int16_t)-code, 4), -history_round(code, 4));
        CHECK(fabs(back - exact) <= exact / 30);
        CHECK(v >= 32 || back == exact);
        CHECK_INT(history_round(history_round(code, 4), 4), history_round(code, 4));
    }
}

static void fill(int16_t *codes, unsigned planes, unsigned points)
{
    for (unsigned i = 0; i < planes * points; i++)
        codes[i] = i % 5 == 0 ? HISTORY_ABSENT : (int16_t)((i * 7919) % 20000 - 3000);
}

TEST(what_is_packed_comes_back)
{
    int16_t codes[HISTORY_PLANES * 96], back[HISTORY_PLANES * 96];
    auto_free void *data = NULL;
    size_t len;

    fill(codes, HISTORY_PLANES, 96);
    len = history_pack(codes, HISTORY_PLANES, 96, &data);
    CHECK(history_unpack(data, len, back, HISTORY_PLANES, 96));
    CHECK(memcmp(codes, back, sizeof(codes)) == 0);
    CHECK(!history_unpack(data, len, back, HISTORY_FIGURES, 96)); /* another shape */
    CHECK(!history_unpack(data, len - 1, back, HISTORY_PLANES, 96));
    CHECK_INT(back[5], HISTORY_ABSENT);
}

TEST(rounded_codes_are_packed_as_they_are)
{
    int16_t codes[HISTORY_FIGURES * HISTORY_POINTS], back[HISTORY_FIGURES * HISTORY_POINTS];

    for (unsigned i = 0; i < HISTORY_FIGURES * HISTORY_POINTS; i++) {
        double value = ldexp(1 + (double)(i * 7919 % 1000) / 1000, (int)(i % 55));

        codes[i] = history_round(history_code(i % 3 ? value : -value, 1), 1 + i / HISTORY_POINTS % 8);
    }
    for (unsigned points = 1; points <= HISTORY_POINTS; points += 17) {
        auto_free void *data = NULL;
        size_t len = history_pack(codes, HISTORY_FIGURES, points, &data);

        CHECK(history_unpack(data, len, back, HISTORY_FIGURES, points));
        CHECK(memcmp(codes, back, HISTORY_FIGURES * points * sizeof(*codes)) == 0);
    }
}

/* As a daemon of before wrote it: 1 plane, 3 points, of which two are there: 300 and 299. */
TEST(blocks_of_version_1_are_read)
{
    static const uint8_t block[] = {0x01, 0x01, 0x03, 0x78, 0x9c, 0x63, 0xbd, 0xc1,
                                    0xc2, 0x08, 0x00, 0x02, 0xa9, 0x00, 0xe3};
    int16_t codes[3];

    CHECK(history_unpack(block, sizeof(block), codes, 1, 3));
    CHECK_INT(codes[0], 300);
    CHECK_INT(codes[1], HISTORY_ABSENT);
    CHECK_INT(codes[2], 299);
}

TEST(an_idle_vm_costs_next_to_nothing)
{
    int16_t codes[HISTORY_FIGURES * HISTORY_POINTS];
    auto_free void *data = NULL;

    for (unsigned i = 0; i < HISTORY_FIGURES * HISTORY_POINTS; i++)
        codes[i] = (int16_t)(i / HISTORY_POINTS * 1000);
    CHECK(history_pack(codes, HISTORY_FIGURES, HISTORY_POINTS, &data) < 80);
}

TEST_MAIN();
