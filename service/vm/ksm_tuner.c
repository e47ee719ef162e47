/*
 * The tuner's thread: each second it hands the newest sample to the controller (ksm_policy.c) and
 * writes what that wants (ksm_knobs.c). It holds the host's knobs only while there is something to
 * merge, yields to whoever else turns them, and blocks nobody: the sampler does not wait for it.
 */
#include "service/vm/ksm_tuner.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"
#include "service/vm/ksm_knobs.h"
#include "service/vm/ksm_policy.h"

#define META_KEY    "ksm_tuner"
#define TICK_MS     1000
#define RETRY_MS    30000 /* after the kernel refused, or another process held the knobs */

struct ksm_tuner {
    struct core *core;
    pthread_mutex_t work; /* knobs, policy, config: held while /sys is written, never for a request that only reads */
    struct ksm_knobs *knobs;
    struct ksm_policy policy;
    struct ksm_tuner_patch config; /* all members set; knobs of static */
    struct snapshot *last;
    bool yielded;     /* until it is configured anew or there is nothing to merge */
    int64_t retry_ms; /* monotonic */

    pthread_mutex_t lock; /* leaf */
    pthread_cond_t wake;
    bool stopping, poked;
    struct ksm_tuner_status status;
    pthread_t thread;
};

void ksm_tuner_read(struct ksm_tuner *t, struct ksm_tuner_status *ret)
{
    LOCK_SCOPE(&t->lock);
    *ret = t->status;
}

/* ---- telling ---- */

