/*
 * Figures: of a VM, of all VMs, of KSM. What was not measured is left out, never written as 0.
 */
#include "api/codec/codec.h"

#include <stdlib.h>

#include "api/codec/guest.h"
#include "service/base/str.h"
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

static void put_real(json_t *object, const char *name, double value)
{
    put(object, name, json_real(value));
}

static json_t *vcpus(const struct virt_stats *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->vcpu_count; i++) {
        json_t *object = json_object();

        if (v->vcpu[i].has_time)
            put_seconds(object, "usage_seconds", v->vcpu[i].time_ns);
        if (v->vcpu[i].has_wait)
            put_seconds(object, "wait_seconds", v->vcpu[i].wait_ns);
        if (v->vcpu[i].has_delay)
            put_seconds(object, "delay_seconds", v->vcpu[i].delay_ns);
        json_array_append_new(list, object);
    }
    return list;
}

/* The kernel's own figures of the process are fresher than those that libvirt passes on. */
static json_t *cpu(const struct vm_sample *s)
{
    const struct virt_stats *v = &s->dear->virt;
    const struct host_process *p = &s->process;
    json_t *object = json_object();

    if (s->has_process && p->has_cpu) {
        put_real(object, "usage_seconds", p->cpu_user_seconds + p->cpu_system_seconds);
        put_real(object, "user_seconds", p->cpu_user_seconds);
        put_real(object, "system_seconds", p->cpu_system_seconds);
    } else {
        if (v->has_cpu)
            put_seconds(object, "usage_seconds", v->cpu_ns);
        if (v->has_cpu_split) {
            put_seconds(object, "user_seconds", v->cpu_user_ns);
            put_seconds(object, "system_seconds", v->cpu_system_ns);
        }
    }
    if (v->has_vcpu_wait) {
        put_seconds(object, "vcpu_wait_seconds", v->vcpu_wait_ns);
        put_seconds(object, "vcpu_delay_seconds", v->vcpu_delay_ns);
    }
    if (s->has_cpu_percent)
        put_real(object, "usage_percent", s->cpu_percent);
    if (v->vcpus)
        put_count(object, "vcpus", v->vcpus);
    if (v->vcpu_count)
        put(object, "each", vcpus(v));
    return object;
}

static void put_page_kinds(json_t *object, const struct host_process_memory *m)
{
    if (m->has_swap)
        put_count(object, "swapped_bytes", m->swap_bytes);
    if (!m->has_rollup)
        return;
    put_count(object, "proportional_bytes", m->pss_bytes);
    put_count(object, "private_bytes", m->private_bytes);
    put_count(object, "anonymous_bytes", m->anonymous_bytes);
    put_count(object, "transparent_huge_bytes", m->huge_bytes);
    put_count(object, "shared_memory_bytes", m->shmem_bytes);
    put_count(object, "hugetlb_bytes", m->hugetlb_bytes);
}

