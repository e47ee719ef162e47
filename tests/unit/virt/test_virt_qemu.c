/*
 * virt.h on the embedded QEMU driver with a real guest: 512 bytes that print and echo on COM1.
 * Under emulation, which is there everywhere; one test repeats the essence under KVM where
 * /dev/kvm opens.
 *
 * The state directory's path is long on purpose: sockets must still fit.
 */
#include "tests/unit/virt/boot_sector.h"
#include "tests/unit/virt/console_read.h"
#include "tests/unit/virt/virt_watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "service/base/fd.h"

#define A     "6f1c0f52-5a0a-4b43-9d0e-3f0f5d1c2b01"
#define TRIES 20 /* starts and stops in a row; about 0.7 s each */

static struct virt *v;
static struct watch w = {.lock = PTHREAD_MUTEX_INITIALIZER};
static char base[64], state_dir[128], disk_path[160], vnc_path[160];
static struct virt_disk disk = {.path = disk_path, .format = VIRT_DISK_RAW};
static const struct virt_nic nic = {.mode = VIRT_NIC_USER, .mac = "02:00:00:00:0b:01"};
static const char *const channels[] = {"org.example.0"};
static const char *const oem[] = {"io.drover.test=\"<&>\""};
static bool kvm;

static void open_virt(void)
{
    struct error err = ERROR_INIT;
    const struct virt_options options = {
        .uri = "",
        .state_dir = state_dir,
        .install_id = INSTALL,
        .on_event = watch_event,
        .on_link = watch_link,
        .opaque = &w,
    };
    unsigned ups = watch_ups_now(&w);

    CHECK_OK(virt_open(&options, &v, &err));
    EVENTUALLY(watch_ups(&w, ups + 1), 20000);
}

static struct virt_domain definition(void)
{
    struct virt_domain d = plain_domain(A, "guest-with-a-name-of-some-length");

    d.disks = &disk;
    d.disk_count = 1;
    d.nics = &nic;
    d.nic_count = 1;
    d.channels = channels;
    d.channel_count = 1;
    d.guest_agent = true;
    d.vnc_socket = vnc_path;
    d.smbios_oem = oem;
    d.smbios_oem_count = 1;
    d.memory_merge = false;
    return d;
}

static struct virt_info info(void)
{
    struct virt_info ret;
    struct error err = ERROR_INIT;

    CHECK_OK(virt_info(v, A, &ret, &err));
    return ret;
}

/* From power-on: console first, then the first instruction. */
static int boot(void)
{
    struct error err = ERROR_INIT;
    int fd = -1;

    CHECK_OK(virt_start(v, A, VIRT_START_PAUSED, &err));
    CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
    CHECK_OK(virt_resume(v, A, &err));
    CHECK(read_until(fd, "hello\r\n", 90000));
    return fd;
}

static unsigned entries(const char *path)
{
    auto_closedir DIR *dir = opendir(path);
    unsigned n = 0;

    while (dir && readdir(dir))
        n++;
    return n;
}

static long resident_kib(void)
{
    auto_fclose FILE *f = fopen("/proc/self/statm", "re");
    long total, resident;

    return f && fscanf(f, "%ld %ld", &total, &resident) == 2 ? resident * 4 : -1;
}

TEST(the_embedded_driver_comes_up)
{
    struct error err = ERROR_INIT;
    auto_close int dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    kvm = dev >= 0;
    printf("# %s\n", kvm ? "KVM" : "emulation: /dev/kvm does not open");
    strcpy(base, "/var/tmp/drover-virt-XXXXXX");
    CHECK(mkdtemp(base));
    snprintf(state_dir, sizeof(state_dir), "%s/a-rather-long-directory-name-for-the-state", base);
    CHECK_OK(dir_ensure(state_dir, 0700, &err));
    snprintf(disk_path, sizeof(disk_path), "%s/disk.raw", state_dir);
    snprintf(vnc_path, sizeof(vnc_path), "%s/vnc.sock", base);
    CHECK_OK(file_write_atomic(disk_path, boot_sector, sizeof(boot_sector), 0600, &err));
    CHECK_INT(truncate(disk_path, 1 << 20), 0); /* firmware boots no virtio disk of one sector */
    open_virt();
}

TEST(the_host_can_run_guests)
{
    auto_free struct virt_host *host = xcalloc(1, sizeof(*host));
    struct error err = ERROR_INIT;
    bool q35 = false;

    CHECK_OK(virt_host_info(v, host, &err));
    CHECK_STR(host->driver, "QEMU");
    CHECK(*host->qemu_version);
    CHECK_STR(host->arch, "x86_64");
    CHECK(host->kvm == kvm);
    for (unsigned i = 0; i < host->machine_count; i++)
        q35 |= str_eq(host->machines[i], "q35");
    CHECK(q35);
}