static void tell(struct ksm_tuner *t, const char *phase, const char *reason)
{
    auto_json json_t *data = json_pack("{s:s, s:s, s:s}", "mode", ksm_mode_name(t->config.mode),
                                       "phase", phase, "reason", reason);
    struct error err;

    log_info("KSM tuner: %s: %s", phase, reason);
    if (event_write(t->core, PROJECT_DEFAULT, "ksm.tuner", "host", HOST_LOCAL, data, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "the KSM tuner's decision is not in the event log");
}

static void fill_found(struct ksm_tuner_status *s, const struct ksm_found *found)
{
    s->holds = found != NULL;
    if (!found)
        return;
    memcpy(s->found_has, found->has, sizeof(s->found_has));
    memcpy(s->found, found->value, sizeof(s->found));
    memcpy(s->found_advisor, found->advisor_mode, sizeof(s->found_advisor));
}

/* Under t->lock, after the status. */
static void remember(struct ksm_tuner_status *s)
{
    memmove(&s->decisions[1], &s->decisions[0], sizeof(s->decisions) - sizeof(s->decisions[0]));
    s->decisions[0] = (struct ksm_decision){
        .at = s->changed_at, .mode = s->mode, .budget_percent = s->budget_percent};
    str_copy_utf8(s->decisions[0].phase, sizeof(s->decisions[0].phase), s->phase);
    str_copy_utf8(s->decisions[0].reason, sizeof(s->decisions[0].reason), s->reason);
    if (s->decision_count < KSM_DECISIONS)
        s->decision_count++;
}

/* Makes it the status; an event only when the phase is another. */
static void show(struct ksm_tuner *t, const char *phase, int64_t budget, const char *reason)
{
    bool changed;

    {
        LOCK_SCOPE(&t->lock);
        struct ksm_tuner_status *s = &t->status;

        changed = !str_eq(s->phase, phase) || s->mode != t->config.mode;
        if (changed) {
            s->changed_at = clock_wall_ms();
            str_copy_utf8(s->phase, sizeof(s->phase), phase);
        }
        str_copy_utf8(s->reason, sizeof(s->reason), reason);
        s->mode = t->config.mode;
        s->cpu_percent = t->config.cpu_percent;
        s->boost_cpu_percent = t->config.boost_cpu_percent;
        s->budget_percent = budget;
        fill_found(s, ksm_knobs_found(t->knobs));
        if (changed)
            remember(s);
    }
    if (changed)
        tell(t, phase, reason);
}

static void unable(struct ksm_tuner *t, const struct error *err)
{
    t->retry_ms = clock_monotonic_ms() + RETRY_MS;
    show(t, "unable", 0, *err->detail ? err->detail : error_title(err->code));
}

/* ---- doing ---- */

static void let_go(struct ksm_tuner *t)
{
    struct error err;

    if (ksm_knobs_claimed(t->knobs) && ksm_knobs_restore(t->knobs, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "KSM's knobs are not all as they were found");
}

/* 1: the knobs are ours. */
static int hold(struct ksm_tuner *t)
{
    struct error err = ERROR_INIT;
    int rc = ksm_knobs_claim(t->knobs, &err);

    if (rc < 0)
        unable(t, &err);
    if (rc)
        return rc;
    t->retry_ms = clock_monotonic_ms() + RETRY_MS;
    show(t, "unable", 0, "another Drover on this host tunes KSM");
    return 0;
}

static int write_plan(struct ksm_tuner *t, const struct ksm_plan *plan, struct error *err)
{
    struct ksm_knobs *k = t->knobs;

    if (!plan->advisor && ksm_knobs_set_advisor(k, false, err))
        return -1;
    if (ksm_knobs_set(k, HOST_KSM_smart_scan, 1, err) ||
        ksm_knobs_set(k, HOST_KSM_use_zero_pages, 1, err) ||
        ksm_knobs_set(k, HOST_KSM_sleep_millisecs, plan->sleep_millisecs, err))
        return -1;
    if (plan->advisor) {
        if (ksm_knobs_set(k, HOST_KSM_advisor_min_pages_to_scan, 64, err) ||
            ksm_knobs_set(k, HOST_KSM_advisor_max_cpu, plan->budget_percent, err) ||
            ksm_knobs_set(k, HOST_KSM_advisor_target_scan_time, plan->target_scan_seconds, err) ||
            ksm_knobs_set_advisor(k, true, err))
            return -1;
    } else if (ksm_knobs_set(k, HOST_KSM_pages_to_scan, plan->pages_to_scan, err)) {
        return -1;
    }
    return ksm_knobs_set(k, HOST_KSM_run, 1, err);
}

static bool offers_memory(const struct vm_sample *s)
{
    if (!s->has_process)
        return false;
    return s->process.has_ksm_mergeable ? s->process.ksm_mergeable
                                        : s->ksm_cause == KSM_CAUSE_MERGING ||
                                              s->ksm_cause == KSM_CAUSE_HOST_OFF ||
                                              s->ksm_cause == KSM_CAUSE_NOT_SCANNED ||
                                              s->ksm_cause == KSM_CAUSE_VOLATILE;
}

static struct ksm_input make_input(struct ksm_tuner *t, const struct snapshot *now)
{
    struct ksm_input in = {
        .now_ms = clock_monotonic_ms(), .ksm = &now->ksm, .memory = &now->memory};

    for (size_t i = 0; i < now->count; i++) {
        const struct vm_sample *s = &now->samples[i], *before;

        if (!offers_memory(s))
            continue;
        before = t->last ? snapshot_find(t->last, s->vm_id) : NULL;
        in.mergeable++;
        in.mergeable_bytes += s->process.resident_bytes;
        in.arrivals += t->last && (!before || before->pid != s->pid);
    }
    return in;
}

static void step_auto(struct ksm_tuner *t, const struct snapshot *now)
{
    const struct ksm_budget budget = {t->config.cpu_percent, t->config.boost_cpu_percent,
                                      t->core->settings->ksm_pressure_percent};
    const struct ksm_input in = make_input(t, now);
    const struct ksm_plan *plan;
    struct error err = ERROR_INIT;
    struct host_ksm kernel;
    const char *taken;

    if (!now->ksm.available) {
        show(t, "unable", 0, "this kernel has no KSM");
        return;
    }
    plan = ksm_policy_step(&t->policy, &budget, &in);
    if (plan->release) {
        let_go(t);
        t->yielded = false;
        show(t, ksm_phase_name(plan->phase), 0, plan->reason);
        return;
    }
    if (t->yielded || clock_monotonic_ms() < t->retry_ms || hold(t) <= 0)
        return;
    /* Not the sample: it may be older than what was written last, and that would look like theft. */
    host_ksm_read(t->core->host, &kernel);
    taken = ksm_knobs_taken(t->knobs, &kernel);
    if (taken) {
        char reason[200];

        t->yielded = true;
        snprintf(reason, sizeof(reason),
                 "somebody else changed %s; set the mode again to go on tuning", taken);
        let_go(t);
        show(t, "yielded", 0, reason);
        return;
    }
    if (write_plan(t, plan, &err)) {
        unable(t, &err);
        return;
    }
    show(t, ksm_phase_name(plan->phase), plan->budget_percent, plan->reason);
}

static int write_static(struct ksm_tuner *t, struct error *err)
{
    for (int i = HOST_KSM_COUNT - 1; i >= 0; i--) {
        if (t->config.has_knob[i] &&
            ksm_knobs_set(t->knobs, (enum host_ksm_key)i, t->config.knob[i], err))
            return -1;
    }
    return 0;
}

static void step_static(struct ksm_tuner *t, const struct snapshot *now)
{
    struct error err = ERROR_INIT;

    if (!now->ksm.available)
        show(t, "unable", 0, "this kernel has no KSM");
    else if (clock_monotonic_ms() >= t->retry_ms && hold(t) > 0) {
        if (write_static(t, &err))
            unable(t, &err);
        else
            show(t, "static", 0, "the knobs are as configured");
    }
}

/* What a crashed tuner left behind is put right even if this one is switched off. */
static void step_off(struct ksm_tuner *t)
{
    let_go(t);
    show(t, "off", 0, "the knobs are left alone");
}

static void step(struct ksm_tuner *t)
{
    auto_snapshot struct snapshot *now = sampler_latest(t->core->sampler);

    if (!now->tick) /* there is no sample yet */
        return;
    LOCK_SCOPE(&t->work);
    switch (t->config.mode) {
    case KSM_MODE_AUTO:
        step_auto(t, now);
        break;
    case KSM_MODE_STATIC:
        step_static(t, now);
        break;
    default:
        step_off(t);
        break;
    }
    snapshot_unref(t->last);
    t->last = TAKE_PTR(now);
}

/* At the start: claiming adopts what a crash left, letting go restores it. */
static void repair(struct ksm_tuner *t)
{
    struct error ignored;

    LOCK_SCOPE(&t->work);
    if (ksm_knobs_claim(t->knobs, &ignored) > 0)
        let_go(t);
}

static void *tuner_thread(void *arg)
{
    struct ksm_tuner *t = arg;

    repair(t);
    for (;;) {
        int64_t until = clock_monotonic_ms() + TICK_MS;

        step(t);
        LOCK_SCOPE(&t->lock);
        while (!t->stopping && !t->poked && clock_monotonic_ms() < until)
            cond_wait_until(&t->wake, &t->lock, until);
        t->poked = false;
        if (t->stopping)
            return NULL;
    }
}

/* ---- configuration ---- */

static json_t *encode(const struct ksm_tuner_patch *c)
{
    json_t *knobs = json_object();

    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (c->has_knob[i])
            json_object_set_new(knobs, host_ksm_name((enum host_ksm_key)i), json_integer(c->knob[i]));
    }
    return json_pack("{s:s, s:I, s:I, s:o}", "mode", ksm_mode_name(c->mode), "cpu_percent",
                     (json_int_t)c->cpu_percent, "boost_cpu_percent",
                     (json_int_t)c->boost_cpu_percent, "knobs", knobs);
}

/* Our own text; what an older or newer version wrote otherwise falls back to the settings. */
static void decode(const char *text, struct ksm_tuner_patch *c)
{
    auto_json json_t *o = json_loads(text, 0, NULL);
    enum ksm_mode mode = ksm_mode_from_name(json_string_value(json_object_get(o, "mode")));
    json_int_t cpu = json_integer_value(json_object_get(o, "cpu_percent"));
    json_int_t boost = json_integer_value(json_object_get(o, "boost_cpu_percent"));

    if (mode != KSM_MODE_COUNT)
        c->mode = mode;
    if (cpu >= 1 && cpu <= 100)
        c->cpu_percent = cpu;
    if (boost >= 1 && boost <= 100)
        c->boost_cpu_percent = boost;
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        const json_t *v =
            json_object_get(json_object_get(o, "knobs"), host_ksm_name((enum host_ksm_key)i));

        c->has_knob[i] = json_is_integer(v) && host_ksm_is_knob((enum host_ksm_key)i);
        c->knob[i] = c->has_knob[i] ? json_integer_value(v) : 0;
    }
}

