/* Differences of texts, and colours. */
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/style.h"
#include "service/cli/unified.h"
#include "tests/support/test.h"

static char *diff(const char *old_text, const char *new_text)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    bool differ = unified_print(out, "old", old_text, "new", new_text);

    fclose(out);
    CHECK_INT(differ, len > 0);
    return text;
}

TEST(equal_texts_have_no_difference)
{
    auto_free char *same = diff("a\nb\n", "a\nb\n"), *empty = diff("", "");

    CHECK_STR(same, "");
    CHECK_STR(empty, "");
}

TEST(a_change_is_shown_with_three_lines_around_it)
{
    auto_free char *text = diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n");

    CHECK_STR(text, "--- old\n+++ new\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
}

TEST(far_changes_are_hunks_of_their_own_and_near_ones_are_not)
{
    auto_free char *far = diff("a\n1\n2\n3\n4\n5\n6\n7\nz\n", "1\n2\n3\n4\n5\n6\n7\n");
    auto_free char *near = diff("a\n1\n2\n3\n4\n5\n6\nz\n", "1\n2\n3\n4\n5\n6\n");

    CHECK_STR(far, "--- old\n+++ new\n@@ -1,4 +1,3 @@\n-a\n 1\n 2\n 3\n@@ -6,4 +5,3 @@\n 5\n 6\n 7\n-z\n");
    CHECK_STR(near, "--- old\n+++ new\n@@ -1,8 +1,6 @@\n-a\n 1\n 2\n 3\n 4\n 5\n 6\n-z\n");
}

TEST(one_side_may_be_empty)
{
    auto_free char *made = diff("", "a\nb\n"), *gone = diff("a\n", "");

    CHECK_STR(made, "--- old\n+++ new\n@@ -0,0 +1,2 @@\n+a\n+b\n");
    CHECK_STR(gone, "--- old\n+++ new\n@@ -1,1 +0,0 @@\n-a\n");
}

/* What the script says, applied to the old text, must give the new one. */
static void check_applies(const char *old_text, const char *new_text)
{
    auto_free char *text = diff(old_text, new_text);
    auto_strbuf struct strbuf made = {0};
    const char *old_at = old_text;
    size_t old_line = 1;

    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        size_t from, len;

        if (str_starts(line, "--- ") || str_starts(line, "+++ "))
            continue;
        if (sscanf(line, "@@ -%zu,%zu", &from, &len) == 2) {
            for (from += len == 0; old_line < from; old_line++) {
                const char *end = strchr(old_at, '\n') + 1;

                strbuf_add(&made, old_at, (size_t)(end - old_at));
                old_at = end;
            }
            continue;
        }
        if (*line != '+') {
            old_at = strchr(old_at, '\n') + 1;
            old_line++;
        }
        if (*line != '-')
            strbuf_addf(&made, "%s\n", line + 1);
    }
    strbuf_adds(&made, old_at);
    CHECK_STR(made.data, new_text);
}

TEST(what_it_says_leads_from_one_text_to_the_other)
{
    unsigned seed = 1;

    for (unsigned round = 0; round < 500; round++) {
        auto_strbuf struct strbuf a = {0}, b = {0};

        strbuf_adds(&a, "");
        strbuf_adds(&b, "");
        for (unsigned i = 0; i < 40; i++) {
            char line[3] = {(char)('a' + rand_r(&seed) % 5), '\n', '\0'};
            unsigned fate = (unsigned)rand_r(&seed) % 8;

            if (fate != 0)
                strbuf_adds(&a, line);
            if (fate != 1)
                strbuf_adds(&b, line);
        }
        check_applies(a.data, b.data);
    }
}

TEST(long_texts_are_shown_as_replaced)
{
    auto_strbuf struct strbuf a = {0}, b = {0};

    for (unsigned i = 0; i < 5000; i++) {
        strbuf_addf(&a, "a%u\n", i);
        strbuf_addf(&b, "b%u\n", i);
    }
    check_applies(a.data, b.data);
}

TEST(control_characters_are_taken_out)
{
    auto_free char *text = diff("a\033[2J\n", "b\n");

    CHECK(!strchr(text, '\033') && strstr(text, "-a?[2J\n"));
}

TEST(no_colour_where_there_is_no_terminal)
{
    FILE *out = tmpfile();

    CHECK(!style_wanted(out));
    style_begin(out, STYLE_BAD);
    style_end(out);
    CHECK_INT(ftell(out), 0);
    fclose(out);
}

TEST(states_have_colours_and_words_do_not)
{
    CHECK_INT(style_of_state("running"), STYLE_GOOD);
    CHECK_INT(style_of_state("crashed"), STYLE_BAD);
    CHECK_INT(style_of_state("stopped"), STYLE_FAINT);
    CHECK_INT(style_of_state("run"), STYLE_PLAIN);
    CHECK_INT(style_of_state("running ready"), STYLE_PLAIN);
    CHECK_INT(style_of_state(""), STYLE_PLAIN);
}

TEST_MAIN();
