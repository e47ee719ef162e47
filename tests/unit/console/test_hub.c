/* The hub without load: feeding, ending, forgetting, the log. */
#include "tests/unit/console/rig.h"

static struct rig rig;

TEST(a_viewer_reads_what_was_printed_before_and_after_it_came)
{
    struct source *s;

    rig_open(&rig, 4096, 8);
    rig_print(&rig, "before ");
    s = rig_attach(&rig);
    CHECK_STR(rig_read_text(s), "before ");
    rig_print(&rig, "after");
    CHECK_STR(rig_read_text(s), "after");
    rig_detach(s);
    rig_close(&rig);
}

TEST(a_stream_nobody_feeds_is_unavailable)
{
    struct error err = ERROR_INIT;
    struct source *s = NULL;
    const struct console_attach attach = {.vm_id = VM, .stream = "channels/none"};
    struct console_log log;

    rig_open(&rig, 4096, 8);
    CHECK_INT(console_attach(rig.hub, &attach, &s, &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_UNAVAILABLE);
    CHECK_INT(console_log_read(rig.hub, "no-such-vm", "console", 0, 10, &log, &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_UNAVAILABLE);
    CHECK_INT(console_log_clear(rig.hub, "no-such-vm", "console", &err), -1);
    CHECK(!console_is_fed(rig.hub, VM, "channels/none"));
    CHECK(!console_has_output(rig.hub, VM, "channels/none"));
    CHECK_INT(console_viewers(rig.hub, VM, "channels/none"), 0);
    rig_close(&rig);
}

TEST(streams_of_one_vm_do_not_mix)
{
    struct error err = ERROR_INIT;
    struct console_log log;
    int channel, fd;

    rig_open(&rig, 4096, 8);
    channel = rig_pair(&fd);
    CHECK_OK(console_feed(rig.hub, VM, "channels/org.example.0", fd, true, &err));
    CHECK_OK(fd_write_all(channel, "channel", 7, &err));
    EVENTUALLY(console_has_output(rig.hub, VM, "channels/org.example.0"), 5000);
    CHECK(!console_has_output(rig.hub, VM, "console"));
    CHECK_OK(console_log_read(rig.hub, VM, "console", 0, 100, &log, &err));
    CHECK_INT(log.len, 0);
    free(log.data);
    close(channel);
    rig_close(&rig);
}

TEST(first_output_is_told_once_for_each_power_on)
{
    rig_open(&rig, 4096, 8);
    CHECK(!console_has_output(rig.hub, VM, "console"));
    rig_print(&rig, "a");
    rig_print(&rig, "b");
    EVENTUALLY(atomic_load(&rig.first_output) == 1, 5000);
    CHECK(console_has_output(rig.hub, VM, "console"));
    rig_power_on(&rig, VM, "console", false);
    rig_print(&rig, "c");
    CHECK_INT(atomic_load(&rig.first_output), 1);
    rig_power_on(&rig, VM, "console", true);
    CHECK(!console_has_output(rig.hub, VM, "console"));
    rig_print(&rig, "d");
    EVENTUALLY(atomic_load(&rig.first_output) == 2, 5000);
    rig_close(&rig);
}

TEST(a_fresh_feed_hides_the_boot_before_and_offsets_go_on)
{
    struct error err = ERROR_INIT;
    struct console_log log;
    struct source *s;

    rig_open(&rig, 4096, 8);
    rig_print(&rig, "first boot");
    rig_power_on(&rig, VM, "console", true);
    rig_print(&rig, "second");
    s = rig_attach(&rig);
    CHECK_STR(rig_read_text(s), "second");
    rig_detach(s);
    CHECK_OK(console_log_read(rig.hub, VM, "console", 0, 100, &log, &err));
    CHECK_INT(log.offset, 10);
    CHECK_INT(log.oldest, 10);
    CHECK_INT(log.next, 16);
    CHECK_INT(log.len, 6);
    CHECK(memcmp(log.data, "second", 6) == 0);
    free(log.data);
    rig_close(&rig);
}

TEST(the_same_boot_fed_again_keeps_its_log_and_its_viewers)
{
    struct source *s;

    rig_open(&rig, 4096, 8);
    s = rig_attach(&rig);
    rig_print(&rig, "one ");
    CHECK_STR(rig_read_text(s), "one ");
    close(rig.guest); /* libvirtd went away, the guest did not */
    rig.guest = -1;
    EVENTUALLY(atomic_load(&rig.ended) == 1, 5000);
    CHECK(!console_is_fed(rig.hub, VM, "console"));
    CHECK_STR(rig_read_text(s), "");
    rig_power_on(&rig, VM, "console", false);
    CHECK(console_is_fed(rig.hub, VM, "console"));
    rig_print(&rig, "two");
    CHECK_STR(rig_read_text(s), "two");
    rig_detach(s);
    s = rig_attach(&rig);
    CHECK_STR(rig_read_text(s), "one two");
    rig_detach(s);
    rig_close(&rig);
}

TEST(typing_while_nobody_feeds_the_stream_waits_and_is_told_when_to_go_on)
{
    static atomic_int told;
    struct source *s;
    char buf[8];

    rig_open(&rig, 4096, 8);
    s = rig_attach(&rig);
    close(rig.guest);
    rig.guest = -1;
    EVENTUALLY(!console_is_fed(rig.hub, VM, "console"), 5000);
    CHECK_INT(rig_type(s, "rm"), 0);
    s->set_notify(s, rig_told, &told);
    rig_power_on(&rig, VM, "console", false);
    EVENTUALLY(atomic_load(&told) > 0, 5000);
    CHECK_INT(rig_type(s, "ls"), 2);
    CHECK_INT(read(rig.guest, buf, sizeof(buf)), 2);
    CHECK(memcmp(buf, "ls", 2) == 0);
    rig_detach(s);
    rig_close(&rig);
}

TEST(ending_lets_viewers_read_to_the_end_then_closes_with_1000)
{
    struct error err = ERROR_INIT;
    struct source *s;
    enum source_kind kind;
    char buf[64];

    rig_open(&rig, 4096, 8);
    s = rig_attach(&rig);
    CHECK_OK(fd_write_all(rig.guest, "Power down.", 11, &err)); /* still under way */
    console_end(rig.hub, VM);
    CHECK(!console_is_fed(rig.hub, VM, "console"));
    EVENTUALLY(rig_printed(&rig) == 11, 5000);
    CHECK_INT(s->read(s, buf, 5, &kind), 5);
    close(rig.guest);
    rig.guest = -1;
    CHECK_INT(s->read(s, buf + 5, sizeof(buf) - 5, &kind), 6);
    CHECK(memcmp(buf, "Power down.", 11) == 0);
    EVENTUALLY(s->read(s, buf, sizeof(buf), &kind) == -1, 5000);
    CHECK_INT(s->close_code, 1000);
    CHECK_STR(s->close_reason, "the VM stopped");
    CHECK_INT(s->write(s, SOURCE_BYTES, "x", 1), 1); /* nobody hears it, nothing breaks */
    rig_detach(s);
    CHECK_INT(atomic_load(&rig.ended), 0); /* it was the caller who ended it */
    s = rig_attach(&rig);                  /* the log outlives the guest */
    CHECK_STR(rig_read_text(s), "Power down.");
    CHECK_INT(s->close_code, 1000);
    rig_detach(s);
    rig_close(&rig);
}

TEST(ending_does_not_wait_for_an_upstream_that_stays_open)
{
    struct source *s;
    enum source_kind kind;
    char buf[64];

    rig_open(&rig, 4096, 8);
    s = rig_attach(&rig);
    console_end(rig.hub, VM);
    console_end(rig.hub, VM);
    EVENTUALLY(s->read(s, buf, sizeof(buf), &kind) == -1, 2000);
    CHECK_INT(s->close_code, 1000);
    rig_detach(s);
    CHECK_INT(recv(rig.guest, buf, sizeof(buf), 0), 0); /* the hub closed its end */
    rig_close(&rig);
}

TEST(a_viewer_of_the_boot_before_ends_and_a_new_one_sees_the_new_boot)
{
    struct source *old, *new;
    enum source_kind kind;
    char buf[64];

    rig_open(&rig, 4096, 8);
    rig_print(&rig, "old");
    old = rig_attach(&rig);
    console_end(rig.hub, VM);
    rig_power_on(&rig, VM, "console", true);
    rig_print(&rig, "new");
    new = rig_attach(&rig);
    CHECK_STR(rig_read_text(new), "new");
    CHECK_INT(rig_read_all(old, buf, sizeof(buf)), 3);
    CHECK(memcmp(buf, "old", 3) == 0);
    CHECK_INT(old->read(old, buf, sizeof(buf), &kind), -1);
    CHECK_INT(old->close_code, 1000);
    rig_detach(old);
    rig_detach(new);
    rig_close(&rig);
}

TEST(forgetting_ends_viewers_and_the_log)
{
    struct error err = ERROR_INIT;
    struct console_log log;
    struct source *s;
    enum source_kind kind;
    char buf[8];

    rig_open(&rig, 4096, 8);
    rig_print(&rig, "x");
    s = rig_attach(&rig);
    console_forget(rig.hub, VM);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
    CHECK_INT(s->close_code, 1000);
    CHECK_STR(s->close_reason, "the VM was deleted");
    CHECK_INT(console_log_read(rig.hub, VM, "console", 0, 10, &log, &err), -1);
    rig_detach(s);
    console_forget(rig.hub, VM);
    rig_close(&rig);
}

TEST(freeing_the_hub_ends_viewers_with_1001_and_they_may_close_later)
{
    struct source *s;
    enum source_kind kind;
    char buf[8];

    rig_open(&rig, 4096, 8);
    s = rig_attach(&rig);
    rig_close(&rig);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
    CHECK_INT(s->close_code, 1001);
    rig_detach(s);
}

TEST(the_log_is_read_in_pieces_and_cleared)
{
    struct error err = ERROR_INIT;
    struct console_log log;
    struct source *s;

    rig_open(&rig, 4096, 8);
    s = rig_attach(&rig);
    rig_print(&rig, "0123456789");
    CHECK_OK(console_log_read(rig.hub, VM, "console", 4, 3, &log, &err));
    CHECK_INT(log.offset, 4);
    CHECK_INT(log.len, 3);
    CHECK(memcmp(log.data, "456", 3) == 0);
    free(log.data);
    CHECK_OK(console_log_read(rig.hub, VM, "console", 99, 3, &log, &err));
    CHECK_INT(log.offset, 10);
    CHECK_INT(log.len, 0);
    free(log.data);
    CHECK_OK(console_log_clear(rig.hub, VM, "console", &err));
    CHECK_OK(console_log_read(rig.hub, VM, "console", 0, 100, &log, &err));
    CHECK_INT(log.oldest, 10);
    CHECK_INT(log.len, 0);
    free(log.data);
    rig_print(&rig, "ab");
    CHECK_STR(rig_read_text(s), "ab"); /* skipped, not dropped */
    rig_detach(s);
    rig_close(&rig);
}

TEST(a_pipe_and_a_pty_can_be_upstreams)
{
    struct error err = ERROR_INIT;
    int ends[2], before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;

    close(before);
    rig_open(&rig, 4096, 8);
    CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
    CHECK_OK(console_feed(rig.hub, VM, "channels/pipe", ends[0], true, &err));
    CHECK_OK(fd_write_all(ends[1], "hi", 2, &err));
    EVENTUALLY(console_has_output(rig.hub, VM, "channels/pipe"), 5000);
    close(ends[1]);
    EVENTUALLY(atomic_load(&rig.ended) == 1, 5000);

    ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(ends[0] >= 0);
    CHECK_INT(grantpt(ends[0]) || unlockpt(ends[0]), 0);
    ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(ends[1] >= 0);
    CHECK_OK(console_feed(rig.hub, VM, "channels/pty", ends[0], true, &err));
    CHECK_OK(fd_write_all(ends[1], "hi", 2, &err));
    EVENTUALLY(console_has_output(rig.hub, VM, "channels/pty"), 5000);
    close(ends[1]);
    EVENTUALLY(atomic_load(&rig.ended) == 2, 5000);
    rig_close(&rig);
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_INT(after, before); /* no descriptor stayed open */
    close(after);
}

TEST(a_descriptor_that_cannot_be_watched_is_an_error_and_closed)
{
    struct error err = ERROR_INIT;
    int fd;

    rig_open(&rig, 4096, 8);
    fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC); /* regular files have no epoll */
    CHECK(fd >= 0);
    CHECK_INT(console_feed(rig.hub, VM, "channels/file", fd, true, &err), -1);
    CHECK_INT(err.code, ERROR_SYSTEM);
    CHECK_INT(fcntl(fd, F_GETFD), -1);
    CHECK(!console_is_fed(rig.hub, VM, "channels/file"));
    rig_close(&rig);
}

TEST_MAIN();