static int load(struct ksm_tuner *t, struct error *err)
{
    const struct settings *s = t->core->settings;
    auto_free char *text = NULL;
    int rc;

    t->config = (struct ksm_tuner_patch){.mode = ksm_mode_from_name(s->ksm_tuner),
                                         .cpu_percent = s->ksm_cpu_percent,
                                         .boost_cpu_percent = s->ksm_boost_cpu_percent};
    if (t->config.mode == KSM_MODE_COUNT)
        return error_set_at(err, ERROR_CONFIG, "ksm_tuner", "must be off, static or auto");
    rc = store_meta_get(t->core->db, META_KEY, &text, err);
    if (rc > 0)
        decode(text, &t->config);
    return rc < 0 ? -1 : 0;
}

struct save {
    struct core *core;
    const struct actor *actor;
    const char *text;
    const json_t *data;
};

static int save_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct save *s = arg;

    return store_meta_set(tx, META_KEY, s->text, err) ||
                   event_append(s->core, tx, PROJECT_DEFAULT, s->actor, "ksm.configured", "host", HOST_LOCAL,
                                HOST_LOCAL, s->data, err)
               ? -1
               : 0;
}

static int check_knobs(const struct host_ksm *now, const struct ksm_tuner_patch *patch,
                       enum ksm_mode mode, struct error *err)
{
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        char pointer[128];

