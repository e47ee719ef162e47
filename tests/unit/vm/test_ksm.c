/* KSM: the controller on made-up kernels, the knobs on a directory of text files, the judgement. */
#include "service/vm/ksm_knobs.h"
#include "service/vm/ksm_policy.h"
#include "service/vm/sampler.h"
#include "tests/unit/host/fixture.h"

#define BOOT_ID "0b9a1c3e-5d7f-4a2b-8c6d-1e3f5a7b9c0d"

/* ---- the controller ---- */

struct world {
    struct ksm_policy policy;
    struct host_ksm ksm;
    struct host_memory memory;
    struct ksm_input in;
};

static const struct ksm_budget budget = {
    .steady_percent = 5, .boost_percent = 60, .pressure_percent = 20};

static void give(struct world *w, enum host_ksm_key key, int64_t value)
{
    w->ksm.has[key] = true;
    w->ksm.value[key] = value;
}

static void world_init(struct world *w)
{
    *w = (struct world){.ksm = {.available = true, .page_size_bytes = 4096, .has_ksmd_cpu = true},
                        .memory = {.ok = true, .total_bytes = 8ULL << 30, .available_bytes = 6ULL << 30}};
    ksm_policy_init(&w->policy);
    give(w, HOST_KSM_full_scans, 10);
    give(w, HOST_KSM_pages_sharing, 0);
    give(w, HOST_KSM_general_profit, 0);
    w->in.ksm = &w->ksm;
    w->in.memory = &w->memory;
}

/* A second in which ksmd used so much of a CPU. */
static const struct ksm_plan *second(struct world *w, double percent)
{
    const struct ksm_plan *plan;

    w->in.now_ms += 1000;
    w->ksm.ksmd_cpu_seconds += percent / 100;
    plan = ksm_policy_step(&w->policy, &budget, &w->in);
    w->in.arrivals = 0;
    return plan;
}

static const struct ksm_plan *scan(struct world *w, int64_t gained)
{
    w->ksm.value[HOST_KSM_full_scans]++;
    w->ksm.value[HOST_KSM_pages_sharing] += gained;
    return second(w, 10);
}

static void wave(struct world *w, unsigned vms)
{
    w->in.arrivals = vms;
    w->in.mergeable += vms;
    w->in.mergeable_bytes += vms * (128ULL << 20);
}

TEST(without_vms_the_knobs_are_left_alone)
{
    struct world w;

    world_init(&w);
    CHECK(second(&w, 0)->release);
    CHECK(!second(&w, 0)->changed);
}

TEST(a_wave_is_boosted_until_a_full_scan_brings_nothing)
{
    struct world w;
    const struct ksm_plan *plan;

    world_init(&w);
    second(&w, 0);
    wave(&w, 50);
    plan = second(&w, 0);
    CHECK_INT(plan->phase, KSM_BOOST);
    CHECK(plan->changed && !plan->release && strstr(plan->reason, "50 VMs started"));
    CHECK(plan->pages_to_scan > 1000 && plan->pages_to_scan <= 5000 && plan->sleep_millisecs == 4);
    CHECK_INT(scan(&w, 100000)->phase, KSM_BOOST);
    CHECK_INT(scan(&w, 0)->phase, KSM_BOOST); /* too early to believe it */
    CHECK_INT(scan(&w, 200000)->phase, KSM_BOOST);
    CHECK_INT(scan(&w, 1000)->phase, KSM_STEADY); /* next to nothing of what is saved */
    CHECK_INT(scan(&w, 20000)->phase, KSM_STEADY);
    CHECK_INT(scan(&w, 10)->phase, KSM_TRICKLE);
    plan = second(&w, 1);
    CHECK(!plan->changed && plan->sleep_millisecs == 200 && plan->budget_percent <= 1);
    CHECK_INT(scan(&w, 50000)->phase, KSM_STEADY);
    wave(&w, 1);
    plan = second(&w, 1);
    CHECK_INT(plan->phase, KSM_BOOST);
    CHECK(strstr(plan->reason, "1 VM started"));
    w.in.mergeable = 0;
    CHECK(second(&w, 1)->release);
}

