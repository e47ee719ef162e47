/* Viewers: modes, resuming, gaps, limits, input, and the subprotocol's text frames. */
#include <jansson.h>

#include "tests/unit/console/rig.h"

static struct rig rig;

static void print_pattern(uint64_t from, size_t len)
{
    unsigned char *buf = xcalloc(1, len);

    pattern_fill(buf, from, len);
    rig_print_bytes(&rig, buf, len);
    free(buf);
}

static bool is_pattern(const unsigned char *buf, uint64_t from, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (buf[i] != pattern(from + i))
            return false;
    }
    return true;
}

/* ---- frames ---- */

static void check_frame(struct source *s, const char *want)
{
    json_t *got = json_loads(rig_read_frame(s), 0, NULL), *expected = json_loads(want, 0, NULL);
    bool same = json_equal(got, expected);

    if (!same) {
        char *text = json_dumps(got, 0);

        printf("# got %s\n# not %s\n", text, want);
        free(text);
    }
    json_decref(got);
    json_decref(expected);
    CHECK(same);
}

static void check_error(struct source *s, const char *code)
{
    json_t *frame = json_loads(rig_read_frame(s), 0, NULL);

    CHECK_STR(json_string_value(json_object_get(frame, "type")), "error");
    CHECK_STR(json_string_value(json_object_get(frame, "code")), code);
    json_decref(frame);
}

/* ---- raw ---- */

TEST(a_view_only_source_has_no_write_function)
{
    struct source *s;

    rig_open(&rig, 4096, 8);
    s = rig_attach_as(&rig, CONSOLE_VIEW, CONSOLE_RAW, "v");
    CHECK(s->write == NULL);
    rig_detach(s);
    rig_close(&rig);
}

TEST(a_v1_watcher_is_refused_in_words_and_cannot_type)
{
    struct source *s;
    char buf[8];

    rig_open(&rig, 4096, 8);
    s = rig_attach_as(&rig, CONSOLE_VIEW, CONSOLE_V1, "v");
    rig_greet(s);
    CHECK_INT(s->write(s, SOURCE_BYTES, "rm\n", 3), 3);
    check_error(s, "view-only");
    for (size_t i = 0; i < 4; i++) {
        static const char *const frames[] = {
            "{\"type\":\"request-control\"}", "{\"type\":\"take-control\"}",
            "{\"type\":\"release-control\"}", "{\"type\":\"size\",\"rows\":9,\"cols\":9}"};

        CHECK(rig_type(s, frames[i]) > 0);
        check_error(s, "view-only");
    }
    CHECK_INT(recv(rig.guest, buf, sizeof(buf), MSG_DONTWAIT), -1);
    CHECK_STR(rig_read_text(s), "");
    rig_detach(s);
    rig_close(&rig);
}

TEST(typed_bytes_reach_the_guest_from_text_and_binary_frames)
{
    struct source *s;
    char buf[16];

    rig_open(&rig, 4096, 8);
    s = rig_attach(&rig);
    CHECK_INT(s->write(s, SOURCE_TEXT, "ab", 2), 2);
    CHECK_INT(s->write(s, SOURCE_BYTES, "c\0d", 3), 3);
    CHECK_INT(recv(rig.guest, buf, 5, MSG_WAITALL), 5);
    CHECK(memcmp(buf, "abc\0d", 5) == 0);
    rig_detach(s);
    rig_close(&rig);
}

TEST(input_the_guest_does_not_take_is_bounded_and_arrives_in_order)
{
    static unsigned char buf[65536], got[65536];
    static atomic_int told;
    struct source *s;
    uint64_t sent = 0, received = 0, full_at;
    ssize_t n;

    rig_open(&rig, 4096, 8);
    s = rig_attach(&rig);
    s->set_notify(s, rig_told, &told);
    for (;;) { /* the guest does not read at all */
        pattern_fill(buf, sent, sizeof(buf));
        n = s->write(s, SOURCE_BYTES, buf, sizeof(buf));
        if (n == 0)
            break;
        sent += (uint64_t)n;
        CHECK(sent < 4u << 20);
    }
    full_at = sent;
    CHECK_INT(atomic_load(&told), 0);
    while (received < full_at) {
        n = recv(rig.guest, got, sizeof(got), 0);
        CHECK(n > 0);
        CHECK(is_pattern(got, received, (size_t)n));
        received += (uint64_t)n;
    }
    EVENTUALLY(atomic_load(&told) > 0, 5000); /* there is room again */
    pattern_fill(buf, sent, 10);
    CHECK_INT(s->write(s, SOURCE_BYTES, buf, 10), 10);
    CHECK_INT(recv(rig.guest, got, 10, MSG_WAITALL), 10);
    CHECK(is_pattern(got, received, 10));
    rig_detach(s);
    rig_close(&rig);
}

