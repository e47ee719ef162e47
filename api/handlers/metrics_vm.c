/*
 * The figures of VMs for /metrics: one row per metric says where it comes from, so that adding one
 * is a line here and a line in metrics.def.
 */
#include "api/handlers/metrics_vm.h"

#include <stdlib.h>
#include <string.h>

/* False: this VM has no such figure now. */
typedef bool vm_figure(const struct vm_sample *s, double *ret);
typedef bool block_figure(const struct virt_block_stats *b, double *ret);
typedef bool net_figure(const struct virt_net_stats *n, double *ret);

#define VM_FIGURE(name, has, value)                                                                \
    static bool vm_##name(const struct vm_sample *s, double *ret)                                  \
    {                                                                                              \
        *ret = (double)(value);                                                                    \
        return has;                                                                                \
    }
#define SECONDS(ns) ((double)(ns) / 1e9)

/* The kernel's own figure of the process where there is one: it is never older than a tick. */
#define OWN_CPU (s->has_process && s->process.has_cpu)
VM_FIGURE(cpu_usage, OWN_CPU || s->dear->virt.has_cpu,
          OWN_CPU ? s->process.cpu_user_seconds + s->process.cpu_system_seconds
                  : SECONDS(s->dear->virt.cpu_ns))
VM_FIGURE(cpu_user, OWN_CPU || s->dear->virt.has_cpu_split,
          OWN_CPU ? s->process.cpu_user_seconds : SECONDS(s->dear->virt.cpu_user_ns))
VM_FIGURE(cpu_system, OWN_CPU || s->dear->virt.has_cpu_split,
          OWN_CPU ? s->process.cpu_system_seconds : SECONDS(s->dear->virt.cpu_system_ns))
VM_FIGURE(vcpu_wait, s->dear->virt.has_vcpu_wait, SECONDS(s->dear->virt.vcpu_wait_ns))
VM_FIGURE(vcpu_delay, s->dear->virt.has_vcpu_wait, SECONDS(s->dear->virt.vcpu_delay_ns))
VM_FIGURE(vcpus, s->dear->virt.vcpus > 0, s->dear->virt.vcpus)
VM_FIGURE(memory_domain, s->dear->virt.has_balloon, s->dear->virt.maximum_bytes)
VM_FIGURE(memory_balloon, s->dear->virt.has_balloon, s->dear->virt.balloon_bytes)
VM_FIGURE(memory_swapped, s->dear->memory.has_swap, s->dear->memory.swap_bytes)
VM_FIGURE(memory_proportional, s->dear->memory.has_rollup, s->dear->memory.pss_bytes)
VM_FIGURE(memory_available, s->dear->virt.has_guest_memory, s->dear->virt.available_bytes)
VM_FIGURE(memory_usable, s->dear->virt.has_guest_memory, s->dear->virt.usable_bytes)
VM_FIGURE(memory_unused, s->dear->virt.has_guest_memory, s->dear->virt.unused_bytes)
VM_FIGURE(memory_cached, s->dear->virt.has_guest_memory, s->dear->virt.disk_caches_bytes)
VM_FIGURE(major_faults, s->dear->virt.has_faults, s->dear->virt.major_faults)
VM_FIGURE(minor_faults, s->dear->virt.has_faults, s->dear->virt.minor_faults)
#define HAS_KSM (s->has_process && s->process.has_ksm)
VM_FIGURE(ksm_merging, HAS_KSM && s->process.has_ksm_merging_pages, s->process.ksm_merging_pages)
VM_FIGURE(ksm_rmap, HAS_KSM && s->process.has_ksm_rmap_items, s->process.ksm_rmap_items)
VM_FIGURE(ksm_zero, HAS_KSM && s->process.has_ksm_zero_pages, s->process.ksm_zero_pages)
VM_FIGURE(ksm_saved, s->has_ksm_saved, s->ksm_saved_bytes)
VM_FIGURE(ksm_profit, HAS_KSM && s->process.has_ksm_profit, s->process.ksm_profit_bytes)

static bool vm_memory_resident(const struct vm_sample *s, double *ret)
{
    bool own = s->has_process && s->process.has_memory;

    *ret = (double)(own ? s->process.resident_bytes : s->dear->virt.rss_bytes);
    return own || s->dear->virt.has_rss;
}

#define HAS_PROCESS_IO (s->has_process && s->process.has_io)
VM_FIGURE(storage_read, HAS_PROCESS_IO, s->process.read_bytes)
VM_FIGURE(storage_write, HAS_PROCESS_IO, s->process.write_bytes)
VM_FIGURE(pressure_cpu, s->dear->memory.pressure.has_cpu, s->dear->memory.pressure.cpu_percent / 100)
VM_FIGURE(pressure_memory, s->dear->memory.pressure.has_memory,
          s->dear->memory.pressure.memory_percent / 100)
VM_FIGURE(pressure_io, s->dear->memory.pressure.has_io, s->dear->memory.pressure.io_percent / 100)
VM_FIGURE(stale, true, s->stale)