static json_t *memory(const struct vm_sample *s)
{
    const struct virt_stats *v = &s->dear->virt;
    json_t *object = json_object();

    put_count(object, "promised_bytes", s->promised_bytes);
    if (v->has_balloon) {
        put_count(object, "maximum_bytes", v->maximum_bytes);
        put_count(object, "balloon_bytes", v->balloon_bytes);
    }
    if (s->has_process && s->process.has_memory)
        put_count(object, "resident_bytes", s->process.resident_bytes);
    else if (v->has_rss)
        put_count(object, "resident_bytes", v->rss_bytes);
    put_page_kinds(object, &s->dear->memory);
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

/* What QEMU's process does on the host; a guest's faults are in memory. */
static json_t *process(const struct vm_sample *s)
{
    const struct host_process *p = &s->process;
    json_t *object = json_pack("{s:I}", "pid", (json_int_t)s->pid);

    if (p->has_faults) {
        put_count(object, "minor_faults", p->minor_faults);
        put_count(object, "major_faults", p->major_faults);
    }
    if (p->has_io) {
        put_count(object, "read_bytes", p->read_bytes);
        put_count(object, "write_bytes", p->write_bytes);
    }
    return object;
}

static json_t *rates(const struct vm_sample *s)
{
    const struct vm_dear *d = s->dear;
    json_t *object = json_object();

    if (s->has_io_rate) {
        put_real(object, "storage_read_bytes_per_second", s->io_read_rate);
        put_real(object, "storage_write_bytes_per_second", s->io_write_rate);
    }
    if (d->has_block_rate) {
        put_real(object, "disk_read_bytes_per_second", d->read_rate);
        put_real(object, "disk_write_bytes_per_second", d->write_rate);
    }
    if (d->has_network_rate) {
        put_real(object, "receive_bytes_per_second", d->receive_rate);
        put_real(object, "transmit_bytes_per_second", d->transmit_rate);
    }
    return object;
}

static json_t *pressure(const struct host_pressure *p)
{
    json_t *object = json_object();

    if (p->has_cpu)
        put_real(object, "cpu_percent", p->cpu_percent);
    if (p->has_memory)
        put_real(object, "memory_percent", p->memory_percent);
    if (p->has_io)
        put_real(object, "io_percent", p->io_percent);
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

static void put_ksm_counts(json_t *object, const struct vm_sample *s, const struct host_ksm *ksm)
{
    const struct host_process *p = &s->process;

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
    if (s->has_ksm_saved)
        put_count(object, "saved_bytes", s->ksm_saved_bytes);
}

/* Exact figures would tell whether somebody else has a page that one wrote oneself. */
static void put_ksm_coarse(json_t *object, const struct vm_sample *s, const struct host_ksm *ksm)
{
    const struct host_process *p = &s->process;

    put(object, "coarse", json_true());
    if (p->has_ksm_merging_pages && p->ksm_merging_pages >= 0)
        put_count(object, "merging_bytes",
                  ksm_coarse((uint64_t)p->ksm_merging_pages * ksm->page_size_bytes));
    if (s->has_ksm_saved)
        put_count(object, "saved_bytes", ksm_coarse(s->ksm_saved_bytes));
}

json_t *codec_vm_ksm(const struct vm_sample *s, const struct host_ksm *ksm, enum codec_ksm detail)
{
    const struct host_process *p = &s->process;
    json_t *object = json_object();
    const char *text = ksm_cause_text(s->ksm_cause);

    if (s->has_process && p->has_ksm) {
        if (detail == CODEC_KSM_EXACT)
            put_ksm_counts(object, s, ksm);
        else
            put_ksm_coarse(object, s, ksm);
        if (p->has_ksm_mergeable)
            put(object, "mergeable", json_boolean(p->ksm_mergeable));
    }
    put(object, "cause", json_string(ksm_cause_word(s->ksm_cause)));
    if (*text)
        put(object, "reason", json_string(text));
    return object;
}

static void put_times(json_t *object, const struct vm_sample *s)
{
    if (s->has_process && s->process_sampled_at)
        put(object, "process_sampled_at", codec_time(s->process_sampled_at));
    if (s->dear->virt_sampled_at)
        put(object, "hypervisor_sampled_at", codec_time(s->dear->virt_sampled_at));
    if (s->dear->memory_sampled_at)
        put(object, "memory_sampled_at", codec_time(s->dear->memory_sampled_at));
    if (s->stale_reason)
        put(object, "stale_reason", json_string(s->stale_reason));
}

json_t *codec_stats(const char *vm_id, const struct vm_sample *s, const struct host_ksm *ksm,
                    enum codec_ksm detail, const char *reason)
{
    json_t *disks = json_array(), *interfaces = json_array();
    json_t *object = json_pack("{s:s, s:o, s:b, s:o, s:o}", "vm_id", vm_id, "sampled_at",
                               s ? codec_time(s->sampled_at) : json_null(), "stale",
                               s ? s->stale : true, "disks", disks, "interfaces", interfaces);

    if (!s) {
        put(object, "reason", json_string(reason));
        return object;
    }
    put_times(object, s);
    put(object, "cpu", cpu(s));
    put(object, "memory", memory(s));
    if (s->has_process)
        put(object, "process", process(s));
    put(object, "rates", rates(s));
    put(object, "pressure", pressure(&s->dear->memory.pressure));
    for (size_t i = 0; i < s->dear->virt.block_count; i++)
        json_array_append_new(disks, disk(&s->dear->virt.blocks[i]));
    for (size_t i = 0; i < s->dear->virt.net_count; i++)
        json_array_append_new(interfaces, interface(&s->dear->virt.nets[i]));
    put(object, "ksm", codec_vm_ksm(s, ksm, detail));
    if (s->inside)
        put(object, "guest", codec_guest_figures(s->inside));
    if (reason) /* of one VM */
        put(object, "missing", codec_missing(s));
    return object;
}

json_t *codec_stats_list(const struct snapshot *snapshot, const char *project_id,
                         enum codec_ksm detail)
{
    json_t *items = json_array();

    for (size_t i = 0; i < snapshot->count; i++) {
        const struct vm_sample *s = &snapshot->samples[i];

        if (str_eq(s->project_id, project_id))
            json_array_append_new(items, codec_stats(s->vm_id, s, &snapshot->ksm, detail, NULL));
    }
    return json_pack("{s:o, s:o}", "sampled_at", codec_time(snapshot->sampled_at), "items", items);
}