TEST(scans_that_bring_little_slow_the_boost_and_a_gain_speeds_it_up)
{
    struct world w;
    int64_t fast, slow;

    world_init(&w);
    wave(&w, 2);
    for (int i = 0; i < 5; i++)
        second(&w, 60);
    fast = w.policy.plan.pages_to_scan;
    for (int i = 0; i < 4; i++) { /* its memory grows all the while: it is no time to stop */
        w.in.mergeable_bytes += 64 << 20;
        scan(&w, 100);
        CHECK_INT(w.policy.plan.phase, KSM_BOOST);
    }
    for (int i = 0; i < 3; i++)
        second(&w, 20);
    slow = w.policy.plan.pages_to_scan;
    CHECK(slow < fast);
    scan(&w, 60000);
    for (int i = 0; i < 6; i++)
        second(&w, 5);
    CHECK(w.policy.plan.pages_to_scan > 2 * slow);
    CHECK_INT(w.policy.plan.phase, KSM_BOOST);
}

TEST(memory_that_grows_counts_like_a_new_vm)
{
    struct world w;

    world_init(&w);
    wave(&w, 4);
    second(&w, 0);
    for (int i = 0; i < 4; i++)
        scan(&w, 0);
    CHECK(w.policy.plan.phase != KSM_BOOST);
    w.in.mergeable_bytes += 16 << 20;
    CHECK(second(&w, 0)->phase != KSM_BOOST);
    w.in.mergeable_bytes += 32 << 20;
    CHECK_INT(second(&w, 0)->phase, KSM_BOOST);
}

TEST(a_boost_does_not_last_for_ever)
{
    struct world w;

    world_init(&w);
    wave(&w, 2);
    second(&w, 0);
    for (int i = 0; i < 299; i++)
        CHECK_INT(second(&w, 60)->phase, KSM_BOOST);
    second(&w, 60);
    CHECK_INT(second(&w, 60)->phase, KSM_STEADY);
}

TEST(few_vms_are_not_scanned_faster_than_they_change)
{
    struct world w;
    const struct ksm_plan *plan;
    double seconds;
    int64_t before;

    world_init(&w);
    wave(&w, 2);
    second(&w, 0);
    plan = second(&w, 5);
    /* 64 Ki pages, at what a page is thought to cost */
    seconds = 65536.0 / (double)plan->pages_to_scan * (0.004 + (double)plan->pages_to_scan * 2.5e-6);
    CHECK(seconds > 2.7 && seconds < 3.3);
    before = plan->pages_to_scan;
    w.in.mergeable_bytes += 8 << 20; /* a little more is no reason to write */
    CHECK_INT(second(&w, 5)->pages_to_scan, before);
    wave(&w, 2);
    CHECK(second(&w, 5)->pages_to_scan > before * 3 / 2);
}

TEST(the_budget_is_kept_whatever_a_page_costs)
{
    struct world w;
    const struct ksm_plan *plan;
    double cost_us = 10, used = 0; /* far more than the first guess */

    world_init(&w);
    wave(&w, 50);
    plan = second(&w, 0);
    for (int i = 0; i < 20; i++) {
        double busy = (double)plan->pages_to_scan * cost_us / 1000;

        used = 100 * busy / (busy + (double)plan->sleep_millisecs);
        plan = second(&w, used);
    }
    CHECK(used > 45 && used < 75);
}

TEST(the_kernels_advisor_steers_where_it_exists)
{
    struct world w;
    const struct ksm_plan *plan;

    world_init(&w);
    w.ksm.has_advisor_mode = true;
    wave(&w, 2);
    CHECK(!second(&w, 0)->advisor); /* it needs a full scan to notice anything */
    scan(&w, 0);
    scan(&w, 0);
    plan = scan(&w, 0);
    CHECK_INT(plan->phase, KSM_STEADY);
    CHECK(plan->advisor && plan->budget_percent == 5);
}

TEST(a_loss_and_pressure_are_told_as_such)
{
    struct world w;

    world_init(&w);
    wave(&w, 2);
    second(&w, 0);
    for (int i = 0; i < 3; i++)
        scan(&w, 0);
    give(&w, HOST_KSM_general_profit, -1048576);
    CHECK(strstr(scan(&w, 0)->reason, "costs 1024 KiB more"));
    w.memory.available_bytes = 1ULL << 30;
    CHECK_INT(second(&w, 0)->phase, KSM_STEADY);
    CHECK(strstr(w.policy.plan.reason, "20 %"));
    CHECK_INT(scan(&w, 0)->phase, KSM_TRICKLE); /* in vain: pressure alone does not make pages equal */
    CHECK_INT(second(&w, 0)->phase, KSM_TRICKLE);
}