#define BLOCK_FIGURE(name, has, value)                                                             \
    static bool block_##name(const struct virt_block_stats *b, double *ret)                        \
    {                                                                                              \
        *ret = (double)(value);                                                                    \
        return b->has;                                                                             \
    }
BLOCK_FIGURE(read_bytes, has_requests, b->read_bytes)
BLOCK_FIGURE(read_requests, has_requests, b->read_requests)
BLOCK_FIGURE(read_time, has_times, SECONDS(b->read_time_ns))
BLOCK_FIGURE(write_bytes, has_requests, b->write_bytes)
BLOCK_FIGURE(write_requests, has_requests, b->write_requests)
BLOCK_FIGURE(write_time, has_times, SECONDS(b->write_time_ns))
BLOCK_FIGURE(flush_requests, has_requests, b->flush_requests)
BLOCK_FIGURE(flush_time, has_times, SECONDS(b->flush_time_ns))
BLOCK_FIGURE(capacity, has_sizes, b->capacity_bytes)
BLOCK_FIGURE(allocation, has_sizes, b->allocation_bytes)
BLOCK_FIGURE(physical, has_sizes, b->physical_bytes)

#define NET_FIGURE(name)                                                                           \
    static bool net_##name(const struct virt_net_stats *n, double *ret)                            \
    {                                                                                              \
        *ret = (double)n->name;                                                                    \
        return n->has_counters;                                                                    \
    }
NET_FIGURE(receive_bytes)
NET_FIGURE(receive_packets)
NET_FIGURE(receive_errors)
NET_FIGURE(receive_drops)
NET_FIGURE(transmit_bytes)
NET_FIGURE(transmit_packets)
NET_FIGURE(transmit_errors)
NET_FIGURE(transmit_drops)

/* In the order of metrics.def; exactly one of the functions is set. */
static const struct {
    enum metric id;
    vm_figure *vm;
    block_figure *block;
    net_figure *net;
} figures[] = {
    {METRIC_VM_CPU_USAGE, .vm = vm_cpu_usage},
    {METRIC_VM_CPU_USER, .vm = vm_cpu_user},
    {METRIC_VM_CPU_SYSTEM, .vm = vm_cpu_system},
    {METRIC_VM_VCPU_WAIT, .vm = vm_vcpu_wait},
    {METRIC_VM_VCPU_DELAY, .vm = vm_vcpu_delay},
    {METRIC_VM_VCPUS, .vm = vm_vcpus},
    {METRIC_VM_MEMORY_DOMAIN, .vm = vm_memory_domain},
    {METRIC_VM_MEMORY_BALLOON, .vm = vm_memory_balloon},
    {METRIC_VM_MEMORY_RESIDENT, .vm = vm_memory_resident},
    {METRIC_VM_MEMORY_SWAPPED, .vm = vm_memory_swapped},
    {METRIC_VM_MEMORY_PROPORTIONAL, .vm = vm_memory_proportional},
    {METRIC_VM_MEMORY_AVAILABLE, .vm = vm_memory_available},
    {METRIC_VM_MEMORY_USABLE, .vm = vm_memory_usable},
    {METRIC_VM_MEMORY_UNUSED, .vm = vm_memory_unused},
    {METRIC_VM_MEMORY_CACHED, .vm = vm_memory_cached},
    {METRIC_VM_MAJOR_FAULTS, .vm = vm_major_faults},
    {METRIC_VM_MINOR_FAULTS, .vm = vm_minor_faults},
    {METRIC_VM_STORAGE_READ, .vm = vm_storage_read},
    {METRIC_VM_STORAGE_WRITE, .vm = vm_storage_write},
    {METRIC_VM_PRESSURE_CPU, .vm = vm_pressure_cpu},
    {METRIC_VM_PRESSURE_MEMORY, .vm = vm_pressure_memory},
    {METRIC_VM_PRESSURE_IO, .vm = vm_pressure_io},
    {METRIC_VM_STALE, .vm = vm_stale},
    {METRIC_VM_BLOCK_READ_BYTES, .block = block_read_bytes},
    {METRIC_VM_BLOCK_READ_REQUESTS, .block = block_read_requests},
    {METRIC_VM_BLOCK_READ_TIME, .block = block_read_time},
    {METRIC_VM_BLOCK_WRITE_BYTES, .block = block_write_bytes},
    {METRIC_VM_BLOCK_WRITE_REQUESTS, .block = block_write_requests},
    {METRIC_VM_BLOCK_WRITE_TIME, .block = block_write_time},
    {METRIC_VM_BLOCK_FLUSH_REQUESTS, .block = block_flush_requests},
    {METRIC_VM_BLOCK_FLUSH_TIME, .block = block_flush_time},
    {METRIC_VM_BLOCK_CAPACITY, .block = block_capacity},
    {METRIC_VM_BLOCK_ALLOCATION, .block = block_allocation},
    {METRIC_VM_BLOCK_PHYSICAL, .block = block_physical},
    {METRIC_VM_NET_RX_BYTES, .net = net_receive_bytes},
    {METRIC_VM_NET_RX_PACKETS, .net = net_receive_packets},
    {METRIC_VM_NET_RX_ERRORS, .net = net_receive_errors},
    {METRIC_VM_NET_RX_DROPS, .net = net_receive_drops},
    {METRIC_VM_NET_TX_BYTES, .net = net_transmit_bytes},
    {METRIC_VM_NET_TX_PACKETS, .net = net_transmit_packets},
    {METRIC_VM_NET_TX_ERRORS, .net = net_transmit_errors},
    {METRIC_VM_NET_TX_DROPS, .net = net_transmit_drops},
    {METRIC_VM_KSM_MERGING, .vm = vm_ksm_merging},
    {METRIC_VM_KSM_RMAP, .vm = vm_ksm_rmap},
    {METRIC_VM_KSM_ZERO, .vm = vm_ksm_zero},
    {METRIC_VM_KSM_PROFIT, .vm = vm_ksm_profit},
    {METRIC_VM_KSM_SAVED, .vm = vm_ksm_saved},
};

