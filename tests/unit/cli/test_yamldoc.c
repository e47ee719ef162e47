/* YAML as the command writes and reads it. */
#include <string.h>

#include "service/base/str.h"
#include "service/cli/output.h"
#include "service/cli/yamldoc.h"
#include "tests/support/test.h"

static json_t *json(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

    CHECK(value);
    return value;
}

static char *written(const json_t *value)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    CHECK(yamldoc_write(value, false, out));
    fclose(out);
    return text;
}

TEST(a_definition_is_written_for_people)
{
    auto_value json_t *value =
        json("{\"name\":\"web-1\",\"cpus\":2,\"labels\":{},\"networks\":[{\"mode\":\"user\"}],\"display\":false,"
             "\"image\":null,\"ratio\":0.1,\"user_data\":\"#cloud-config\\npackages:\\n  - curl\\n\"}");
    auto_free char *text = written(value);

    CHECK_STR(text, "name: web-1\ncpus: 2\nlabels: {}\nnetworks:\n- mode: user\ndisplay: false\nimage: null\n"
                    "ratio: 0.1\nuser_data: |\n  #cloud-config\n  packages:\n    - curl\n");
}

TEST(what_a_version_of_yaml_would_read_as_something_else_is_quoted)
{
    static const char *const texts[] = {"",    "true", "Yes",  "no",   "on",  "OFF", "y",          "null", "~",    "1",
                                        "012", "0x1f", "1_0",  "1e3",  ".5",  "-1",  "2026-11-20", "=",    "<<",   "02:3d:2c",
                                        ".inf", "+1",  "- a",  "a: b", "# c", "a #b", "[a]",       "{a}",  "*a",   "&a",
                                        "!a",  "|",    ">",    "%a",   "@a",  "`a",  " a",         "a ",   "'",    "\""};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        auto_value json_t *value = json_pack("{s:s}", "k", texts[i]);
        auto_free char *text = written(value);

        if (text[3] != '\'' && text[3] != '"') {
            printf("# %s", text);
            CHECK(!"it is quoted");
        }
    }
}

TEST(what_is_written_is_read_back)
{
    static const char *const values[] = {
        "\"\"", "[]", "{}", "[[],{},[{}],null]", "{\"a\":null}", "-0.0", "1e300", "[9223372036854775807,-1,0]",
        "[\"a\\nb\",\"a\\n\",\"\\na\",\"a\\n\\n\",\" a\\n b\",\"a \\nb\",\"\\n\",\"\\t\\n\"]",
        "[\"\\r\",\"a\\r\\nb\",\"\\u0085\",\"a\\u2028b\\n\",\"\\u001b[2J\",\"\\u007f\",\"\\ufeff\",\"\\ufffe\",\"\\u0001\\n\"]",
        "{\"a b\":1,\"\":2,\"a: b\":3,\"a\\nb\":4,\"true\":5,\"- x\":6,\"#\":7}", "\"\\ud83d\\ude00 \\u00e9\\u4e2d\"",
        "{\"k\":\"'\\\"\\\\ : # { } [ ] , & * ! | > % @ `\"}",
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        auto_value json_t *value = json(values[i]), *read = NULL;
        auto_free char *text = written(value);
        struct failure fail;

        CHECK_INT(yamldoc_read("x", text, strlen(text), &read, &fail), 0);
        if (!json_equal(json_array_get(read, 0), value)) {
            printf("# %s: %s", values[i], text);
            CHECK(!"it is the same");
        }
    }
}

TEST(control_characters_never_reach_a_terminal)
{
    auto_value json_t *value = json("[\"\\u001b[2J\", \"\\u009b2J\", \"a\\u0007\\nb\"]");
    auto_free char *text = written(value);

    for (const char *p = text; *p; p++)
        CHECK(*p == '\n' || (*p >= ' ' && *p < 0x7f));
}

