/*
 * From a definition to what libvirt is told: disks on this host, acceleration, the domain.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/fd.h"
#include "service/base/fault.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "service/vm/note.h"
#include "service/vm/project.h"
#include "service/vm/seed.h"
#include "service/vsock/vsock.h"

#define GIB (1024LL * 1024 * 1024)
#define REMOVE_TRIES 32

char *vm_dir(struct core *core, const char *vm_id)
{
    return xasprintf("%s/vms/%s", core->state_dir, vm_id);
}

char *vm_stream_socket(struct core *core, const char *vm_id, const char *stream)
{
    auto_free char *dir = vm_dir(core, vm_id);
    auto_free char *path = NULL;
    char hash[SECRET_SHA256_TEXT];

    /* A channel's name is longer than what is left of a socket's path. */
    secret_sha256_text(stream, strlen(stream), hash);
    path = str_eq(stream, "console") ? xasprintf("%s/console.sock", dir)
                                     : xasprintf("%s/%.16s.sock", dir, hash);
    return strlen(path) <= VIRT_SOCKET_MAX ? TAKE_PTR(path) : NULL;
}

char *vm_root_disk(struct core *core, const char *vm_id)
{
    return xasprintf("%s/vms/%s/root.qcow2", core->state_dir, vm_id);
}

static char *data_disk_path(struct core *core, const char *vm_id, size_t i)
{
    return xasprintf("%s/vms/%s/disk-%zu.qcow2", core->state_dir, vm_id, i);
}

/* What the guest has read of its seed is in its memory, so one with a template keeps that one's. */
static char *seed_path(struct core *core, const struct vm *vm)
{
    return xasprintf("%s/vms/%s/seed.iso", core->state_dir,
                     *vm->template_id ? vm->template_id : vm->id);
}

/* The image a VM refers to, by the id fixed at its creation; NULL without one. */
static int vm_image(struct core *core, const struct vm *vm, struct image **ret, struct error *err)
{
    *ret = NULL;
    if (!*vm->image_id)
        return 0;
    *ret = image_find(core, vm->project_id, vm->image_id, err);
    if (!*ret)
        return -1;
    if ((*ret)->state != IMAGE_READY && (*ret)->state != IMAGE_RETIRED) {
        const char *reason = (*ret)->state_reason;

        error_set_at(err, ERROR_IMAGE_STATE_CONFLICT, "/image", "the image %s is %s%s%s", (*ret)->name,
                     image_state_name((*ret)->state), *reason ? ": " : "", reason);
        error_remedy(err, "Upload its content first; the same bytes again repair what has rotted.");
        image_unref(*ret);
        *ret = NULL;
        return -1;
    }
    return 0;
}

/* A guest whose disks were made anew is another instance, which boots for the first time. */
static int write_seed(const char *path, const struct vm *vm, struct error *err)
{
    auto_free char *instance = vm->reimaged ? xasprintf("%s-%lld", vm->id, (long long)vm->reimaged)
                                            : xstrdup(vm->id);
    bool in_set = *vm->place.set_id;
    const struct seed_identity identity = {.instance_id = instance,
                                           .set = in_set ? vm->place.set_name : NULL,
                                           .machine = vm->place.machine,
                                           .member = vm->place.member};

    return seed_write(path, vm->spec, &identity, err);
}

/* 1, 0, -1. A crash right after it got its name left the name it was made under. */
static int is_made(const char *path, struct error *err)
{
    auto_free char *made_as = xasprintf("%s.part", path);

    if (!file_exists(path))
        return 0;
    return file_remove(made_as, err) ? -1 : 1;
}

static int ensure_root(struct core *core, const struct vm *vm, const struct image *image,
                       struct error *err)
{
    auto_free char *path = vm_root_disk(core, vm->id), *base = NULL;
    int rc = is_made(path, err);

    if (rc)
        return rc < 0 ? -1 : 0;
    if (!*vm->template_id)
        return image_overlay_create(core, image, path, vm->spec->root_disk_gib * GIB, err);
    base = vm_root_disk(core, vm->template_id);
    return image_overlay_on_disk(base, path, err);
}

