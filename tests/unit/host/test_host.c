/* The host's figures, on directories that stand for several kernels and on this machine. */
#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/unit/host/fixture.h"

#define PAGE ((uint64_t)sysconf(_SC_PAGESIZE))
#define HZ   ((double)sysconf(_SC_CLK_TCK))

static void write_stat(int pid, const char *comm, unsigned flags, unsigned user, unsigned system)
{
    char path[64], text[512];

    snprintf(path, sizeof(path), "proc/%d/stat", pid);
    snprintf(text, sizeof(text),
             "%d (%s) S 2 0 0 0 -1 %u 10 0 3 0 %u %u 0 0 25 5 1 0 77 1048576 50 0 0 0 0 0\n", pid,
             comm, flags, user, system);
    fixture_write(path, text);
    snprintf(path, sizeof(path), "proc/%d/comm", pid);
    snprintf(text, sizeof(text), "%s\n", comm);
    fixture_write(path, text);
}

/* What Debian 12's 6.1 has: no profit, no scan counters, no advisor. */
static void write_ksm_6_1(void)
{
    static const char *const files[][2] = {
        {"run", "1\n"},
        {"pages_to_scan", "100\n"},
        {"sleep_millisecs", "20\n"},
        {"pages_shared", "120\n"},
        {"pages_sharing", "3000\n"},
        {"pages_unshared", "7\n"},
        {"pages_volatile", "0\n"},
        {"full_scans", "12\n"},
        {"merge_across_nodes", "1\n"},
        {"use_zero_pages", "0\n"},
        {"max_page_sharing", "256\n"},
        {"stable_node_chains", "0\n"},
        {"stable_node_dups", "0\n"},
        {"stable_node_chains_prune_millisecs", "2000\n"},
    };
    char path[96];

    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "sys/kernel/mm/ksm/%s", files[i][0]);
        fixture_write(path, files[i][1]);
    }
}

/* ---- KSM ---- */

TEST(a_kernel_without_ksm_has_no_figures_rather_than_zeros)
{
    struct host *h = fixture_open();
    struct host_ksm ksm;

    host_ksm_read(h, &ksm);
    CHECK(!ksm.available && !ksm.has_saved && !ksm.has_ksmd_cpu && !ksm.has_advisor_mode);
    for (int i = 0; i < HOST_KSM_COUNT; i++)
        CHECK(!ksm.has[i]);
    CHECK_INT(ksm.page_size_bytes, PAGE);
    fixture_close(h);
}

TEST(ksm_of_linux_6_1_has_what_that_kernel_has)
{
    struct host *h = fixture_open();
    struct host_ksm ksm;

    write_ksm_6_1();
    host_ksm_read(h, &ksm);
    CHECK(ksm.available);
    CHECK(ksm.has[HOST_KSM_pages_sharing]);
    CHECK_INT(ksm.value[HOST_KSM_pages_sharing], 3000);
    CHECK(ksm.has_saved);
    CHECK_INT(ksm.saved_bytes, 3000 * PAGE);
    CHECK(ksm.has[HOST_KSM_pages_volatile]);
    CHECK_INT(ksm.value[HOST_KSM_pages_volatile], 0);
    CHECK(!ksm.has[HOST_KSM_general_profit]);
    CHECK(!ksm.has[HOST_KSM_pages_scanned]);
    CHECK(!ksm.has[HOST_KSM_smart_scan]);
    CHECK(!ksm.has_advisor_mode);
    CHECK_STR(host_ksm_name(HOST_KSM_pages_sharing), "pages_sharing");
    fixture_close(h);
}

