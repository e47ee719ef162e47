/*
 * One VM from its domain: whole from the note, else as far as the definition goes. What the daemon
 * keeps below the state directory (disks' sizes, the seed) is read there.
 */
#include "service/vm/rebuild_internal.h"

#include <endian.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db/store.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/json/doc.h"
#include "service/vm/seed.h"

#define GIB (1024LL * 1024 * 1024)

void rebuilt_lose(struct rebuilt *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    strbuf_addf(&r->lost, "%s%s", r->lost.len ? "; " : "", text);
}

void rebuilt_done(struct rebuilt *r)
{
    vm_note_done(&r->note);
    strbuf_done(&r->lost);
}

int64_t rebuilt_qcow2_bytes(const char *path)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    unsigned char head[32];
    uint64_t size;

    if (fd < 0 || pread(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) || memcmp(head, "QFI\xfb", 4) != 0)
        return 0;
    memcpy(&size, head + 24, sizeof(size));
    size = be64toh(size);
    return size <= INT64_MAX ? (int64_t)size : 0;
}

static const char *last_part(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;

    return slash ? slash + 1 : "";
}

/* "…/vms/ID/root.qcow2" -> ID */
static bool vm_of_path(const char *path, char ret[UUID_TEXT])
{
    const char *name = last_part(path);
    size_t len = strlen(path) - strlen(name);

    if (len < UUID_TEXT + 1)
        return false;
    memcpy(ret, path + len - UUID_TEXT, UUID_TEXT - 1);
    ret[UUID_TEXT - 1] = '\0';
    return uuid_is_valid(ret);
}

/* ---- the image ---- */

/* The bytes' file is named by their digest; false: that is none of ours. */
static bool take_file(const char *state_dir, const char *path, enum image_part part, bool qcow2,
                      struct note_image *image)
{
    struct image_file *f = &image->files[part];
    const char *name = last_part(path);
    auto_free char *own = xasprintf("%s/images/%s", state_dir, name);
    struct stat st;

    if (strlen(name) != SECRET_SHA256_TEXT - 1 || strspn(name, "0123456789abcdef") != SECRET_SHA256_TEXT - 1 ||
        stat(own, &st))
        return false;
    f->present = true;
    str_copy_utf8(f->sha256, sizeof(f->sha256), name);
    f->size_bytes = st.st_size;
    f->virtual_size_bytes = part != IMAGE_CONTENT ? 0 : qcow2 ? rebuilt_qcow2_bytes(own) : st.st_size;
    return true;
}

static const struct virt_found_disk *find_disk(const struct virt_found *from, const char *name)
{
    for (size_t i = 0; i < from->disk_count; i++) {
        if (str_eq(last_part(from->disks[i].path), name))
            return &from->disks[i];
    }
    return NULL;
}

static const struct virt_found_disk *find_cdrom(const struct virt_found *from)
{
    for (size_t i = 0; i < from->disk_count; i++) {
        if (from->disks[i].cdrom)
            return &from->disks[i];
    }
    return NULL;
}

static bool image_of(const char *state_dir, const struct virt_found *from, struct note_image *image)
{
    const struct virt_found_disk *root = find_disk(from, "root.qcow2"), *cdrom = find_cdrom(from);

    if (from->kernel) {
        image->kind = IMAGE_KERNEL;
        if (from->initrd)
            (void)take_file(state_dir, from->initrd, IMAGE_INITRD_PART, false, image);
        return take_file(state_dir, from->kernel, IMAGE_KERNEL_PART, false, image);
    }
    if (root && root->base) {
        bool qcow2 = root->base_format == VIRT_DISK_QCOW2;

        image->kind = IMAGE_DISK;
        image->format = qcow2 ? IMAGE_FORMAT_QCOW2 : IMAGE_FORMAT_RAW;
        return take_file(state_dir, root->base, IMAGE_CONTENT, qcow2, image);
    }
    image->kind = IMAGE_ISO;
    return cdrom && take_file(state_dir, cdrom->path, IMAGE_CONTENT, false, image);
}

