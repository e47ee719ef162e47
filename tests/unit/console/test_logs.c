/* What outlives the hub: the log files, the offsets, and what is read back. */
#include <sys/stat.h>
#include <utime.h>

#include "service/vm/console_file.h"
#include "tests/unit/console/rig.h"

static struct rig rig;

static void open_logged(uint64_t log_bytes, size_t ring_bytes)
{
    rig.log_dir = rig_log_dir();
    rig.log_bytes = log_bytes;
    rig_open(&rig, ring_bytes, 8);
}

static void done(void)
{
    rig_close(&rig);
    rig_log_dir_remove(&rig);
}

/* The daemon stops and starts; the VM was running all the time. */
static void restart(size_t ring_bytes)
{
    struct error err = ERROR_INIT;
    const struct console_options options = {.ring_bytes = ring_bytes,
                                            .viewers_max = 8,
                                            .log_dir = rig.log_dir,
                                            .log_bytes = rig.log_bytes};

    console_hub_free(rig.hub);
    CHECK_OK(console_hub_new(&options, &rig.hub, &err));
}

static uint64_t logged(void)
{
    struct console_stats stats;

    console_stats_read(rig.hub, &stats);
    return stats.log_bytes + stats.log_skipped;
}

static struct console_log read_log(uint64_t from, size_t max)
{
    struct error err = ERROR_INIT;
    struct console_log log;

    CHECK_OK(console_log_read(rig.hub, VM, "console", from, max, &log, &err));
    return log;
}

static void check_log(uint64_t from, const char *want, uint64_t offset)
{
    struct console_log log = read_log(from, SIZE_MAX);
    bool same = strlen(want) == log.len && memcmp(log.data, want, log.len) == 0;

    if (!same)
        printf("# \"%.*s\" is not \"%s\"\n", (int)log.len, log.data, want);
    free(log.data);
    CHECK(same);
    CHECK_INT(log.offset, offset);
}

static void print_pattern(uint64_t from, size_t len)
{
    unsigned char *buf = xcalloc(1, len);

    pattern_fill(buf, from, len);
    rig_print_bytes(&rig, buf, len);
    free(buf);
}

TEST(after_a_restart_the_ring_is_there_and_offsets_go_on_after_a_gap)
{
    struct source *s;

    open_logged(65536, 4096);
    rig_print(&rig, "before ");
    restart(4096);
    check_log(0, "before ", 0);
    CHECK(!console_is_fed(rig.hub, VM, "console"));
    rig_power_on(&rig, VM, "console", false);
    CHECK(console_has_output(rig.hub, VM, "console"));
    rig_print(&rig, "after");
    check_log(0, "before after", 0);
    s = rig_attach_from(&rig, CONSOLE_V1, 3);
    rig_greet(s);
    {
        char buf[64];
        enum source_kind kind;

        CHECK_INT(s->read(s, buf, sizeof(buf), &kind), 4);
        CHECK(memcmp(buf, "ore ", 4) == 0);
    }
    CHECK_STR(rig_read_frame(s), "{\"type\":\"gap\",\"from\":7,\"to\":8,\"reason\":\"restart\"}");
    CHECK_STR(rig_read_text(s), "after");
    rig_detach(s);
    s = rig_attach_from(&rig, CONSOLE_RAW, 7);
    CHECK_STR(rig_read_text(s), "after");
    rig_detach(s);
    done();
}

TEST(a_power_on_after_a_restart_shows_only_its_own_boot)
{
    open_logged(65536, 4096);
    rig_print(&rig, "old");
    console_end(rig.hub, VM);
    EVENTUALLY(!console_is_fed(rig.hub, VM, "console"), 5000);
    restart(4096);
    check_log(0, "old", 0);
    rig_power_on(&rig, VM, "console", true);
    check_log(0, "", 3); /* stopped cleanly: nothing can be missing */
    rig_print(&rig, "new");
    check_log(0, "new", 3);
    restart(4096);
    check_log(0, "new", 3);
    done();
}

TEST(a_stopped_vm_can_still_be_watched_after_a_restart)
{
    enum source_kind kind;
    struct source *s;
    char buf[64];

    open_logged(65536, 4096);
    rig_print(&rig, "last words");
    console_end(rig.hub, VM);
    restart(4096);
    s = rig_attach(&rig);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), 10);
    CHECK_INT(s->read(s, buf, sizeof(buf), &kind), -1);
    CHECK_INT(s->close_code, 1000);
    rig_detach(s);
    done();
}

/* What a kill -9 leaves: the files as they are at some moment. */
static void copy_log(const char *name, char **ret, size_t *ret_len)
{
    struct error err = ERROR_INIT;
    char path[160];

    snprintf(path, sizeof(path), "%s/%s/%s", rig.log_dir, VM, name);
    if (file_read(path, 1 << 20, ret, ret_len, &err) != 1) {
        *ret = NULL;
        *ret_len = 0;
    }
}

