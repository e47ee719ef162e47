/*
 * The host, its checks, and the daemon's own health as JSON.
 */
#include "api/codec/codec.h"

#include <stdlib.h>

#include "service/json/doc.h"

static void put(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value))
        abort();
}

/* Text that is there only when it says something. */
static void put_text(json_t *object, const char *name, const char *text)
{
    if (*text)
        put(object, name, json_string(text));
}

static json_t *host_memory(const struct codec_host *h)
{
    const struct host_memory *m = &h->memory;

    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I}", "total_bytes", (json_int_t)m->total_bytes, "free_bytes",
        (json_int_t)m->free_bytes, "available_bytes", (json_int_t)m->available_bytes,
        "promised_bytes", (json_int_t)h->promised_bytes, "swap_total_bytes",
        (json_int_t)m->swap_total_bytes, "swap_free_bytes", (json_int_t)m->swap_free_bytes);
}

static json_t *acceleration(const struct codec_host *h)
{
    /*
     * What `auto` gets. libvirt has the last word: a KVM that it does not offer is of no use, and
     * neither is one under which ordinary systems hang.
     */
    bool offered = !h->virt || h->virt->kvm, kvm = h->kvm.usable && !h->kvm.limited && offered;
    json_t *object =
        json_pack("{s:s, s:b}", "mode", kvm ? "kvm" : "emulated", "nested", h->kvm.nested);

    if (kvm)
        return object;
    if (h->kvm.usable && !offered) {
        put(object, "cause", json_string("not-offered"));
        put(object, "detail",
            json_string("/dev/kvm works, but this libvirt driver does not offer KVM"));
        return object;
    }
    put_text(object, "cause", h->kvm.limited && !*h->kvm.cause ? "limited" : h->kvm.cause);
    put_text(object, "detail", h->kvm.detail);
    put_text(object, "fix", h->kvm.fix);
    return object;
}

static json_t *libvirt(const struct codec_host *h)
{
    json_t *object = json_pack("{s:b}", "connected", h->libvirt_up);
    json_t *machines;

    if (!h->libvirt_up)
        put_text(object, "reason", h->libvirt_reason);
    if (!h->virt)
        return object;
    put_text(object, "version", h->virt->libvirt_version);
    put_text(object, "driver", h->virt->driver);
    put_text(object, "qemu_version", h->virt->qemu_version);
    put_text(object, "uri", h->virt->uri);
    machines = json_array();
    for (unsigned i = 0; i < h->virt->machine_count; i++)
        json_array_append_new(machines, json_string(h->virt->machines[i]));
    put(object, "machines", machines);
    return object;
}

json_t *codec_host(const struct codec_host *h)
{
    json_t *vsock = json_pack("{s:b}", "usable", h->vsock);
    json_t *ksm = json_pack("{s:b}", "available", h->ksm->available);
    json_t *object;

    if (!h->vsock)
        put_text(vsock, "cause", h->vsock_cause);
    if (h->ksm->has[HOST_KSM_run])
        put(ksm, "running", json_boolean(h->ksm->value[HOST_KSM_run] == 1));
    object = json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:{s:I, s:I}}", "id", "local",
                       "hostname", h->hostname, "server_version", DROVER_VERSION, "kernel",
                       h->kernel, "cpus", (json_int_t)h->cpus, "acceleration", acceleration(h),
                       "vsock", vsock, "ksm", ksm, "libvirt", libvirt(h), "vms", "total",
                       (json_int_t)h->vms_total, "running", (json_int_t)h->vms_running);
    if (!object)
        abort();
    if (h->virt)
        put_text(object, "arch", h->virt->arch);
    if (h->memory.ok)
        put(object, "memory", host_memory(h));
    if (h->memory.has_hugepages)
        put(object, "hugepages",
            json_pack("{s:I, s:I, s:I}", "total", (json_int_t)h->memory.hugepages_total, "free",
                      (json_int_t)h->memory.hugepages_free, "size_bytes",
                      (json_int_t)h->memory.hugepage_size_bytes));
    if (h->has_disk)
        put(object, "disk",
            json_pack("{s:I, s:I}", "free_bytes", (json_int_t)h->disk_free_bytes, "total_bytes",
                      (json_int_t)h->disk_total_bytes));
    return object;
}

json_t *codec_check(const struct host_check *c)
{
    static const char *const results[] = {
        [HOST_CHECK_OK] = "ok", [HOST_CHECK_WARNING] = "warning", [HOST_CHECK_FAILED] = "failed"};
    json_t *object = json_pack("{s:s, s:s, s:b, s:s}", "id", c->id, "title", c->title, "ok",
                               c->result == HOST_CHECK_OK, "result", results[c->result]);

    put_text(object, "cause", c->cause);
    put_text(object, "detail", c->detail);
    put_text(object, "fix", c->fix);
    return object;
}

json_t *codec_liveness(void)
{
    return json_pack("{s:s}", "status", "ok");
}

json_t *codec_readiness(const struct core_part *parts, size_t count, bool ready)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        json_t *part = json_pack("{s:s, s:b}", "name", parts[i].name, "ok", parts[i].ok);

        if (!parts[i].ok)
            put_text(part, "cause", parts[i].cause);
        json_array_append_new(list, part);
    }
    return json_pack("{s:s, s:o}", "status", ready ? "ready" : "unready", "parts", list);
}

json_t *codec_api(void)
{
    return json_pack("{s:[s], s:s, s:[s, s, s, s, s, s, s]}", "versions", "v1", "server_version",
                     DROVER_VERSION, "features", "channels", "console-v1", "events-sse",
                     "events-websocket", "idempotency-keys", "images", "ksm");
}
