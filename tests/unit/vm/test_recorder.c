/* Recordings on a real database, hub and disk; the guest is a socket pair. */
#include <fcntl.h>
#include <sys/socket.h>

#include "db/db_internal.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/vm/console_v1.h"
#include "service/vm/recording_internal.h"
#include "tests/unit/db/db_fixture.h"

static struct core core;
static int guest = -1;
static struct error err;
static const struct actor somebody = {"token:AAAA", PROJECT_DEFAULT, "r-1"};
static struct vm_spec spec;
static struct vm vm;

static void open_core(void)
{
    auto_free char *logs = xasprintf("%s/consoles", fixture_dir);
    const struct console_options options = {
        .ring_bytes = 65536, .viewers_max = 4, .log_dir = logs, .log_bytes = 65536};

    CHECK_OK(dir_ensure(logs, 0700, &err));
    core.db = fixture_open();
    CHECK_OK(host_open("/", &core.host, &err));
    CHECK_OK(console_hub_new(&options, &core.consoles, &err));
    CHECK_OK(recorder_start(&core, &core.recorder, &err));
}

static void close_core(void)
{
    recorder_stop(core.recorder);
    console_hub_free(core.consoles);
    host_close(core.host);
    db_close(core.db);
    if (guest >= 0)
        close(guest);
    guest = -1;
}

static void start(void)
{
    err = ERROR_INIT;
    fixture_new();
    settings_free(core.settings);
    core = (struct core){.settings = settings_new(), .state_dir = fixture_dir};
    core.settings->free_space_floor_mib = 0;
    spec = (struct vm_spec){.name = (char *)"web", .record_console = true};
    vm = (struct vm){.spec = &spec};
    strcpy(vm.id, "7f1c0a52-94a5-4c0e-9f8f-0d3a2b1c4d5e");
    strcpy(vm.project_id, PROJECT_DEFAULT);
    open_core();
}

static void power_on(bool fresh)
{
    int pair[2];

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    if (guest >= 0)
        close(guest);
    guest = pair[0];
    CHECK_OK(console_feed(core.consoles, vm.id, "console", pair[1], fresh, &err));
}

static void print(const char *text)
{
    struct console_stats before, now;

    console_stats_read(core.consoles, &before);
    CHECK_OK(fd_write_all(guest, text, strlen(text), &err));
    EVENTUALLY(
        (console_stats_read(core.consoles, &now), now.bytes_out == before.bytes_out + strlen(text)),
        5000);
}

static struct recording get(const char *id)
{
    struct recording rec;

    CHECK_OK(recording_get(&core, PROJECT_DEFAULT, id, &rec, &err));
    return rec;
}

static struct recording newest(size_t want_count)
{
    auto_free struct recording *list = NULL;
    struct recording rec = {0};
    size_t n;

    CHECK_OK(recording_list(&core, PROJECT_DEFAULT, vm.id, 0, 100, &list, &n, &err));
    CHECK_INT(n, want_count);
    if (n)
        rec = list[0];
    return rec;
}

static char *file_of(const char *id)
{
    auto_free char *path = xasprintf("%s/recordings/%s.cast", fixture_dir, id);
    char *text = NULL;
    size_t len;

    CHECK_INT(file_read(path, 64 << 20, &text, &len, &err), 1);
    return text;
}

static bool holds(const char *id, const char *text)
{
    auto_free char *file = file_of(id);

    return strstr(file, text) != NULL;
}

static int64_t number(const char *sql)
{
    auto_reader struct reader r = reader_take(core.db);
    int64_t n = -1;

    CHECK_OK(conn_int(r.conn, sql, &n, &err));
    return n;
}

