/* Streams that pass through: displays and vsock connections. */
#include "service/vm/console_rfb.h"
#include "tests/unit/console/rig.h"

static struct rig rig;
static int guest; /* our end of the pipe */

static struct source *pipe_open_as(const char *stream, enum console_mode mode,
                                   enum console_protocol protocol, const char *viewer)
{
    struct error err = ERROR_INIT;
    struct console_pipe pipe = {
        .vm_id = VM, .stream = stream, .mode = mode, .protocol = protocol, .viewer = viewer};
    struct source *s;

    guest = rig_pair(&pipe.fd);
    CHECK_OK(console_pipe(rig.hub, &pipe, &s, &err));
    return s;
}

static struct source *pipe_open(const char *stream)
{
    return pipe_open_as(stream, CONSOLE_CONTROL, CONSOLE_RAW, "token:A");
}

static void pipe_done(struct source *s)
{
    s->close(s);
    close(guest);
    rig_close(&rig);
}

TEST(bytes_pass_both_ways_and_are_counted_by_kind)
{
    struct console_stats stats;
    atomic_int told = 0;
    struct source *s;
    char buf[64];
    enum source_kind kind;

    rig_open(&rig, 4096, 8);
    s = pipe_open("display");
    s->set_notify(s, rig_told, &told);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), 0);
    CHECK_INT(write(guest, "RFB", 3), 3);
    EVENTUALLY(atomic_load(&told) == 1, 5000);
    CHECK_INT(write(guest, "!", 1), 1);
    CHECK_STR(rig_read_text(s), "RFB!");
    CHECK_INT(s->write(s, SOURCE_TEXT, "abc", 3), 3);
    CHECK_INT(recv(guest, buf, 3, MSG_WAITALL), 3);
    console_stats_read(rig.hub, &stats);
    CHECK_INT(stats.kinds[CONSOLE_KIND_DISPLAY].viewers, 1);
    CHECK_INT(stats.kinds[CONSOLE_KIND_DISPLAY].bytes_out, 4);
    CHECK_INT(stats.kinds[CONSOLE_KIND_DISPLAY].bytes_in, 3);
    CHECK_INT(stats.kinds[CONSOLE_KIND_VSOCK].viewers, 0);
    CHECK_INT(stats.viewers, 1);
    CHECK_INT(console_viewers(rig.hub, VM, "display"), 1);
    CHECK(console_last_attached(rig.hub, VM) > 0);
    CHECK_INT(console_last_attached(rig.hub, "another"), 0);
    pipe_done(s);
}

TEST(a_client_that_does_not_read_and_a_guest_that_does_not_are_waited_for)
{
    static unsigned char buf[65536], got[65536];
    atomic_int told = 0;
    uint64_t sent = 0, received = 0;
    struct source *s;
    ssize_t n;

    rig_open(&rig, 4096, 8);
    s = pipe_open("vsock/22");
    s->set_notify(s, rig_told, &told);
    for (;;) {
        pattern_fill(buf, sent, sizeof(buf));
        n = s->write(s, SOURCE_BYTES, buf, sizeof(buf));
        CHECK(n >= 0);
        if (n == 0)
            break;
        sent += (uint64_t)n;
        CHECK(sent < 64u << 20);
    }
    CHECK_INT(atomic_load(&told), 0);
    while (received < sent) {
        n = recv(guest, got, sizeof(got), 0);
        CHECK(n > 0);
        CHECK(memcmp(got, pattern_at(received), (size_t)n) == 0);
        received += (uint64_t)n;
    }
    EVENTUALLY(atomic_load(&told) > 0, 5000);
    CHECK(s->write(s, SOURCE_BYTES, "x", 1) == 1);
    pipe_done(s);
}

TEST(the_end_of_a_raw_pipe_comes_after_its_last_byte)
{
    enum source_kind kind;
    struct source *s;
    char buf[8];

    rig_open(&rig, 4096, 8);
    s = pipe_open("vsock/22");
    CHECK_INT(write(guest, "bye", 3), 3);
    CHECK_INT(shutdown(guest, SHUT_WR), 0);
    CHECK_INT(s->read(s, buf, 2, &kind), 2);
    CHECK_INT(s->read(s, buf, 2, &kind), 1);
    CHECK_INT(s->read(s, buf, 2, &kind), -1);
    CHECK_INT(s->close_code, 1000);
    pipe_done(s);
}

TEST(closing_is_an_end_of_file_for_the_guest)
{
    struct source *s;
    char buf[8];

    rig_open(&rig, 4096, 8);
    s = pipe_open("vsock/22");
    CHECK_INT(s->write(s, SOURCE_BYTES, "last", 4), 4);
    s->close(s);
    CHECK_INT(recv(guest, buf, sizeof(buf), 0), 4);
    CHECK_INT(recv(guest, buf, sizeof(buf), 0), 0);
    close(guest);
    rig_close(&rig);
}