/* libvirt has probed QEMU by now, with -daemonize, which leaves processes to whoever is below. */
static bool has_zombie(void)
{
    siginfo_t info = {0};

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid;
}

TEST(probing_qemu_leaves_no_zombies)
{
    struct virt_domain d = definition();
    struct error err = ERROR_INIT;

    CHECK_OK(virt_define(v, &d, &err));
    EVENTUALLY(!has_zombie(), 5000);
    CHECK_OK(virt_undefine(v, A, &err));
}

TEST(the_console_is_read_from_power_on_and_echoes)
{
    struct virt_domain d = definition();
    struct error err = ERROR_INIT;
    auto_close int fd = -1;

    CHECK_OK(virt_define(v, &d, &err));
    fd = boot();
    CHECK_INT(write(fd, "echo me\r", 8), 8);
    CHECK(read_until(fd, "echo me\r", 10000));
    CHECK_INT(info().state, VIRT_STATE_RUNNING);
    CHECK(info().pid > 1 && kill((pid_t)info().pid, 0) == 0);
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_RUNNING, "booted"), 2000);
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_RUNNING, "resumed"), 2000);
}

TEST(a_second_console_takes_over_and_the_first_ends)
{
    struct error err = ERROR_INIT;
    auto_close int first = -1, second = -1;

    CHECK_OK(virt_console_open(v, A, NULL, &first, &err));
    CHECK_OK(virt_console_open(v, A, "serial0", &second, &err));
    CHECK(at_end(first, 5000));
    CHECK_INT(write(second, "abc\r", 4), 4);
    CHECK(read_until(second, "abc\r", 10000));
}

TEST(a_closed_console_leaves_nothing_behind)
{
    struct error err = ERROR_INIT;
    unsigned fds = entries("/proc/self/fd");

    for (int i = 0; i < 50; i++) {
        int fd = -1;

        CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
        CHECK_INT(write(fd, "x", 1), 1);
        close(fd);
    }
    EVENTUALLY(entries("/proc/self/fd") <= fds, 5000);
}

TEST(half_closing_keeps_the_guest_audible)
{
    struct error err = ERROR_INIT;
    auto_close int fd = -1;

    CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
    CHECK_INT(write(fd, "last words\r", 11), 11);
    CHECK_INT(shutdown(fd, SHUT_WR), 0);
    CHECK(read_until(fd, "last words\r", 10000));
}

TEST(a_channel_opens_and_an_unknown_one_does_not)
{
    struct error err = ERROR_INIT;
    auto_close int fd = -1;
    int none = -1;

    CHECK_OK(virt_channel_open(v, A, "org.example.0", &fd, &err));
    CHECK(fd >= 0);
    CHECK_INT(virt_channel_open(v, A, "org.example.9", &none, &err), -1);
    CHECK_INT(none, -1);
}

TEST(the_display_speaks_rfb)
{
    struct error err = ERROR_INIT;
    auto_close int fd = -1;

    CHECK_OK(virt_graphics_open(v, A, &fd, &err));
    CHECK(read_until(fd, "RFB 003", 5000));
}

TEST(statistics_have_what_qemu_gives)
{
    struct virt_stats stats = {0};
    struct error err = ERROR_INIT;

    CHECK_OK(virt_stats_read(v, A, &stats, &err));
    CHECK_STR(stats.uuid, A);
    CHECK(stats.has_cpu && stats.cpu_ns > 0);
    CHECK(stats.has_rss && stats.rss_bytes > 1 << 20);
    CHECK(stats.has_balloon && stats.maximum_bytes == 16 << 20);
    CHECK_INT(stats.vcpus, 1);
    CHECK_INT(stats.vcpu_count, 1);
    CHECK(stats.vcpu[0].has_time && stats.vcpu[0].has_delay);
    CHECK_INT(stats.vcpu_delay_ns, stats.vcpu[0].delay_ns);
    CHECK_INT(stats.block_count, 1);
    CHECK_STR(stats.blocks[0].name, "vda");
    CHECK(stats.blocks[0].has_requests && stats.blocks[0].read_requests > 0);
    CHECK_INT(stats.net_count, 1);
    CHECK(!stats.nets[0].has_counters); /* user mode counts nothing: absent, not zero */
    CHECK(!stats.has_guest_memory);     /* and this guest has no balloon driver */
}