TEST(what_is_printed_between_start_and_stop_is_in_the_file)
{
    struct recording rec, again;

    start();
    power_on(true);
    print("before ");
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &rec, &err));
    CHECK_INT(rec.state, RECORDING_RUNNING);
    print("caf\xc3");
    EVENTUALLY(holds(rec.id, "caf"), 5000);
    print("\xa9 \xff");
    CHECK_INT(recording_start(&core, &somebody, &vm, "console", &again, &err), -1);
    CHECK_INT(err.code, ERROR_RECORDING_STATE_CONFLICT);
    CHECK_INT(recording_delete(&core, &somebody, rec.id, &err), -1);
    CHECK_INT(err.code, ERROR_RECORDING_STATE_CONFLICT);
    CHECK_OK(recording_stop(&core, &somebody, rec.id, &rec, &err));
    print("after");
    CHECK_INT(rec.state, RECORDING_FINISHED);
    CHECK_STR(rec.state_reason, "it was stopped");
    CHECK(rec.finished_at >= rec.started_at);
    auto_free char *text = file_of(rec.id);
    CHECK_INT(rec.size_bytes, strlen(text));
    CHECK(!strstr(text, "before") && !strstr(text, "after"));
    CHECK(strstr(text, "\xc3\xa9 \xef\xbf\xbd"));
    CHECK(strstr(text, "\"width\": 80, \"height\": 24"));
    CHECK_INT(recording_stop(&core, &somebody, rec.id, &rec, &err), -1);
    CHECK_INT(err.code, ERROR_RECORDING_STATE_CONFLICT);
    CHECK_OK(recording_delete(&core, &somebody, rec.id, &err));
    CHECK_INT(recording_get(&core, PROJECT_DEFAULT, rec.id, &rec, &err), -1);
    CHECK_INT(err.code, ERROR_RECORDING_NOT_FOUND);
    CHECK_INT(number("SELECT count(*) FROM events WHERE type LIKE 'recording.%' AND "
                     "actor = 'token:AAAA'"),
              3);
    CHECK_INT(atomic_load(&core.recorder->bytes), 0);
    close_core();
}

TEST(a_boot_is_recorded_from_its_first_byte_until_the_vm_stops)
{
    struct recording rec;

    start();
    power_on(true);
    print("BIOS");
    recording_of_boot(&core, &vm, true);
    recording_of_boot(&core, &vm, false); /* looked at again: it is being recorded */
    print(" kernel");
    console_end(core.consoles, vm.id);
    close(guest);
    guest = -1;
    rec = newest(1);
    EVENTUALLY(get(rec.id).state == RECORDING_FINISHED, 5000);
    CHECK_STR(get(rec.id).state_reason, REASON_VM_STOPPED);
    auto_free char *text = file_of(rec.id);
    CHECK(strstr(text, "BIOS") && strstr(text, "kernel"));
    CHECK_STR(rec.actor, "system");
    close_core();
}

TEST(nothing_is_recorded_that_is_not_open)
{
    struct recording rec;

    start();
    CHECK_INT(recording_start(&core, &somebody, &vm, "console", &rec, &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_UNAVAILABLE);
    recording_of_boot(&core, &vm, true);
    spec.record_console = false;
    power_on(true);
    recording_of_boot(&core, &vm, true);
    newest(0);
    close_core();
}

TEST(a_recording_ends_at_its_bound)
{
    auto_free char *line = calloc(1, 1001);
    struct recording rec;

    memset(line, 'x', 1000);
    start();
    core.settings->recording_bytes = 10000;
    power_on(true);
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &rec, &err));
    for (int i = 0; i < 15; i++) {
        print(line);
        if (i % 3 == 0) /* a few lines, however they are read together */
            EVENTUALLY(holds(rec.id, "xxx"), 5000);
    }
    EVENTUALLY(get(rec.id).state == RECORDING_FINISHED, 5000);
    rec = get(rec.id);
    CHECK_STR(rec.state_reason, "it reached its bound of 10000 bytes");
    CHECK(rec.size_bytes <= 10000);
    auto_free char *text = file_of(rec.id);
    CHECK_INT(strlen(text), rec.size_bytes);
    CHECK_INT(text[rec.size_bytes - 1], '\n');
    recording_of_boot(&core, &vm, false); /* the same boot: not again */
    newest(1);
    close_core();
}

TEST(the_oldest_make_room)
{
    struct recording first, second, third;
    auto_free char *line = calloc(1, 4001);

    memset(line, 'x', 4000);
    start();
    core.settings->recordings_bytes = 6000 + CAST_LINE_MAX;
    power_on(true);
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &first, &err));
    print(line);
    CHECK_OK(recording_stop(&core, &somebody, first.id, &first, &err));
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &second, &err));
    print(line);
    CHECK_OK(recording_stop(&core, &somebody, second.id, &second, &err));
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &third, &err));
    newest(2);
    CHECK_INT(recording_get(&core, PROJECT_DEFAULT, first.id, &first, &err), -1);
    core.settings->recordings_bytes = 1; /* now what is being made has to go, too */
    print(line);
    EVENTUALLY(get(third.id).state == RECORDING_FINISHED, 5000);
    CHECK_STR(get(third.id).state_reason, "there is no room for more recordings");
    CHECK_INT(recording_start(&core, &somebody, &vm, "console", &second, &err), -1);
    CHECK_INT(err.code, ERROR_INSUFFICIENT_STORAGE);
    CHECK_INT(number("SELECT count(*) FROM events WHERE type = 'recording.deleted' AND "
                     "actor = 'system'"),
              3);
    close_core();
}

