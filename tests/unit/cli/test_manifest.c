/* Definitions: read, compared with what a server has, and what is sent of them. */
#include <string.h>

#include "service/base/str.h"
#include "service/cli/manifest.h"
#include "tests/support/test.h"

static json_t *json(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    CHECK(value);
    return value;
}

static char *text_of(json_t *taken)
{
    auto_value json_t *value = taken;

    return json_dumps(value, JSON_COMPACT);
}

TEST(a_definition_has_a_kind_a_name_and_a_spec)
{
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"{}", "kind, name and spec"},
        {"{\"kind\":\"vm\",\"name\":\"a\"}", "kind, name and spec"},
        {"{\"kind\":\"vm\",\"name\":1,\"spec\":{}}", "kind, name and spec"},
        {"{\"kind\":\"vm\",\"name\":\"a\",\"spec\":[]}", "kind, name and spec"},
        {"{\"kind\":\"van\",\"name\":\"a\",\"spec\":{}}", "not 'van'"},
        {"{\"kind\":\"vms\",\"name\":\"a\",\"spec\":{}}", "not 'vms'"},
        {"{\"kind\":\"vm\",\"name\":\"a\",\"spec\":{},\"status\":{}}", "'status'"},
        {"{\"kind\":\"vm\",\"name\":\"a\",\"spec\":{\"memory\":1}}", "'memory'"},
        {"[1]", "kind, name and spec"},
    };
    auto_value json_t *good = json("{\"kind\":\"vm\",\"name\":\"a\",\"spec\":{\"cpus\":2,\"start\":true}}");
    struct definition d;
    struct failure fail;

    CHECK_INT(definition_read(good, "document 1", &d, &fail), 0);
    CHECK_STR(d.kind->name, "vm");
    CHECK_STR(d.name, "a");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        auto_value json_t *document = json(wrong[i].text);

        CHECK_INT(definition_read(document, "document 7", &d, &fail), -1);
        CHECK_INT(fail.exit, CLI_USAGE);
        CHECK(str_starts(fail.detail, "document 7: ") && strstr(fail.detail, wrong[i].says));
    }
    CHECK(kind_find("vm") == kind_find("vms") && kind_find("vm") != kind_find("pools"));
    CHECK(!kind_find("v") && !kind_find("vmss") && !kind_find(""));
}

TEST(definitions_are_sorted_by_what_needs_what)
{
    struct definition all[] = {{kind_find("webhook"), "a", NULL}, {kind_find("vm"), "b", NULL},
                               {kind_find("project"), "c", NULL}, {kind_find("vm"), "d", NULL},
                               {kind_find("image"), "e", NULL}};

    definitions_sort(all, 5);
    CHECK_STR(all[0].name, "c");
    CHECK_STR(all[1].name, "e");
    CHECK_STR(all[2].name, "b");
    CHECK_STR(all[3].name, "d");
    CHECK_STR(all[4].name, "a");
}

TEST(what_is_fixed_is_found_and_what_is_later_is_apart)
{
    const struct kind *set = kind_find("set"), *image = kind_find("image");
    auto_value json_t *have = json("{\"count\":2,\"wave\":4,\"machines\":[{\"name\":\"pc\",\"cpus\":1}]}");
    auto_value json_t *same = json("{\"count\":2,\"wave\":null,\"machines\":[{\"name\":\"pc\",\"user_data\":\"x\"}]}");
    auto_value json_t *other = json("{\"count\":2,\"machines\":[{\"name\":\"pc\",\"cpus\":2}]}");
    auto_value json_t *want = json("{\"kind\":\"disk\",\"title\":\"t\",\"source\":{\"url\":\"u\"}}");
    auto_free char *now = text_of(definition_part(image, want, false));
    auto_free char *later = text_of(definition_part(image, want, true));

    CHECK(!definition_fixed(set, have, same));
    CHECK_STR(definition_fixed(set, have, other), "machines");
    CHECK_STR(now, "{\"kind\":\"disk\",\"source\":{\"url\":\"u\"}}");
    CHECK_STR(later, "{\"title\":\"t\"}");
}

static const char *const server =
    "{\"name\":\"a\",\"description\":\"\",\"labels\":{\"x\":\"1\",\"y\":\"2\"},\"cpus\":2,\"memory_mib\":512,"
    "\"image\":\"base\",\"cmdline\":null,\"disks\":[],\"networks\":[{\"mode\":\"user\",\"source\":null,"
    "\"mac\":\"02:00:00:00:00:01\"}],\"state\":\"running\",\"id\":\"1\",\"image_id\":\"9\"}";

