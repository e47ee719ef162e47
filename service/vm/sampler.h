/*
 * The sampler: one thread that reads every running VM's figures and the host's once a tick, and
 * publishes them as an immutable snapshot. Readers take the latest; nobody waits for a sample.
 */
#ifndef DROVER_VM_SAMPLER_H
#define DROVER_VM_SAMPLER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/host/host.h"
#include "service/virt/virt.h"

struct core;

struct vm_sample {
    char vm_id[UUID_TEXT];
    int64_t sampled_at; /* wall ms of the libvirt figures */
    bool stale;         /* libvirt gave nothing for this VM in this tick; figures are the last known */
    struct virt_stats virt;
    int64_t pid; /* QEMU, 0 unknown */
    bool has_process;
    int64_t process_sampled_at;
    struct host_process process;
    bool has_cpu_percent;
    double cpu_percent; /* of one CPU, since the tick before */
};

struct snapshot {
    _Atomic unsigned refs;
    uint64_t tick;
    int64_t sampled_at;
    struct host_ksm ksm;
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

#endif
