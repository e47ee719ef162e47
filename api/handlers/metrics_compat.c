/* See metrics_compat.h. Names, units and labels are the other exporters'. */
#include "api/handlers/metrics_compat.h"

#include <stdlib.h>

typedef bool vm_figure(const struct vm *vm, const struct vm_sample *s, double *ret);

#define FIGURE(name, has, value)                                                                   \
    static bool name(const struct vm *vm, const struct vm_sample *s, double *ret)                  \
    {                                                                                              \
        (void)vm;                                                                                  \
        *ret = (double)(value);                                                                    \
        return has;                                                                                \
    }
#define OWN (s->has_process && s->process.has_cpu)
FIGURE(maximum_memory, true, (uint64_t)vm->spec->memory_mib << 20)
FIGURE(memory_usage, s->dear->virt.has_balloon, s->dear->virt.balloon_bytes)
FIGURE(virtual_cpus, true, vm->spec->cpus)
FIGURE(cpu_time, OWN || s->dear->virt.has_cpu,
       OWN ? s->process.cpu_user_seconds + s->process.cpu_system_seconds
           : (double)s->dear->virt.cpu_ns / 1e9)

static const struct {
    const char *name, *type, *help;
    vm_figure *figure;
} vm_rows[] = {
    {"libvirt_domain_info_maximum_memory_bytes", "gauge",
     "Maximum allowed memory of the domain, in bytes.", maximum_memory},
    {"libvirt_domain_info_memory_usage_bytes", "gauge", "Memory usage of the domain, in bytes.",
     memory_usage},
    {"libvirt_domain_info_virtual_cpus", "gauge", "Number of virtual CPUs for the domain.",
     virtual_cpus},
    {"libvirt_domain_info_cpu_time_seconds_total", "counter",
     "Amount of CPU time used by the domain, in seconds.", cpu_time},
};

#define BLOCK(member) offsetof(struct virt_block_stats, member)
#define NET(member)   offsetof(struct virt_net_stats, member)

static const struct {
    const char *name, *help;
    bool net;
    size_t offset;
} device_rows[] = {
    {"libvirt_domain_block_stats_read_bytes_total",
     "Number of bytes read from a block device, in bytes.", false, BLOCK(read_bytes)},
    {"libvirt_domain_block_stats_read_requests_total",
     "Number of read requests from a block device.", false, BLOCK(read_requests)},
    {"libvirt_domain_block_stats_write_bytes_total",
     "Number of bytes written from a block device, in bytes.", false, BLOCK(write_bytes)},
    {"libvirt_domain_block_stats_write_requests_total",
     "Number of write requests from a block device.", false, BLOCK(write_requests)},
    {"libvirt_domain_interface_stats_receive_bytes_total",
     "Number of bytes received on a network interface, in bytes.", true, NET(receive_bytes)},
    {"libvirt_domain_interface_stats_receive_packets_total",
     "Number of packets received on a network interface.", true, NET(receive_packets)},
    {"libvirt_domain_interface_stats_receive_errors_total",
     "Number of packet receive errors on a network interface.", true, NET(receive_errors)},
    {"libvirt_domain_interface_stats_receive_drops_total",
     "Number of packet receive drops on a network interface.", true, NET(receive_drops)},
    {"libvirt_domain_interface_stats_transmit_bytes_total",
     "Number of bytes transmitted on a network interface, in bytes.", true, NET(transmit_bytes)},
    {"libvirt_domain_interface_stats_transmit_packets_total",
     "Number of packets transmitted on a network interface.", true, NET(transmit_packets)},
    {"libvirt_domain_interface_stats_transmit_errors_total",
     "Number of packet transmit errors on a network interface.", true, NET(transmit_errors)},
    {"libvirt_domain_interface_stats_transmit_drops_total",
     "Number of packet transmit drops on a network interface.", true, NET(transmit_drops)},
};