TEST(resuming_at_an_offset_leaves_no_hole_and_repeats_nothing)
{
    static unsigned char buf[4096];
    struct source *s;
    size_t first;

    rig_open(&rig, 8192, 8);
    print_pattern(0, 1000);
    s = rig_attach(&rig);
    first = rig_read_all(s, buf, 700);
    rig_detach(s);
    print_pattern(1000, 500);
    s = rig_attach_from(&rig, CONSOLE_RAW, first);
    CHECK_INT(rig_read_all(s, buf, sizeof(buf)), 800);
    CHECK(is_pattern(buf, 700, 800));
    rig_detach(s);
    s = rig_attach_from(&rig, CONSOLE_RAW, 1500); /* at the very end */
    CHECK_STR(rig_read_text(s), "");
    print_pattern(1500, 5);
    CHECK_INT(rig_read_all(s, buf, sizeof(buf)), 5);
    rig_detach(s);
    rig_close(&rig);
}

TEST(a_raw_viewer_that_resumes_too_late_starts_at_the_oldest_byte)
{
    static unsigned char buf[8192];
    struct source *s;

    rig_open(&rig, 4096, 8);
    print_pattern(0, 3000);
    print_pattern(3000, 3000);
    s = rig_attach_from(&rig, CONSOLE_RAW, 10);
    print_pattern(6000, 100); /* evicts more before the first read: still no reason to drop it */
    CHECK_INT(rig_read_all(s, buf, sizeof(buf)), 4096);
    CHECK(is_pattern(buf, 6100 - 4096, 4096));
    rig_detach(s);
    rig_close(&rig);
}

TEST(an_offset_of_the_future_shows_everything)
{
    struct source *s;

    rig_open(&rig, 4096, 8);
    rig_print(&rig, "hello");
    s = rig_attach_from(&rig, CONSOLE_RAW, UINT64_MAX);
    CHECK_STR(rig_read_text(s), "hello");
    rig_detach(s);
    rig_close(&rig);
}

TEST(a_raw_viewer_that_is_overtaken_is_dropped_with_1013)
{
    struct console_stats stats;
    struct source *s;
    enum source_kind kind;
    char buf[8];

    rig_open(&rig, 4096, 8);
    rig_print(&rig, "0123456789");
    s = rig_attach(&rig);
    CHECK_INT(s->read(s, buf, 1, &kind), 1);
    print_pattern(0, 4096);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
    CHECK_INT(s->close_code, 1013);
    CHECK(*s->close_reason);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
    console_stats_read(rig.hub, &stats);
    CHECK_INT(stats.dropped_viewers, 1);
    CHECK_INT(stats.viewers, 1);
    rig_detach(s);
    console_stats_read(rig.hub, &stats);
    CHECK_INT(stats.viewers, 0);
    rig_close(&rig);
}

TEST(notify_comes_once_for_each_time_read_found_nothing)
{
    static atomic_int told;
    struct source *s;

    rig_open(&rig, 4096, 8);
    s = rig_attach(&rig);
    CHECK_STR(rig_read_text(s), "");
    atomic_store(&told, 0);
    s->set_notify(s, rig_told, &told);
    rig_print(&rig, "a");
    EVENTUALLY(atomic_load(&told) == 1, 5000);
    rig_print(&rig, "b");
    rig_print(&rig, "c");
    CHECK_INT(atomic_load(&told), 1); /* it knows already */
    CHECK_STR(rig_read_text(s), "abc");
    rig_print(&rig, "d");
    EVENTUALLY(atomic_load(&told) == 2, 5000);
    rig_detach(s);
    rig_close(&rig);
}

TEST(viewers_are_limited_and_a_slot_comes_back)
{
    struct error err = ERROR_INIT;
    const struct console_attach attach = {.vm_id = VM, .stream = "console", .viewer = "third"};
    struct source *a, *b, *c = NULL;

    rig_open(&rig, 4096, 2);
    a = rig_attach(&rig);
    b = rig_attach(&rig);
    CHECK_INT(console_viewers(rig.hub, VM, "console"), 2);
    CHECK_INT(console_attach(rig.hub, &attach, &c, &err), -1);
    CHECK_INT(err.code, ERROR_TOO_MANY_VIEWERS);
    CHECK(!c);
    rig_detach(a);
    CHECK_OK(console_attach(rig.hub, &attach, &c, &err));
    rig_detach(b);
    rig_detach(c);
    console_set_viewers_max(rig.hub, 0);
    CHECK_INT(console_attach(rig.hub, &attach, &c, &err), -1);
    rig_close(&rig);
}