static int ensure_data(struct core *core, const struct vm *vm, size_t i, struct error *err)
{
    auto_free char *path = data_disk_path(core, vm->id, i), *base = NULL;
    int rc = is_made(path, err);

    if (rc)
        return rc < 0 ? -1 : 0;
    base = *vm->template_id ? data_disk_path(core, vm->template_id, i) : NULL;
    /* One that was added later stands alone. */
    return base && file_exists(base)
               ? image_overlay_on_disk(base, path, err)
               : image_blank_create(core, path, vm->spec->disks[i].size_gib * GIB, err);
}

int vm_disks_ensure(struct core *core, const struct vm *vm, struct error *err)
{
    auto_free char *dir = vm_dir(core, vm->id);
    auto_image struct image *image = NULL;

    /* Others pass through, so that a libvirtd's QEMU, another user, reaches the disks it is given. */
    if (vm_image(core, vm, &image, err) || dir_ensure(dir, 0711, err))
        return -1;
    if (image && image->kind == IMAGE_DISK && ensure_root(core, vm, image, err))
        return -1;
    for (size_t i = 0; i < vm->spec->disk_count; i++) {
        if (ensure_data(core, vm, i, err))
            return -1;
    }
    if (vm_spec_has_seed(vm->spec) && !*vm->template_id) {
        auto_free char *path = seed_path(core, vm);

        if (write_seed(path, vm, err))
            return -1;
    }
    return dir_sync(dir, err);
}

/* 1 when something was put there meanwhile, 0, -1. */
static int remove_files(const char *dir, const char *vm_id, struct error *err)
{
    auto_closedir DIR *d = opendir(dir);
    const struct dirent *entry;

    if (!d)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot open %s", dir);
    while ((entry = readdir(d))) {
        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
            continue;
        if (unlinkat(dirfd(d), entry->d_name, 0) && errno != ENOENT)
            return error_errno(err, errno, "cannot remove %s of VM %s", entry->d_name, vm_id);
        CRASH_POINT(DELETE_FILE_GONE);
    }
    if (rmdir(dir) && errno != ENOENT)
        return errno == ENOTEMPTY ? 1 : error_errno(err, errno, "cannot remove %s", dir);
    return 0;
}

/*
 * Who saw the guest run a moment ago (the tracker, a transfer that waits for the agent) may put a
 * socket or a nameless file there in between. Each does so once, and then finds no directory.
 */
int vm_disks_remove(struct core *core, const char *vm_id, struct error *err)
{
    auto_free char *dir = vm_dir(core, vm_id);
    int rc = 1;

    if (SEEDED_BUG(KEEP_FILES))
        return 0;
    for (int i = 0; i < REMOVE_TRIES && rc > 0; i++)
        rc = remove_files(dir, vm_id, err);
    if (rc > 0)
        return error_errno(err, ENOTEMPTY, "cannot remove %s", dir);
    return rc ? -1 : dir_sync(dir, err);
}

static int choose(struct core *core, const struct vm *vm, const struct virt_host *host,
                  struct vm_domain_choice *ret, struct error *err)
{
    struct host_kvm kvm = {0};

    *ret = (struct vm_domain_choice){0};
    if (vm->spec->acceleration == VM_ACCELERATION_EMULATED) {
        str_copy_utf8(ret->reason, sizeof(ret->reason), "the definition asks for emulation");
        return 0;
    }
    host_kvm_probe(core->host, &kvm);
    if (kvm.usable && !host->kvm) {
        kvm.usable = false;
        str_copy_utf8(kvm.detail, sizeof(kvm.detail), "libvirt does not offer KVM on this connection");
    }
    if (kvm.usable && kvm.limited && vm->spec->acceleration == VM_ACCELERATION_AUTO) {
        str_copy_utf8(ret->reason, sizeof(ret->reason), kvm.detail);
        return 0;
    }
    ret->kvm = kvm.usable;
    if (kvm.usable)
        return 0;
    str_copy_utf8(ret->reason, sizeof(ret->reason), kvm.detail);
    if (vm->spec->acceleration == VM_ACCELERATION_KVM) {
        error_set_at(err, ERROR_NOT_SUPPORTED_BY_HOST, "/acceleration", "KVM cannot be used: %s",
                     kvm.detail);
        error_remedy(err, "%s", *kvm.fix ? kvm.fix : "Use acceleration auto or emulated.");
        return -1;
    }
    return 0;
}