TEST(v1_ends_each_direction_alone)
{
    enum source_kind kind;
    atomic_int told = 0;
    struct source *s;
    char buf[256];

    rig_open(&rig, 4096, 8);
    s = pipe_open_as("vsock/22", CONSOLE_CONTROL, CONSOLE_V1, "a");
    s->set_notify(s, rig_told, &told);
    CHECK_STR(rig_read_frame(s), "{\"type\":\"hello\",\"id\":\"v1\",\"mode\":\"control\"}");
    CHECK_INT(s->write(s, SOURCE_BYTES, "query", 5), 5);
    CHECK_INT(rig_type(s, "{\"type\":\"eof\"}"), 14);
    CHECK_INT(recv(guest, buf, sizeof(buf), 0), 5);
    CHECK_INT(recv(guest, buf, sizeof(buf), 0), 0); /* and yet it may answer */
    CHECK_INT(write(guest, "answer", 6), 6);
    EVENTUALLY((s->read(s, buf, sizeof(buf), &kind)) == 6, 5000);
    CHECK_INT(shutdown(guest, SHUT_WR), 0);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
    CHECK_INT(s->close_code, 1000);
    pipe_done(s);

    rig_open(&rig, 4096, 8);
    s = pipe_open_as("vsock/22", CONSOLE_CONTROL, CONSOLE_V1, "a");
    s->set_notify(s, rig_told, &told);
    rig_read_frame(s);
    CHECK_INT(shutdown(guest, SHUT_WR), 0);
    CHECK_STR(rig_read_frame(s), "{\"type\":\"eof\"}");
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), 0);
    CHECK_INT(s->write(s, SOURCE_BYTES, "still", 5), 5);
    CHECK_INT(recv(guest, buf, sizeof(buf), 0), 5);
    atomic_store(&told, 0);
    CHECK_INT(rig_type(s, "{\"type\":\"take-control\"}"), 23);
    CHECK_INT(atomic_load(&told), 1);
    CHECK(strstr(rig_read_frame(s), "unknown-control"));
    CHECK_INT(rig_type(s, "{\"type\":\"eof\"}"), 14);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
    CHECK_INT(s->close_code, 1000);
    pipe_done(s);
}

TEST(stopping_deleting_and_revoking_end_pipes_with_their_codes)
{
    static const struct {
        int code;
        const char *reads;
    } cases[] = {{1000, "x"}, {1000, ""}, {1008, ""}};

    for (int i = 0; i < 3; i++) {
        atomic_int told = 0;
        enum source_kind kind;
        struct source *s;
        char buf[8];

        rig_open(&rig, 4096, 8);
        s = pipe_open("display");
        s->set_notify(s, rig_told, &told);
        CHECK_INT(s->read(s, buf, sizeof(buf), &kind), 0);
        CHECK_INT(write(guest, "x", 1), 1);
        EVENTUALLY(atomic_load(&told) == 1, 5000);
        console_revoke(rig.hub, "token:B");
        if (i == 0)
            console_end(rig.hub, VM); /* what has arrived is still read */
        else if (i == 1)
            console_forget(rig.hub, VM);
        else
            console_revoke(rig.hub, "token:A");
        EVENTUALLY(atomic_load(&told) == 2, 5000);
        CHECK_STR(rig_read_text(s), cases[i].reads);
        CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
        CHECK_INT(s->close_code, cases[i].code);
        pipe_done(s);
    }
}

TEST(the_hub_may_go_before_its_pipes)
{
    enum source_kind kind;
    struct source *s;
    char buf[8];

    rig_open(&rig, 4096, 8);
    s = pipe_open("display");
    rig_close(&rig);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
    CHECK_INT(s->close_code, 1001);
    s->close(s);
    close(guest);
}

TEST(pipes_are_limited_and_only_a_display_can_be_watched)
{
    struct error err = ERROR_INIT;
    struct console_pipe pipe = {.vm_id = VM, .stream = "vsock/1", .mode = CONSOLE_VIEW};
    struct source *s, *none = NULL;
    int other;

    rig_open(&rig, 4096, 1);
    other = rig_pair(&pipe.fd);
    CHECK_INT(console_pipe(rig.hub, &pipe, &none, &err), -1);
    CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
    CHECK_INT(recv(other, &err, 1, 0), 0); /* the descriptor was taken all the same */
    close(other);
    s = pipe_open("vsock/1");
    pipe.mode = CONSOLE_CONTROL;
    other = rig_pair(&pipe.fd);
    CHECK_INT(console_pipe(rig.hub, &pipe, &none, &err), -1);
    CHECK_INT(err.code, ERROR_TOO_MANY_VIEWERS);
    CHECK(!none);
    close(other);
    pipe_done(s);
}

/* ---- watching a display ---- */