TEST(a_counter_that_begins_anew_is_no_gain)
{
    struct world w;

    world_init(&w);
    wave(&w, 2);
    second(&w, 0);
    w.ksm.value[HOST_KSM_full_scans] = 0;
    w.ksm.ksmd_cpu_seconds = 0;
    CHECK_INT(second(&w, 0)->phase, KSM_BOOST);
}

/* ---- the knobs ---- */

static const char *const knob_files[][2] = {
    {"run", "0\n"},       {"pages_to_scan", "100\n"},  {"sleep_millisecs", "20\n"},
    {"smart_scan", "1\n"}, {"use_zero_pages", "0\n"},  {"pages_sharing", "0\n"},
    {"max_page_sharing", "256\n"},
    {"advisor_mode", "[none] scan-time\n"},
};

static struct host *open_kernel(void)
{
    struct host *h = fixture_open();
    char path[128];

    fixture_mkdir("run");
    fixture_write("proc/sys/kernel/random/boot_id", BOOT_ID "\n");
    for (size_t i = 0; i < sizeof(knob_files) / sizeof(knob_files[0]); i++) {
        snprintf(path, sizeof(path), "sys/kernel/mm/ksm/%s", knob_files[i][0]);
        fixture_write(path, knob_files[i][1]);
    }
    return h;
}

#define KSM(name) fixture_text("sys/kernel/mm/ksm/" name)

TEST(what_was_found_is_restored)
{
    struct error err = ERROR_INIT;
    struct host *h = open_kernel();
    struct ksm_knobs *k = ksm_knobs_new(h), *other = ksm_knobs_new(h);
    struct host_ksm now;

    CHECK_INT(ksm_knobs_claim(k, &err), 1);
    CHECK_INT(ksm_knobs_claim(other, &err), 0);
    CHECK_INT(ksm_knobs_found(k)->value[HOST_KSM_pages_to_scan], 100);
    CHECK_OK(ksm_knobs_set(k, HOST_KSM_pages_to_scan, 900, &err));
    CHECK_OK(ksm_knobs_set(k, HOST_KSM_run, 1, &err));
    CHECK_OK(ksm_knobs_set(k, HOST_KSM_advisor_max_cpu, 5, &err)); /* not on this kernel */
    CHECK_STR(KSM("pages_to_scan"), "900");
    host_ksm_read(h, &now);
    CHECK(!ksm_knobs_taken(k, &now));
    CHECK_OK(ksm_knobs_restore(k, &err));
    CHECK_STR(KSM("pages_to_scan"), "100");
    CHECK_STR(KSM("run"), "0");
    CHECK_STR(KSM("sleep_millisecs"), "20\n"); /* never touched */
    CHECK_STR(fixture_text("run/drover-ksm"), "");
    CHECK_INT(ksm_knobs_claim(other, &err), 1);
    ksm_knobs_free(other);
    ksm_knobs_free(k);
    fixture_close(h);
}

TEST(the_next_one_restores_what_a_crash_left)
{
    struct error err = ERROR_INIT;
    struct host *h = open_kernel();
    struct ksm_knobs *k = ksm_knobs_new(h);

    CHECK_INT(ksm_knobs_claim(k, &err), 1);
    CHECK_OK(ksm_knobs_set(k, HOST_KSM_run, 1, &err));
    CHECK_OK(ksm_knobs_set_advisor(k, true, &err));
    fixture_write("sys/kernel/mm/ksm/advisor_mode", "none [scan-time]\n");
    ksm_knobs_free(k); /* as a crash would */
    CHECK_STR(KSM("run"), "1");
    k = ksm_knobs_new(h);
    CHECK_INT(ksm_knobs_claim(k, &err), 1);
    CHECK_INT(ksm_knobs_found(k)->value[HOST_KSM_run], 0);
    fixture_write("sys/kernel/mm/ksm/max_page_sharing", "512\n"); /* by somebody else, meanwhile */
    CHECK_OK(ksm_knobs_restore(k, &err));
    CHECK_STR(KSM("run"), "0");
    CHECK_STR(KSM("advisor_mode"), "none");
    CHECK_STR(KSM("max_page_sharing"), "512\n"); /* no tuner turns it, and the helper refuses it */
    /* After a reboot the note is worth nothing. */
    fixture_write("run/drover-ksm", "boot 7f1c0a52-94a5-4c0e-9f8f-0d3a2b1c4d5e\nrun 2\n");
    CHECK_INT(ksm_knobs_claim(k, &err), 1);
    CHECK_INT(ksm_knobs_found(k)->value[HOST_KSM_run], 0);
    CHECK_OK(ksm_knobs_restore(k, &err));
    ksm_knobs_free(k);
    fixture_close(h);
}