TEST(a_reset_is_told_as_a_reboot)
{
    struct error err = ERROR_INIT;
    auto_close int fd = -1;
    bool told = false;

    watch_forget(&w);
    CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
    CHECK_OK(virt_reset(v, A, &err));
    CHECK(read_until(fd, "hello\r\n", 90000));
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_UNKNOWN, "rebooted"), 2000);
    {
        LOCK_SCOPE(&w.lock);
        for (size_t i = 0; i < w.count; i++)
            told |= w.events[i].guest_rebooted;
    }
    CHECK(told);
}

TEST(a_flood_nobody_reads_costs_no_memory)
{
    struct error err = ERROR_INIT;
    auto_close int fd = -1;
    char drain[8192];
    long before;
    size_t read_bytes = 0;
    int64_t until;

    CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
    CHECK_INT(write(fd, "~", 1), 1);
    CHECK(read_until(fd, "xxxx", 10000));
    before = resident_kib();
    /* Stalled: the condition is time itself, during which nothing may grow. */
    for (until = clock_monotonic_ms() + 1500; clock_monotonic_ms() < until;)
        poll(NULL, 0, 50);
    CHECK(resident_kib() - before < 1024);
    /* And the flow goes on where it stopped. */
    for (until = clock_monotonic_ms() + 20000;
         clock_monotonic_ms() < until && read_bytes < 300000;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&p, 1, 100) > 0 ? read(fd, drain, sizeof(drain)) : 0;

        read_bytes += n > 0 ? (size_t)n : 0;
    }
    CHECK(read_bytes >= 300000);
}

TEST(pulling_the_plug_ends_the_console)
{
    struct error err = ERROR_INIT;
    auto_close int fd = -1;
    int64_t start;

    watch_forget(&w);
    CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
    start = clock_monotonic_ms();
    CHECK_OK(virt_destroy(v, A, &err));
    printf("# destroy took %lld ms\n", (long long)(clock_monotonic_ms() - start));
    CHECK(clock_monotonic_ms() - start < 1500); /* a zombie nobody collects takes longer */
    CHECK(at_end(fd, 5000));
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_SHUTOFF, "destroyed"), 2000);
    CHECK_INT(info().state, VIRT_STATE_SHUTOFF);
    CHECK_INT(info().pid, 0);
}

TEST(a_guest_that_powers_off_is_shut_down_not_crashed)
{
    auto_close int fd = boot();

    watch_forget(&w);
    CHECK_INT(write(fd, "!", 1), 1);
    CHECK(at_end(fd, 10000));
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_SHUTOFF, "shutdown"), 5000);
    CHECK_INT(info().state, VIRT_STATE_SHUTOFF);
}

TEST(a_killed_qemu_is_a_crash)
{
    auto_close int fd = boot();

    watch_forget(&w);
    CHECK_INT(kill((pid_t)info().pid, SIGKILL), 0);
    CHECK(at_end(fd, 10000));
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_CRASHED, "failed"), 10000);
    EVENTUALLY(info().state == VIRT_STATE_CRASHED, 5000);
}

TEST(saving_and_restoring_keeps_the_guest)
{
    struct error err = ERROR_INIT;
    auto_close int fd = boot();

    watch_forget(&w);
    CHECK_OK(virt_save(v, A, &err));
    CHECK(at_end(fd, 5000));
    CHECK_INT(info().state, VIRT_STATE_SAVED);
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_SAVED, "saved"), 2000);
    close(TAKE_FD(fd));
    CHECK_OK(virt_start(v, A, VIRT_START_PAUSED, &err));
    CHECK_INT(info().state, VIRT_STATE_PAUSED);
    CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
    CHECK_OK(virt_resume(v, A, &err));
    CHECK_INT(write(fd, "still here\r", 11), 11);
    CHECK(read_until(fd, "still here\r", 10000)); /* no "hello": it did not boot again */
}

TEST(guests_live_on_while_we_are_closed)
{
    struct error err = ERROR_INIT;
    int64_t pid = info().pid;
    auto_close int fd = -1;

    CHECK(pid > 1);
    CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
    virt_close(v);
    v = NULL;
    CHECK(at_end(fd, 1000));
    CHECK_INT(kill((pid_t)pid, 0), 0);
    open_virt();
    CHECK_INT(info().state, VIRT_STATE_RUNNING);
    CHECK_INT(info().pid, pid);
    CHECK(info().ours);
    close(TAKE_FD(fd));
    CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
    CHECK_INT(write(fd, "and again\r", 10), 10);
    CHECK(read_until(fd, "and again\r", 10000));
    CHECK_OK(virt_destroy(v, A, &err));
}