        if (!patch->has_knob[i])
            continue;
        snprintf(pointer, sizeof(pointer), "/knobs/%s", host_ksm_name((enum host_ksm_key)i));
        if (!now->has[i])
            return error_set_at(err, ERROR_NOT_SUPPORTED_BY_HOST, pointer,
                                "this kernel does not have it");
        if (mode == KSM_MODE_AUTO && ksm_knob_is_turned((enum host_ksm_key)i)) {
            error_set_at(err, ERROR_KSM_TUNER_BUSY, pointer, "the tuner is on auto and turns this itself");
            error_remedy(err, "Send \"tuner\": {\"mode\": \"static\"} or \"off\" along with the knobs.");
            return -1;
        }
    }
    return 0;
}

static int write_knobs(struct ksm_tuner *t, const struct ksm_tuner_patch *patch, struct error *err)
{
    for (int i = HOST_KSM_COUNT - 1; i >= 0; i--) {
        if (!patch->has_knob[i])
            continue;
        if (t->config.mode == KSM_MODE_STATIC && ksm_knobs_claimed(t->knobs)
                ? ksm_knobs_set(t->knobs, (enum host_ksm_key)i, patch->knob[i], err)
                : host_ksm_write(t->core->host, (enum host_ksm_key)i, patch->knob[i], err))
            return -1;
    }
    return 0;
}

