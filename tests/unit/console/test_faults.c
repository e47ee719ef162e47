/*
 * Guests that end in the middle of something, again and again: viewers stay, lose nothing that
 * was printed, and nothing is left behind.
 */
#include <dirent.h>
#include <malloc.h>

#include "service/vm/console_v1.h"
#include "tests/unit/console/rig.h"

#define DEATHS 1000

static struct rig rig;

static int open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    CHECK(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* What a viewer's carrier does with a control frame or bytes: reads until there is nothing now. */
static size_t read_bytes(struct source *s, uint64_t *at)
{
    static char buf[65536];
    enum source_kind kind;
    size_t frames = 0;
    ssize_t n;

    while ((n = s->read(s, buf, sizeof(buf), &kind)) > 0) {
        if (kind == SOURCE_TEXT) {
            frames++;
            continue;
        }
        for (ssize_t i = 0; i < n; i++, (*at)++)
            CHECK_INT((unsigned char)buf[i], pattern(*at));
    }
    CHECK(n == 0);
    return frames;
}

TEST(qemu_dies_in_the_middle_of_its_output_a_thousand_times)
{
    struct source *raw, *v1, *view;
    uint64_t printed = 0, raw_at = 0, v1_at = 0, view_at = 0;
    struct error err = ERROR_INIT;
    unsigned seed = 5;
    int before;

    rig_open(&rig, 65536, 8);
    raw = rig_attach(&rig);
    v1 = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, "v1");
    view = rig_attach_as(&rig, CONSOLE_VIEW, CONSOLE_RAW, "view");
    before = open_fds();
    for (int i = 1; i <= DEATHS; i++) {
        static unsigned char data[5000];
        size_t len = 1 + (size_t)rand_r(&seed) % sizeof(data);

        pattern_fill(data, printed, len);
        CHECK_OK(fd_write_all(rig.guest, data, len, &err));
        printed += len;
        /* Typed and never read: the death is a reset, not an end of file. */
        if (i % 3 == 0)
            (void)raw->write(raw, SOURCE_BYTES, "typed", 5);
        close(rig.guest);
        rig.guest = -1;
        EVENTUALLY(atomic_load(&rig.ended) == i, 5000);
        CHECK_INT(rig_printed(&rig), printed);
        CHECK(!console_is_fed(rig.hub, VM, "console"));
        read_bytes(raw, &raw_at);
        read_bytes(v1, &v1_at);
        read_bytes(view, &view_at);
        CHECK_INT(raw_at, printed);
        CHECK_INT(v1_at, printed);
        CHECK_INT(view_at, printed);
        rig_power_on(&rig, VM, "console", false); /* libvirt brought the same boot back */
    }
    EVENTUALLY(open_fds() == before, 5000);
    CHECK_INT(raw->write(raw, SOURCE_BYTES, "alive", 5), 5);
    rig_print(&rig, "x");
    console_end(rig.hub, VM);
    CHECK_INT(console_viewers(rig.hub, VM, "console"), 3);
    rig_detach(raw);
    rig_detach(v1);
    rig_detach(view);
    rig_close(&rig);
}

TEST(a_guest_closes_and_reopens_its_port_thousands_of_times)
{
    const char *const stream = "channels/org.example.0";
    struct console_attach attach = {
        .vm_id = VM, .stream = stream, .mode = CONSOLE_CONTROL, .viewer = "v"};
    struct error err = ERROR_INIT;
    struct source *s;
    struct console_log log;
    uint64_t at = 0, printed = 0;
    const int reopens = getenv("DROVER_TEST_LONG") && *getenv("DROVER_TEST_LONG") ? 10000 : 2000;
    size_t allocated = 0;
    int before = 0;

    rig_open(&rig, 4096, 4);
    close(rig.guest);
    rig.guest = -1;
    EVENTUALLY(atomic_load(&rig.ended) == 1, 5000);
    rig_power_on(&rig, VM, stream, true);
    CHECK_OK(console_attach(rig.hub, &attach, &s, &err));
    for (int i = 0; i < reopens; i++) {
        unsigned char byte = pattern(printed);

        if (i == reopens / 10) { /* everything that is made once has been made */
            before = open_fds();
            allocated = mallinfo2().uordblks;
        }
        if (i % 2) {
            CHECK_OK(fd_write_all(rig.guest, &byte, 1, &err));
            printed++;
        }
        close(rig.guest);
        rig.guest = -1;
        EVENTUALLY(atomic_load(&rig.ended) == i + 2, 5000);
        rig_power_on(&rig, VM, stream, false);
        if (i % 100 == 0) {
            EVENTUALLY((read_bytes(s, &at), at == printed), 5000);
            CHECK(console_is_fed(rig.hub, VM, stream));
        }
    }
    EVENTUALLY((read_bytes(s, &at), at == printed), 5000);
    EVENTUALLY(open_fds() == before, 5000);
    EVENTUALLY(mallinfo2().uordblks < allocated + 65536, 5000);
    CHECK_OK(console_log_read(rig.hub, VM, stream, 0, 65536, &log, &err));
    CHECK_INT(log.next, printed); /* no byte is counted twice or left out */
    free(log.data);
    rig_detach(s);
    rig_close(&rig);
}