TEST(ksm_of_a_newer_kernel_adds_the_advisor_and_a_negative_profit)
{
    struct host *h = fixture_open();
    struct host_ksm ksm;

    write_ksm_6_1();
    fixture_write("sys/kernel/mm/ksm/general_profit", "-4096\n");
    fixture_write("sys/kernel/mm/ksm/advisor_mode", "none [scan-time]\n");
    fixture_write("sys/kernel/mm/ksm/advisor_max_cpu", "70\n");
    host_ksm_read(h, &ksm);
    CHECK_INT(ksm.value[HOST_KSM_general_profit], -4096);
    CHECK(ksm.has_advisor_mode);
    CHECK_STR(ksm.advisor_mode, "scan-time");
    CHECK_INT(ksm.value[HOST_KSM_advisor_max_cpu], 70);
    CHECK_INT(ksm.zero_bytes, 0);
    fixture_write("sys/kernel/mm/ksm/ksm_zero_pages", "500\n");
    host_ksm_read(h, &ksm);
    CHECK_INT(ksm.zero_bytes, 500 * PAGE);
    CHECK_INT(ksm.saved_bytes, 3500 * PAGE);
    fixture_write("sys/kernel/mm/ksm/ksm_zero_pages", "9223372036854775807\n");
    host_ksm_read(h, &ksm);
    CHECK_INT(ksm.saved_bytes, 3000 * PAGE); /* that many there cannot be */
    fixture_close(h);
}

TEST(garbage_and_huge_numbers_in_ksm_files_are_absent)
{
    struct host *h = fixture_open();
    struct host_ksm ksm;

    write_ksm_6_1();
    fixture_write("sys/kernel/mm/ksm/pages_shared", "lots\n");
    fixture_write("sys/kernel/mm/ksm/full_scans", "");
    fixture_write("sys/kernel/mm/ksm/pages_unshared", "99999999999999999999999\n");
    fixture_write("sys/kernel/mm/ksm/pages_sharing", "9223372036854775807\n");
    fixture_write("sys/kernel/mm/ksm/advisor_mode", "scan-time\n");
    host_ksm_read(h, &ksm);
    CHECK(ksm.available);
    CHECK(!ksm.has[HOST_KSM_pages_shared]);
    CHECK(!ksm.has[HOST_KSM_full_scans]);
    CHECK(!ksm.has[HOST_KSM_pages_unshared]);
    CHECK(ksm.has[HOST_KSM_pages_sharing]);
    CHECK(!ksm.has_saved); /* it would not fit */
    CHECK(!ksm.has_advisor_mode);
    fixture_write("sys/kernel/mm/ksm/pages_sharing", "-1\n");
    host_ksm_read(h, &ksm);
    CHECK(!ksm.has_saved);
    fixture_close(h);
}

TEST(ksmd_is_the_kernel_thread_of_that_name_and_found_again_when_it_moves)
{
    struct host *h = fixture_open();
    struct host_ksm ksm;

    write_ksm_6_1();
    write_stat(31, "ksmd", 0x00400000, 9999, 9999); /* somebody's program */
    write_stat(40, "ksmd", 0x00200000, 50, 150);
    fixture_write("proc/version", "not a process\n");
    host_ksm_read(h, &ksm);
    CHECK(ksm.has_ksmd_cpu);
    CHECK(ksm.ksmd_cpu_seconds == 200 / HZ);
    write_stat(40, "ksmd", 0x00200000, 60, 160);
    host_ksm_read(h, &ksm);
    CHECK(ksm.ksmd_cpu_seconds == 220 / HZ);
    write_stat(40, "bash", 0x00400000, 1, 1); /* the pid belongs to another now */
    write_stat(55, "ksmd", 0x00200000, 100, 0);
    host_ksm_read(h, &ksm);
    CHECK(ksm.has_ksmd_cpu);
    CHECK(ksm.ksmd_cpu_seconds == 100 / HZ);
    fixture_delete("proc/55/stat");
    host_ksm_read(h, &ksm);
    CHECK(!ksm.has_ksmd_cpu);
    fixture_close(h);
}

TEST(a_knob_is_written_and_the_rest_refused_with_the_reason)
{
    struct host *h = fixture_open();
    struct error err = ERROR_INIT;

    write_ksm_6_1();
    CHECK_OK(host_ksm_write(h, HOST_KSM_pages_to_scan, 2500, &err));
    CHECK_STR(fixture_text("sys/kernel/mm/ksm/pages_to_scan"), "2500");
    CHECK_INT(host_ksm_write(h, HOST_KSM_pages_sharing, 1, &err), -1);
    CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
    CHECK_STR(err.pointer, "pages_sharing");
    CHECK_INT(host_ksm_write(h, HOST_KSM_smart_scan, 1, &err), -1);
    CHECK_INT(err.code, ERROR_NOT_SUPPORTED_BY_HOST);
    CHECK(strstr(err.detail, "smart_scan"));
    fixture_close(h);
}

