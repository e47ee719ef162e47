/*
 * The inspector: looks at the header of bytes that anybody may have made, and says whether they
 * are what they are declared to be. Reads only what it names, believes no length, follows nothing.
 * Deliberately no repair and no guessing of formats.
 */
#include "service/vm/image_internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR      512
#define VIRTUAL_MAX ((uint64_t)1 << 46) /* 64 TiB */
#define BOOT_MIN    1024                /* shorter than any kernel's header */

/* ---- reading ---- */

static uint32_t be32_at(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

static uint64_t be64_at(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

static uint32_t le32_at(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static uint16_t le16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* What there is of [offset, offset + size); the rest of buf becomes zero. */
static int read_at(int fd, uint64_t offset, uint8_t *buf, size_t size, size_t *ret_len,
                   struct error *err)
{
    size_t len = 0;

    memset(buf, 0, size);
    while (len < size) {
        ssize_t n = pread(fd, buf + len, size - len, (off_t)(offset + len));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "cannot read the content");
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_len = len;
    return 0;
}

static int refuse(struct error *err, const char *remedy, const char *detail)
{
    error_set(err, ERROR_IMAGE_REFUSED, "%s", detail);
    if (remedy)
        error_remedy(err, "%s", remedy);
    return -1;
}

/* ---- formats by their magic ---- */

struct magic {
    uint32_t offset;
    uint8_t len;
    const char *bytes, *name, *remedy;
};

#define CONVERT "Convert it with qemu-img convert -O qcow2, and declare the format qcow2."
#define UNPACK  "Decompress it first."

/* What must not begin a raw disk: somebody would open it as that format one day. */
static const struct magic disk_magics[] = {
    {0, 4, "QFI\xfb", "a qcow2 file", "Declare the format qcow2."},
    {0, 4, "QED\0", "a QED file", CONVERT},
    {0, 4, "KDMV", "a VMDK file", CONVERT},
    {0, 4, "COWD", "a VMDK file", CONVERT},
    {0, 21, "# Disk DescriptorFile", "a VMDK descriptor", CONVERT},
    {0, 8, "vhdxfile", "a VHDX file", CONVERT},
    {0, 8, "conectix", "a VHD file", CONVERT},
    {64, 4, "\x7f\x10\xda\xbe", "a VDI file", CONVERT},
    {0, 16, "WithoutFreeSpace", "a Parallels file", CONVERT},
    {0, 16, "WithouFreSpacExt", "a Parallels file", CONVERT},
    {0, 22, "Bochs Virtual HD Image", "a Bochs file", CONVERT},
    {0, 6, "LUKS\xba\xbe", "an encrypted LUKS volume", "Send the decrypted disk."},
    {0, 28, "#!/bin/sh\n#V2.0 Format\nmodpr", "a cloop file", CONVERT},
    {0, 6,
     "\xfd"
     "7zXZ\0",
     "compressed with xz", UNPACK},
    {0, 3, "\x1f\x8b\x08", "compressed with gzip", UNPACK},
    {0, 4, "\x28\xb5\x2f\xfd", "compressed with zstd", UNPACK},
    {0, 10, "BZh91AY&SY", "compressed with bzip2", UNPACK},
    {0, 4, "PK\3\4", "a zip archive", UNPACK},
    {0, 6, "7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK},
};

/* What Linux accepts as an initial file system. */
static const struct magic initrd_magics[] = {
    {0, 6, "070701", "cpio", NULL},
    {0, 6, "070702", "cpio", NULL},
    {0, 2, "\x1f\x8b", "gzip", NULL},
    {0, 6,
     "\xfd"
     "7zXZ\0",
     "xz", NULL},
    {0, 4, "\x28\xb5\x2f\xfd", "zstd", NULL},
    {0, 4, "\x02\x21\x4c\x18", "lz4", NULL},
    {0, 3, "BZh", "bzip2", NULL},
    {0, 3, "\x5d\0\0", "lzma", NULL},
    {0, 4, "\x89LZO", "lzo", NULL},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct magic *find_magic(const struct magic *table, size_t count, const uint8_t *head,
                                      size_t len)
{
    for (size_t i = 0; i < count; i++) {
        const struct magic *m = &table[i];

        if (m->offset + m->len <= len && memcmp(head + m->offset, m->bytes, m->len) == 0)
            return m;
    }
    return NULL;
}

/* ---- qcow2 ---- */

/* Offsets in the header; numbers are big-endian. */
enum {
    QCOW2_VERSION = 4,
    QCOW2_BACKING_OFFSET = 8,
    QCOW2_BACKING_SIZE = 16,
    QCOW2_CLUSTER_BITS = 20,
    QCOW2_SIZE = 24,
    QCOW2_CRYPT = 32,
    QCOW2_L1_SIZE = 36,
    QCOW2_L1_OFFSET = 40,
    QCOW2_REFCOUNT_OFFSET = 48,
    QCOW2_REFCOUNT_CLUSTERS = 56,
    QCOW2_SNAPSHOTS = 60,
    QCOW2_SNAPSHOTS_OFFSET = 64,
    QCOW2_V2_LENGTH = 72,
    QCOW2_INCOMPATIBLE = 72,
    QCOW2_REFCOUNT_ORDER = 96,
    QCOW2_HEADER_LENGTH = 100,
    QCOW2_V3_LENGTH = 104,
    QCOW2_COMPRESSION = 104,
};

enum {
    INCOMPATIBLE_DIRTY = 1 << 0,
    INCOMPATIBLE_CORRUPT = 1 << 1,
    INCOMPATIBLE_DATA_FILE = 1 << 2,
    INCOMPATIBLE_COMPRESSION = 1 << 3,
    INCOMPATIBLE_EXTENDED_L2 = 1 << 4,
    INCOMPATIBLE_KNOWN = (1 << 5) - 1,
};

#define EXTENSION_END       0x00000000U
#define EXTENSION_DATA_FILE 0x44415441U
#define EXTENSION_CRYPTO    0x0537be77U

#define QCOW2_L1_BYTES_MAX       ((uint64_t)32 << 20) /* QEMU's own limits */
#define QCOW2_REFCOUNT_BYTES_MAX ((uint64_t)8 << 20)
#define QCOW2_SNAPSHOTS_MAX      65536
#define QCOW2_EXTENSIONS_MAX     64

struct qcow2 {
    uint8_t head[512];
    uint64_t file_size, size, cluster;
    uint32_t version, header_length;
    uint64_t incompatible;
};

static bool table_fits(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    return offset % q->cluster == 0 && offset >= q->cluster && offset <= q->file_size &&
           bytes <= q->file_size - offset;
}

static int qcow2_references(const struct qcow2 *q, struct error *err)
{
    if (be64_at(q->head + QCOW2_BACKING_OFFSET) || be32_at(q->head + QCOW2_BACKING_SIZE))
        return refuse(err, "Flatten it with qemu-img convert -O qcow2.",
                      "the qcow2 file refers to a backing file");
    if (be32_at(q->head + QCOW2_CRYPT))
        return refuse(err, "Send the decrypted disk.", "the qcow2 file is encrypted");
    return 0;
}

static int qcow2_features(struct qcow2 *q, struct error *err)
{
    uint64_t bits = q->incompatible;
    uint32_t order = be32_at(q->head + QCOW2_REFCOUNT_ORDER);
    uint8_t compression = q->header_length > QCOW2_COMPRESSION ? q->head[QCOW2_COMPRESSION] : 0;

    if (bits & INCOMPATIBLE_DATA_FILE)
        return refuse(err, "Flatten it with qemu-img convert -O qcow2.",
                      "the qcow2 file keeps its data in another file");
    if (bits & INCOMPATIBLE_CORRUPT)
        return refuse(err, NULL, "the qcow2 file is marked as corrupt");
    if (bits & INCOMPATIBLE_DIRTY)
        return refuse(err, "Repair it with qemu-img check -r all.",
                      "the qcow2 file was not closed cleanly");
    if (bits & ~(uint64_t)INCOMPATIBLE_KNOWN)
        return refuse(err, NULL, "the qcow2 file uses features that are not known here");
    if (order > 6)
        return refuse(err, NULL, "the qcow2 header has an impossible reference count width");
    if ((compression != 0) != ((bits & INCOMPATIBLE_COMPRESSION) != 0) || compression > 1)
        return refuse(err, NULL, "the qcow2 header has an unknown compression type");
    if (bits & INCOMPATIBLE_EXTENDED_L2 && q->cluster < 16384)
        return refuse(err, NULL, "the qcow2 clusters are too small for subclusters");
    return 0;
}

static int qcow2_geometry(const struct qcow2 *q, struct error *err)
{
    uint64_t l2_entry = q->incompatible & INCOMPATIBLE_EXTENDED_L2 ? 16 : 8;
    uint64_t l1_covers = q->cluster / l2_entry * q->cluster;
    uint64_t l1_entries = be32_at(q->head + QCOW2_L1_SIZE);
    uint64_t refcount_bytes = be32_at(q->head + QCOW2_REFCOUNT_CLUSTERS) * q->cluster;
    uint32_t snapshots = be32_at(q->head + QCOW2_SNAPSHOTS);

    if (q->size == 0 || q->size > VIRTUAL_MAX)
        return refuse(err, NULL, "the qcow2 header has an absurd disk size");
    if (l1_entries * 8 > QCOW2_L1_BYTES_MAX || l1_entries < (q->size + l1_covers - 1) / l1_covers ||
        !table_fits(q, be64_at(q->head + QCOW2_L1_OFFSET), l1_entries * 8))
        return refuse(err, NULL, "the qcow2 file's first-level table does not fit");
    if (refcount_bytes == 0 || refcount_bytes > QCOW2_REFCOUNT_BYTES_MAX ||
        !table_fits(q, be64_at(q->head + QCOW2_REFCOUNT_OFFSET), refcount_bytes))
        return refuse(err, NULL, "the qcow2 file's reference count table does not fit");
    /* A snapshot's header alone takes 40 bytes. */
    if (snapshots > QCOW2_SNAPSHOTS_MAX ||
        (snapshots && !table_fits(q, be64_at(q->head + QCOW2_SNAPSHOTS_OFFSET), snapshots * 40ULL)))
        return refuse(err, NULL, "the qcow2 file's snapshot table does not fit");
    return 0;
}

/* The header extensions: type and length, then that many bytes, padded to 8. */
static int qcow2_extensions(int fd, const struct qcow2 *q, struct error *err)
{
    uint64_t at = q->header_length;

    for (int i = 0; i < QCOW2_EXTENSIONS_MAX; i++) {
        uint8_t head[8];
        uint32_t type, len;
        size_t got;

        if (at + sizeof(head) > q->cluster)
            return 0; /* QEMU stops there, too */
        if (read_at(fd, at, head, sizeof(head), &got, err))
            return -1;
        type = be32_at(head);
        len = be32_at(head + 4);
        if (type == EXTENSION_END)
            return 0;
        if (type == EXTENSION_DATA_FILE)
            return refuse(err, NULL, "the qcow2 file names an external data file");
        if (type == EXTENSION_CRYPTO)
            return refuse(err, NULL, "the qcow2 file is encrypted");
        at += sizeof(head);
        if (len > q->cluster - at)
            return refuse(err, NULL, "a qcow2 header extension does not fit");
        at += ((uint64_t)len + 7) & ~(uint64_t)7;
    }
    return refuse(err, NULL, "the qcow2 file has too many header extensions");
}

static int inspect_qcow2(int fd, uint64_t file_size, struct image_facts *ret, struct error *err)
{
    struct qcow2 q = {.file_size = file_size};
    uint32_t bits;
    size_t len;

    if (read_at(fd, 0, q.head, sizeof(q.head), &len, err))
        return -1;
    if (len < QCOW2_V2_LENGTH || memcmp(q.head, "QFI\xfb", 4) != 0)
        return refuse(err, "Declare the format that it has.", "this is not a qcow2 file");
    q.version = be32_at(q.head + QCOW2_VERSION);
    if (q.version != 2 && q.version != 3)
        return refuse(err, CONVERT, "only versions 2 and 3 of qcow are accepted");
    bits = be32_at(q.head + QCOW2_CLUSTER_BITS);
    if (bits < 9 || bits > 21)
        return refuse(err, NULL, "the qcow2 header has an impossible cluster size");
    q.cluster = (uint64_t)1 << bits;
    q.size = be64_at(q.head + QCOW2_SIZE);
    q.header_length = QCOW2_V2_LENGTH;
    if (qcow2_references(&q, err))
        return -1;
    if (q.version == 3) {
        q.incompatible = be64_at(q.head + QCOW2_INCOMPATIBLE);
        q.header_length = be32_at(q.head + QCOW2_HEADER_LENGTH);
        if (q.header_length < QCOW2_V3_LENGTH || q.header_length % 8 || q.header_length > q.cluster)
            return refuse(err, NULL, "the qcow2 header has an impossible length");
        if (qcow2_features(&q, err))
            return -1;
    }
    if (qcow2_geometry(&q, err) || qcow2_extensions(fd, &q, err))
        return -1;
    ret->virtual_size_bytes = (int64_t)q.size;
    return 0;
}

/* ---- the others ---- */

static int inspect_raw(const uint8_t *head, size_t len, uint64_t file_size, struct image_facts *ret,
                       struct error *err)
{
    const struct magic *m = find_magic(disk_magics, COUNT(disk_magics), head, len);

    if (m) {
        error_set(err, ERROR_IMAGE_REFUSED, "this is not a raw disk, but %s", m->name);
        error_remedy(err, "%s", m->remedy);
        return -1;
    }
    if (file_size > VIRTUAL_MAX)
        return refuse(err, NULL, "the disk is larger than 64 TiB");
    ret->virtual_size_bytes = (int64_t)((file_size + SECTOR - 1) / SECTOR * SECTOR);
    return 0;
}

static int inspect_iso(int fd, struct error *err)
{
    uint8_t descriptor[2048]; /* of the first volume, after 16 empty sectors */
    size_t len;

    if (read_at(fd, 32768, descriptor, sizeof(descriptor), &len, err))
        return -1;
    if (len < sizeof(descriptor) || memcmp(descriptor + 1, "CD001", 5) != 0)
        return refuse(err, NULL, "this is not an ISO 9660 file system");
    return 0;
}

/* ELF for x86: a 32- or 64-bit little-endian program with its program headers inside the file. */
static int inspect_elf(const uint8_t *head, uint64_t file_size, struct error *err)
{
    bool wide = head[4] == 2;
    uint16_t type = le16_at(head + 16), machine = le16_at(head + 18);
    uint64_t table =
        wide ? le32_at(head + 32) | (uint64_t)le32_at(head + 36) << 32 : le32_at(head + 28);
    uint64_t bytes = (uint64_t)le16_at(head + (wide ? 54 : 42)) * le16_at(head + (wide ? 56 : 44));

    if ((head[4] != 1 && !wide) || head[5] != 1 || (type != 2 && type != 3) ||
        (machine != 3 && machine != 62))
        return refuse(err, NULL, "this is an ELF file, but not an x86 kernel");
    if (bytes == 0 || table > file_size || bytes > file_size - table)
        return refuse(err, NULL, "the ELF file's program headers do not fit");
    return 0;
}

/* The Linux/x86 boot protocol: setup sectors, then the kernel in units of 16 bytes. */
static int inspect_kernel(const uint8_t *head, size_t len, uint64_t file_size, struct error *err)
{
    uint64_t setup, system;

    if (len < BOOT_MIN)
        return refuse(err, NULL, "this is too short for a kernel");
    if (memcmp(head,
               "\x7f"
               "ELF",
               4) == 0)
        return inspect_elf(head, file_size, err);
    if (memcmp(head, "\x1f\x8b", 2) == 0)
        return refuse(err, UNPACK, "the kernel is compressed as a whole");
    if (le16_at(head + 0x1fe) != 0xaa55 || memcmp(head + 0x202, "HdrS", 4) != 0 ||
        le16_at(head + 0x206) < 0x200)
        return refuse(err, "Send the vmlinuz file of a Linux kernel for x86.",
                      "this is neither a bzImage nor an ELF kernel");
    setup = head[0x1f1] ? head[0x1f1] : 4;
    system = le32_at(head + 0x1f4);
    if (system == 0 || (setup + 1) * 512 + system * 16 > file_size)
        return refuse(err, "Send it again; part of it is missing.", "the kernel is cut off");
    return 0;
}

static int inspect_initrd(const uint8_t *head, size_t len, struct error *err)
{
    if (find_magic(initrd_magics, COUNT(initrd_magics), head, len))
        return 0;
    return refuse(err, "Send a cpio archive, compressed or not.",
                  "this is not an initial file system that Linux accepts");
}

int image_inspect_begin(int fd, int64_t file_size, enum image_kind kind, enum image_part part,
                        enum image_format format, struct image_facts *ret, struct error *err)
{
    struct image_facts facts = {0};
    uint8_t head[4096];
    size_t len;
    int rc;

    if (file_size == 0)
        return refuse(err, NULL, "the content is empty");
    if (read_at(fd, 0, head, sizeof(head), &len, err))
        return -1;
    if (kind == IMAGE_KERNEL && part == IMAGE_KERNEL_PART)
        rc = inspect_kernel(head, len, (uint64_t)file_size, err);
    else if (kind == IMAGE_KERNEL && part == IMAGE_INITRD_PART)
        rc = inspect_initrd(head, len, err);
    else if (kind == IMAGE_ISO && part == IMAGE_CONTENT)
        rc = inspect_iso(fd, err);
    else if (kind == IMAGE_DISK && part == IMAGE_CONTENT && format == IMAGE_FORMAT_QCOW2)
        rc = inspect_qcow2(fd, (uint64_t)file_size, &facts, err);
    else if (kind == IMAGE_DISK && part == IMAGE_CONTENT && format == IMAGE_FORMAT_RAW)
        rc = inspect_raw(head, len, (uint64_t)file_size, &facts, err);
    else
        rc = refuse(err, NULL, "this kind of image has no such part");
    if (rc == 0)
        *ret = facts;
    return rc;
}

int image_inspect(int fd, enum image_kind kind, enum image_part part, enum image_format format,
                  struct image_facts *ret, struct error *err)
{
    struct stat st;

    if (fstat(fd, &st))
        return error_errno(err, errno, "cannot read the content");
    if (!S_ISREG(st.st_mode))
        return refuse(err, NULL, "the content is not a regular file");
    return image_inspect_begin(fd, st.st_size, kind, part, format, ret, err);
}
