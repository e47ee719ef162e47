/*
 * virt.h through a libvirtd with the QEMU driver: what packages use (qemu:///system), but private
 * and unprivileged. Consoles cross libvirt's RPC, and libvirtd dies under them.
 */
#include "tests/unit/virt/boot_sector.h"
#include "tests/unit/virt/console_read.h"
#include "tests/unit/virt/private_libvirtd.h"
#include "tests/unit/virt/virt_watch.h"

#define A "6f1c0f52-5a0a-4b43-9d0e-3f0f5d1c2d01"

static struct virt *v;
static struct watch w = {.lock = PTHREAD_MUTEX_INITIALIZER};
static char uri[256], disk_path[128];
static struct virt_disk disk = {.path = disk_path, .format = VIRT_DISK_RAW};
static int console = -1;

static enum virt_state state(void)
{
    struct virt_info info;
    struct error err = ERROR_INIT;

    return virt_info(v, A, &info, &err) ? VIRT_STATE_UNKNOWN : info.state;
}

TEST(a_guest_boots_through_libvirtd)
{
    const struct virt_options options = {
        .uri = uri,
        .install_id = INSTALL,
        .on_event = watch_event,
        .on_link = watch_link,
        .opaque = &w,
    };
    struct virt_domain d = plain_domain(A, "far");
    struct error err = ERROR_INIT;

    prepare_daemon();
    snprintf(uri, sizeof(uri), "qemu+unix:///session?socket=%s", socket_path);
    snprintf(disk_path, sizeof(disk_path), "%s/disk.raw", base);
    CHECK_OK(file_write_atomic(disk_path, boot_sector, sizeof(boot_sector), 0666, &err));
    CHECK_INT(truncate(disk_path, 1 << 20), 0);
    start_daemon();
    CHECK_OK(virt_open(&options, &v, &err));
    EVENTUALLY(watch_ups(&w, 1), 20000);
    d.disks = &disk;
    d.disk_count = 1;
    CHECK_OK(virt_define(v, &d, &err));
    CHECK_OK(virt_start(v, A, VIRT_START_PAUSED, &err));
    CHECK_OK(virt_console_open(v, A, NULL, &console, &err));
    CHECK_OK(virt_resume(v, A, &err));
    CHECK(read_until(console, "hello\r\n", 30000));
    CHECK_INT(write(console, "echo\r", 5), 5);
    CHECK(read_until(console, "echo\r", 10000));
}

TEST(a_newer_console_takes_over)
{
    struct error err = ERROR_INIT;
    int newer = -1;

    CHECK_OK(virt_console_open(v, A, NULL, &newer, &err));
    CHECK(at_end(console, 5000));
    close(console);
    console = newer;
    CHECK_INT(write(console, "newer\r", 6), 6);
    CHECK(read_until(console, "newer\r", 10000));
}

TEST(a_closed_console_is_free_again)
{
    struct error err = ERROR_INIT;

    for (int i = 0; i < 10; i++) {
        close(console);
        console = -1;
        CHECK_OK(virt_console_open(v, A, NULL, &console, &err));
        CHECK_INT(write(console, "a\r", 2), 2);
        CHECK(read_until(console, "a\r", 10000));
    }
}

TEST(a_killed_libvirtd_ends_consoles_not_guests)
{
    struct error err = ERROR_INIT;
    unsigned ups = watch_ups_now(&w);

    kill_daemon();
    CHECK(at_end(console, 5000));
    close(console);
    console = -1;
    start_daemon();
    EVENTUALLY(watch_ups(&w, ups + 1), 10000);
    CHECK_INT(state(), VIRT_STATE_RUNNING);
    CHECK_OK(virt_console_open(v, A, NULL, &console, &err));
    CHECK_INT(write(console, "again\r", 6), 6);
    CHECK(read_until(console, "again\r", 10000));
}

TEST(pulling_the_plug_ends_the_console)
{
    struct error err = ERROR_INIT;

    CHECK_OK(virt_destroy(v, A, &err));
    CHECK(at_end(console, 5000));
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_SHUTOFF, "destroyed"), 2000);
    CHECK_OK(virt_undefine(v, A, &err));
}

/* Runs also when a test failed: no guest of ours may outlive the program. */
TEST(everything_is_put_away)
{
    struct error err = ERROR_INIT;

    if (v && !daemon_pid)
        start_daemon();
    if (v) {
        EVENTUALLY(virt_is_up(v, NULL, 0), 10000);
        (void)virt_destroy(v, A, &err); /* fails when all went well: it is gone */
    }
    virt_close(v);
    if (daemon_pid)
        kill_daemon();
    remove_tree(base);
    CHECK(!file_exists(base));
}

DAEMON_TEST_MAIN();
