/*
 * A VM's own disks, as qcow2 files that we write ourselves: a header, the tables of an empty disk
 * and nothing else. That takes no other program and no time, and the backing file's format is
 * always written down, so that nobody ever guesses it from bytes a guest could have written.
 *
 * Layout, in clusters of 64 KiB: header, reference count table, one reference count block, L1.
 */
#include "service/vm/image.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/fault.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/vm/image_import.h"

#define CLUSTER_BITS 16
#define CLUSTER      ((uint64_t)1 << CLUSTER_BITS)
#define L1_COVERS    (CLUSTER / 8 * CLUSTER) /* 512 MiB of disk for each entry */
#define ROUND        ((uint64_t)1 << 20)     /* firmware does not boot from a disk of one sector */
#define SIZE_MAX_    ((uint64_t)1 << 46)     /* 64 TiB: a first-level table of 1 MiB */
#define BACKING_MAX  1023                    /* QEMU's limit for the name */

#define EXTENSION_BACKING_FORMAT 0xe2792acaU

struct qcow2_header { /* version 3; big-endian */
    uint32_t magic, version;
    uint64_t backing_offset;
    uint32_t backing_size, cluster_bits;
    uint64_t size;
    uint32_t crypt_method, l1_size;
    uint64_t l1_offset, refcount_offset;
    uint32_t refcount_clusters, snapshots;
    uint64_t snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    uint32_t refcount_order, header_length;
    uint8_t compression, padding[7];
};
_Static_assert(sizeof(struct qcow2_header) == 112, "the qcow2 header has no holes");

struct disk {
    const char *backing; /* or NULL */
    const char *backing_format;
    uint64_t size;
};

static void add_u32(struct strbuf *b, uint32_t value)
{
    value = htobe32(value);
    strbuf_add(b, &value, sizeof(value));
}

static uint64_t l1_clusters(const struct disk *d)
{
    uint64_t entries = (d->size + L1_COVERS - 1) / L1_COVERS;

    return (entries * 8 + CLUSTER - 1) / CLUSTER;
}

/* The header's cluster: header, extensions, the name of the backing file. */
static void make_header(const struct disk *d, struct strbuf *b)
{
    struct qcow2_header h = {
        .magic = htobe32(0x514649fb),
        .version = htobe32(3),
        .cluster_bits = htobe32(CLUSTER_BITS),
        .size = htobe64(d->size),
        .l1_size = htobe32((uint32_t)((d->size + L1_COVERS - 1) / L1_COVERS)),
        .l1_offset = htobe64(3 * CLUSTER),
        .refcount_offset = htobe64(CLUSTER),
        .refcount_clusters = htobe32(1),
        .refcount_order = htobe32(4),
        .header_length = htobe32(sizeof(struct qcow2_header)),
    };

    strbuf_add(b, &h, sizeof(h));
    if (d->backing) {
        static const char zeros[8];
        size_t len = strlen(d->backing_format);

        add_u32(b, EXTENSION_BACKING_FORMAT);
        add_u32(b, (uint32_t)len);
        strbuf_add(b, d->backing_format, len);
        strbuf_add(b, zeros, (8 - len % 8) % 8);
    }
    add_u32(b, 0);
    add_u32(b, 0);
    if (d->backing) {
        h.backing_offset = htobe64(b->len);
        h.backing_size = htobe32((uint32_t)strlen(d->backing));
        memcpy(b->data, &h, sizeof(h));
        strbuf_adds(b, d->backing);
    }
}

static int put_at(int fd, const void *data, size_t len, uint64_t offset, struct error *err)
{
    ssize_t n = pwrite(fd, data, len, (off_t)offset);

    if (n == (ssize_t)len)
        return 0;
    return error_errno(err, n < 0 ? errno : ENOSPC, "cannot write the disk");
}

