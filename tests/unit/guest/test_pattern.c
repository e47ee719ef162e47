/* Regular expressions of clients, the wicked ones too. */
#include "service/vm/pattern.h"
#include "tests/support/test.h"

static int find(const char *pattern, const char *text, struct error *err)
{
    auto_pattern struct pattern *p = NULL;

    if (pattern_new(pattern, "pattern", &p, err))
        return -2;
    return pattern_find(p, text, strlen(text), err);
}

TEST(lines_have_beginnings_and_ends)
{
    struct error err = ERROR_INIT;

    CHECK_INT(find("login: $", "boot\r\nweb-1 login: ", &err), 1);
    CHECK_INT(find("^ready$", "not ready\nready\nand on", &err), 1);
    CHECK_INT(find("^ready$", "already", &err), 0);
    CHECK_INT(find("\\d{3}", "\xff\x80 042", &err), 1);
}

TEST(what_is_none_is_said_with_its_place)
{
    static const char *const wrong[] = {"", "(", "[", "a{2,1}", "(?<n", "\\C",
                                        "((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct error err = ERROR_INIT;

        CHECK_INT(find(wrong[i], "", &err), -2);
        CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
        CHECK_STR(err.pointer, "pattern");
    }
}

TEST(evil_expressions_end_soon)
{
    static const char *const evil[] = {"^(a+)+$", "(a*)*b", "(a|aa)+$", "(.*a){20}b", "(?:a?){30}a{30}b",
                                       "^(([a-z])+.)+[A-Z]([a-z])+$"};
    static char text[16385];

    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 2] = '!';
    for (size_t i = 0; i < sizeof(evil) / sizeof(evil[0]); i++) {
        struct error err = ERROR_INIT;
        int64_t begun = clock_monotonic_ms();

        CHECK(find(evil[i], text, &err) <= 0);
        CHECK(clock_monotonic_ms() - begun < 5000);
    }
}

TEST_MAIN();
