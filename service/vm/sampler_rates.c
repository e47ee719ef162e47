/*
 * From one sample to the next: rates of counters. A counter that went back began anew, a process
 * with another start time is another one, and no time is no rate: then there is none, rather than a
 * wrong one. Pure.
 */
#include "service/vm/sampler_internal.h"

static double process_cpu(const struct vm_sample *s)
{
    return s->process.cpu_user_seconds + s->process.cpu_system_seconds;
}

void sample_rates(struct vm_sample *now, const struct vm_sample *before)
{
    const struct host_process *a = &before->process, *b = &now->process;
    double seconds = (double)(now->process_sampled_at - before->process_sampled_at) / 1e3;

    if (!before->has_process || before->pid != now->pid || a->start_ticks != b->start_ticks ||
        seconds <= 0)
        return;
    if (process_cpu(now) >= process_cpu(before)) {
        now->has_cpu_percent = true;
        now->cpu_percent = 100.0 * (process_cpu(now) - process_cpu(before)) / seconds;
    }
    if (a->has_io && b->has_io && b->read_bytes >= a->read_bytes &&
        b->write_bytes >= a->write_bytes) {
        now->has_io_rate = true;
        now->io_read_rate = (double)(b->read_bytes - a->read_bytes) / seconds;
        now->io_write_rate = (double)(b->write_bytes - a->write_bytes) / seconds;
    }
}

void snapshot_rates(struct snapshot *next, const struct snapshot *last)
{
    const struct host_ksm *a = &last->ksm, *b = &next->ksm;
    double seconds = (double)(next->sampled_at - last->sampled_at) / 1e3;

    if (!a->has_ksmd_cpu || !b->has_ksmd_cpu || seconds <= 0 ||
        b->ksmd_cpu_seconds < a->ksmd_cpu_seconds)
        return;
    next->has_ksmd_percent = true;
    next->ksmd_percent = 100.0 * (b->ksmd_cpu_seconds - a->ksmd_cpu_seconds) / seconds;
}

static bool sum_blocks(const struct virt_stats *v, double *read, double *written)
{
    bool any = false;

    *read = *written = 0;
    for (size_t i = 0; i < v->block_count; i++) {
        if (!v->blocks[i].has_requests)
            continue;
        *read += (double)v->blocks[i].read_bytes;
        *written += (double)v->blocks[i].write_bytes;
        any = true;
    }
    return any;
}

static bool sum_nets(const struct virt_stats *v, double *in, double *out)
{
    bool any = false;

    *in = *out = 0;
    for (size_t i = 0; i < v->net_count; i++) {
        if (!v->nets[i].has_counters)
            continue;
        *in += (double)v->nets[i].receive_bytes;
        *out += (double)v->nets[i].transmit_bytes;
        any = true;
    }
    return any;
}

static bool rates(double a0, double a1, double b0, double b1, double seconds, double *ra, double *rb)
{
    if (a1 < a0 || b1 < b0)
        return false;
    *ra = (a1 - a0) / seconds;
    *rb = (b1 - b0) / seconds;
    return true;
}

void dear_rates(struct vm_dear *now, const struct vm_dear *before)
{
    double seconds = (double)(now->virt_sampled_at - before->virt_sampled_at) / 1e3;
    double a0, a1, b0, b1;

    if (!before->virt_sampled_at || seconds <= 0)
        return;
    if (sum_blocks(&before->virt, &a0, &b0) && sum_blocks(&now->virt, &a1, &b1))
        now->has_block_rate =
            rates(a0, a1, b0, b1, seconds, &now->read_rate, &now->write_rate);
    if (sum_nets(&before->virt, &a0, &b0) && sum_nets(&now->virt, &a1, &b1))
        now->has_network_rate =
            rates(a0, a1, b0, b1, seconds, &now->receive_rate, &now->transmit_rate);
    if (before->virt.has_cpu && now->virt.has_cpu && now->virt.cpu_ns >= before->virt.cpu_ns) {
        now->has_cpu_percent = true;
        now->cpu_percent =
            (double)(now->virt.cpu_ns - before->virt.cpu_ns) / 1e7 / seconds;
    }
}