TEST(starting_and_stopping_leaks_nothing)
{
    struct error err = ERROR_INIT;
    unsigned fds, threads;

    close(boot());
    CHECK_OK(virt_destroy(v, A, &err));
    fds = entries("/proc/self/fd");
    threads = entries("/proc/self/task");
    for (int i = 0; i < TRIES; i++) {
        int fd = -1;

        CHECK_OK(virt_start(v, A, VIRT_START_PAUSED, &err));
        CHECK_OK(virt_console_open(v, A, NULL, &fd, &err));
        CHECK_OK(virt_destroy(v, A, &err));
        CHECK(at_end(fd, 5000));
        close(fd);
    }
    EVENTUALLY(entries("/proc/self/fd") <= fds, 5000);
    EVENTUALLY(entries("/proc/self/task") <= threads, 5000);
}

TEST(a_missing_disk_says_so)
{
    struct error err = ERROR_INIT;
    auto_free char *aside = xasprintf("%s.aside", disk_path);

    CHECK_INT(rename(disk_path, aside), 0);
    CHECK_INT(virt_start(v, A, VIRT_START_RUN, &err), -1);
    CHECK(*err.detail && *err.remedy && *err.cause);
    printf("# %s / %s / %s\n", error_slug(err.code), err.detail, err.remedy);
    CHECK_INT(rename(aside, disk_path), 0);
    CHECK_INT(info().state, VIRT_STATE_SHUTOFF);
}

TEST(a_kvm_guest_runs_too)
{
    struct virt_domain d = definition();
    struct error err = ERROR_INIT;
    auto_close int fd = -1;

    if (!kvm)
        return;
    d.kvm = true;
    d.generation = 2;
    CHECK_OK(virt_define(v, &d, &err));
    CHECK_INT(info().generation, 2);
    fd = boot();
    CHECK_INT(write(fd, "echo\r", 5), 5);
    CHECK(read_until(fd, "echo\r", 10000));
    CHECK_OK(virt_destroy(v, A, &err));
    CHECK(at_end(fd, 5000));
}

static bool runs_tail(pid_t pid)
{
    auto_free char *path = xasprintf("/proc/%d/comm", (int)pid);
    auto_free char *comm = NULL;
    struct error err = ERROR_INIT;

    return file_read(path, 32, &comm, NULL, &err) == 1 && str_starts(comm, "tail");
}

TEST(a_probe_left_by_a_killed_daemon_is_swept_away)
{
    struct error err = ERROR_INIT;
    auto_free char *dir = xasprintf("%s/libvirt/lib/qemu/qmp-TEST00", state_dir);
    auto_free char *file = xasprintf("%s/qmp.pid", dir);
    auto_free char *text = NULL;
    pid_t pid;

    virt_close(v);
    v = NULL;
    CHECK_OK(dir_ensure(dir, 0755, &err));
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        /* waits with the pid file among its arguments, as a probing QEMU would */
        execl("/usr/bin/tail", "tail", "-f", "/dev/null", file, (char *)NULL);
        _exit(127);
    }
    text = xasprintf("%d\n", (int)pid);
    CHECK_OK(file_write_atomic(file, text, strlen(text), 0644, &err));
    EVENTUALLY(runs_tail(pid), 5000);
    open_virt();
    CHECK_INT(waitpid(pid, NULL, 0), pid);
    CHECK(!file_exists(dir));
}

static unsigned zombies(void)
{
    auto_closedir DIR *proc = opendir("/proc");
    const struct dirent *entry;
    unsigned n = 0;
    uint64_t pid;

    while (proc && (entry = readdir(proc))) {
        siginfo_t one = {0};

        if (str_to_u64(entry->d_name, INT32_MAX, &pid) &&
            waitid(P_PID, (id_t)pid, &one, WEXITED | WNOHANG | WNOWAIT) == 0 && one.si_pid)
            n++;
    }
    return n;
}

TEST(no_zombie_is_left)
{
    EVENTUALLY(zombies() == 0, 2000);
}

static void remove_tree(const char *path)
{
    auto_closedir DIR *dir = opendir(path);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        auto_free char *child = xasprintf("%s/%s", path, entry->d_name);
        struct stat st;

        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, "..") || lstat(child, &st))
            continue;
        if (S_ISDIR(st.st_mode))
            remove_tree(child);
        else
            unlink(child);
    }
    rmdir(path);
}

/* Runs also when a test failed: no guest of ours may outlive the program. */
TEST(everything_is_put_away)
{
    struct error err = ERROR_INIT;

    if (v) {
        (void)virt_destroy(v, A, &err); /* fails when all went well: it is gone */
        CHECK_OK(virt_undefine(v, A, &err));
    }
    virt_close(v);
    remove_tree(base);
    CHECK(!file_exists(base));
}

TEST_MAIN();