/* Everything a struct virt_domain points to, so that it can be freed in one place. */
struct parts {
    struct virt_disk disks[VM_DISKS_MAX + 3];
    struct virt_backing root_chain[2], data_base[VM_DISKS_MAX];
    struct virt_nic nics[VM_NETWORKS_MAX];
    const char *channel_sockets[VM_CHANNELS_MAX], *serial_sockets[VM_SERIALS_MAX], *oem[2];
    char *paths[2 * VM_DISKS_MAX + VM_CHANNELS_MAX + VM_SERIALS_MAX + 12];
    size_t path_count;
    struct image *image;
    struct virt_domain d;
};

static void parts_done(struct parts *p)
{
    image_unref(p->image);
    for (size_t i = 0; i < p->path_count; i++)
        free(p->paths[i]);
}

static const char *keep(struct parts *p, char *path)
{
    p->paths[p->path_count++] = path;
    return path;
}

static enum virt_disk_format disk_format(const struct image *image)
{
    return image->format == IMAGE_FORMAT_QCOW2 ? VIRT_DISK_QCOW2 : VIRT_DISK_RAW;
}

static void add_image(struct core *core, const struct vm *vm, const struct image *image,
                      struct virt_domain *d, struct parts *p)
{
    size_t chain = 0;

    switch (image->kind) {
    case IMAGE_KERNEL:
        d->kernel = keep(p, image_path(core, image, IMAGE_KERNEL_PART));
        if (image->files[IMAGE_INITRD_PART].present)
            d->initrd = keep(p, image_path(core, image, IMAGE_INITRD_PART));
        d->cmdline = vm->spec->cmdline ? vm->spec->cmdline : image->cmdline;
        break;
    case IMAGE_DISK:
        if (*vm->template_id)
            p->root_chain[chain++] =
                (struct virt_backing){.path = keep(p, vm_root_disk(core, vm->template_id)),
                                      .format = VIRT_DISK_QCOW2};
        p->root_chain[chain++] =
            (struct virt_backing){.path = keep(p, image_path(core, image, IMAGE_CONTENT)),
                                  .format = disk_format(image)};
        p->disks[d->disk_count++] = (struct virt_disk){.path = keep(p, vm_root_disk(core, vm->id)),
                                                       .format = VIRT_DISK_QCOW2,
                                                       .backing = p->root_chain,
                                                       .backing_count = chain};
        break;
    case IMAGE_ISO:
        p->disks[d->disk_count++] =
            (struct virt_disk){.path = keep(p, image_path(core, image, IMAGE_CONTENT)),
                               .format = VIRT_DISK_RAW,
                               .cdrom = true,
                               .read_only = true};
        break;
    case IMAGE_KIND_COUNT:
        break;
    }
}

static void add_data_disk(struct core *core, const struct vm *vm, size_t i, struct virt_domain *d,
                          struct parts *p)
{
    struct virt_disk *disk = &p->disks[d->disk_count++];
    char *base;

    *disk = (struct virt_disk){.path = keep(p, data_disk_path(core, vm->id, i)),
                               .format = VIRT_DISK_QCOW2};
    if (!*vm->template_id)
        return;
    base = data_disk_path(core, vm->template_id, i);
    if (!file_exists(base)) {
        free(base);
        return;
    }
    p->data_base[i] = (struct virt_backing){.path = keep(p, base), .format = VIRT_DISK_QCOW2};
    disk->backing = &p->data_base[i];
    disk->backing_count = 1;
}

static void add_devices(struct core *core, const struct vm *vm, struct virt_domain *d,
                        struct parts *p)
{
    const struct vm_spec *spec = vm->spec;
    const char *keys;
    char cause[256];