/* ---- processes ---- */

#define STATUS "Name:\tqemu\nVmSize:\t 1024000 kB\nVmRSS:\t  100000 kB\nVmSwap:\t     512 kB\n"

TEST(a_process_is_read_with_everything_a_new_kernel_says)
{
    struct host *h = fixture_open();
    struct host_process p;

    write_stat(4242, "qemu (x) S 1", 0, 250, 50);
    fixture_write("proc/4242/io", "rchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\n");
    fixture_write("proc/4242/ksm_stat",
                  "ksm_rmap_items 5\nksm_zero_pages 1\nksm_merging_pages 4\n"
                  "ksm_process_profit 16000\nksm_merge_any: no\nksm_mergeable: yes\n");
    CHECK_INT(host_process_read(h, 4242, &p), 1);
    CHECK_INT(p.start_ticks, 77);
    CHECK(p.has_cpu && p.cpu_user_seconds == 250 / HZ && p.cpu_system_seconds == 50 / HZ);
    CHECK(p.has_faults);
    CHECK_INT(p.minor_faults, 10);
    CHECK_INT(p.major_faults, 3);
    CHECK(p.has_memory);
    CHECK_INT(p.resident_bytes, 50 * PAGE);
    CHECK_INT(p.virtual_bytes, 1048576);
    CHECK(p.has_io);
    CHECK_INT(p.read_bytes, 4096);
    CHECK_INT(p.write_bytes, 8192);
    CHECK(p.has_ksm && p.has_ksm_profit && p.ksm_mergeable);
    CHECK_INT(p.ksm_merging_pages, 4);
    CHECK_STR(p.ksm_reason, "");
    fixture_close(h);
}

TEST(the_dear_figures_are_read_apart)
{
    struct host *h = fixture_open();
    struct host_process_memory m;

    CHECK_INT(host_process_memory_read(h, 7, &m), 0);
    fixture_write("proc/7/status", STATUS);
    CHECK_INT(host_process_memory_read(h, 7, &m), 1);
    CHECK(m.has_swap && !m.has_rollup && !m.has_merged && !m.pressure.has_cpu);
    CHECK_INT(m.swap_bytes, 512 * 1024);
    fixture_write("proc/7/smaps_rollup",
                  "0-1 ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss: 600 kB\nPss_Shmem: 8 kB\n"
                  "Private_Clean: 40 kB\nPrivate_Dirty: 112 kB\nAnonymous: 500 kB\nKSM: 64 kB\n"
                  "AnonHugePages: 0 kB\nShared_Hugetlb: 2048 kB\nPrivate_Hugetlb: 2048 kB\n");
    CHECK_INT(host_process_memory_read(h, 7, &m), 1);
    CHECK(m.has_rollup && m.has_merged);
    CHECK_INT(m.pss_bytes, 600 * 1024);
    CHECK_INT(m.private_bytes, 152 * 1024);
    CHECK_INT(m.merged_bytes, 64 * 1024);
    CHECK_INT(m.shmem_bytes, 8 * 1024);
    CHECK_INT(m.hugetlb_bytes, 4096 * 1024);
    fixture_close(h);
}