TEST(revoking_ends_only_the_viewers_of_that_name)
{
    struct source *mine, *other;
    enum source_kind kind;
    char buf[8];

    rig_open(&rig, 4096, 8);
    mine = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_RAW, "token:AAA");
    other = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_RAW, "token:BBB");
    rig_print(&rig, "x");
    console_revoke(rig.hub, "token:AAA");
    CHECK_INT(mine->read(mine, buf, sizeof(buf), &kind), -1);
    CHECK_INT(mine->close_code, 1008);
    CHECK_INT(mine->write(mine, SOURCE_BYTES, "rm\n", 3), -1);
    CHECK_STR(rig_read_text(other), "x");
    CHECK_INT(rig_type(other, "ls"), 2);
    CHECK_INT(recv(rig.guest, buf, sizeof(buf), 0), 2);
    CHECK(memcmp(buf, "ls", 2) == 0);
    rig_detach(mine);
    rig_detach(other);
    rig_close(&rig);
}

/* ---- drover.console.v1 ---- */

TEST(v1_says_hello_then_sends_the_bytes)
{
    struct source *s;

    rig_open(&rig, 4096, 8);
    rig_print(&rig, "boot");
    s = rig_attach_as(&rig, CONSOLE_VIEW, CONSOLE_V1, "a");
    check_frame(s, "{\"type\":\"hello\",\"id\":\"v1\",\"offset\":0,\"oldest\":0,\"next\":4,\"viewers\":1,"
                   "\"mode\":\"view\",\"holder\":null,\"exclusive\":false,\"rows\":null,\"cols\":null,"
                   "\"recording\":false}");
    check_frame(s, "{\"type\":\"viewers\",\"count\":1,\"recording\":false,\"viewers\":[{\"id\":\"v1\",\"name\":\"a\","
                   "\"mode\":\"view\",\"protocol\":\"v1\",\"holder\":false}]}");
    CHECK_STR(rig_read_text(s), "boot");
    rig_detach(s);
    s = rig_attach_from(&rig, CONSOLE_V1, 2);
    check_frame(s, "{\"type\":\"hello\",\"id\":\"v2\",\"offset\":2,\"oldest\":0,\"next\":4,\"viewers\":1,"
                   "\"mode\":\"control\",\"holder\":\"v2\",\"exclusive\":false,\"rows\":null,"
                   "\"cols\":null,\"recording\":false}");
    rig_read_frame(s);
    CHECK_STR(rig_read_text(s), "ot");
    rig_detach(s);
    rig_close(&rig);
}

TEST(v1_is_told_what_was_evicted_before_it_came)
{
    static unsigned char buf[8192];
    struct console_stats stats;
    struct source *s;

    rig_open(&rig, 4096, 8);
    print_pattern(0, 3000);
    print_pattern(3000, 3000);
    s = rig_attach_from(&rig, CONSOLE_V1, 100);
    check_frame(s, "{\"type\":\"hello\",\"id\":\"v1\",\"offset\":100,\"oldest\":1904,\"next\":6000,"
                   "\"viewers\":1,\"mode\":\"control\",\"holder\":\"v1\",\"exclusive\":false,"
                   "\"rows\":null,\"cols\":null,"
                   "\"recording\":false}");
    check_frame(s, "{\"type\":\"gap\",\"from\":100,\"to\":1904,\"reason\":\"evicted\"}");
    rig_read_frame(s); /* who is there */
    CHECK_INT(rig_read_all(s, buf, sizeof(buf)), 4096);
    CHECK(is_pattern(buf, 1904, 4096));
    console_stats_read(rig.hub, &stats);
    CHECK_INT(stats.gaps, 1);
    rig_detach(s);
    rig_close(&rig);
}

TEST(v1_skips_with_a_gap_when_it_is_overtaken)
{
    static unsigned char buf[8192];
    struct source *s;

    rig_open(&rig, 4096, 8);
    print_pattern(0, 2000);
    s = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, "a");
    rig_greet(s);
    CHECK_INT(rig_read_all(s, buf, 500), 500);
    print_pattern(2000, 3000);
    print_pattern(5000, 3000);
    check_frame(s, "{\"type\":\"gap\",\"from\":500,\"to\":3904,\"reason\":\"evicted\"}");
    CHECK_INT(rig_read_all(s, buf, sizeof(buf)), 4096);
    CHECK(is_pattern(buf, 3904, 4096));
    rig_detach(s);
    rig_close(&rig);
}