static void put_log(const char *name, const char *data, size_t len)
{
    struct error err = ERROR_INIT;
    char path[160];

    snprintf(path, sizeof(path), "%s/%s/%s", rig.log_dir, VM, name);
    CHECK_OK(file_write_atomic(path, data, len, 0600, &err));
}

TEST(after_a_crash_no_offset_that_was_given_out_comes_again)
{
    char *first, *torn;
    size_t first_len, torn_len;
    struct console_log log;
    uint64_t given;

    open_logged(65536, 4096);
    copy_log("console.log", &first, &first_len); /* killed before anything was written */
    CHECK(first_len > 0);
    rig_print(&rig, "given out ");
    EVENTUALLY(logged() == 10, 5000);
    copy_log("console.log", &torn, &torn_len);
    rig_print(&rig, "and lost");
    given = 18;
    restart(4096);

    put_log("console.log", first, first_len);
    restart(4096);
    put_log("console.log", first, first_len);
    log = read_log(0, SIZE_MAX);
    CHECK_INT(log.len, 0);
    free(log.data);
    rig_power_on(&rig, VM, "console", false);
    rig_print(&rig, "x");
    log = read_log(0, SIZE_MAX);
    CHECK(log.offset >= given);
    CHECK_INT(log.len, 1);
    free(log.data);

    restart(4096);
    put_log("console.log", torn, torn_len - 3); /* and a record that is torn */
    restart(4096);
    put_log("console.log", torn, torn_len - 3);
    rig_power_on(&rig, VM, "console", false);
    rig_print(&rig, "y");
    log = read_log(0, SIZE_MAX);
    CHECK(log.end > given);
    CHECK_INT(log.data[log.len - 1], 'y');
    free(log.data);
    free(first);
    free(torn);
    done();
}

TEST(the_file_holds_more_than_the_ring_and_stays_bounded)
{
    struct console_log log;
    struct stat st;
    char path[160];
    uint64_t at = 0;

    open_logged(65536, 4096);
    while (at < 200000) {
        print_pattern(at, 2000);
        at += 2000;
        EVENTUALLY(logged() + 2000 >= at, 5000);
    }
    log = read_log(0, SIZE_MAX);
    CHECK_INT(log.next, at);
    CHECK_INT(log.end, at);
    CHECK(log.len > 30000 && log.len <= 65536 + 4096);
    CHECK_INT(log.gap_count, 0);
    CHECK_INT(log.offset, log.oldest);
    CHECK_INT(log.offset + log.len, log.end);
    CHECK(memcmp(log.data, pattern_at(log.offset), log.len) == 0);
    free(log.data);
    log = read_log(at - 30000, 1000); /* a window of the file */
    CHECK_INT(log.len, 1000);
    CHECK_INT(log.offset, at - 30000);
    CHECK(memcmp(log.data, pattern_at(log.offset), log.len) == 0);
    free(log.data);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s/console.log%s", rig.log_dir, VM, i ? ".1" : "");
        CHECK_INT(stat(path, &st), 0);
        CHECK(st.st_size <= 65536 / 2 + 4096);
        CHECK_INT(st.st_mode & 0777, 0600);
    }
    done();
}

TEST(clearing_wipes_the_files_and_offsets_go_on)
{
    struct error err = ERROR_INIT;
    char *data;
    size_t len;

    open_logged(65536, 4096);
    rig_print(&rig, "password");
    EVENTUALLY(logged() == 8, 5000);
    CHECK_OK(console_log_clear(rig.hub, VM, "console", &err));
    copy_log("console.log", &data, &len);
    CHECK(len > 0);
    CHECK(!memmem(data, len, "password", 8));
    free(data);
    copy_log("console.log.1", &data, &len);
    CHECK(!data);
    check_log(0, "", 8);
    rig_print(&rig, "more");
    check_log(0, "more", 8);
    restart(4096);
    check_log(0, "more", 8);
    done();
}

static bool is_alive(void *opaque, const char *vm_id)
{
    return *(bool *)opaque && strcmp(vm_id, VM) == 0;
}

