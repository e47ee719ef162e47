/*
 * What KSM does for one VM, and why not: a judgement on figures that others read. Pure.
 */
#include <string.h>

#include "service/base/str.h"
#include "service/vm/ksm_tuner.h"
#include "service/vm/sampler.h"

static const struct {
    const char *word, *text;
} causes[KSM_CAUSE_COUNT] = {
#define C(sym, word_, text_) [KSM_CAUSE_##sym] = {word_, text_},
#include "service/vm/ksm_cause.def"
#undef C
};

static const char *const mode_names[KSM_MODE_COUNT] = {"off", "static", "auto"};

const char *ksm_mode_name(enum ksm_mode mode)
{
    return mode_names[mode];
}

enum ksm_mode ksm_mode_from_name(const char *name)
{
    int i = 0;

    while (i < KSM_MODE_COUNT && !str_eq(name, mode_names[i]))
        i++;
    return (enum ksm_mode)i;
}

const char *ksm_cause_word(enum ksm_cause cause)
{
    return causes[cause].word;
}

const char *ksm_cause_text(enum ksm_cause cause)
{
    return causes[cause].text;
}

/* More than half of what the VM was given lies where KSM does not look. */
static enum ksm_cause backing_of(const struct vm_sample *s)
{
    const struct host_process_memory *m = &s->dear->memory;

    if (!s->dear->memory_sampled_at || !m->has_rollup)
        return KSM_CAUSE_MERGING;
    if (m->hugetlb_bytes > s->promised_bytes / 2)
        return KSM_CAUSE_HUGEPAGES;
    if (m->shmem_bytes > m->anonymous_bytes && m->shmem_bytes > s->promised_bytes / 16)
        return KSM_CAUSE_SHARED_MEMORY;
    return KSM_CAUSE_MERGING;
}

enum ksm_cause ksm_cause_of(const struct vm_sample *s, const struct host_ksm *ksm,
                            enum ksm_merging merging, int64_t scans)
{
    static const enum ksm_cause not_offered[] = {
        [KSM_MERGING_OFF] = KSM_CAUSE_OFF_FOR_VM,
        [KSM_MERGING_PROJECT_OFF] = KSM_CAUSE_PROJECT_OFF,
        [KSM_MERGING_DISTRUST] = KSM_CAUSE_DISTRUST,
        [KSM_MERGING_NOT_YET] = KSM_CAUSE_NOT_OFFERED,
    };
    const struct host_process *p = &s->process;
    enum ksm_cause backing;

    if (!ksm->available)
        return KSM_CAUSE_NO_KSM;
    if (!s->has_process)
        return merging == KSM_MERGING_ON ? KSM_CAUSE_UNKNOWN : not_offered[merging];
    if ((p->has_ksm_merging_pages && p->ksm_merging_pages > 0) ||
        (p->has_ksm_zero_pages && p->ksm_zero_pages > 0))
        return KSM_CAUSE_MERGING;
    if (merging != KSM_MERGING_ON)
        return not_offered[merging];
    if (!p->has_ksm)
        return strstr(p->ksm_reason, "permission") ? KSM_CAUSE_NO_PERMISSION : KSM_CAUSE_OLD_KERNEL;
    backing = backing_of(s);
    if (backing != KSM_CAUSE_MERGING)
        return backing;
    if (p->has_ksm_mergeable && !p->ksm_mergeable)
        return KSM_CAUSE_NOT_OFFERED;
    if (!ksm->has[HOST_KSM_run] || ksm->value[HOST_KSM_run] != 1)
        return KSM_CAUSE_HOST_OFF;
    if (scans < 2)
        return KSM_CAUSE_NOT_SCANNED;
    return KSM_CAUSE_VOLATILE;
}

uint64_t ksm_coarse(uint64_t bytes)
{
    return bytes / KSM_COARSE_STEP * KSM_COARSE_STEP;
}

bool ksm_saved_of(const struct host_process *p, const struct host_ksm *ksm, uint64_t *ret)
{
    double pages = 0;

    if (!p->has_ksm_merging_pages || !ksm->page_size_bytes)
        return false;
    if (ksm->has[HOST_KSM_pages_sharing] && ksm->has[HOST_KSM_pages_shared]) {
        double sharing = (double)ksm->value[HOST_KSM_pages_sharing];
        double all = sharing + (double)ksm->value[HOST_KSM_pages_shared];

        pages = all > 0 ? (double)p->ksm_merging_pages * sharing / all : 0;
    }
    if (p->has_ksm_zero_pages && p->ksm_zero_pages > 0)
        pages += (double)p->ksm_zero_pages;
    *ret = pages > 0 ? (uint64_t)pages * ksm->page_size_bytes : 0;
    return true;
}