TEST(a_knob_somebody_else_turned_is_theirs)
{
    struct error err = ERROR_INIT;
    struct host *h = open_kernel();
    struct ksm_knobs *k = ksm_knobs_new(h);
    struct host_ksm now;

    CHECK_INT(ksm_knobs_claim(k, &err), 1);
    CHECK_OK(ksm_knobs_set(k, HOST_KSM_pages_to_scan, 900, &err));
    CHECK_OK(ksm_knobs_set(k, HOST_KSM_run, 1, &err));
    fixture_write("sys/kernel/mm/ksm/pages_to_scan", "1250\n");
    host_ksm_read(h, &now);
    CHECK_STR(ksm_knobs_taken(k, &now), "pages_to_scan");
    CHECK_OK(ksm_knobs_restore(k, &err));
    CHECK_STR(KSM("pages_to_scan"), "1250\n");
    CHECK_STR(KSM("run"), "0");
    ksm_knobs_free(k);
    fixture_close(h);
}

/* ---- the judgement ---- */

TEST(every_cause_has_its_figures)
{
    struct vm_dear dear = {.memory_sampled_at = 1, .memory = {.has_rollup = true}};
    struct vm_sample s = {.dear = &dear, .promised_bytes = 128 << 20};
    struct host_ksm ksm = {0};

    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, -1), KSM_CAUSE_NO_KSM);
    ksm.available = true;
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, -1), KSM_CAUSE_UNKNOWN);
    s.has_process = true;
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, -1), KSM_CAUSE_OLD_KERNEL);
    strcpy(s.process.ksm_reason, "no permission: …");
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, -1), KSM_CAUSE_NO_PERMISSION);
    s.process.has_ksm = s.process.has_ksm_mergeable = s.process.has_ksm_merging_pages = true;
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_OFF, -1), KSM_CAUSE_OFF_FOR_VM);
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_PROJECT_OFF, -1), KSM_CAUSE_PROJECT_OFF);
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_DISTRUST, -1), KSM_CAUSE_DISTRUST);
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_NOT_YET, -1), KSM_CAUSE_NOT_OFFERED);
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, -1), KSM_CAUSE_NOT_OFFERED);
    dear.memory.hugetlb_bytes = 128 << 20;
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, -1), KSM_CAUSE_HUGEPAGES);
    dear.memory.hugetlb_bytes = 0;
    dear.memory.shmem_bytes = 100 << 20;
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, -1), KSM_CAUSE_SHARED_MEMORY);
    dear.memory.shmem_bytes = 0;
    s.process.ksm_mergeable = true;
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, -1), KSM_CAUSE_HOST_OFF);
    ksm.has[HOST_KSM_run] = true;
    ksm.value[HOST_KSM_run] = 1;
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, 1), KSM_CAUSE_NOT_SCANNED);
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, 2), KSM_CAUSE_VOLATILE);
    s.process.ksm_merging_pages = 1;
    CHECK_INT(ksm_cause_of(&s, &ksm, KSM_MERGING_ON, 2), KSM_CAUSE_MERGING);
    for (int i = 1; i < KSM_CAUSE_COUNT; i++)
        CHECK(*ksm_cause_text((enum ksm_cause)i));
}

TEST(the_hosts_saving_is_shared_out)
{
    struct host_ksm ksm = {.page_size_bytes = 4096};
    struct host_process p = {.has_ksm_merging_pages = true, .ksm_merging_pages = 50};
    uint64_t saved = 0;

    ksm.has[HOST_KSM_pages_sharing] = ksm.has[HOST_KSM_pages_shared] = true;
    ksm.value[HOST_KSM_pages_sharing] = 50; /* two VMs with the same 50 pages */
    ksm.value[HOST_KSM_pages_shared] = 50;
    CHECK(ksm_saved_of(&p, &ksm, &saved));
    CHECK_INT(saved, 25 * 4096);
    p.has_ksm_zero_pages = true;
    p.ksm_zero_pages = 3;
    CHECK(ksm_saved_of(&p, &ksm, &saved));
    CHECK_INT(saved, 28 * 4096);
    p.has_ksm_merging_pages = false;
    CHECK(!ksm_saved_of(&p, &ksm, &saved));
}

TEST_MAIN();
