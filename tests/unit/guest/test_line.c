/* Lines of an agent, under bounds. */
#include "service/json/doc.h"
#include "service/vm/guest_internal.h"
#include "tests/support/test.h"

static enum guest_line_state feed(struct guest_line *l, const char *text, size_t *ret_used)
{
    return guest_line_feed(l, text, strlen(text), ret_used);
}

static bool is(const struct guest_line *l, const char *text)
{
    return l->len == strlen(text) && memcmp(l->data, text, l->len) == 0;
}

TEST(a_line_ends_at_its_newline)
{
    struct guest_line l = {0};
    size_t used;

    CHECK_INT(feed(&l, "{\"a\"", &used), GUEST_LINE_MORE);
    CHECK_INT(feed(&l, ":1}\nrest", &used), GUEST_LINE_DONE);
    CHECK_INT(used, 4);
    CHECK(is(&l, "{\"a\":1}"));
    guest_line_done(&l);
}

TEST(a_mark_drops_what_came_before)
{
    struct guest_line l = {0};
    size_t used;

    CHECK_INT(feed(&l, "{\"torn \xff{}\n", &used), GUEST_LINE_DONE);
    CHECK(is(&l, "{}"));
    guest_line_done(&l);
}

TEST(a_newline_in_a_string_is_the_end_all_the_same)
{
    struct guest_line l = {0};
    size_t used;

    CHECK_INT(feed(&l, "\"a\nb", &used), GUEST_LINE_DONE);
    CHECK_INT(used, 3);
    guest_line_done(&l);
}

/* Feeds count times the text, as one piece each. */
static enum guest_line_state repeat(struct guest_line *l, const char *text, size_t count)
{
    enum guest_line_state state = GUEST_LINE_MORE;
    size_t used;

    for (size_t i = 0; i < count && state == GUEST_LINE_MORE; i++)
        state = feed(l, text, &used);
    return state;
}

TEST(a_long_string_is_cut_and_the_rest_is_whole)
{
    struct guest_line l = {0};
    auto_json json_t *value = NULL;
    struct error err;
    bool nonsense;
    size_t used;

    CHECK_INT(feed(&l, "{\"return\":{\"out-data\":\"", &used), GUEST_LINE_MORE);
    CHECK_INT(repeat(&l, "QUJDREVGR0hJSktM", 1000000), GUEST_LINE_MORE);
    CHECK_INT(feed(&l, "\",\"exited\":true}}\n", &used), GUEST_LINE_DONE);
    CHECK(l.cut && l.cap <= GUEST_LINE_MAX);
    CHECK_OK(guest_reply_parse(l.data, l.len, &value, &nonsense, &err));
    CHECK(json_is_true(json_object_get(value, "exited")));
    CHECK_INT(json_string_length(json_object_get(value, "out-data")), GUEST_STRING_MAX);

    struct guest_status s = {0};
    CHECK_OK(guest_reply_status(value, l.cut, &s, &err));
    CHECK(s.exited && s.out.truncated && !s.err.truncated);
    CHECK_INT(s.out.len, GUEST_STRING_MAX / 4 * 3);
    guest_output_done(&s.out);
    guest_line_reset(&l);
    CHECK_INT(l.cap, 0); /* what was large is given back */
    guest_line_done(&l);
}

TEST(escapes_do_not_end_a_string)
{
    struct guest_line l = {0};
    size_t used;

    CHECK_INT(repeat(&l, "\"", 1), GUEST_LINE_MORE);
    CHECK_INT(repeat(&l, "\\\"\\\\", 1000000), GUEST_LINE_MORE);
    CHECK(l.cut && l.in_string);
    CHECK_INT(feed(&l, "\"\n", &used), GUEST_LINE_DONE);
    guest_line_done(&l);
}