/* A VM, its newest sample (or NULL) and its labels, rendered once for all its figures. */
struct row {
    const struct vm *vm;
    const struct vm_sample *sample;
    size_t at;
    struct metric_prefix prefix;
};

static struct row *make_rows(struct vm *const *vms, size_t count, const struct snapshot *snapshot,
                             struct strbuf *labels)
{
    struct row *rows = xcalloc(count + 1, sizeof(*rows));

    for (size_t i = 0; i < count; i++) {
        const struct metric_label own[] = {{"id", vms[i]->id}, {"name", vms[i]->spec->name}, {0}};

        rows[i] = (struct row){
            .vm = vms[i], .sample = snapshot_find(snapshot, vms[i]->id), .at = labels->len};
        metrics_render_labels(labels, own);
        rows[i].prefix.len = labels->len - rows[i].at;
    }
    for (size_t i = 0; i < count; i++) /* the text moved while it grew */
        rows[i].prefix.text = labels->data + rows[i].at;
    return rows;
}

static void add_states(struct metrics_writer *w, const struct row *row)
{
    for (int state = 0; state < VM_STATE_COUNT; state++) {
        const struct metric_label label = {"state", vm_state_name((enum vm_state)state)};

        metrics_add_to(w, METRIC_VM_STATE, row->prefix, &label, (int)row->vm->state == state);
    }
}

static void add_info(struct metrics_writer *w, const struct row *rows, size_t count)
{
    size_t states[VM_STATE_COUNT] = {0};

    for (size_t i = 0; i < count; i++)
        states[rows[i].vm->state]++;
    for (int state = 0; state < VM_STATE_COUNT; state++) {
        const struct metric_label labels[] = {{"state", vm_state_name((enum vm_state)state)}, {0}};

        metrics_add(w, METRIC_VMS, labels, (double)states[state]);
    }
    for (size_t i = 0; i < count; i++) {
        const struct vm *vm = rows[i].vm;
        const struct metric_label labels[] = {{"id", vm->id},
                                              {"name", vm->spec->name},
                                              {"project", vm->project_id},
                                              {"host", vm->host_id},
                                              {"image", vm->spec->image ? vm->spec->image : ""},
                                              {"acceleration", vm->acceleration},
                                              {0}};

        metrics_add(w, METRIC_VM_INFO, labels, 1);
    }
    for (size_t i = 0; i < count; i++)
        add_states(w, &rows[i]);
}

static void add_figure(struct metrics_writer *w, size_t figure, const struct row *row)
{
    const struct virt_stats *virt = &row->sample->dear->virt;
    enum metric id = figures[figure].id;
    double value;

    if (figures[figure].vm && figures[figure].vm(row->sample, &value))
        metrics_add_to(w, id, row->prefix, NULL, value);
    for (size_t i = 0; figures[figure].block && i < virt->block_count; i++) {
        const struct metric_label device = {"device", virt->blocks[i].name};

        if (figures[figure].block(&virt->blocks[i], &value))
            metrics_add_to(w, id, row->prefix, &device, value);
    }
    for (size_t i = 0; figures[figure].net && i < virt->net_count; i++) {
        const struct metric_label device = {"device", virt->nets[i].name};

        if (figures[figure].net(&virt->nets[i], &value))
            metrics_add_to(w, id, row->prefix, &device, value);
    }
}

void metrics_add_vms(struct metrics_writer *w, struct vm *const *vms, size_t count,
                     const struct snapshot *snapshot, bool exact)
{
    auto_strbuf struct strbuf labels = {0};
    auto_free struct row *rows = make_rows(vms, count, snapshot, &labels);

    add_info(w, rows, count);
    for (size_t f = 0; f < sizeof(figures) / sizeof(*figures); f++) {
        if (!exact && figures[f].id >= METRIC_VM_KSM_MERGING && figures[f].id <= METRIC_VM_KSM_LAST)
            continue;
        for (size_t i = 0; i < count; i++) {
            if (rows[i].sample)
                add_figure(w, f, &rows[i]);
        }
    }
}
