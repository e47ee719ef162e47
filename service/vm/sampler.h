/*
 * The sampler: reads what the kernel says about every running VM and about the host once a tick,
 * and publishes it as an immutable snapshot. What costs a round trip into QEMU or a walk through
 * page tables comes from workers of its own, seldom and spread out, with a time stamp of its own;
 * a VM that hangs there delays nobody. Readers take the latest; nobody waits for a sample.
 */
#ifndef DROVER_VM_SAMPLER_H
#define DROVER_VM_SAMPLER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/host/host.h"
#include "service/virt/virt.h"

struct core;
struct guest_figures;
struct vm;

/* The dear figures; immutable, shared by the snapshots until there are newer ones. */
struct vm_dear {
    _Atomic unsigned refs;
    int64_t virt_sampled_at; /* wall ms; 0: libvirt has given none yet */
    struct virt_stats virt;
    int64_t memory_sampled_at; /* 0: none */
    struct host_process_memory memory;
    /* From the sample before to this one. */
    bool has_network_rate, has_block_rate, has_cpu_percent;
    double receive_rate, transmit_rate, read_rate, write_rate; /* bytes a second */
    double cpu_percent;
};

/* Why a VM's memory is not merged, or that it is; the words are the API's. */
enum ksm_cause {
#define C(sym, word, text) KSM_CAUSE_##sym,
#include "service/vm/ksm_cause.def"
#undef C
    KSM_CAUSE_COUNT
};
const char *ksm_cause_word(enum ksm_cause cause); /* "off-for-vm" */
const char *ksm_cause_text(enum ksm_cause cause); /* a sentence with the remedy */

struct vm_sample {
    char vm_id[UUID_TEXT];
    char project_id[UUID_TEXT];
    int64_t sampled_at; /* wall ms of the newest figures */
    bool stale;         /* libvirt or QEMU does not answer for this VM; its dear figures are old */
    const char *stale_reason; /* static text, or NULL */
    const struct vm_dear *dear; /* never NULL; a reference */
    const struct guest_figures *inside; /* NULL: the guest has said nothing; a reference */
    int64_t pid;                /* QEMU, 0 unknown */
    bool has_process;
    int64_t process_sampled_at;
    struct host_process process;
    bool has_cpu_percent, has_io_rate;
    double cpu_percent; /* of one CPU, since the tick before */
    double io_read_rate, io_write_rate;
    uint64_t promised_bytes; /* what its definition gives it */
    enum ksm_cause ksm_cause;
    uint64_t ksm_saved_bytes; /* its share of what the host saves */
    bool has_ksm_saved;
};

struct snapshot {
    _Atomic unsigned refs;
    uint64_t tick;
    int64_t sampled_at;
    struct host_ksm ksm;
    bool has_ksmd_percent;
    double ksmd_percent; /* of one CPU, since the tick before */
    struct host_memory memory;
    size_t count;
    struct vm_sample *samples; /* sorted by vm_id */
};

struct sampler;
int sampler_start(struct core *core, struct sampler **ret, struct error *err);
void sampler_stop(struct sampler *s);
/* One tick, for tests; the thread's loop calls it too. */
void sampler_step(struct sampler *s);

/* The latest snapshot, never NULL once started; a reference. Any thread, never blocks. */
struct snapshot *sampler_latest(struct sampler *s);
void snapshot_unref(struct snapshot *s);
DEFINE_CLEANUP(snapshot, struct snapshot *, snapshot_unref);
#define auto_snapshot auto_scope(cleanup_snapshot)
const struct vm_sample *snapshot_find(const struct snapshot *s, const char *vm_id); /* or NULL */

/* What the sampler costs and how it is doing, for /metrics. */
struct sampler_stats {
    uint64_t ticks, late_ticks;      /* late: the tick before took longer than the interval */
    uint64_t tick_ns, dear_ns;       /* spent on ticks; by workers on calls that came back */
    uint64_t dear_reads, dear_failures;
    unsigned hanging; /* VMs whose QEMU has not answered for some seconds */
};
void sampler_stats_read(struct sampler *s, struct sampler_stats *ret);

/* ---- ksm_vm.c: pure ---- */

/* Whether a VM's memory was offered when it was started, and if not, why. */
enum ksm_merging {
    KSM_MERGING_ON,
    KSM_MERGING_OFF,         /* its definition */
    KSM_MERGING_PROJECT_OFF, /* its project */
    KSM_MERGING_DISTRUST,    /* another project that its own does not trust */
    KSM_MERGING_NOT_YET,     /* allowed since */
};

/*
 * merging: whether it was offered; scans: full scans of ksmd since the process was first seen,
 * -1 unknown. s needs its process and dear figures.
 */
enum ksm_cause ksm_cause_of(const struct vm_sample *s, const struct host_ksm *ksm,
                            enum ksm_merging merging, int64_t scans);
/*
 * Merging is a side channel, and exact counters are its cheapest reader: who lacks the scope
 * ksm:read gets them in steps, rounded down.
 */
#define KSM_COARSE_STEP (64ULL << 20)
uint64_t ksm_coarse(uint64_t bytes);

/*
 * The kernel counts for a process the pages it has merged, not who saved them: of n that share one
 * page, n - 1 are saved. The host's saving is shared out by merged pages; zero pages are its own.
 */
bool ksm_saved_of(const struct host_process *p, const struct host_ksm *ksm, uint64_t *ret);

#endif
