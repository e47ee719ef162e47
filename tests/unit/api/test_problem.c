/* Problem documents. */
#include <jansson.h>

#include "api/problem.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "tests/support/test.h"

static json_t *render(const struct error *err)
{
    auto_blob struct blob *b = problem_render(err, "id-1");

    return json_loadb(b->data, b->len, JSON_REJECT_DUPLICATES, NULL);
}

static const char *text(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

TEST(every_kind_of_error_renders)
{
    for (int code = 1; code < ERROR_COUNT; code++) {
        struct error err;
        json_t *o;

        error_set(&err, (enum error_code)code, "It is so.");
        o = render(&err);
        CHECK(o);
        CHECK_STR(text(o, "code"), error_slug((enum error_code)code));
        CHECK_STR(text(o, "title"), error_title((enum error_code)code));
        CHECK_INT(json_integer_value(json_object_get(o, "status")),
                  error_status((enum error_code)code));
        CHECK(str_starts(text(o, "type"), "/problems/"));
        CHECK_INT(json_is_true(json_object_get(o, "retry")), error_retry((enum error_code)code));
        json_decref(o);
    }
}

TEST(members_follow_the_error)
{
    struct error err;
    json_t *o;

    error_set_at(&err, ERROR_VALIDATION_FAILED, "/disks/0/size_gib", "Too \"large\".");
    error_remedy(&err, "Use less.");
    error_cause(&err, "libvirt said: secret");
    o = render(&err);
    CHECK_STR(text(o, "pointer"), "/disks/0/size_gib");
    CHECK_STR(text(o, "detail"), "Too \"large\".");
    CHECK_STR(text(o, "remedy"), "Use less.");
    CHECK_STR(text(o, "instance"), "urn:drover:request:id-1");
    CHECK_INT(json_object_size(o), 8);
    json_decref(o);
}

TEST(the_cause_never_leaves)
{
    struct error err;
    auto_blob struct blob *b = NULL;

    error_set(&err, ERROR_INTERNAL, "Something went wrong.");
    error_cause(&err, "/etc/shadow");
    b = problem_render(&err, NULL);
    CHECK(!strstr(b->data, "shadow"));
    CHECK(!strstr(b->data, "instance"));
}

TEST(text_that_is_not_utf8_does_not_break_the_document)
{
    struct error err;
    json_t *o;

    error_set(&err, ERROR_INVALID_ARGUMENT, "x");
    memcpy(err.detail, "\xff\xfe", 3);
    o = render(&err);
    CHECK(o);
    CHECK(text(o, "detail"));
    json_decref(o);
}

TEST_MAIN();