    for (size_t i = 0; i < spec->disk_count; i++)
        add_data_disk(core, vm, i, d, p);
    for (size_t i = 0; i < spec->network_count; i++) {
        const struct vm_network *n = &spec->networks[i];

        p->nics[d->nic_count++] = (struct virt_nic){
            .mode = (enum virt_nic_mode)n->mode, .source = n->source, .mac = n->mac};
    }
    if (vm_spec_has_seed(spec))
        /* No CD: the kernels of cloud images have no driver for its controller. */
        p->disks[d->disk_count++] = (struct virt_disk){
            .path = keep(p, seed_path(core, vm)), .format = VIRT_DISK_RAW, .read_only = true};
    d->smbios_oem = p->oem;
    keys = keep(p, seed_smbios_keys(spec));
    if (keys)
        p->oem[d->smbios_oem_count++] = keys;
    d->disks = p->disks;
    d->nics = p->nics;
    d->channels = (const char *const *)spec->channels;
    d->channel_count = spec->channel_count;
    d->console_socket = keep(p, vm_stream_socket(core, vm->id, "console"));
    d->channel_sockets = p->channel_sockets;
    if (spec->guest_agent)
        d->agent_socket = keep(p, vm_stream_socket(core, vm->id, GUEST_STREAM));
    for (size_t i = 0; i < spec->channel_count; i++) {
        auto_free char *stream = xasprintf("channels/%s", spec->channels[i]);

        p->channel_sockets[i] = keep(p, vm_stream_socket(core, vm->id, stream));
    }
    d->extra_serials = (unsigned)spec->serial_ports - 1;
    d->serial_sockets = p->serial_sockets;
    for (unsigned i = 0; i < d->extra_serials; i++) {
        char stream[32];

        snprintf(stream, sizeof(stream), "serial/%u", i + 1);
        p->serial_sockets[i] = keep(p, vm_stream_socket(core, vm->id, stream));
    }
    /* A device the host cannot back would keep the guest from starting; GET /v1/host says why. */
    if (spec->vsock && host_vsock_usable(core->host, cause, sizeof(cause)))
        d->vsock_cid = vm->vsock_cid;
    if (d->vsock_cid && notifier_port(core->notifier)) {
        /* systemd reads it from the firmware's tables and says so there when it has started. */
        p->oem[d->smbios_oem_count++] =
            keep(p, xasprintf("io.systemd.credential:vmm.notify_socket=vsock-stream:%u:%u",
                                      VSOCK_CID_HOST, notifier_port(core->notifier)));
    }
    if (spec->display) {
        d->vnc_socket = keep(p, vm_stream_socket(core, vm->id, "display"));
        if (!d->vnc_socket)
            d->vnc_socket = "";
    }
}

/* What libvirt is told; borrows from ret, which is to be done with also after a failure. */
static int describe(struct core *core, const struct vm *vm, bool kvm, enum vm_merges merges,
                    struct parts *ret, struct error *err)
{
    const struct vm_spec *spec = vm->spec;
    char project[PROJECT_NAME_SIZE];

    ret->d = (struct virt_domain){
        .uuid = vm->id,
        .name = spec->name,
        .description = *spec->description ? spec->description : NULL,
        .generation = (uint64_t)vm->generation,
        .cpus = (unsigned)spec->cpus,
        .memory_mib = (uint64_t)spec->memory_mib,
        .machine = spec->machine,
        .uefi = spec->firmware == VM_FIRMWARE_UEFI,
        .guest_agent = spec->guest_agent,
        .memory_merge = merges == VM_MERGES_YES,
        .kvm = kvm,
    };
    if (vm_image(core, vm, &ret->image, err))
        return -1;
    if (ret->image)
        add_image(core, vm, ret->image, &ret->d, ret);
    else if (spec->image) /* flattened: its root disk stands alone */
        ret->disks[ret->d.disk_count++] = (struct virt_disk){
            .path = keep(ret, vm_root_disk(core, vm->id)), .format = VIRT_DISK_QCOW2};
    add_devices(core, vm, &ret->d, ret);
    project_name(core, vm->project_id, project);
    ret->d.note = keep(ret, vm_note_text(vm, project, ret->image));
    return 0;
}

int vm_domain_define(struct core *core, const struct vm *vm, enum vm_merges merges,
                     struct vm_domain_choice *ret, struct error *err)
{
    auto_scope(parts_done) struct parts parts = {0};
    struct virt_host host;

    if (virt_host_info(core->virt, &host, err) || choose(core, vm, &host, ret, err) ||
        describe(core, vm, ret->kvm, merges, &parts, err))
        return -1;
    return virt_define(core->virt, &parts.d, err);
}

int vm_domain_clone(struct core *core, const struct vm *vm, struct error *err)
{
    auto_scope(parts_done) struct parts parts = {0};
    auto_free char *dir = vm_dir(core, vm->id), *fifo = xasprintf("%s/memory.pipe", dir);

    if (describe(core, vm, str_eq(vm->acceleration, "kvm"), vm->merges, &parts, err))
        return -1;
    return virt_clone(core->virt, &parts.d, vm->template_id, fifo, err);
}
