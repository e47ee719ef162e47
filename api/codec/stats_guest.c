/*
 * The figures that a guest tells, the dirty rate, and which figures of a VM are missing and why.
 */
#include "api/codec/codec.h"

#include <stdlib.h>

#include "api/codec/guest.h"
#include "service/json/doc.h"

json_t *codec_guest_filesystems(const struct guest_filesystem *list, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++) {
        const struct guest_filesystem *f = &list[i];
        json_t *item = json_pack("{s:s, s:s, s:s}", "mountpoint", f->mountpoint, "type", f->type,
                                 "device", f->device);

        if (f->has_size) {
            json_object_set_new(item, "total_bytes", json_integer((json_int_t)f->total_bytes));
            json_object_set_new(item, "used_bytes", json_integer((json_int_t)f->used_bytes));
        }
        json_array_append_new(array, item);
    }
    return array;
}

json_t *codec_guest_figures(const struct guest_figures *f)
{
    json_t *object = json_pack("{s:o}", "sampled_at", codec_time(f->sampled_at));

    if (f->has_load)
        json_object_set_new(object, "load", json_pack("[f, f, f]", f->load[0], f->load[1], f->load[2]));
    if (f->has_filesystems)
        json_object_set_new(object, "filesystems",
                            codec_guest_filesystems(f->filesystems, f->filesystem_count));
    return object;
}

static void lack(json_t *list, const char *figures, const char *reason)
{
    json_array_append_new(list, json_pack("{s:s, s:s}", "figures", figures, "reason", reason));
}

static void lack_of_process(json_t *list, const struct vm_sample *s)
{
    const struct host_process *p = &s->process;

    if (!s->has_process) {
        lack(list, "process, pages, ksm, storage rates",
             "the VM's process is not on this host, or libvirt has not told yet which it is");
        return;
    }
    if (!p->has_io)
        lack(list, "storage rates", "the daemon may not read /proc/PID/io of the VM's process");
    if (!p->has_ksm)
        lack(list, "ksm", *p->ksm_reason ? p->ksm_reason : "the kernel tells nothing about this process");
    if (s->dear->memory_sampled_at && !s->dear->memory.has_rollup)
        lack(list, "pages", "the daemon may not read /proc/PID/smaps_rollup of the VM's process");
}

json_t *codec_missing(const struct vm_sample *s)
{
    const struct vm_dear *d = s->dear;
    const struct host_pressure *p = &d->memory.pressure;
    json_t *list = json_array();

    lack_of_process(list, s);
    if (!d->virt_sampled_at) {
        lack(list, "hypervisor", "libvirt has not been asked yet, or gave nothing");
        return list;
    }
    if (!p->has_cpu && !p->has_memory && !p->has_io)
        lack(list, "pressure", "the VM has no control group of its own here, or the kernel has no PSI");
    if (!d->virt.has_guest_memory)
        lack(list, "memory inside the guest", "the guest's balloon driver has reported nothing");
    if (!d->virt.has_vcpu_wait)
        lack(list, "vCPU wait and delay", "this libvirt or its driver does not give them");
    if (!s->inside)
        lack(list, "guest", "no guest agent of this VM has answered yet");
    return list;
}

json_t *codec_dirty_rate(const struct guest_dirty *d)
{
    return json_pack("{s:s, s:o, s:I, s:I}", "vm_id", d->vm_id, "measured_at",
                     codec_time(d->measured_at), "seconds", (json_int_t)d->seconds,
                     "bytes_per_second", (json_int_t)d->bytes_per_second);
}

int codec_decode_dirty_rate(const json_t *body, int64_t *ret_seconds, struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "seconds", .kind = DOC_INT, .min = 1, .max = 60},
    };

    return doc_decode(body, "", fields, DOC_COUNT(fields), ret_seconds, err);
}
