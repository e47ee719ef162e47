/* Bounded parsing, strict decoding, merge-patch. */
#include <stddef.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "tests/support/test.h"

static const struct doc_limits limits = {.bytes = 65536, .depth = 16, .tokens = 100};

static int parse(const char *text, json_t **ret, struct error *err)
{
    return doc_parse(text, strlen(text), &limits, ret, err);
}

static json_t *must_parse(const char *text)
{
    json_t *j = NULL;
    struct error err;

    CHECK_OK(parse(text, &j, &err));
    return j;
}

TEST(deep_nesting_is_refused_before_it_is_parsed)
{
    auto_free char *text = xcalloc(1, 20001);
    json_t *j;
    struct error err;

    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    CHECK_INT(parse(text, &j, &err), -1);
    CHECK_INT(err.code, ERROR_MALFORMED_BODY);
    CHECK(strstr(err.detail, "16 levels"));
}

TEST(many_values_are_refused_but_brackets_in_strings_do_not_count)
{
    auto_free char *text = xcalloc(1, 1000);
    auto_json json_t *ok = NULL;
    json_t *j;
    struct error err;

    text[0] = '[';
    for (int i = 0; i < 120; i++)
        strcat(text, "1,");
    strcat(text, "1]");
    CHECK_INT(parse(text, &j, &err), -1);
    ok = must_parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[,,,,\\\"[[\"]");
    CHECK(json_is_array(ok));
}

TEST(what_is_not_json_is_malformed)
{
    static const char *const bad[] = {"",         "{",   "{\"a\":1,\"a\":2}", "{} x",
                                      "\"\xff\"", "nul", "\"a\\u0000b\"",    "[1e999]"};
    struct error err;
    json_t *j;

    for (size_t i = 0; i < DOC_COUNT(bad); i++) {
        CHECK_INT(parse(bad[i], &j, &err), -1);
        CHECK_INT(err.code, ERROR_MALFORMED_BODY);
    }
    CHECK_INT(doc_parse("{\0}", 3, &limits, &j, &err), -1);
}

struct thing {
    char *name;
    int64_t n;
    bool flag;
    int colour;
};

static const char *const colours[] = {"red", "green", NULL};
static const struct doc_field fields[] = {
    {.name = "name", .kind = DOC_STRING, .required = true, .offset = offsetof(struct thing, name), .min = 1, .max = 8},
    {.name = "n", .kind = DOC_INT, .nullable = true, .offset = offsetof(struct thing, n), .min = 1, .max = 10},
    {.name = "flag", .kind = DOC_BOOL, .offset = offsetof(struct thing, flag)},
    {.name = "a/b", .kind = DOC_ENUM, .offset = offsetof(struct thing, colour), .choices = colours},
};

static void refused(const char *text, const char *pointer)
{
    auto_json json_t *j = must_parse(text);
    struct thing t = {0};
    struct error err;

    CHECK_INT(doc_decode(j, "", fields, DOC_COUNT(fields), &t, &err), -1);
    CHECK_INT(err.code, ERROR_VALIDATION_FAILED);
    CHECK_STR(err.pointer, pointer);
    free(t.name);
}

TEST(decoding_names_the_member_at_fault)
{
    refused("[]", "");
    refused("{}", "/name");
    refused("{\"name\":null}", "/name");
    refused("{\"name\":\"\"}", "/name");
    refused("{\"name\":\"123456789\"}", "/name");
    refused("{\"name\":\"a\\u0007\"}", "/name");
    refused("{\"name\":\"a\",\"x\":1}", "/x");
    refused("{\"name\":\"a\",\"n\":0}", "/n");
    refused("{\"name\":\"a\",\"n\":1.0}", "/n");
    refused("{\"name\":\"a\",\"flag\":1}", "/flag");
    refused("{\"name\":\"a\",\"a/b\":\"blue\"}", "/a~1b");
}

TEST(decoding_fills_what_is_there)
{
    auto_json json_t *j = must_parse("{\"name\":\"x\",\"n\":null,\"flag\":true,\"a/b\":\"green\"}");
    struct thing t = {.n = 5};
    struct error err;

    CHECK_OK(doc_decode(j, "", fields, DOC_COUNT(fields), &t, &err));
    CHECK_STR(t.name, "x");
    CHECK_INT(t.n, 5);
    CHECK(t.flag);
    CHECK_INT(t.colour, 1);
    free(t.name);
}

TEST(merge_patch_follows_rfc_7396)
{
    auto_json json_t *target = must_parse("{\"a\":{\"b\":1,\"c\":[1]},\"d\":2}");
    auto_json json_t *patch = must_parse("{\"a\":{\"b\":null,\"e\":{\"f\":null}},\"d\":[3]}");
    auto_json json_t *want = must_parse("{\"a\":{\"c\":[1],\"e\":{}},\"d\":[3]}");
    auto_json json_t *got = doc_merge_patch(target, patch);

    CHECK(json_equal(got, want));
}

TEST(written_strings_read_back_as_they_were)
{
    static const char *const texts[] = {"", "plain", "\"quoted\" \\ /", "\b\f\n\r\t \x01\x1f\x7f",
                                        "\u00fc \u20ac \U0001f600", "<x>&'"};

    for (size_t i = 0; i < DOC_COUNT(texts); i++) {
        auto_strbuf struct strbuf b = {0};
        auto_json json_t *value = json_string(texts[i]), *back = NULL;
        auto_free char *same = doc_text(value);

        doc_add_string(&b, texts[i]);
        back = json_loads(b.data, JSON_DECODE_ANY, NULL);
        CHECK_STR(json_string_value(back), texts[i]);
        CHECK(strcasecmp(b.data, same) == 0);
    }
}

TEST(written_bytes_that_are_not_utf8_are_replaced)
{
    auto_strbuf struct strbuf b = {0};

    doc_add_string(&b, "a\xff\xc3 b");
    CHECK_STR(b.data, "\"a\\ufffd\\ufffd b\"");
}

TEST(written_members_follow_each_other)
{
    auto_strbuf struct strbuf b = {0};

    strbuf_adds(&b, "{\"a\":1");
    doc_add_text(&b, "b", "x");
    doc_add_text(&b, "c", NULL);
    doc_add_int(&b, "d", -7);
    doc_add_bool(&b, "e", true);
    CHECK_STR(b.data, "{\"a\":1,\"b\":\"x\",\"c\":null,\"d\":-7,\"e\":true");
}

TEST_MAIN();
