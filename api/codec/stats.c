/*
 * Figures: of a VM, of all VMs, of KSM. What was not measured is left out, never written as 0.
 */
#include "api/codec/codec.h"

#include <stdlib.h>

#include "service/json/doc.h"

static void put(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value))
        abort();
}

static void put_count(json_t *object, const char *name, uint64_t value)
{
    put(object, name, json_integer((json_int_t)value));
}

static void put_seconds(json_t *object, const char *name, uint64_t ns)
{
    put(object, name, json_real((double)ns / 1e9));
}

static json_t *cpu(const struct vm_sample *s)
{
    const struct virt_stats *v = &s->virt;
    json_t *object = json_object();

    if (v->has_cpu)
        put_seconds(object, "usage_seconds", v->cpu_ns);
    if (v->has_cpu_split) {
        put_seconds(object, "user_seconds", v->cpu_user_ns);
        put_seconds(object, "system_seconds", v->cpu_system_ns);
    }
    if (v->has_vcpu_wait) {
        put_seconds(object, "vcpu_wait_seconds", v->vcpu_wait_ns);
        put_seconds(object, "vcpu_delay_seconds", v->vcpu_delay_ns);
    }
    if (s->has_cpu_percent)
        put(object, "usage_percent", json_real(s->cpu_percent));
    if (v->vcpus)
        put_count(object, "vcpus", v->vcpus);
    return object;
}

static json_t *memory(const struct vm_sample *s)
{
    const struct virt_stats *v = &s->virt;
    json_t *object = json_object();

    if (v->has_balloon) {
        put_count(object, "maximum_bytes", v->maximum_bytes);
        put_count(object, "balloon_bytes", v->balloon_bytes);
    }
    /* The kernel's own figure is fresher than the one libvirt passes on. */
    if (s->has_process && s->process.has_memory) {
        put_count(object, "resident_bytes", s->process.resident_bytes);
        put_count(object, "swapped_bytes", s->process.swap_bytes);
    } else if (v->has_rss) {
        put_count(object, "resident_bytes", v->rss_bytes);
    }
    if (v->has_guest_memory) {
        put_count(object, "available_bytes", v->available_bytes);
        put_count(object, "unused_bytes", v->unused_bytes);
        put_count(object, "usable_bytes", v->usable_bytes);
        put_count(object, "disk_caches_bytes", v->disk_caches_bytes);
        put_count(object, "swap_in_bytes", v->swap_in_bytes);
        put_count(object, "swap_out_bytes", v->swap_out_bytes);
    }
    if (v->has_faults) {
        put_count(object, "major_faults", v->major_faults);
        put_count(object, "minor_faults", v->minor_faults);
    }
    return object;
}

static json_t *disk(const struct virt_block_stats *b)
{
    json_t *object = json_pack("{s:s}", "name", b->name);

    if (b->has_requests) {
        put_count(object, "read_bytes", b->read_bytes);
        put_count(object, "read_requests", b->read_requests);
        put_count(object, "write_bytes", b->write_bytes);
        put_count(object, "write_requests", b->write_requests);
        put_count(object, "flush_requests", b->flush_requests);
    }
    if (b->has_times) {
        put_seconds(object, "read_seconds", b->read_time_ns);
        put_seconds(object, "write_seconds", b->write_time_ns);
        put_seconds(object, "flush_seconds", b->flush_time_ns);
    }
    if (b->has_sizes) {
        put_count(object, "capacity_bytes", b->capacity_bytes);
        put_count(object, "allocation_bytes", b->allocation_bytes);
        put_count(object, "physical_bytes", b->physical_bytes);
    }
    return object;
}

static json_t *interface(const struct virt_net_stats *n)
{
    json_t *object = json_pack("{s:s}", "name", n->name);

    if (n->has_counters) {
        put_count(object, "receive_bytes", n->receive_bytes);
        put_count(object, "receive_packets", n->receive_packets);
        put_count(object, "receive_errors", n->receive_errors);
        put_count(object, "receive_drops", n->receive_drops);
        put_count(object, "transmit_bytes", n->transmit_bytes);
        put_count(object, "transmit_packets", n->transmit_packets);
        put_count(object, "transmit_errors", n->transmit_errors);
        put_count(object, "transmit_drops", n->transmit_drops);
    }
    return object;
}

static json_t *process_ksm(const struct vm_sample *s, const struct host_ksm *ksm)
{
    const struct host_process *p = &s->process;
    json_t *object = json_object();

    if (!s->has_process)
        put(object, "reason", json_string("the VM's process is not known on this host"));
    else if (!p->has_ksm)
        put(object, "reason", json_string(p->ksm_reason));
    if (!s->has_process || !p->has_ksm)
        return object;
    if (p->has_ksm_merging_pages) {
        put(object, "merging_pages", json_integer(p->ksm_merging_pages));
        if (ksm->page_size_bytes)
            put(object, "merging_bytes",
                json_integer(p->ksm_merging_pages * (json_int_t)ksm->page_size_bytes));
    }
    if (p->has_ksm_zero_pages)
        put(object, "zero_pages", json_integer(p->ksm_zero_pages));
    if (p->has_ksm_rmap_items)
        put(object, "rmap_items", json_integer(p->ksm_rmap_items));
    if (p->has_ksm_profit)
        put(object, "profit_bytes", json_integer(p->ksm_profit_bytes));
    if (p->has_ksm_mergeable) {
        put(object, "mergeable", json_boolean(p->ksm_mergeable));
        if (!p->ksm_mergeable)
            put(object, "reason",
                json_string("the VM's process offers no memory for merging; memory_merge decides "
                            "that at start"));
    }
    return object;
}

json_t *codec_stats(const char *vm_id, const struct vm_sample *s, const struct host_ksm *ksm,
                    const char *reason)
{
    json_t *disks = json_array(), *interfaces = json_array();
    json_t *object = json_pack("{s:s, s:o, s:b, s:o, s:o}", "vm_id", vm_id, "sampled_at",
                               s ? codec_time(s->sampled_at) : json_null(), "stale",
                               s ? s->stale : true, "disks", disks, "interfaces", interfaces);

    if (!s) {
        put(object, "reason", json_string(reason));
        return object;
    }
    if (s->has_process && s->process_sampled_at)
        put(object, "process_sampled_at", codec_time(s->process_sampled_at));
    put(object, "cpu", cpu(s));
    put(object, "memory", memory(s));
    for (size_t i = 0; i < s->virt.block_count; i++)
        json_array_append_new(disks, disk(&s->virt.blocks[i]));
    for (size_t i = 0; i < s->virt.net_count; i++)
        json_array_append_new(interfaces, interface(&s->virt.nets[i]));
    put(object, "ksm", process_ksm(s, ksm));
    return object;
}

json_t *codec_stats_list(const struct snapshot *snapshot)
{
    json_t *items = json_array();

    for (size_t i = 0; i < snapshot->count; i++)
        json_array_append_new(items, codec_stats(snapshot->samples[i].vm_id, &snapshot->samples[i],
                                                 &snapshot->ksm, NULL));
    return json_pack("{s:o, s:o}", "sampled_at", codec_time(snapshot->sampled_at), "items", items);
}