TEST(pressure_is_that_of_the_process_own_group)
{
    struct host *h = fixture_open();
    struct host_process_memory m;

    fixture_write("proc/7/status", STATUS);
    fixture_write("proc/7/cgroup", "1:cpu:/x\n0::/machine/vm.scope\n");
    fixture_write("proc/self/cgroup", "0::/drover\n");
    fixture_write("sys/fs/cgroup/machine/vm.scope/cpu.pressure",
                  "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00\n");
    fixture_write("sys/fs/cgroup/machine/vm.scope/io.pressure", "some avg10=nonsense\n");
    CHECK_INT(host_process_memory_read(h, 7, &m), 1);
    CHECK(m.pressure.has_cpu && m.pressure.cpu_percent == 12.5);
    CHECK(!m.pressure.has_io && !m.pressure.has_memory);
    fixture_write("proc/self/cgroup", "0::/machine/vm.scope\n"); /* shared with the daemon */
    CHECK_INT(host_process_memory_read(h, 7, &m), 1);
    CHECK(!m.pressure.has_cpu);
    fixture_close(h);
}

TEST(one_tuner_holds_the_claim_and_a_crash_leaves_its_words)
{
    struct host *h = fixture_open();
    struct host_ksm_claim *a = NULL, *b = NULL;
    struct error err = ERROR_INIT;
    char *text = NULL;

    CHECK_INT(host_ksm_claim_take(h, &a, &text, &err), -1); /* no run/ */
    fixture_mkdir("run");
    CHECK_INT(host_ksm_claim_take(h, &a, &text, &err), 1);
    CHECK_STR(text, "");
    free(TAKE_PTR(text));
    CHECK_OK(host_ksm_claim_write(a, "run 0\n", &err));
    CHECK_INT(host_ksm_claim_take(h, &b, &text, &err), 0);
    host_ksm_claim_drop(a);
    CHECK_INT(host_ksm_claim_take(h, &b, &text, &err), 1);
    CHECK_STR(text, "run 0\n");
    free(text);
    CHECK_OK(host_ksm_claim_write(b, "", &err));
    CHECK_STR(fixture_text("run/drover-ksm"), "");
    host_ksm_claim_drop(b);
    host_ksm_claim_drop(NULL);
    fixture_close(h);
}

TEST(linux_6_1_keeps_merging_pages_in_a_file_of_its_own)
{
    struct host *h = fixture_open();
    struct host_process p;

    write_stat(9, "qemu", 0, 1, 1);
    fixture_write("proc/9/ksm_stat", "ksm_rmap_items 76\n");
    fixture_write("proc/9/ksm_merging_pages", "33\n");
    CHECK_INT(host_process_read(h, 9, &p), 1);
    CHECK(p.has_ksm_rmap_items && p.has_ksm_merging_pages && !p.has_ksm_profit);
    CHECK_INT(p.ksm_merging_pages, 33);
    fixture_delete("proc/9/ksm_stat"); /* 5.19 to 6.0 */
    CHECK_INT(host_process_read(h, 9, &p), 1);
    CHECK(p.has_ksm && p.has_ksm_merging_pages && !p.has_ksm_rmap_items);
    fixture_close(h);
}

TEST(a_kernel_without_figures_per_process_says_so)
{
    struct host *h = fixture_open();
    struct host_process p;

    write_stat(9, "qemu", 0, 1, 1);
    CHECK_INT(host_process_read(h, 9, &p), 1);
    CHECK(!p.has_ksm);
    CHECK(strstr(p.ksm_reason, "kernel"));
    CHECK(p.has_memory && !p.has_io);
    CHECK_INT(p.resident_bytes, 50 * PAGE);
    CHECK_INT(p.virtual_bytes, 1048576);
    fixture_close(h);
}

TEST(figures_that_need_root_are_absent_with_that_reason)
{
    struct host *h = fixture_open();
    struct host_process p;
    int found;

    if (geteuid() != 0) {
        printf("# only root can become somebody else\n");
        fixture_close(h);
        return;
    }
    write_stat(9, "qemu", 0, 1, 1);
    fixture_write("proc/9/ksm_stat", "ksm_rmap_items 76\n");
    fixture_write("proc/9/ksm_merging_pages", "1\n");
    fixture_mode("proc/9/ksm_stat", 0400);
    fixture_mode("proc/9/ksm_merging_pages", 0400);
    CHECK_INT(seteuid(65534), 0);
    found = host_process_read(h, 9, &p);
    CHECK_INT(seteuid(0), 0);
    CHECK_INT(found, 1);
    CHECK(p.has_cpu && !p.has_ksm && !p.has_ksm_merging_pages);
    CHECK(strstr(p.ksm_reason, "permission"));
    fixture_close(h);
}

