/* Unfinished command lines. */
#include <string.h>

#include "service/base/str.h"
#include "service/cli/complete.h"
#include "tests/support/test.h"

/* "vm start <command> <option whose value is typed> <what is typed>": "-" for none. */
static char *reading(const char *line)
{
    const char *words[ARGS_MAX];
    auto_free char *copy = xstrdup(line);
    struct complete_line l;
    int count = 0;

    for (char *p = copy, *end; p && count < ARGS_MAX; p = end ? end + 1 : NULL) {
        end = strchr(p, ' ');
        if (end)
            *end = '\0';
        words[count++] = p;
    }
    complete_parse(words, count, &l);
    return xasprintf("%s|%s|%s|%d", l.command ? l.command->words : "-", l.pending ? l.pending->name : "-",
                     l.prefix + l.prefix_skip, l.wants_option);
}

TEST(a_line_is_understood_as_far_as_it_goes)
{
    static const struct {
        const char *line, *read;
    } cases[] = {
        {"", "-|-||0"},
        {"vm", "-|-|vm|0"},
        {"vm ", "-|-||0"},
        {"vm start ", "vm start|-||0"},
        {"vm start we", "vm start|-|we|0"},
        {"--json vm start we", "vm start|-|we|0"},
        {"-u http://x vm start we", "vm start|-|we|0"},
        {"-uhttp://x vm start we", "vm start|-|we|0"},
        {"vm start --", "vm start|-|--|1"},
        {"vm start -", "vm start|-|-|1"},
        {"vm start -- -", "vm start|-|-|0"},
        {"vm create x --image ", "vm create|image||0"},
        {"vm create x --image=de", "vm create|image|de|0"},
        {"vm create x -i de", "vm create|image|de|0"},
        {"vm create x -i demo ", "vm create|-||0"},
        {"vm create --image -- ", "vm create|-||0"},
        {"vm list --json ", "vm list|-||0"},
        {"ksm ", "ksm|-||0"},
        {"ksm tune ", "ksm tune|-||0"},
        {"nosuch thing ", "-|-||0"},
        {"--nosuch vm start ", "vm start|-||0"},
        {"--output=", "-|output||0"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        auto_free char *read = reading(cases[i].line);

        if (!str_eq(read, cases[i].read))
            printf("# '%s'\n", cases[i].line);
        CHECK_STR(read, cases[i].read);
    }
}

TEST(the_server_on_the_line_is_noticed)
{
    static const char *const words[] = {"--url", "http://a", "vm", "start", "--context=lab", "-s", "/s", ""};
    struct complete_line l;

    complete_parse(words, 8, &l);
    CHECK_STR(l.url, "http://a");
    CHECK_STR(l.context, "lab");
    CHECK_STR(l.socket, "/s");
}

TEST(only_harmless_names_are_put_onto_a_command_line)
{
    static const char *const good[] = {"web-1", "a.b_c", "org/x@1", "02:00"};
    static const char *const bad[] = {"", "-f", "a b", "$(x)", "`x`", "a;b", "a\nb", "a\tb", "a'b", "a\"b", "a\\b",
                                      "a*", "~", "\xc3\xa4", "a&b", "a|b", "a>b", "#", "!x", "{a,b}"};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK(complete_is_harmless(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(!complete_is_harmless(bad[i]));
}

TEST(values_have_their_sources)
{
    struct complete_source source;
    const char *words = NULL;

    CHECK_INT(complete_value("op show", NULL, "ID", &words, &source), COMPLETE_THINGS);
    CHECK(str_starts(source.collection, "/v1/operations"));
    CHECK_INT(complete_value("token revoke", NULL, "ID", &words, &source), COMPLETE_THINGS);
    CHECK(str_starts(source.collection, "/v1/tokens"));
    CHECK_INT(complete_value("recording play", NULL, "ID|FILE", &words, &source), COMPLETE_THINGS);
    CHECK_INT(complete_value("catalogue delete", NULL, "NAME", &words, &source), COMPLETE_THINGS);
    CHECK_INT(complete_value("vm create", NULL, "NAME", &words, &source), COMPLETE_NOTHING);
    CHECK_INT(complete_value("ksm tune", NULL, "off|static|auto", &words, &source), COMPLETE_WORDS);
    CHECK_INT(complete_value("image create", "file", "FILE", &words, &source), COMPLETE_FILES);
    CHECK_INT(complete_value("vm list", "state", "STATE", &words, &source), COMPLETE_WORDS);
    CHECK(str_has_word(words, "running"));
}

TEST_MAIN();