static void name_image(struct rebuilt *r)
{
    struct note_image *image = &r->note.image;
    enum image_part part = image->kind == IMAGE_KERNEL ? IMAGE_KERNEL_PART : IMAGE_CONTENT;

    image->cmdline = xstrdup(r->from->cmdline ? r->from->cmdline : "");
    str_copy_utf8(image->project_id, sizeof(image->project_id), PROJECT_DEFAULT);
    snprintf(image->name, sizeof(image->name), "rebuilt-%.12s", image->files[part].sha256);
    rebuilt_lose(r, "the name of its image, which is %s now", image->name);
}

/* ---- the definition ---- */

static json_t *disks_json(const struct virt_found *from)
{
    json_t *list = json_array();

    for (size_t i = 0; i < VM_DISKS_MAX; i++) {
        char name[32];
        const struct virt_found_disk *d;
        int64_t bytes;

        snprintf(name, sizeof(name), "disk-%zu.qcow2", i);
        d = find_disk(from, name);
        if (!d)
            break;
        bytes = rebuilt_qcow2_bytes(d->path);
        (void)json_array_append_new(list, json_pack("{s:I}", "size_gib",
                                                    (json_int_t)(bytes > GIB ? (bytes + GIB - 1) / GIB : 1)));
    }
    return list;
}

static json_t *networks_json(const struct virt_found *from)
{
    static const char *const modes[] = {
        [VIRT_NIC_USER] = "user", [VIRT_NIC_BRIDGE] = "bridge", [VIRT_NIC_NETWORK] = "network"};
    json_t *list = json_array();

    for (size_t i = 0; i < from->nic_count; i++) {
        const struct virt_found_nic *n = &from->nics[i];

        (void)json_array_append_new(list, json_pack("{s:s,s:s*,s:s}", "mode", modes[n->mode], "source",
                                                    n->mode == VIRT_NIC_USER ? NULL : n->source, "mac", n->mac));
    }
    return list;
}

static json_t *channels_json(const struct virt_found *from)
{
    json_t *list = json_array();

    for (size_t i = 0; i < from->channel_count; i++)
        (void)json_array_append_new(list, json_string(from->channels[i]));
    return list;
}

/* A domain whose VM's name was another's for a moment is called NAME.ID8. */
static void name_of(const struct virt_found *from, char ret[VM_NAME_MAX + 1])
{
    size_t len = strlen(from->name);
    char suffix[16];

    snprintf(suffix, sizeof(suffix), ".%.8s", from->uuid);
    str_copy_utf8(ret, VM_NAME_MAX + 1, from->name);
    if (len > strlen(suffix) && len - strlen(suffix) <= VM_NAME_MAX &&
        str_eq(from->name + len - strlen(suffix), suffix))
        ret[len - strlen(suffix)] = '\0';
    if (!vm_spec_name_ok(ret))
        snprintf(ret, VM_NAME_MAX + 1, "vm-%.8s", from->uuid);
}

static json_t *spec_json(const struct virt_found *from, const char *image)
{
    char name[VM_NAME_MAX + 1];

    name_of(from, name);
    return json_pack("{s:s,s:s,s:I,s:I,s:s,s:s,s:s?,s:s?,s:i,s:b,s:b,s:b,s:b,s:b,s:o,s:o,s:o}", "name", name,
                     "description", from->description ? from->description : "", "cpus", (json_int_t)from->cpus,
                     "memory_mib", (json_int_t)from->memory_mib, "machine", from->machine, "firmware",
                     from->uefi ? "uefi" : "bios", "image", image, "cmdline", from->kernel ? from->cmdline : NULL,
                     "serial_ports", from->serial_ports ? (int)from->serial_ports : 1, "guest_agent",
                     from->guest_agent, "vsock", from->vsock_cid != 0, "display", from->display, "memory_merge",
                     from->memory_merge, "cloud_init", find_disk(from, "seed.iso") != NULL, "disks",
                     disks_json(from), "networks", networks_json(from), "channels", channels_json(from));
}