TEST(no_process_is_no_process)
{
    struct host *h = fixture_open();
    struct host_process p;

    CHECK_INT(host_process_read(h, 4242, &p), 0);
    CHECK_INT(host_process_read(h, 0, &p), 0);
    CHECK_INT(host_process_read(h, -1, &p), 0);
    fixture_write("proc/5/stat", "");
    CHECK_INT(host_process_read(h, 5, &p), 0);
    fixture_write("proc/5/stat", "5 (half");
    CHECK_INT(host_process_read(h, 5, &p), 0);
    fixture_close(h);
}

/* ---- a process that is read again and again ---- */

TEST(a_watched_process_is_read_like_any_other_until_it_ends)
{
    struct host *h = NULL;
    struct error err;
    struct host_process once, again;
    struct host_watch *w;
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    CHECK_INT(host_open("/", &h, &err), 0);
    w = host_watch_open(h, child);
    CHECK_INT(host_process_read(h, child, &once), 1);
    CHECK_INT(host_watch_read(w, false, &again), 1);
    CHECK_INT(once.start_ticks, again.start_ticks);
    CHECK(once.has_io == again.has_io && once.has_ksm == again.has_ksm);
    CHECK_INT(once.virtual_bytes, again.virtual_bytes);
    CHECK_INT(host_watch_read(w, true, &again), 1);
    CHECK(once.has_ksm == again.has_ksm && once.ksm_merging_pages == again.ksm_merging_pages);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    /* Whoever gets that number next: these files are not its. */
    CHECK_INT(host_watch_read(w, false, &again), 0);
    host_watch_close(w);
    host_close(h);
}

TEST(a_watch_that_keeps_no_files_reads_what_is_there)
{
    struct host *h = fixture_open(); /* text files, so none are kept */
    struct host_process p;
    struct host_watch *w = host_watch_open(h, 9);

    CHECK_INT(host_watch_read(w, false, &p), 0);
    write_stat(9, "qemu", 0, 1, 1);
    fixture_write("proc/9/ksm_stat", "ksm_merging_pages 7\n");
    CHECK_INT(host_watch_read(w, true, &p), 1); /* nothing is known yet that could be the same */
    CHECK_INT(p.ksm_merging_pages, 7);
    fixture_write("proc/9/ksm_stat", "ksm_merging_pages 8\n");
    CHECK_INT(host_watch_read(w, true, &p), 1);
    CHECK_INT(p.ksm_merging_pages, 7);
    CHECK_INT(host_watch_read(w, false, &p), 1);
    CHECK_INT(p.ksm_merging_pages, 8);
    fixture_delete("proc/9/stat");
    CHECK_INT(host_watch_read(w, false, &p), 0);
    host_watch_close(w);
    host_watch_close(host_watch_open(h, 0));
    host_watch_close(NULL);
    fixture_close(h);
}

/* ---- memory, CPUs, boot ---- */

TEST(memory_and_huge_pages_are_read)
{
    struct host *h = fixture_open();
    struct host_memory m;

    host_memory_read(h, &m);
    CHECK(!m.ok && !m.has_hugepages);
    fixture_write("proc/meminfo",
                  "MemTotal:       16316412 kB\nMemFree:         1000 kB\nMemAvailable:  2000 kB\n"
                  "SwapTotal:  50 kB\nSwapFree:  40 kB\nHugePages_Total:      8\n"
                  "HugePages_Free:       3\nHugepagesize:       2048 kB\n");
    host_memory_read(h, &m);
    CHECK(m.ok && m.has_hugepages);
    CHECK_INT(m.total_bytes, 16316412ull * 1024);
    CHECK_INT(m.available_bytes, 2000 * 1024);
    CHECK_INT(m.swap_free_bytes, 40 * 1024);
    CHECK_INT(m.hugepages_total, 8);
    CHECK_INT(m.hugepages_free, 3);
    CHECK_INT(m.hugepage_size_bytes, 2048 * 1024);
    fixture_write("proc/meminfo", "MemTotal: 9223372036854775807 kB\nMemFree: 1 kB\n");
    host_memory_read(h, &m);
    CHECK(!m.ok);
    fixture_close(h);
}

