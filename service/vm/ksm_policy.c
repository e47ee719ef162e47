/* See ksm_policy.h. */
#include "service/vm/ksm_policy.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PAGES_MIN      64
/*
 * ksmd holds its lock for a whole batch, and every write to a knob waits for it. On a busy host a
 * batch takes several times what it costs: many small ones, never a big one.
 */
#define PAGES_MAX      5000
#define BOOST_SLEEP_MS 4
#define PAGE_COST_US   2.5   /* a first guess; measuring corrects it */
#define BOOST_MAX_MS   300000
/*
 * A page merges at ksmd's second visit, and nothing is gained by visits that follow each other faster
 * than guests fill their memory: while few VMs boot, a boost is paced instead of scanning the same
 * pages again and again.
 */
#define SCAN_MIN_MS    3000
/*
 * … and a boost is slowed while scans bring little: half of them find pages that have changed since.
 * Each that gained less than a 16th of what is to be scanned doubles the pace's time, up to this.
 */
#define SCAN_SLOW_MS   8000
#define GAIN_PART      16
#define GROWTH_MIN     (32ULL << 20)
#define QUIET_PAGES    512   /* a full scan that brings less brings nothing */
#define QUIET_SHARE    50    /* … or less than a 50th of what is saved */
#define SCANS_TO_MERGE 3     /* one under way, one that learns the pages, one that merges them */
#define TRICKLE_PART   10    /* of the steady budget */
#define SCAN_SECONDS   200   /* the advisor's aim, the kernel's default */

static const char *const phase_names[KSM_PHASE_COUNT] = {"idle", "boost", "steady", "trickle"};

const char *ksm_phase_name(enum ksm_phase phase)
{
    return phase_names[phase];
}

void ksm_policy_init(struct ksm_policy *p)
{
    *p = (struct ksm_policy){.plan = {.phase = KSM_IDLE, .release = true}};
    snprintf(p->plan.reason, sizeof(p->plan.reason), "no VM offers memory");
}

enum scan { SCAN_NONE, SCAN_QUIET, SCAN_GAINED };

static int64_t knob(const struct host_ksm *k, enum host_ksm_key key)
{
    return k->has[key] ? k->value[key] : 0;
}

static int64_t saved_pages(const struct host_ksm *k)
{
    return knob(k, HOST_KSM_pages_sharing) + knob(k, HOST_KSM_ksm_zero_pages);
}

static void __attribute__((format(printf, 4, 5)))
enter(struct ksm_policy *p, enum ksm_phase phase, int64_t now_ms, const char *fmt, ...)
{
    va_list ap;

    p->plan.phase = phase;
    p->plan.changed = true;
    p->phase_since_ms = now_ms;
    p->quiet_scans = 0;
    p->plan.pages_to_scan = 0; /* anew */
    va_start(ap, fmt);
    vsnprintf(p->plan.reason, sizeof(p->plan.reason), fmt, ap);
    va_end(ap);
}

static void arm(struct ksm_policy *p, const struct ksm_input *in)
{
    p->armed_ms = in->now_ms;
    p->marked_bytes = in->mergeable_bytes;
    p->armed_scans = knob(in->ksm, HOST_KSM_full_scans);
    p->scan_ms = p->scan_ms ? p->scan_ms : SCAN_MIN_MS;
}

/* A duty cycle that follows the profit. */
static void pace_by_gain(struct ksm_policy *p, const struct ksm_input *in, enum scan scan, int64_t gain)
{
    int64_t pages = in->ksm->page_size_bytes
                        ? (int64_t)(in->mergeable_bytes / in->ksm->page_size_bytes)
                        : 0;

    if (scan == SCAN_NONE)
        return;
    if (gain >= pages / GAIN_PART)
        p->scan_ms = SCAN_MIN_MS;
    else
        p->scan_ms = 2 * p->scan_ms < SCAN_SLOW_MS ? 2 * p->scan_ms : SCAN_SLOW_MS;
}

static bool has_grown(const struct ksm_policy *p, const struct ksm_input *in)
{
    uint64_t step = p->marked_bytes / 32 > GROWTH_MIN ? p->marked_bytes / 32 : GROWTH_MIN;

    return in->mergeable_bytes >= p->marked_bytes + step;
}

static bool under_pressure(const struct ksm_budget *b, const struct ksm_input *in)
{
    const struct host_memory *m = in->memory;

    return m->ok && m->available_bytes / 100 < m->total_bytes / 10000 * (uint64_t)b->pressure_percent;
}