TEST(a_display_breaks_off_in_the_middle_of_a_frame_a_thousand_times)
{
    struct error err = ERROR_INIT;
    struct console_stats stats;
    unsigned seed = 9;
    int before;

    rig_open(&rig, 4096, 4);
    before = open_fds();
    for (int i = 0; i < DEATHS; i++) {
        static unsigned char data[20000], got[20000];
        size_t len = 1 + (size_t)rand_r(&seed) % sizeof(data);
        struct console_pipe pipe = {.vm_id = VM,
                                    .stream = "display",
                                    .mode = i % 4 ? CONSOLE_CONTROL : CONSOLE_VIEW,
                                    .viewer = "v"};
        enum source_kind kind;
        struct source *s;
        int guest = rig_pair(&pipe.fd);

        pattern_fill(data, 0, len);
        CHECK_OK(console_pipe(rig.hub, &pipe, &s, &err));
        CHECK_OK(fd_write_all(guest, data, len, &err));
        if (i % 3 == 0)
            (void)s->write(s, SOURCE_BYTES, "RFB 003.008\n", 12); /* and is not read: a reset */
        close(guest);
        if (i % 5) { /* the others leave without looking */
            /* A reset may throw away what was not read yet; what comes is what was sent. */
            size_t n = rig_read_all(s, got, len);

            CHECK(n == len || i % 3 == 0);
            CHECK(memcmp(got, data, n) == 0);
            EVENTUALLY(s->read(s, got, sizeof(got), &kind) < 0, 5000);
            CHECK_INT(s->close_code, 1000);
        }
        rig_detach(s);
    }
    EVENTUALLY(open_fds() == before, 5000);
    console_stats_read(rig.hub, &stats);
    CHECK_INT(stats.kinds[CONSOLE_KIND_DISPLAY].viewers, 0);
    CHECK_INT(stats.kinds[CONSOLE_KIND_DISPLAY].connections, DEATHS);
    rig_close(&rig);
}

TEST(five_hundred_viewers_end_with_the_daemon_and_go_on_from_their_offsets)
{
    enum { MANY = 500 };
    static struct source *s[MANY];
    static uint64_t at[MANY];
    struct error err = ERROR_INIT;
    static unsigned char data[3000];
    int before = open_fds();

    rig.log_dir = rig_log_dir();
    rig.log_bytes = 1 << 20;
    rig_open(&rig, 65536, MANY);
    pattern_fill(data, 0, sizeof(data));
    rig_print_bytes(&rig, data, 2000);
    for (int i = 0; i < MANY; i++) {
        s[i] = rig_attach_as(&rig, CONSOLE_CONTROL, i % 2 ? CONSOLE_V1 : CONSOLE_RAW, "many");
        read_bytes(s[i], &at[i]);
        CHECK_INT(at[i], 2000);
    }
    rig_print_bytes(&rig, data + 2000, 1000); /* nobody has read this when it ends */
    console_end(rig.hub, VM);
    EVENTUALLY(!console_is_fed(rig.hub, VM, "console"), 5000);
    for (int i = 0; i < MANY; i++)
        rig_detach(s[i]);
    console_hub_free(rig.hub);
    close(rig.guest);
    rig.guest = -1;

    const struct console_options options = {
        .ring_bytes = 65536, .viewers_max = MANY, .log_dir = rig.log_dir, .log_bytes = 1 << 20};

    CHECK_OK(console_hub_new(&options, &rig.hub, &err));
    for (int i = 0; i < MANY; i++) {
        enum source_kind kind;
        static char buf[16384];
        ssize_t n;

        s[i] = rig_attach_from(&rig, i % 2 ? CONSOLE_V1 : CONSOLE_RAW, at[i]);
        while ((n = s[i]->read(s[i], buf, sizeof(buf), &kind)) > 0) {
            if (kind == SOURCE_TEXT) {
                CHECK(!memmem(buf, (size_t)n, "\"gap\"", 5));
                continue;
            }
            CHECK(memcmp(buf, data + at[i], (size_t)n) == 0);
            at[i] += (uint64_t)n;
        }
        CHECK_INT(at[i], 3000);
        CHECK_INT(s[i]->close_code, 1000); /* the VM is not running */
        rig_detach(s[i]);
    }
    rig_close(&rig);
    rig_log_dir_remove(&rig);
    CHECK_INT(open_fds(), before);
}

TEST_MAIN();