TEST(a_spec_is_what_people_wrote_and_not_what_became_of_it)
{
    auto_value json_t *object = json(server), *spec = definition_spec(kind_find("vm"), object, "#!/bin/sh\n");
    auto_free char *sparse = text_of(definition_sparse(kind_find("vm"), spec));

    CHECK_STR(sparse, "{\"labels\":{\"x\":\"1\",\"y\":\"2\"},\"cpus\":2,\"memory_mib\":512,\"image\":\"base\","
                      "\"networks\":[{\"mode\":\"user\",\"source\":null,\"mac\":\"02:00:00:00:00:01\"}],"
                      "\"user_data\":\"#!/bin/sh\\n\"}");
}

TEST(a_secret_inside_a_template_and_an_image_without_a_name)
{
    auto_value json_t *pool = json("{\"vm\":{\"cpus\":1},\"ready\":2,\"status\":{}}");
    auto_value json_t *label = json("{\"name\":\"l\",\"keep\":0,\"image_name\":null,\"image_id\":\"9\"}");
    auto_free char *p = text_of(definition_spec(kind_find("pool"), pool, "x"));
    auto_free char *l = text_of(definition_spec(kind_find("label"), label, NULL));

    CHECK_STR(p, "{\"vm\":{\"cpus\":1,\"user_data\":\"x\"},\"ready\":2}");
    CHECK_STR(l, "{\"image\":\"9\",\"keep\":0}");
}

TEST(only_what_the_file_names_is_compared_and_sent)
{
    static const struct {
        const char *want, *patch; /* "{}": nothing to do */
    } cases[] = {
        {"{}", "{}"},
        {"{\"cpus\":2,\"start\":true}", "{}"},
        {"{\"cpus\":4}", "{\"cpus\":4}"},
        {"{\"memory_mib\":512,\"description\":\"\"}", "{}"},
        {"{\"cmdline\":null}", "{}"},
        {"{\"cmdline\":\"quiet\"}", "{\"cmdline\":\"quiet\"}"},
        {"{\"image\":null}", "{\"image\":null}"},
        {"{\"labels\":{\"y\":\"2\",\"x\":\"1\"}}", "{}"},
        {"{\"labels\":{\"x\":\"1\"}}", "{\"labels\":{\"x\":\"1\",\"y\":null}}"},
        {"{\"labels\":{}}", "{\"labels\":{\"x\":null,\"y\":null}}"},
        {"{\"networks\":[{\"mode\":\"user\"}]}", "{}"},
        {"{\"networks\":[]}", "{\"networks\":[]}"},
        /* the first keeps its address */
        {"{\"networks\":[{\"mode\":\"user\"},{\"mode\":\"bridge\",\"source\":\"br0\"}]}",
         "{\"networks\":[{\"mode\":\"user\",\"source\":null,\"mac\":\"02:00:00:00:00:01\"},"
         "{\"mode\":\"bridge\",\"source\":\"br0\"}]}"},
        {"{\"disks\":[{\"size_gib\":1}]}", "{\"disks\":[{\"size_gib\":1}]}"},
        {"{\"user_data\":\"x\"}", "{\"user_data\":\"x\"}"},
    };
    auto_value json_t *object = json(server), *have = definition_spec(kind_find("vm"), object, NULL);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        auto_value json_t *want = json(cases[i].want);
        auto_value json_t *before = definition_seen(kind_find("vm"), have, want);
        auto_value json_t *after = definition_wanted(kind_find("vm"), want);
        auto_free char *patch = text_of(definition_patch(kind_find("vm"), have, want));

        CHECK_STR(patch, cases[i].patch);
        /* "null" counts as a difference until the server has said what the default is */
        CHECK_INT(json_equal(before, after), str_eq(cases[i].patch, "{}"));
    }
}

TEST(a_whole_definition_keeps_what_the_file_does_not_name)
{
    auto_value json_t *have = json("{\"vm\":{\"cpus\":1,\"user_data\":\"x\",\"labels\":{\"a\":\"1\"}},\"ready\":2,\"max\":9}");
    auto_value json_t *want = json("{\"vm\":{\"memory_mib\":64,\"labels\":{\"b\":\"2\"}},\"ready\":3}");
    auto_free char *whole = text_of(definition_whole(kind_find("pool"), have, want));

    CHECK_STR(whole, "{\"vm\":{\"cpus\":1,\"user_data\":\"x\",\"labels\":{\"b\":\"2\"},\"memory_mib\":64},\"ready\":3,\"max\":9}");
}

TEST_MAIN();