/* Did a full scan end, and what did it bring? */
static enum scan look_at_scan(struct ksm_policy *p, const struct ksm_input *in, int64_t *ret_gain)
{
    int64_t scans = knob(in->ksm, HOST_KSM_full_scans), saved = saved_pages(in->ksm), gain;

    if (!p->has_scans || scans < p->scans) { /* the first look, or the counter began anew */
        p->has_scans = true;
        p->scans = scans;
        p->saved_pages = saved;
        return SCAN_NONE;
    }
    if (scans == p->scans)
        return SCAN_NONE;
    gain = saved - p->saved_pages;
    p->scans = scans;
    p->saved_pages = saved;
    *ret_gain = gain;
    return gain < QUIET_PAGES || gain < saved / QUIET_SHARE ? SCAN_QUIET : SCAN_GAINED;
}

static void step_boost(struct ksm_policy *p, const struct ksm_input *in, enum scan scan)
{
    int64_t scans = knob(in->ksm, HOST_KSM_full_scans) - p->armed_scans;
    long long mib = (long long)saved_pages(in->ksm) * (long long)in->ksm->page_size_bytes >> 20;

    if (scan == SCAN_QUIET && scans >= SCANS_TO_MERGE)
        enter(p, KSM_STEADY, in->now_ms, "a full scan brought nothing more; %lld MiB are saved", mib);
    else if (in->now_ms - p->armed_ms > BOOST_MAX_MS)
        enter(p, KSM_STEADY, in->now_ms, "the boost has lasted long enough; %lld MiB are saved", mib);
}

static void step_steady(struct ksm_policy *p, const struct ksm_input *in, enum scan scan)
{
    int64_t profit = knob(in->ksm, HOST_KSM_general_profit);

    if (scan != SCAN_QUIET) {
        if (scan == SCAN_GAINED)
            p->quiet_scans = 0;
        return;
    }
    p->quiet_scans++;
    if (in->ksm->has[HOST_KSM_general_profit] && profit < 0)
        enter(p, KSM_TRICKLE, in->now_ms, "merging costs %lld KiB more than it saves",
              (long long)-profit >> 10);
    else
        enter(p, KSM_TRICKLE, in->now_ms, "full scans bring nothing more");
}

static void step_trickle(struct ksm_policy *p, const struct ksm_budget *b, const struct ksm_input *in,
                         enum scan scan, int64_t gain)
{
    bool pressed = under_pressure(b, in);

    if (scan == SCAN_GAINED)
        enter(p, KSM_STEADY, in->now_ms, "a full scan brought %lld pages", (long long)gain);
    else if (pressed && !p->pressed)
        enter(p, KSM_STEADY, in->now_ms, "less than %lld %% of the memory are available",
              (long long)b->pressure_percent);
    p->pressed = pressed;
}

static void choose_phase(struct ksm_policy *p, const struct ksm_budget *b, const struct ksm_input *in)
{
    int64_t gain = 0;
    enum scan scan = look_at_scan(p, in, &gain);

    pace_by_gain(p, in, scan, gain);
    if (!in->mergeable) {
        p->marked_bytes = 0;
        p->scan_ms = 0;
        if (p->plan.phase != KSM_IDLE)
            enter(p, KSM_IDLE, in->now_ms, "no VM offers memory");
        return;
    }
    if (in->arrivals || has_grown(p, in)) {
        bool arrived = in->arrivals != 0;

        arm(p, in);
        if (p->plan.phase != KSM_BOOST)
            enter(p, KSM_BOOST, in->now_ms, arrived ? "%u VM%s started; %u offer memory"
                                                    : "the VMs' memory has grown",
                  in->arrivals, in->arrivals == 1 ? "" : "s", in->mergeable);
        return;
    }
    switch (p->plan.phase) {
    case KSM_IDLE:
        arm(p, in);
        enter(p, KSM_BOOST, in->now_ms, "%u VMs offer memory", in->mergeable);
        break;
    case KSM_BOOST:
        step_boost(p, in, scan);
        break;
    case KSM_STEADY:
        step_steady(p, in, scan);
        break;
    case KSM_TRICKLE:
        step_trickle(p, b, in, scan, gain);
        break;
    case KSM_PHASE_COUNT:
        break;
    }
}

static int64_t clamp(int64_t v, int64_t min, int64_t max)
{
    return v < min ? min : v > max ? max : v;
}

