/*
 * The machine below: what it has, and what works on it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/host/host.h"
#include "service/virt/virt.h"
#include "service/vm/core.h"
#include "service/vm/sampler.h"

#define CHECKS_MAX 24

static bool occupies_memory(const struct vm *vm)
{
    switch (vm->state) {
    case VM_STATE_STARTING:
    case VM_STATE_RUNNING:
    case VM_STATE_PAUSED:
    case VM_STATE_STOPPING:
        return true;
    default:
        return false;
    }
}

static void count_vms(struct request *req, struct codec_host *h)
{
    struct vm_filter filter = {
        .project_id = req->principal.project_id, .state = -1, .limit = SIZE_MAX};
    struct vm **vms;
    size_t count;
    bool more;

    vm_list(req->core, &filter, &vms, &count, &more);
    h->vms_total = count;
    for (size_t i = 0; i < count; i++) {
        h->vms_running += vms[i]->state == VM_STATE_RUNNING;
        if (occupies_memory(vms[i]))
            h->promised_bytes += (uint64_t)vms[i]->spec->memory_mib << 20;
        vm_unref(vms[i]);
    }
    free(vms);
}

/* What libvirt says about the host; false, with the reason, when it is away. */
static bool ask_libvirt(struct request *req, struct virt_host *ret, char *reason, size_t size)
{
    struct virt *virt = core_virt(req->core);
    struct error err = ERROR_INIT;

    if (!virt_is_up(virt, reason, size))
        return false;
    if (!virt_host_info(virt, ret, &err))
        return true;
    snprintf(reason, size, "%s", *err.detail ? err.detail : error_title(err.code));
    return false;
}

int handle_host(struct request *req, struct response *res, struct error *err)
{
    struct host *host = core_host(req->core);
    auto_free struct virt_host *virt = xcalloc(1, sizeof(*virt));
    auto_free struct codec_host *h = xcalloc(1, sizeof(*h));
    auto_snapshot struct snapshot *snapshot = sampler_latest(core_sampler(req->core));

    (void)err;
    h->cpus = host_cpu_count(host);
    host_kernel(host, h->kernel, sizeof(h->kernel));
    if (gethostname(h->hostname, sizeof(h->hostname) - 1))
        *h->hostname = '\0';
    host_memory_read(host, &h->memory);
    host_kvm_probe(host, &h->kvm);
    h->vsock = host_vsock_usable(host, h->vsock_cause, sizeof(h->vsock_cause));
    h->ksm = &snapshot->ksm;
    h->has_disk = !host_disk_space(core_state_dir(req->core), &h->disk_free_bytes,
                                   &h->disk_total_bytes, &(struct error){0});
    h->libvirt_up = ask_libvirt(req, virt, h->libvirt_reason, sizeof(h->libvirt_reason));
    h->virt = h->libvirt_up ? virt : NULL;
    count_vms(req, h);
    response_json(res, 200, codec_host(h));
    return 0;
}

static bool has_check(const struct host_check *checks, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(checks[i].id, id))
            return true;
    }
    return false;
}

static void check_init(struct host_check *c, const char *id, const char *title)
{
    *c = (struct host_check){.result = HOST_CHECK_OK};
    snprintf(c->id, sizeof(c->id), "%s", id);
    snprintf(c->title, sizeof(c->title), "%s", title);
}

static void check_libvirt(struct host_check *c, const struct virt_host *virt, const char *reason)
{
    check_init(c, "libvirt", "libvirt");
    if (virt) {
        snprintf(c->detail, sizeof(c->detail), "%s, driver %s", virt->libvirt_version,
                 virt->driver);
        return;
    }
    c->result = HOST_CHECK_FAILED;
    snprintf(c->cause, sizeof(c->cause), "not-connected: %.230s", reason);
    snprintf(c->fix, sizeof(c->fix),
             "start libvirtd, or set libvirt_uri; Drover reconnects by itself");
}

static void check_qemu(struct host_check *c, const struct virt_host *virt)
{
    check_init(c, "qemu", "QEMU");
    if (virt && *virt->qemu_version) {
        snprintf(c->detail, sizeof(c->detail), "%s", virt->qemu_version);
        return;
    }
    c->result = virt ? HOST_CHECK_WARNING : HOST_CHECK_FAILED;
    if (virt) {
        snprintf(c->cause, sizeof(c->cause), "other-driver: libvirt's driver here is %s, not QEMU",
                 virt->driver);
        snprintf(c->fix, sizeof(c->fix), "use a libvirt_uri that begins with qemu:");
    } else {
        snprintf(c->cause, sizeof(c->cause), "unknown: libvirt is not connected");
        snprintf(c->fix, sizeof(c->fix), "apt-get install qemu-system-x86");
    }
}

int handle_host_checks(struct request *req, struct response *res, struct error *err)
{
    auto_free struct host_check *checks = xcalloc(CHECKS_MAX, sizeof(*checks));
    auto_free struct virt_host *virt = xcalloc(1, sizeof(*virt));
    char reason[256] = "";
    bool up = ask_libvirt(req, virt, reason, sizeof(reason));
    size_t count =
        host_checks(core_host(req->core), core_state_dir(req->core), checks, CHECKS_MAX - 2);
    json_t *items = json_array();

    (void)err;
    if (!has_check(checks, count, "libvirt"))
        check_libvirt(&checks[count++], up ? virt : NULL, reason);
    if (!has_check(checks, count, "qemu"))
        check_qemu(&checks[count++], up ? virt : NULL);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(items, codec_check(&checks[i]));
    response_json(res, 200, codec_list(items, NULL));
    return 0;
}
