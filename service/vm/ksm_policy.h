/*
 * How hard ksmd should work: a controller without effects. It is fed once a second with what the
 * kernel says and answers with the knobs; ksm_tuner.c reads, writes and tells. Pure; one thread.
 *
 * The idea: merging pays while pages that nobody has looked at wait, so a wave of booting VMs gets a
 * large share of one CPU until a full scan brings nothing more. Then ksmd gets little (the kernel's
 * own advisor steers where there is one), and soon next to nothing, because a scan that finds
 * nothing costs as much as one that does.
 */
#ifndef DROVER_VM_KSM_POLICY_H
#define DROVER_VM_KSM_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "service/host/host.h"

enum ksm_phase { KSM_IDLE, KSM_BOOST, KSM_STEADY, KSM_TRICKLE, KSM_PHASE_COUNT };
const char *ksm_phase_name(enum ksm_phase phase); /* "boost" */

struct ksm_budget {
    int64_t steady_percent, boost_percent; /* of one CPU */
    int64_t pressure_percent; /* less available memory than this share: merge although it is quiet */
};

struct ksm_input {
    int64_t now_ms; /* monotonic */
    const struct host_ksm *ksm;
    const struct host_memory *memory;
    unsigned mergeable;       /* VMs that offer memory */
    unsigned arrivals;        /* of them, those that were not there a tick ago */
    uint64_t mergeable_bytes; /* what they occupy */
};

struct ksm_plan {
    enum ksm_phase phase;
    bool changed;         /* the phase, or why: tell about it */
    char reason[200];
    bool release;         /* nothing to merge: leave the knobs as they were found */
    bool advisor;         /* the kernel steers pages_to_scan */
    int64_t pages_to_scan, sleep_millisecs;
    int64_t budget_percent;
    int64_t target_scan_seconds; /* with advisor */
};

struct ksm_policy {
    struct ksm_plan plan;
    int64_t phase_since_ms, armed_ms; /* armed: the last reason to boost */
    uint64_t marked_bytes;            /* mergeable_bytes when it was armed */
    int64_t scans, armed_scans;       /* full_scans: as of the last evaluation, when armed */
    int64_t saved_pages;              /* at the end of that scan */
    bool has_scans, pressed;
    unsigned quiet_scans;
    int64_t measured_ms;
    double measured_cpu;
    int64_t boost_pages; /* what the last boost came to */
    int64_t scan_ms;     /* how long a full scan should last in a boost; 0: none yet */
    int64_t paced_pages; /* what the pace allowed last; 0: not yet */
};

void ksm_policy_init(struct ksm_policy *p);
const struct ksm_plan *ksm_policy_step(struct ksm_policy *p, const struct ksm_budget *budget,
                                       const struct ksm_input *in);

#endif