/* The documents of a text as compact JSON, or "error: …". */
static char *reading(const char *text)
{
    auto_value json_t *read = NULL;
    struct failure fail;

    if (yamldoc_read("f", text, strlen(text), &read, &fail)) {
        CHECK_INT(fail.exit, CLI_USAGE);
        return xasprintf("error: %s", fail.detail);
    }
    return json_dumps(read, JSON_COMPACT);
}

TEST(documents_are_read_as_yaml_1_2_does)
{
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"", "[]"},
        {"# nothing\n---\n---\n", "[]"},
        {"a: 1\n---\nb: [true, ~, yes, 'true', 1.5, 012, 0x1f, 1:30, 2026-11-20]\n",
         "[{\"a\":1},{\"b\":[true,null,\"yes\",\"true\",1.5,\"012\",\"0x1f\",\"1:30\",\"2026-11-20\"]}]"},
        {"a: !!str 1\n", "[{\"a\":\"1\"}]"},
        {"{\"a\": 1}\n{\"a\": \"\\ud83d\\ude00\"}\n[1]", "[{\"a\":1},{\"a\":\"\xf0\x9f\x98\x80\"},[1]]"},
        {"{a: 1, b: [x, y]}\n", "[{\"a\":1,\"b\":[\"x\",\"y\"]}]"},
        {"a: |\n  x\n  y\nb: >\n  x\n  y\n", "[{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}]"},
        {"1: x\n", "[{\"1\":\"x\"}]"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        auto_free char *got = reading(cases[i].text);

        CHECK_STR(got, cases[i].json);
    }
}

TEST(what_cannot_be_meant_is_refused_with_its_line)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"a: 1\na: 2\n", "line 2: the key comes twice"},
        {"{\"a\": 1, \"a\": 2}", "line 1: the key comes twice"},
        {"x:\n  a: &x 1\n", "line 2: anchors and aliases"},
        {"a: *x\n", "line 1: anchors and aliases"},
        {"a: !!binary aGk=\n", "line 1: tags"},
        {"a: !!python/object:os.system {}\n", "line 1: tags"},
        {"a: 1\n b: 2\n", "line 2: "},
        {"a: [1, 2\n", "line 2: "},
        {"a:\tb\n\tc: d\n", "line 2: "},
        {"a: 99999999999999999999\n", "line 1: the number is too large"},
        {"a: 1e999\n", "line 1: the number is too large"},
        {"? [a]\n: b\n", "line 1: a key must be text"},
        {"\"a\\0b\": 1\n", "line 1: a key must be text"},
        {"a: \x01\n", "line 1: "},
        {"a: \xff\n", "line 1: "},
    };
    auto_strbuf struct strbuf deep = {0};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        auto_free char *got = reading(cases[i].text);

        if (!str_starts(got, "error: f, ") || !strstr(got, cases[i].says)) {
            printf("# %s -> %s\n", cases[i].text, got);
            CHECK(!"it is refused");
        }
    }
    for (unsigned i = 0; i < 100000; i++)
        strbuf_addc(&deep, '[');
    auto_free char *got = reading(deep.data);
    CHECK(strstr(got, "nested too deeply"));
}

TEST(things_are_called_by_what_other_commands_take)
{
    static const struct {
        const char *words, *thing, *name;
    } cases[] = {
        {"vm list", "{\"id\":\"1\",\"name\":\"web\"}", "web"},
        {"lease list", "{\"id\":\"1\",\"name\":\"web\"}", "1"},
        {"token list", "{\"id\":\"1\",\"name\":\"ci\"}", "1"},
        {"token create", "{\"id\":\"1\",\"token\":\"secret\"}", "secret"},
        {"op list", "{\"id\":\"1\"}", "1"},
        {"operate", "{\"id\":\"1\",\"name\":\"n\"}", "n"},
        {"events", "{\"seq\":7}", "7"},
        {"ksm", "{\"run\":1}", NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        auto_value json_t *thing = json(cases[i].thing);
        auto_free char *name = output_name_of(cases[i].words, thing);

        CHECK_STR(name ? name : "", cases[i].name ? cases[i].name : "");
    }
}

TEST_MAIN();