static void head(struct strbuf *b, const char *name, const char *type, const char *help)
{
    strbuf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A VM's name and libvirt's device names hold nothing that would need escaping. */
static void add_devices(struct strbuf *b, size_t row, const struct vm *vm,
                        const struct vm_sample *s)
{
    const struct virt_stats *v = &s->dear->virt;
    bool net = device_rows[row].net;

    for (size_t i = 0; i < (net ? v->net_count : v->block_count); i++) {
        const char *device = net ? v->nets[i].name : v->blocks[i].name;
        const char *base = net ? (const char *)&v->nets[i] : (const char *)&v->blocks[i];

        if (net ? !v->nets[i].has_counters : !v->blocks[i].has_requests)
            continue;
        strbuf_addf(
            b, "%s{domain=\"%s\",target_device=\"%s\"} %llu\n", device_rows[row].name,
            vm->spec->name, device,
            (unsigned long long)*(const uint64_t *)(const void *)(base + device_rows[row].offset));
    }
}

void metrics_compat_libvirt(struct strbuf *b, bool libvirt_up, struct vm *const *vms, size_t count,
                            const struct snapshot *snapshot)
{
    auto_free const struct vm_sample **samples = xcalloc(count + 1, sizeof(*samples));
    double value;

    head(b, "libvirt_up", "gauge", "Whether scraping libvirt's metrics was successful.");
    strbuf_addf(b, "libvirt_up %d\n", libvirt_up);
    /* One that is being deleted may share its name with its successor. */
    for (size_t i = 0; i < count; i++)
        samples[i] = vms[i]->state == VM_STATE_DELETING ? NULL : snapshot_find(snapshot, vms[i]->id);
    for (size_t r = 0; r < sizeof(vm_rows) / sizeof(*vm_rows); r++) {
        head(b, vm_rows[r].name, vm_rows[r].type, vm_rows[r].help);
        for (size_t i = 0; i < count; i++) {
            if (samples[i] && vm_rows[r].figure(vms[i], samples[i], &value))
                strbuf_addf(b, "%s{domain=\"%s\"} %.15g\n", vm_rows[r].name, vms[i]->spec->name,
                            value);
        }
    }
    for (size_t r = 0; r < sizeof(device_rows) / sizeof(*device_rows); r++) {
        head(b, device_rows[r].name, "counter", device_rows[r].help);
        for (size_t i = 0; i < count; i++) {
            if (samples[i])
                add_devices(b, r, vms[i], samples[i]);
        }
    }
}

void metrics_compat_node(struct strbuf *b, const struct host_ksm *ksm)
{
    static const struct {
        const char *name, *type;
        enum host_ksm_key key;
        double scale;
    } rows[] = {
        {"node_ksmd_full_scans_total", "counter", HOST_KSM_full_scans, 1},
        {"node_ksmd_merge_across_nodes", "gauge", HOST_KSM_merge_across_nodes, 1},
        {"node_ksmd_pages_shared", "gauge", HOST_KSM_pages_shared, 1},
        {"node_ksmd_pages_sharing", "gauge", HOST_KSM_pages_sharing, 1},
        {"node_ksmd_pages_to_scan", "gauge", HOST_KSM_pages_to_scan, 1},
        {"node_ksmd_pages_unshared", "gauge", HOST_KSM_pages_unshared, 1},
        {"node_ksmd_pages_volatile", "gauge", HOST_KSM_pages_volatile, 1},
        {"node_ksmd_run", "gauge", HOST_KSM_run, 1},
        {"node_ksmd_sleep_seconds", "gauge", HOST_KSM_sleep_millisecs, 1e-3},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        if (!ksm->has[rows[i].key])
            continue;
        head(b, rows[i].name, rows[i].type, "ksmd information from /sys/kernel/mm/ksm.");
        strbuf_addf(b, "%s %.15g\n", rows[i].name, (double)ksm->value[rows[i].key] * rows[i].scale);
    }
}