TEST(old_ones_are_forgotten)
{
    struct recording rec;

    start();
    power_on(true);
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &rec, &err));
    CHECK_OK(recording_stop(&core, &somebody, rec.id, &rec, &err));
    CHECK_OK(recordings_prune(&core, rec.finished_at, &err));
    newest(1);
    CHECK_OK(recordings_prune(&core, rec.finished_at + 1, &err));
    newest(0);
    close_core();
}

TEST(what_a_stopping_daemon_records_is_closed_and_goes_on_afterwards)
{
    struct recording rec;

    start();
    power_on(true);
    recording_of_boot(&core, &vm, true);
    print("one");
    close_core();
    open_core();
    rec = newest(1);
    CHECK_INT(rec.state, RECORDING_FINISHED);
    CHECK_STR(rec.state_reason, REASON_DAEMON_STOPPED);
    CHECK(holds(rec.id, "one"));
    power_on(false);
    recording_of_boot(&core, &vm, false);
    CHECK_INT(newest(2).state, RECORDING_RUNNING);
    close_core();
}

TEST(what_was_stopped_by_hand_does_not_go_on)
{
    struct recording rec;

    start();
    power_on(true);
    recording_of_boot(&core, &vm, true);
    rec = newest(1);
    CHECK_OK(recording_stop(&core, &somebody, rec.id, &rec, &err));
    recording_of_boot(&core, &vm, false);
    newest(1);
    vm.started_at = clock_wall_ms() + 1; /* the next boot */
    recording_of_boot(&core, &vm, false);
    newest(2);
    close_core();
}

/* As a daemon that is killed leaves it: the row says that it is being made, the line is torn. */
static void leave_torn(const char *text)
{
    char path[160];
    sqlite3 *sq;

    start();
    power_on(true);
    recording_of_boot(&core, &vm, true);
    snprintf(path, sizeof(path), "%s/recordings/%s.cast", fixture_dir, newest(1).id);
    close_core();
    CHECK(sqlite3_open(fixture_path, &sq) == SQLITE_OK);
    CHECK(sqlite3_exec(sq, "UPDATE recordings SET state = 'recording', finished_at = 0", NULL, NULL,
                       NULL) == SQLITE_OK);
    sqlite3_close(sq);
    if (text)
        CHECK_OK(file_write_atomic(path, text, strlen(text), 0600, &err));
    else
        CHECK_OK(file_remove(path, &err));
    open_core();
}

TEST(a_torn_line_is_cut_and_the_end_is_marked)
{
    struct recording rec;

    leave_torn("{\"version\": 2}\n[1.500000, \"o\", \"whole\"]\n[2.5, \"o\", \"tor");
    rec = newest(1);
    CHECK_INT(rec.state, RECORDING_FINISHED);
    CHECK_STR(rec.state_reason, REASON_DAEMON_KILLED);
    CHECK_INT(rec.duration_ms, 1500);
    auto_free char *text = file_of(rec.id);
    CHECK_STR(text, "{\"version\": 2}\n[1.500000, \"o\", \"whole\"]\n[1.500000, \"m\", "
                    "\"the daemon was killed; what came after is missing\"]\n");
    CHECK_INT(rec.size_bytes, strlen(text));
    CHECK_INT(atomic_load(&core.recorder->bytes), rec.size_bytes);
    close_core();
}

TEST(a_torn_header_is_written_anew)
{
    leave_torn("{\"versi");
    auto_free char *text = file_of(newest(1).id);
    CHECK(str_starts(text, "{\"version\": 2, \"width\": 80"));
    CHECK_INT(newest(1).state, RECORDING_FINISHED);
    close_core();
}

TEST(a_lost_file_is_said)
{
    leave_torn(NULL);
    CHECK_INT(newest(1).state, RECORDING_FAILED);
    CHECK_STR(newest(1).state_reason, "its file cannot be read");
    close_core();
}

TEST(a_file_that_nobody_knows_is_removed)
{
    auto_free char *path = NULL;

    start();
    path = xasprintf("%s/recordings/11111111-2222-4333-8444-555555555555.cast", fixture_dir);
    CHECK_OK(file_write_atomic(path, "x", 1, 0600, &err));
    close_core();
    open_core();
    CHECK(!file_exists(path));
    close_core();
}