/* The kernel has the last word: what it refuses is not remembered. */
static int change(struct ksm_tuner *t, const struct actor *actor, const struct ksm_tuner_patch *patch,
                  const struct ksm_tuner_patch *next, struct error *err)
{
    auto_json json_t *data = encode(next);
    auto_free char *text = doc_text(data);
    struct save save = {t->core, actor, text, data};
    struct error ignored;

    if (t->config.mode != next->mode)
        let_go(t);
    if (next->mode == KSM_MODE_STATIC)
        (void)ksm_knobs_claim(t->knobs, &ignored); /* so that what was before can be put back */
    t->config.mode = next->mode;
    return write_knobs(t, patch, err) || db_write(t->core->db, save_fn, NULL, &save, err) ? -1 : 0;
}

int ksm_tuner_change(struct ksm_tuner *t, const struct actor *actor,
                     const struct ksm_tuner_patch *patch, struct error *err)
{
    struct ksm_tuner_patch next;
    enum ksm_mode before;
    struct host_ksm now;

    host_ksm_read(t->core->host, &now);
    LOCK_SCOPE(&t->work);
    next = t->config;
    before = next.mode;
    if (patch->has_mode)
        next.mode = patch->mode;
    if (check_knobs(&now, patch, next.mode, err))
        return -1;
    if (patch->cpu_percent)
        next.cpu_percent = patch->cpu_percent;
    if (patch->boost_cpu_percent)
        next.boost_cpu_percent = patch->boost_cpu_percent;
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (next.mode == KSM_MODE_STATIC && patch->has_knob[i]) {
            next.has_knob[i] = true;
            next.knob[i] = patch->knob[i];
        }
    }
    if (change(t, actor, patch, &next, err)) {
        t->config.mode = before; /* the next step takes up again what was let go */
        return -1;
    }
    t->config = next;
    t->yielded = false;
    t->retry_ms = 0;
    LOCK_SCOPE(&t->lock);
    t->status.mode = next.mode;
    t->status.cpu_percent = next.cpu_percent;
    t->status.boost_cpu_percent = next.boost_cpu_percent;
    t->poked = true;
    pthread_cond_signal(&t->wake);
    return 0;
}

/* ---- life ---- */

static void tuner_free(struct ksm_tuner *t)
{
    ksm_knobs_free(t->knobs);
    snapshot_unref(t->last);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->work);
    free(t);
}

int ksm_tuner_start(struct core *core, struct ksm_tuner **ret, struct error *err)
{
    struct ksm_tuner *t = xcalloc(1, sizeof(*t));

    t->core = core;
    mutex_init(&t->work);
    mutex_init(&t->lock);
    cond_init(&t->wake);
    t->knobs = ksm_knobs_new(core->host);
    ksm_policy_init(&t->policy);
    if (load(t, err)) {
        tuner_free(t);
        return -1;
    }
    t->status = (struct ksm_tuner_status){.mode = t->config.mode,
                                          .cpu_percent = t->config.cpu_percent,
                                          .boost_cpu_percent = t->config.boost_cpu_percent,
                                          .changed_at = clock_wall_ms()};
    snprintf(t->status.phase, sizeof(t->status.phase), "%s",
             t->config.mode == KSM_MODE_AUTO ? "idle" : ksm_mode_name(t->config.mode));
    snprintf(t->status.reason, sizeof(t->status.reason), "the daemon has just started");
    if (thread_start(&t->thread, "ksm-tuner", tuner_thread, t, err)) {
        tuner_free(t);
        return -1;
    }
    *ret = t;
    return 0;
}

void ksm_tuner_stop(struct ksm_tuner *t)
{
    if (!t)
        return;
    {
        LOCK_SCOPE(&t->lock);
        t->stopping = true;
        pthread_cond_signal(&t->wake);
    }
    pthread_join(t->thread, NULL);
    let_go(t);
    tuner_free(t);
}