/* So many pages that ksmd is busy for `percent` of the time, at a guess. */
static int64_t first_pages(int64_t sleep_ms, double percent)
{
    double share = percent / 100;

    if (share > 0.95)
        share = 0.95;
    return clamp((int64_t)(share / (1 - share) * (double)sleep_ms * 1000 / PAGE_COST_US), PAGES_MIN,
                 PAGES_MAX);
}

/* Corrects the number of pages by what ksmd really took; kernels do not tell what a page costs. */
static void steer(struct ksm_policy *p, const struct ksm_input *in, double percent)
{
    struct ksm_plan *plan = &p->plan;
    int64_t ms = in->now_ms - p->measured_ms;
    double used, factor;

    if (!plan->pages_to_scan) {
        plan->pages_to_scan = plan->phase == KSM_BOOST && p->boost_pages
                                  ? p->boost_pages
                                  : first_pages(plan->sleep_millisecs, percent);
    } else if (!in->ksm->has_ksmd_cpu) {
        return;
    } else if (ms < (plan->phase == KSM_BOOST ? 900 : 5000)) {
        return;
    } else if (p->measured_ms && in->ksm->ksmd_cpu_seconds >= p->measured_cpu) {
        used = (in->ksm->ksmd_cpu_seconds - p->measured_cpu) * 1e5 / (double)ms;
        factor = percent / (used > 0.01 ? used : 0.01);
        factor = factor < 0.5 ? 0.5 : factor > 2 ? 2 : factor;
        /* Close enough: every write is a change somebody may wonder about. */
        if (factor < 0.9 || factor > 1.1)
            plan->pages_to_scan =
                clamp((int64_t)((double)plan->pages_to_scan * factor), PAGES_MIN, PAGES_MAX);
        if (plan->phase == KSM_BOOST)
            p->boost_pages = plan->pages_to_scan;
    }
    p->measured_ms = in->now_ms;
    p->measured_cpu = in->ksm->ksmd_cpu_seconds;
}

/* Most pages in one go that make a full scan last as long as it should. */
static int64_t paced(const struct ksm_policy *p, const struct ksm_input *in)
{
    double rate = in->ksm->page_size_bytes
                      ? (double)in->mergeable_bytes / (double)in->ksm->page_size_bytes /
                            (double)(p->scan_ms ? p->scan_ms : SCAN_MIN_MS)
                      : 0; /* pages a ms */
    double idle = 1 - rate * PAGE_COST_US / 1e3;

    return rate > 0 && idle > 0.05 ? clamp((int64_t)(rate * BOOST_SLEEP_MS / idle), PAGES_MIN, PAGES_MAX)
                                   : PAGES_MAX;
}

static void pace(struct ksm_policy *p, const struct ksm_input *in)
{
    int64_t most = paced(p, in), now = p->plan.pages_to_scan;

    /* It grows with the VMs' memory: not a write to the kernel for each megabyte. */
    if (now > most && p->paced_pages && most < p->paced_pages + p->paced_pages / 8 &&
        most > p->paced_pages - p->paced_pages / 8)
        most = p->paced_pages;
    if (now <= most)
        return;
    p->plan.pages_to_scan = p->paced_pages = most;
}

const struct ksm_plan *ksm_policy_step(struct ksm_policy *p, const struct ksm_budget *b,
                                       const struct ksm_input *in)
{
    struct ksm_plan *plan = &p->plan;
    double percent = 0;

    plan->changed = false;
    choose_phase(p, b, in);
    plan->release = plan->phase == KSM_IDLE;
    plan->advisor = plan->phase == KSM_STEADY && in->ksm->has_advisor_mode;
    plan->target_scan_seconds = SCAN_SECONDS;
    switch (plan->phase) {
    case KSM_BOOST:
        plan->sleep_millisecs = BOOST_SLEEP_MS;
        percent = (double)b->boost_percent;
        break;
    case KSM_STEADY:
        plan->sleep_millisecs = 20;
        percent = (double)b->steady_percent;
        break;
    case KSM_TRICKLE:
        plan->sleep_millisecs = 200;
        percent = (double)b->steady_percent / TRICKLE_PART;
        break;
    default:
        break;
    }
    plan->budget_percent = (int64_t)(percent + 0.5);
    if (percent > 0 && !plan->advisor)
        steer(p, in, percent);
    if (plan->phase == KSM_BOOST)
        pace(p, in);
    return plan;
}
