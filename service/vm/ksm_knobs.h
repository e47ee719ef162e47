/*
 * KSM's knobs in the hands of one tuner: what they were before is written down before the first of
 * them changes, and put back in the end, by whoever comes next if need be. One thread at a time.
 */
#ifndef DROVER_VM_KSM_KNOBS_H
#define DROVER_VM_KSM_KNOBS_H

#include "service/base/error.h"
#include "service/host/host.h"

struct ksm_found {
    bool has[HOST_KSM_COUNT];
    int64_t value[HOST_KSM_COUNT];
    char advisor_mode[16]; /* "" when the kernel has none */
};
/* As kept in the claim: "boot ID" and "NAME VALUE" lines. False for another boot's, or nonsense. */
bool ksm_found_parse(const char *text, const char *boot_id, struct ksm_found *ret);

/* Those that a tuner turns, and drover-ksm-helper writes (service/host/helper_request.c). */
bool ksm_knob_is_turned(enum host_ksm_key key);

struct ksm_knobs;
struct ksm_knobs *ksm_knobs_new(struct host *host);
void ksm_knobs_free(struct ksm_knobs *k); /* does not restore: a crash does not, either */

/* 1 they are ours now (or already were), 0 another process of this host has them, -1. */
int ksm_knobs_claim(struct ksm_knobs *k, struct error *err);
bool ksm_knobs_claimed(const struct ksm_knobs *k);
/* What they were; NULL without a claim. */
const struct ksm_found *ksm_knobs_found(const struct ksm_knobs *k);
/* Writes unless it is so already. What this kernel does not have is passed over. */
int ksm_knobs_set(struct ksm_knobs *k, enum host_ksm_key key, int64_t value, struct error *err);
int ksm_knobs_set_advisor(struct ksm_knobs *k, bool on, struct error *err);
/*
 * Somebody else changed one that we had set: it is theirs from now on and will not be restored.
 * Its name, or NULL.
 */
const char *ksm_knobs_taken(struct ksm_knobs *k, const struct host_ksm *now);
/* Puts everything back and gives the claim up. Tries all, reports the first failure. */
int ksm_knobs_restore(struct ksm_knobs *k, struct error *err);

#endif