static int read_definition(const char *state_dir, struct rebuilt *r, struct error *err)
{
    const struct virt_found *from = r->from;
    const struct virt_found_disk *root = find_disk(from, "root.qcow2");
    struct vm_note *note = &r->note;
    auto_json json_t *spec = NULL;

    note->has_image = image_of(state_dir, from, &note->image);
    if (note->has_image)
        name_image(r);
    else if (from->kernel || (root && root->base))
        return error_set(err, ERROR_VALIDATION_FAILED, "the image that it stands on is not below %s", state_dir);
    /* A root disk that stands alone is told by an image that is none any more. */
    spec = spec_json(from, note->has_image ? note->image.name : root ? "flattened" : NULL);
    if (vm_spec_decode(spec, &note->spec, NULL, err))
        return -1;
    if (root && root->backing && root->base && !str_eq(root->backing, root->base) &&
        !vm_of_path(root->backing, note->template_id))
        return error_set(err, ERROR_VALIDATION_FAILED, "what its root disk stands on is not known");
    str_copy_utf8(note->project_id, sizeof(note->project_id), PROJECT_DEFAULT);
    str_copy_utf8(note->project_name, sizeof(note->project_name), PROJECT_DEFAULT);
    note->created_at = clock_wall_ms();
    rebuilt_lose(r, "labels, project, SSH keys, ready pattern, autostart, what a shutdown of the host does with it, "
                    "when it was created and whose quota it counts against, since its domain was defined before those "
                    "were noted there");
    return 0;
}

/* ---- what is beside the disks ---- */

static void read_seed(const char *state_dir, struct rebuilt *r)
{
    struct vm_note *note = &r->note;
    auto_free char *path = xasprintf("%s/vms/%s/seed.iso", state_dir,
                                     *note->template_id ? note->template_id : r->from->uuid);
    struct error err = ERROR_INIT;

    if (!note->has_user_data && (r->whole || !file_exists(path)))
        return;
    if (seed_read_user_data(path, &note->spec->user_data, &err))
        rebuilt_lose(r, "user data: %s", err.detail);
    else if (note->has_user_data && !note->spec->user_data)
        rebuilt_lose(r, "user data");
}

static void look_at_disks(const char *state_dir, struct rebuilt *r)
{
    const struct virt_found *from = r->from;
    auto_free char *root = xasprintf("%s/vms/%s/root.qcow2", state_dir, from->uuid);
    int64_t bytes = rebuilt_qcow2_bytes(root);

    if (bytes)
        r->note.root_disk_bytes = bytes;
    for (size_t i = 0; i < from->disk_count; i++) {
        if (!file_exists(from->disks[i].path))
            rebuilt_lose(r, "%s is not there", from->disks[i].path);
    }
}

int rebuilt_read(const char *state_dir, struct rebuilt *r, struct error *err)
{
    struct error why = ERROR_INIT;

    r->whole = r->from->note && vm_note_read(r->from->note, &r->note, &why) == 0;
    if (!r->whole) {
        if (r->from->note)
            rebuilt_lose(r, "the note in its domain cannot be read: %s", why.detail);
        vm_note_done(&r->note);
        if (read_definition(state_dir, r, err))
            return -1;
    }
    str_copy_utf8(r->name, sizeof(r->name), r->note.spec->name);
    read_seed(state_dir, r);
    look_at_disks(state_dir, r);
    if (*r->note.set)
        rebuilt_lose(r, "its place in the set %s", r->note.set);
    if (r->note.pooled)
        rebuilt_lose(r, "its pool or lease; it is a VM like any other now");
    return 0;
}
