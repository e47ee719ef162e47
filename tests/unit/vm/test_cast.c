/* asciicast lines: text out of bytes, and the last whole line of a torn file. */
#include "service/vm/cast.h"

#include <stdlib.h>

#include "service/base/clock.h"
#include "service/json/doc.h"
#include "tests/support/test.h"

#define FFFD "\xef\xbf\xbd"

/* The pieces printed one after the other, a read each, 1 s apart; the text of all "o" lines. */
static char *printed(const char *const *pieces, size_t count)
{
    auto_strbuf struct strbuf lines = {0}, text = {0};
    struct cast_text t = {0};
    char *save = NULL;

    for (size_t i = 0; i < count; i++)
        cast_output(&t, &lines, (int64_t)i * 1000000, pieces[i], strlen(pieces[i]));
    cast_break(&t, &lines, (int64_t)count * 1000000);
    for (char *line = strtok_r(lines.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        auto_json json_t *value = json_loads(line, 0, NULL);

        CHECK_INT(json_array_size(value), 3);
        CHECK_STR(json_string_value(json_array_get(value, 1)), "o");
        strbuf_adds(&text, json_string_value(json_array_get(value, 2)));
    }
    return strbuf_take(&text);
}

#define PRINTED(...)                                                                               \
    printed((const char *const[]){__VA_ARGS__},                                                    \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

TEST(a_character_cut_between_reads_is_put_together)
{
    static const char *const texts[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

    for (size_t i = 0; i < 3; i++) {
        for (size_t cut = 1; cut < strlen(texts[i]); cut++) {
            auto_free char *head = xasprintf("a%.*s", (int)cut, texts[i]);
            auto_free char *tail = xasprintf("%sz", texts[i] + cut);
            auto_free char *want = xasprintf("a%sz", texts[i]);
            auto_free char *got = PRINTED(head, tail);

            CHECK_STR(got, want);
        }
    }
    auto_free char *bytewise = PRINTED("\xf0", "\x9f", "\x98", "\x80");
    CHECK_STR(bytewise, texts[2]);
}

TEST(what_is_no_utf_8_is_replaced)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"\x80", FFFD},
        {"a\xff\xfe", "a" FFFD FFFD},
        {"\xc0\xaf", FFFD FFFD}, /* overlong */
        {"\xe0\x80\xaf", FFFD FFFD FFFD},
        {"\xed\xa0\x80", FFFD FFFD FFFD},          /* a surrogate */
        {"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD}, /* above U+10FFFF */
        {"\xe2\x82", FFFD},                        /* the end */
        {"\xe2\x82x", FFFD "x"},
        {"\xe2\xe2\x82\xac", FFFD "\xe2\x82\xac"},
        {"\xf0\x9f\x98\xc3\xa4", FFFD "\xc3\xa4"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        auto_free char *got = PRINTED(cases[i].in);

        CHECK_STR(got, cases[i].out);
    }
}

TEST(control_characters_and_quotes_are_escaped)
{
    auto_strbuf struct strbuf b = {0};
    struct cast_text t = {0};

    cast_output(&t, &b, 12345678, "\x1b[1m\"\\\r\n\t\0\x7f", 11);
    CHECK_STR(b.data, "[12.345678, \"o\", \"\\u001b[1m\\\"\\\\\\r\\n\\t\\u0000\\u007f\"]\n");
}

TEST(half_a_character_makes_no_line)
{
    auto_strbuf struct strbuf b = {0};
    struct cast_text t = {0};

    cast_output(&t, &b, 0, "\xe2\x82", 2);
    CHECK_INT(b.len, 0);
    cast_output(&t, &b, 0, "\xac", 1);
    CHECK_STR(b.data, "[0.000000, \"o\", \"\xe2\x82\xac\"]\n");
    cast_break(&t, &b, 0);
    CHECK_STR(b.data, "[0.000000, \"o\", \"\xe2\x82\xac\"]\n");
}

TEST(no_line_is_longer_than_its_bound)
{
    auto_free char *zeros = calloc(1, 10 * CAST_PIECE);
    auto_strbuf struct strbuf b = {0};
    struct cast_text t = {0};
    size_t lines = 0;

    cast_output(&t, &b, INT64_MAX / 2, zeros, 10 * CAST_PIECE);
    for (const char *p = b.data, *end; *p; p = end + 1, lines++) {
        end = strchr(p, '\n');
        CHECK(end && end - p < CAST_LINE_MAX);
    }
    CHECK_INT(lines, 10);
}

TEST(the_header_and_the_other_lines)
{
    const struct cast_header header = {
        .rows = 50, .cols = 132, .started_at = 1769860800123, .title = "web-1 \"console\""};
    auto_strbuf struct strbuf b = {0};

    cast_header(&b, &header);
    auto_json json_t *value = json_loads(b.data, 0, NULL);
    CHECK_INT(json_integer_value(json_object_get(value, "version")), 2);
    CHECK_INT(json_integer_value(json_object_get(value, "width")), 132);
    CHECK_INT(json_integer_value(json_object_get(value, "height")), 50);
    CHECK_INT(json_integer_value(json_object_get(value, "timestamp")), 1769860800);
    CHECK_STR(json_string_value(json_object_get(value, "title")), "web-1 \"console\"");
    b.len = 0;
    cast_resize(&b, 1500000, 24, 80);
    cast_marker(&b, 2000001, "7 bytes");
    CHECK_STR(b.data, "[1.500000, \"r\", \"80x24\"]\n[2.000001, \"m\", \"7 bytes\"]\n");
}

TEST(the_last_whole_line_is_found)
{
    static const struct {
        const char *tail;
        size_t whole;
        int64_t last_us;
    } cases[] = {
        {"", 0, -1},
        {"{\"version\": 2, \"wid", 0, -1},
        {"{\"version\": 2}\n", 15, -1},
        {"{}\n[1.5, \"o\", \"x\"]\n", 19, 1500000},
        {"{}\n[1.5, \"o\", \"x\"]\n[2.5, \"o\", \"ab", 19, 1500000},
        {"{}\n[1.5, \"o\", \"x\"]\n[2.500001, \"o\", \"\"]\n", 39, 2500001},
        {"alf a line\"]\n[7, \"o\", \"x\"]\n[", 27, 7000000},
        {"[999999999999999999999.5, \"o\"]\n", 31, -1},
        {"[x]\n", 4, -1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t last_us = 0;

        CHECK_INT(cast_whole(cases[i].tail, strlen(cases[i].tail), &last_us), cases[i].whole);
        CHECK_INT(last_us, cases[i].last_us);
    }
}

TEST_MAIN();