#define VERSION "RFB 003.008\n"
static const char greeting[] = VERSION "\x01\x00";                 /* not shared */
static const char update[] = "\x03\x01\x00\x00\x00\x00\x04\x00\x03\x00";
static const char key[] = "\x04\x01\x00\x00\x00\x00\x00\x61";
static const char pointer[] = "\x05\x01\x00\x10\x00\x10";
static const char cut[] = "\x06\x00\x00\x00\x00\x00\x00\x05hello";
static const char cut_extended[] = "\x06\x00\x00\x00\xff\xff\xff\xfcwxyz";
static const char qemu_key[] = "\xff\x00\x00\x01\x00\x00\x00\x61\x00\x00\x00\x1e";
static const char qemu_sound[] = "\xff\x01\x00\x02\x00\x02\x00\x00\xac\x44";
static const char encodings[] = "\x02\x00\x00\x02\x00\x00\x00\x07\x00\x00\x00\x05";
static const char resize[] = "\xfb\x00\x04\x00\x03\x00\x01\x00"
                             "0123456789abcdef";
static const char power[] = "\xfa\x00\x01\x02";

static size_t put(char *buf, size_t at, const char *data, size_t len)
{
    memcpy(buf + at, data, len - 1);
    return at + len - 1;
}
#define PUT(data) len = put(buf, len, data, sizeof(data))

TEST(watching_a_display_lets_no_input_through_however_it_is_cut)
{
    char buf[512], want[512], got[512];
    size_t len = 0, wanted;

    PUT(greeting);
    PUT(encodings);
    PUT(update);
    memcpy(want, buf, len);
    want[13] = 1; /* always shared */
    wanted = put(want, len, update, sizeof(update));
    PUT(key);
    PUT(pointer);
    PUT(cut);
    PUT(cut_extended);
    PUT(qemu_key);
    PUT(qemu_sound);
    PUT(resize);
    PUT(power);
    PUT(update);
    for (size_t step = 1; step <= len; step++) {
        struct source *s;
        size_t n = 0;

        rig_open(&rig, 4096, 8);
        s = pipe_open_as("display", CONSOLE_VIEW, CONSOLE_RAW, "w");
        for (size_t at = 0; at < len; at += step) {
            size_t part = len - at < step ? len - at : step;

            CHECK_INT(s->write(s, SOURCE_BYTES, buf + at, part), part);
        }
        s->close(s);
        for (ssize_t k; (k = recv(guest, got + n, sizeof(got) - n, 0)) > 0;)
            n += (size_t)k;
        CHECK_INT(n, wanted);
        CHECK(memcmp(got, want, wanted) == 0);
        close(guest);
        rig_close(&rig);
        if (step > 40)
            step += 17;
    }
}

TEST(what_cannot_be_read_ends_the_watching)
{
    static const struct {
        const char *data;
        size_t len;
    } cases[] = {
        {"GET / HTTP/1", 12},
        {VERSION "\x13", 13},         /* VeNCrypt */
        {VERSION "\x01\x01\x63", 15}, /* no such message */
        {VERSION "\x01\x01\x06\x00\x00\x00\x7f\xff\xff\xff", 22},
        {VERSION "\x01\x01\xff\x07\x00\x00", 18},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum source_kind kind;
        struct source *s;
        char buf[64];

        rig_open(&rig, 4096, 8);
        s = pipe_open_as("display", CONSOLE_VIEW, CONSOLE_RAW, "w");
        CHECK_INT(s->write(s, SOURCE_BYTES, cases[i].data, cases[i].len), -1);
        CHECK_INT(s->close_code, 1008);
        CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
        pipe_done(s);
    }
}

TEST(the_old_dialect_has_no_security_byte)
{
    struct rfb_filter f = {0};
    unsigned char out[64];
    size_t n;

    CHECK(rfb_filter(&f, "RFB 003.003\n\x00\x04\x01\x00\x00\x00\x00\x00\x61", 21, out, &n));
    CHECK_INT(n, 13);
    CHECK_INT(out[12], 1);
}

TEST(a_watched_display_that_stalls_loses_nothing_of_what_passes)
{
    static unsigned char got[1 << 20];
    atomic_int told = 0;
    struct source *s;
    size_t sent = 0, received = 0;
    char buf[64];
    enum source_kind kind;

    rig_open(&rig, 4096, 8);
    s = pipe_open_as("display", CONSOLE_VIEW, CONSOLE_RAW, "w");
    s->set_notify(s, rig_told, &told);
    CHECK_INT(s->write(s, SOURCE_BYTES, greeting, 14), 14);
    for (;;) {
        ssize_t n = s->write(s, SOURCE_BYTES, update, 10);

        CHECK(n == 0 || n == 10);
        if (!n)
            break;
        sent += 10;
        CHECK(sent < 16u << 20);
    }
    while (received < sent + 14) {
        ssize_t n = recv(guest, got, sizeof(got), 0);

        CHECK(n > 0);
        received += (size_t)n;
        CHECK_INT(s->read(s, buf, sizeof(buf), &kind), 0); /* what a carrier does when told */
    }
    CHECK_INT(received, sent + 14);
    EVENTUALLY(atomic_load(&told) > 0, 5000);
    pipe_done(s);
}

TEST_MAIN();