/* Everything that is not written is a hole and reads as zero: "not allocated". */
static int write_disk(int fd, const struct disk *d, struct error *err)
{
    auto_strbuf struct strbuf header = {0};
    uint64_t clusters = 3 + l1_clusters(d), block = htobe64(2 * CLUSTER);
    uint16_t counts[3 + 1 + 16]; /* one for each cluster of the file */

    make_header(d, &header);
    for (uint64_t i = 0; i < clusters; i++)
        counts[i] = htobe16(1);
    if (ftruncate(fd, (off_t)(clusters * CLUSTER)))
        return error_errno(err, errno, "cannot write the disk");
    if (put_at(fd, header.data, header.len, 0, err) ||
        put_at(fd, &block, sizeof(block), CLUSTER, err) ||
        put_at(fd, counts, clusters * sizeof(counts[0]), 2 * CLUSTER, err))
        return -1;
    CRASH_POINT(CREATE_DISK_WRITTEN);
    if (fsync(fd))
        return error_errno(err, errno, "cannot write the disk");
    return 0;
}

/*
 * A disk that is there holds what its guest wrote and is never touched. The new one appears under
 * its name when it is complete; link() refuses where rename() would replace.
 */
static int create_disk(const char *path, const struct disk *d, struct error *err)
{
    auto_free char *tmp = NULL;
    auto_close int fd = -1;
    int rc;

    tmp = xasprintf("%s.part", path);
    if (file_remove(tmp, err))
        return -1;
    if (file_exists(path)) /* perhaps since an attempt that was cut short before its sync */
        return dir_sync(path, err);
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot create the disk");
    rc = write_disk(fd, d, err);
    CRASH_POINT(CREATE_DISK_SYNCED);
    if (rc == 0 && link(tmp, path) && errno != EEXIST)
        rc = error_errno(err, errno, "cannot create the disk");
    CRASH_POINT(CREATE_DISK_LINKED);
    unlink(tmp);
    return rc ? rc : dir_sync(path, err);
}

static int disk_size(int64_t wanted, int64_t least, uint64_t *ret, struct error *err)
{
    uint64_t size = (uint64_t)(wanted > least ? wanted : least);

    if (wanted < 0 || size == 0 || size > SIZE_MAX_)
        return error_set(err, ERROR_VALIDATION_FAILED, "a disk has 1 byte to 64 TiB");
    *ret = (size + ROUND - 1) / ROUND * ROUND;
    return 0;
}

int image_overlay_create(struct core *core, const struct image *image, const char *path,
                         int64_t size_bytes, struct error *err)
{
    const struct image_file *content = &image->files[IMAGE_CONTENT];
    auto_free char *backing = NULL;
    struct disk d;

    if (image->kind != IMAGE_DISK || !content->present)
        return error_set(err, ERROR_IMAGE_STATE_CONFLICT, "the image %s has no disk", image->name);
    backing = image_path(core, image, IMAGE_CONTENT);
    if (backing[0] != '/' || strlen(backing) > BACKING_MAX)
        return error_set(err, ERROR_CONFIG,
                         "the state directory must be an absolute path of at most 900 bytes");
    if (!file_exists(backing))
        return error_set(err, ERROR_IMAGE_STATE_CONFLICT, "the content of the image %s is missing",
                         image->name);
    d = (struct disk){.backing = backing, .backing_format = image_format_name(image->format)};
    if (disk_size(size_bytes, content->virtual_size_bytes, &d.size, err))
        return -1;
    return create_disk(path, &d, err);
}

/* The size in a header of ours or QEMU's; no guest can write there. */
int64_t image_disk_size(const char *path)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    uint64_t size = 0;

    if (fd < 0 || pread(fd, &size, sizeof(size), 24) != sizeof(size))
        return 0;
    return (int64_t)be64toh(size);
}

int image_overlay_on_disk(const char *backing, const char *path, struct error *err)
{
    struct disk d = {.backing = backing, .backing_format = image_format_name(IMAGE_FORMAT_QCOW2)};

    if (backing[0] != '/' || strlen(backing) > BACKING_MAX)
        return error_set(err, ERROR_CONFIG,
                         "the state directory must be an absolute path of at most 900 bytes");
    if (!file_exists(backing))
        return error_set(err, ERROR_VM_STATE_CONFLICT, "the template's disk is missing");
    if (disk_size(image_disk_size(backing), 0, &d.size, err))
        return -1;
    return create_disk(path, &d, err);
}

int image_blank_create(struct core *core, const char *path, int64_t size_bytes, struct error *err)
{
    struct disk d = {0};

    (void)core;
    if (disk_size(size_bytes, 0, &d.size, err))
        return -1;
    return create_disk(path, &d, err);
}