TEST(a_size_that_is_said_is_in_the_recording_and_outlives_the_daemon)
{
    static const char frame[] = "{\"type\":\"size\",\"rows\":50,\"cols\":132}";
    const struct console_attach attach = {.vm_id = vm.id,
                                          .stream = "console",
                                          .mode = CONSOLE_CONTROL,
                                          .protocol = CONSOLE_V1,
                                          .viewer = "token:AAAA"};
    struct recording rec;
    struct source *viewer;

    start();
    power_on(true);
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &rec, &err));
    CHECK_OK(console_attach(core.consoles, &attach, &viewer, &err));
    CHECK(viewer->write(viewer, SOURCE_TEXT, frame, strlen(frame)) > 0);
    EVENTUALLY(holds(rec.id, "\"r\", \"132x50\""), 5000);
    viewer->close(viewer);
    close_core();
    open_core();
    power_on(false);
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &rec, &err));
    CHECK_INT(rec.rows, 50);
    CHECK_INT(rec.cols, 132);
    CHECK(holds(rec.id, "\"width\": 132, \"height\": 50"));
    close_core();
}

/* ---- what viewers see ---- */

static bool frame_says(struct source *viewer, const char *want)
{
    enum source_kind kind;
    static char buf[CONSOLE_V1_VIEWERS_MAX + 1];
    ssize_t n;

    while ((n = viewer->read(viewer, buf, sizeof(buf) - 1, &kind)) > 0) {
        buf[n] = '\0';
        if (kind == SOURCE_TEXT && strstr(buf, want))
            return true;
    }
    return false;
}

TEST(viewers_are_told_and_a_recorder_is_none_of_them)
{
    const struct console_attach attach = {.vm_id = vm.id,
                                          .stream = "console",
                                          .mode = CONSOLE_VIEW,
                                          .protocol = CONSOLE_V1,
                                          .viewer = "token:AAAA"};
    struct source *viewer, *late;
    struct recording rec;

    start();
    power_on(true);
    CHECK_OK(console_attach(core.consoles, &attach, &viewer, &err));
    CHECK(frame_says(viewer, "\"recording\":false"));
    CHECK(frame_says(viewer, "\"count\":1"));
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &rec, &err));
    EVENTUALLY(frame_says(viewer, "\"count\":1,\"recording\":true"), 5000);
    CHECK_INT(console_viewers(core.consoles, vm.id, "console"), 1);
    CHECK_OK(console_attach(core.consoles, &attach, &late, &err));
    CHECK(frame_says(late, "\"recording\":true"));
    late->close(late);
    CHECK_OK(recording_stop(&core, &somebody, rec.id, &rec, &err));
    EVENTUALLY(frame_says(viewer, "\"recording\":false"), 5000);
    viewer->close(viewer);
    close_core();
}

/* ---- downloads ---- */

static void on_news(void *opaque)
{
    atomic_fetch_add((atomic_int *)opaque, 1);
}

TEST(a_download_never_waits_and_gives_the_whole_file)
{
    auto_free char *line = calloc(1, 8001), *want = NULL;
    auto_strbuf struct strbuf got = {0};
    enum source_kind kind;
    struct recording rec;
    struct source *s;
    atomic_int news = 0;
    static char buf[20000];
    int told = 0;
    ssize_t n;

    memset(line, 'y', 8000);
    start();
    power_on(true);
    CHECK_OK(recording_start(&core, &somebody, &vm, "console", &rec, &err));
    for (int i = 0; i < 30; i++)
        print(line);
    CHECK_OK(recording_stop(&core, &somebody, rec.id, &rec, &err));
    CHECK_OK(recording_read(&core, PROJECT_DEFAULT, rec.id, &s, &err));
    s->set_notify(s, on_news, &news);
    while ((n = s->read(s, buf, sizeof(buf), &kind)) >= 0) {
        strbuf_add(&got, buf, (size_t)n);
        if (n == 0) {
            EVENTUALLY(atomic_load(&news) > told, 5000);
            told = atomic_load(&news);
        }
    }
    CHECK_INT(s->close_code, 1000);
    s->close(s);
    want = file_of(rec.id);
    CHECK_INT(got.len, rec.size_bytes);
    CHECK_STR(got.data, want);
    for (int i = 0; i < 200; i++) { /* clients that leave at any moment */
        CHECK_OK(recording_read(&core, PROJECT_DEFAULT, rec.id, &s, &err));
        s->set_notify(s, on_news, &news);
        (void)s->read(s, buf, sizeof(buf), &kind);
        s->close(s);
    }
    CHECK_INT(recording_read(&core, PROJECT_DEFAULT, "nonsense", &s, &err), -1);
    CHECK_INT(err.code, ERROR_RECORDING_NOT_FOUND);
    close_core();
}

TEST_MAIN();
