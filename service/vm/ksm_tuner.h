/*
 * Who turns KSM's knobs: nobody (off), a person once (static), or a controller (auto). One thread;
 * its decisions are events with reasons, and what it found is put back when it lets go.
 */
#ifndef DROVER_VM_KSM_TUNER_H
#define DROVER_VM_KSM_TUNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/host/host.h"

struct actor;
struct core;
struct ksm_tuner;

enum ksm_mode { KSM_MODE_OFF, KSM_MODE_STATIC, KSM_MODE_AUTO, KSM_MODE_COUNT };
const char *ksm_mode_name(enum ksm_mode mode);
enum ksm_mode ksm_mode_from_name(const char *name); /* KSM_MODE_COUNT: none */

int ksm_tuner_start(struct core *core, struct ksm_tuner **ret, struct error *err);
void ksm_tuner_stop(struct ksm_tuner *t); /* restores */

#define KSM_DECISIONS 8
struct ksm_decision {
    int64_t at; /* wall ms */
    enum ksm_mode mode;
    char phase[16];
    int64_t budget_percent;
    char reason[256];
};

struct ksm_tuner_status {
    enum ksm_mode mode;
    char phase[16]; /* "off", "static", "idle", "boost", "steady", "trickle", "yielded", "unable" */
    char reason[256];
    int64_t changed_at; /* wall ms; the phase */
    int64_t cpu_percent, boost_cpu_percent, budget_percent;
    bool holds; /* the knobs are ours, found is what they were */
    bool found_has[HOST_KSM_COUNT];
    int64_t found[HOST_KSM_COUNT];
    char found_advisor[16];
    size_t decision_count; /* since the daemon started; the event log has the older ones */
    struct ksm_decision decisions[KSM_DECISIONS]; /* newest first */
};
/* Any thread; never blocks on the kernel. */
void ksm_tuner_read(struct ksm_tuner *t, struct ksm_tuner_status *ret);

/* What a person wants; absent members stay. */
struct ksm_tuner_patch {
    bool has_mode;
    enum ksm_mode mode;
    int64_t cpu_percent, boost_cpu_percent; /* 0: as it is */
    bool has_knob[HOST_KSM_COUNT];
    int64_t knob[HOST_KSM_COUNT];
};
/*
 * Commits, then acts. Knobs are written at once; on auto, those the tuner turns itself are refused
 * (KSM_TUNER_BUSY). Errors of host_ksm_write name the knob. Blocks on the disk and the kernel.
 */
int ksm_tuner_change(struct ksm_tuner *t, const struct actor *actor,
                     const struct ksm_tuner_patch *patch, struct error *err);

#endif
