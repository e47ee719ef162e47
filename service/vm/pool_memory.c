/*
 * What a pool costs in memory: the sums of its VMs' figures, whether they wait or are handed out.
 * Reads memory only.
 */
#include <stdlib.h>

#include "service/base/str.h"
#include "service/vm/lease_internal.h"
#include "service/vm/sampler.h"

static bool is_on(const struct vm *vm)
{
    return vm->state == VM_STATE_STARTING || vm->state == VM_STATE_RUNNING ||
           vm->state == VM_STATE_PAUSED || vm->state == VM_STATE_STOPPING;
}

static void add(struct pool_memory *sum, const struct vm *vm, const struct vm_sample *s,
                const struct host_ksm *ksm)
{
    sum->running++;
    sum->promised_bytes += (uint64_t)vm->spec->memory_mib << 20;
    if (!s || !s->has_process || !s->process.has_memory)
        return;
    sum->sampled++;
    sum->resident_bytes += s->process.resident_bytes;
    if (s->process.has_ksm_merging_pages && s->process.ksm_merging_pages > 0)
        sum->merging_bytes += (uint64_t)s->process.ksm_merging_pages * ksm->page_size_bytes;
    if (s->has_ksm_saved)
        sum->saved_bytes += s->ksm_saved_bytes;
}

void pool_memory_read(struct core *core, const char *pool_id, struct pool_memory *ret)
{
    auto_snapshot struct snapshot *s = sampler_latest(core->sampler);
    struct member *members;
    size_t count;

    *ret = (struct pool_memory){0};
    book_members(core->leases, &members, &count);
    for (size_t i = 0; i < count; i++) {
        auto_vm struct vm *vm = NULL;

        if (!str_eq(members[i].pool_id, pool_id))
            continue;
        vm = registry_get(core->registry, members[i].vm_id);
        if (vm && is_on(vm))
            add(ret, vm, snapshot_find(s, vm->id), &s->ksm);
    }
    free(members);
}