TEST(cpus_boot_id_and_kernel_are_read)
{
    struct host *h = fixture_open();
    struct error err = ERROR_INIT;
    char id[37], release[64];

    CHECK(host_cpu_count(h) >= 1);
    fixture_write("sys/devices/system/cpu/online", "0-3,6\n");
    CHECK_INT(host_cpu_count(h), 5);
    CHECK_INT(host_boot_id(h, id, &err), -1);
    fixture_write("proc/sys/kernel/random/boot_id", "not-a-uuid\n");
    CHECK_INT(host_boot_id(h, id, &err), -1);
    fixture_write("proc/sys/kernel/random/boot_id", "0b1f6b0e-5d5e-4bd5-9c6f-1f2e3d4c5b6a\n");
    CHECK_OK(host_boot_id(h, id, &err));
    CHECK_STR(id, "0b1f6b0e-5d5e-4bd5-9c6f-1f2e3d4c5b6a");
    host_kernel(h, release, sizeof(release));
    CHECK_STR(release, "");
    fixture_write("proc/sys/kernel/osrelease", "6.1.0-18-cloud-amd64\n");
    host_kernel(h, release, sizeof(release));
    CHECK_STR(release, "6.1.0-18-cloud-amd64");
    fixture_close(h);
}

TEST(disk_space_of_a_missing_directory_is_an_error)
{
    struct error err = ERROR_INIT;
    uint64_t available = 0, total = 0;

    CHECK_OK(host_disk_space("/", &available, &total, &err));
    CHECK(total > 0 && available <= total);
    CHECK_INT(host_disk_space("/no/such/directory", &available, &total, &err), -1);
    CHECK_INT(err.code, ERROR_SYSTEM);
}

/* ---- this machine ---- */

TEST(the_real_kernel_is_understood)
{
    struct error err = ERROR_INIT;
    struct host_process p;
    struct host_memory m;
    struct host_self self;
    struct host_ksm ksm;
    struct host *h;
    char id[37], release[64];
    int fd;

    CHECK_OK(host_open("/", &h, &err));
    CHECK_INT(host_process_read(h, getpid(), &p), 1);
    CHECK(p.has_cpu && p.has_memory && p.has_faults && p.start_ticks > 0);
    CHECK(p.resident_bytes > 0 && p.resident_bytes <= p.virtual_bytes);
    CHECK(p.has_ksm || *p.ksm_reason);
    host_memory_read(h, &m);
    CHECK(m.ok && m.free_bytes <= m.total_bytes);
    CHECK(host_cpu_count(h) >= 1);
    CHECK_OK(host_boot_id(h, id, &err));
    host_kernel(h, release, sizeof(release));
    CHECK(*release);
    host_self_read(h, &self);
    CHECK(self.resident_bytes > 0 && self.max_fds > 0 && self.open_fds >= 3);
    CHECK(self.start_time_seconds > 1e9);
    CHECK(self.start_time_seconds < (double)clock_wall_ms() / 1000 + 2);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    {
        struct host_self again;

        host_self_read(h, &again);
        CHECK_INT(again.open_fds, self.open_fds + 1);
    }
    close(fd);
    host_ksm_read(h, &ksm);
    CHECK_INT(ksm.available, access("/sys/kernel/mm/ksm", F_OK) == 0);
    if (ksm.available) {
        CHECK(ksm.has[HOST_KSM_run] && ksm.has[HOST_KSM_pages_sharing] && ksm.has_saved);
        CHECK(!p.has_ksm || p.has_ksm_merging_pages);
    }
    host_close(h);
}

TEST(a_root_that_is_not_there_is_an_error)
{
    struct error err = ERROR_INIT;
    struct host *h = NULL;

    CHECK_INT(host_open("/no/such/root", &h, &err), -1);
    CHECK(!h);
    host_close(NULL);
}

TEST_MAIN();