TEST(a_deleted_vms_log_is_read_until_it_is_pruned)
{
    struct error err = ERROR_INIT;
    struct console_log log;
    bool alive = true;

    open_logged(65536, 4096);
    rig_print(&rig, "post mortem");
    console_forget(rig.hub, VM);
    check_log(0, "post mortem", 0);
    CHECK_OK(console_logs_prune(rig.hub, 0, is_alive, &alive, &err));
    check_log(5, "mortem", 5);
    alive = false;
    CHECK_OK(console_logs_prune(rig.hub, 3600000, is_alive, &alive, &err));
    check_log(5, "mortem", 5);
    CHECK_OK(console_logs_prune(rig.hub, -1000, is_alive, &alive, &err));
    CHECK_INT(console_log_read(rig.hub, VM, "console", 0, SIZE_MAX, &log, &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_UNAVAILABLE);
    done();
}

TEST(names_that_are_no_file_names_are_no_streams)
{
    static const char *const names[] = {"", "../../etc/passwd", "a b", ".", "channels/\xff", "x\n"};
    struct error err = ERROR_INIT;
    struct console_log log;
    char path[128];

    open_logged(65536, 4096);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        CHECK_INT(console_log_read(rig.hub, VM, names[i], 0, 100, &log, &err), -1);
    CHECK_INT(console_log_read(rig.hub, "../" VM, "console", 0, 100, &log, &err), -1);
    CHECK(console_file_path("/d", "channels/org.example.0", path, sizeof(path)));
    CHECK_STR(path, "/d/channels:org.example.0.log");
    CHECK(!console_file_path("/d", "../x", path, sizeof(path)));
    done();
}

TEST(the_size_of_a_console_outlives_the_daemon)
{
    struct source *s;

    open_logged(65536, 4096);
    s = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, "a");
    CHECK(rig_type(s, "{\"type\":\"size\",\"rows\":33,\"cols\":99}") > 0);
    rig_print(&rig, "x");
    rig_detach(s);
    restart(4096);
    rig_power_on(&rig, VM, "console", false);
    s = rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, "a");
    CHECK(strstr(rig_read_frame(s), "\"rows\":33,\"cols\":99"));
    rig_detach(s);
    done();
}

TEST(a_disk_that_cannot_be_written_costs_the_log_and_nothing_else)
{
    struct console_stats stats;
    char path[128];

    rig.log_dir = rig_log_dir();
    rig.log_bytes = 65536;
    snprintf(path, sizeof(path), "%s/%s", rig.log_dir, VM);
    CHECK_INT(mkdir(path, 0700), 0);
    strcat(path, "/console.log");
    CHECK_INT(mkdir(path, 0700), 0); /* a directory where the file should be */
    rig_open(&rig, 4096, 8);
    rig_print(&rig, "still works");
    check_log(0, "still works", 0);
    console_stats_read(rig.hub, &stats);
    CHECK(stats.log_errors > 0);
    rig_close(&rig);
    CHECK_INT(rmdir(path), 0);
    rig_log_dir_remove(&rig);
}

TEST(a_flood_leaves_its_end_without_a_hole)
{
    static unsigned char buf[65536];
    struct error err = ERROR_INIT;
    struct console_log log;
    uint64_t at = 0;

    open_logged(1 << 20, 262144);
    while (at < 64u << 20) {
        pattern_fill(buf, at, sizeof(buf));
        CHECK_OK(fd_write_all(rig.guest, buf, sizeof(buf), &err));
        at += sizeof(buf);
    }
    EVENTUALLY(rig_printed(&rig) == at, 20000);
    restart(262144);
    log = read_log(at - 200000, SIZE_MAX);
    CHECK_INT(log.offset, at - 200000);
    CHECK_INT(log.len, 200000);
    CHECK(memcmp(log.data, pattern_at(log.offset), 65536) == 0);
    CHECK(memcmp(log.data + 134464, pattern_at(log.offset + 134464), 65536) == 0);
    free(log.data);
    done();
}

TEST(a_guest_nobody_watches_is_read_at_its_rate)
{
    static unsigned char buf[65536];
    struct error err = ERROR_INIT;
    struct source *s;
    struct client client;
    int64_t began, alone, watched;

    rig.rate_bytes = 4 << 20;
    rig_open(&rig, 262144, 8);
    began = clock_monotonic_ms();
    for (uint64_t at = 0; at < 8u << 20; at += sizeof(buf))
        CHECK_OK(fd_write_all(rig.guest, buf, sizeof(buf), &err));
    EVENTUALLY(rig_printed(&rig) == 8u << 20, 20000);
    alone = clock_monotonic_ms() - began;
    s = rig_attach(&rig);
    client_start(&client, s);
    began = clock_monotonic_ms();
    for (uint64_t at = 0; at < 32u << 20; at += sizeof(buf))
        CHECK_OK(fd_write_all(rig.guest, buf, sizeof(buf), &err));
    EVENTUALLY(rig_printed(&rig) == 40u << 20, 20000);
    watched = clock_monotonic_ms() - began;
    client_join(&client, true);
    printf("# 8 MiB alone in %lld ms, 32 MiB watched in %lld ms\n", (long long)alone,
           (long long)watched);
    CHECK(alone >= 900); /* 4 MiB at once, 4 MiB at 4 MiB a second */
    CHECK(watched < 6000);
    rig_close(&rig);
    rig.rate_bytes = 0;
}

TEST_MAIN();