TEST(what_is_long_and_no_string_is_refused)
{
    struct guest_line l = {0};

    CHECK_INT(repeat(&l, "[[[[[[[[[[[[[[[[", 1000000), GUEST_LINE_TOO_LONG);
    CHECK(l.cap <= GUEST_LINE_MAX);
    guest_line_done(&l);
}

TEST(a_string_without_end_is_refused_in_the_end)
{
    struct guest_line l = {0};
    static char piece[65537];
    size_t used;

    memset(piece, 'x', sizeof(piece) - 1);
    CHECK_INT(feed(&l, "\"", &used), GUEST_LINE_MORE);
    CHECK_INT(repeat(&l, piece, 1000000), GUEST_LINE_TOO_LONG);
    CHECK(l.sent > GUEST_SENT_MAX);
    guest_line_done(&l);
}

/* ---- answers ---- */

static int parse(const char *text, json_t **ret, bool *ret_nonsense, struct error *err)
{
    return guest_reply_parse(text, strlen(text), ret, ret_nonsense, err);
}

TEST(an_error_is_the_agents_own_words_made_harmless)
{
    json_t *value = NULL;
    bool nonsense;
    struct error err;

    CHECK(parse("{\"error\":{\"class\":\"x\",\"desc\":\"a\\u001b[31mb\\nc\"}}", &value, &nonsense, &err));
    CHECK(!nonsense);
    CHECK_INT(err.code, ERROR_AGENT_FAILED);
    CHECK_STR(err.detail, "the guest agent says: a [31mb c");
}

TEST(nonsense_is_told_from_errors)
{
    static const char *const texts[] = {"", "{", "[]", "7", "{}", "{\"return\":1}x", "{\"a\":1}",
                                        "{\"return\":1,\"return\":2}", "{\"return\":\"\\u0000\"}",
                                        "{\"return\":\"\xc3\"}", "{\"error\":7}"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        json_t *value = NULL;
        bool nonsense = false;
        struct error err;

        CHECK(parse(texts[i], &value, &nonsense, &err));
        CHECK(nonsense && !value);
    }
}

TEST(addresses_that_are_none_are_left_out)
{
    static const char text[] =
        "{\"return\":[{\"name\":\"eth0\",\"hardware-address\":\"52:54:00:12:34:5g\",\"ip-addresses\":["
        "{\"ip-address\":\"10.0.0.1;id\"},{\"ip-address\":\"10.0.0.1\",\"prefix\":99},"
        "{\"ip-address\":\"::ffff:1\",\"prefix\":128},{\"ip-address\":7},null]},{\"name\":\"\"},7]}";
    auto_json json_t *value = NULL;
    struct guest_interface list[4];
    bool nonsense;
    struct error err;
    size_t count;

    CHECK_OK(parse(text, &value, &nonsense, &err));
    guest_reply_interfaces(value, list, 4, &count);
    CHECK_INT(count, 1);
    CHECK_STR(list[0].mac, "");
    CHECK_INT(list[0].address_count, 2);
    CHECK_STR(list[0].addresses[0].address, "10.0.0.1");
    CHECK_INT(list[0].addresses[0].prefix, -1);
    CHECK(list[0].addresses[1].ipv6 && list[0].addresses[1].prefix == 128);
}

TEST(an_exit_without_a_reason_is_no_success)
{
    static const char *const texts[] = {"{\"return\":{}}", "{\"return\":{\"exited\":1}}",
                                        "{\"return\":{\"exited\":true,\"exitcode\":\"0\"}}",
                                        "{\"return\":{\"exited\":true,\"signal\":-3}}",
                                        "{\"return\":{\"exited\":true,\"exitcode\":0,\"out-data\":\"*\"}}"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        auto_json json_t *value = NULL;
        struct guest_status s = {0};
        bool nonsense;
        struct error err;

        CHECK_OK(parse(texts[i], &value, &nonsense, &err));
        CHECK(guest_reply_status(value, false, &s, &err));
        guest_output_done(&s.out);
        guest_output_done(&s.err);
    }
}

TEST_MAIN();