TEST(v1_is_told_of_a_cleared_log_as_a_gap)
{
    struct error err = ERROR_INIT;
    struct source *s;

    rig_open(&rig, 4096, 8);
    s = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, "a");
    rig_greet(s);
    rig_print(&rig, "secret");
    CHECK_OK(console_log_clear(rig.hub, VM, "console", &err));
    check_frame(s, "{\"type\":\"gap\",\"from\":0,\"to\":6,\"reason\":\"evicted\"}");
    CHECK_STR(rig_read_text(s), "");
    rig_detach(s);
    rig_close(&rig);
}

TEST(v1_hears_of_others_coming_and_going)
{
    static atomic_int told;
    struct source *a, *b;
    enum source_kind kind;
    char buf[64];

    rig_open(&rig, 4096, 8);
    a = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, "a");
    rig_greet(a);
    CHECK_INT(a->read(a, buf, sizeof(buf), &kind), 0);
    a->set_notify(a, rig_told, &told);
    b = rig_attach(&rig);
    CHECK_INT(atomic_load(&told), 1);
    check_frame(a, "{\"type\":\"viewers\",\"count\":2,\"recording\":false,\"viewers\":[{\"id\":\"v1\",\"name\":\"a\","
                   "\"mode\":\"control\",\"protocol\":\"v1\",\"holder\":true},{\"id\":\"v2\","
                   "\"name\":\"test\",\"mode\":\"control\",\"protocol\":\"raw\",\"holder\":false}]}");
    CHECK_INT(a->read(a, buf, sizeof(buf), &kind), 0);
    rig_detach(b);
    CHECK_INT(atomic_load(&told), 2);
    check_frame(a, "{\"type\":\"viewers\",\"count\":1,\"recording\":false,\"viewers\":[{\"id\":\"v1\",\"name\":\"a\","
                   "\"mode\":\"control\",\"protocol\":\"v1\",\"holder\":true}]}");
    rig_detach(a);
    rig_close(&rig);
}

TEST(v1_text_frames_are_control_and_never_typed)
{
    struct source *s;
    json_t *reply;
    char buf[64];

    rig_open(&rig, 4096, 8);
    s = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, "a");
    rig_greet(s);
    CHECK_INT(rig_type(s, "{\"type\":\"no-such\\u0007thing\"}"), 29);
    reply = json_loads(rig_read_frame(s), 0, NULL);
    CHECK_STR(json_string_value(json_object_get(reply, "type")), "error");
    CHECK_STR(json_string_value(json_object_get(reply, "code")), "unknown-control");
    json_decref(reply);
    CHECK_INT(rig_type(s, "ls -l"), 5);
    reply = json_loads(rig_read_frame(s), 0, NULL);
    CHECK_STR(json_string_value(json_object_get(reply, "code")), "malformed-control");
    json_decref(reply);
    CHECK_INT(s->write(s, SOURCE_BYTES, "typed", 5), 5);
    CHECK_INT(recv(rig.guest, buf, sizeof(buf), 0), 5);
    CHECK(memcmp(buf, "typed", 5) == 0);
    rig_detach(s);
    rig_close(&rig);
}

TEST(v1_answers_one_control_frame_before_it_takes_the_next)
{
    static atomic_int told;
    struct source *s;

    rig_open(&rig, 4096, 8);
    s = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, "a");
    rig_greet(s);
    s->set_notify(s, rig_told, &told);
    CHECK_INT(rig_type(s, "{}"), 2);
    for (int i = 0; i < 100; i++)
        CHECK_INT(rig_type(s, "{}"), 0); /* a flood of them makes nothing grow */
    atomic_store(&told, 0);
    rig_read_frame(s);
    CHECK(atomic_load(&told) > 0);
    CHECK_INT(rig_type(s, "{}"), 2);
    rig_detach(s);
    rig_close(&rig);
}

TEST(v1_refuses_an_oversize_control_frame)
{
    static char big[5000];
    struct source *s;
    json_t *reply;

    memset(big, '[', sizeof(big));
    rig_open(&rig, 4096, 8);
    s = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, "a");
    rig_greet(s);
    CHECK_INT(s->write(s, SOURCE_TEXT, big, sizeof(big)), 5000);
    reply = json_loads(rig_read_frame(s), 0, NULL);
    CHECK_STR(json_string_value(json_object_get(reply, "code")), "control-too-large");
    json_decref(reply);
    rig_detach(s);
    rig_close(&rig);
}

TEST_MAIN();
