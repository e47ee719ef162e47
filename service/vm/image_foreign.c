/*
 * Headers of formats that are never opened for a guest, only converted from. What matters here is
 * that the file stands alone: a descriptor that names other files would make qemu-img read them.
 */
#include "service/vm/image_internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "service/base/str.h"

#define SECTOR           512
#define VIRTUAL_MAX      ((uint64_t)1 << 46)
#define DESCRIPTOR_MAX   (20 * SECTOR) /* what QEMU reads of it */
#define VDI_HEADER       512
#define VDI_BLOCK        (1U << 20)

static int refuse(struct error *err, const char *remedy, const char *detail)
{
    error_set(err, ERROR_IMAGE_REFUSED, "%s", detail);
    if (remedy)
        error_remedy(err, "%s", remedy);
    return -1;
}

static uint32_t le32_at(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static uint64_t le64_at(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

/* What is not there reads as zeros. */
static int read_at(int fd, uint64_t offset, void *buf, size_t size, struct error *err)
{
    size_t len = 0;

    memset(buf, 0, size);
    while (len < size) {
        ssize_t n = pread(fd, (uint8_t *)buf + len, size - len, (off_t)(offset + len));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "cannot read the content");
        if (n == 0)
            return 0;
        len += (size_t)n;
    }
    return 0;
}

/* ---- VMDK ---- */

#define ALONE "Export the disk as one file: qemu-img convert -O qcow2, or streamOptimized."

static bool is_all_f(const char *text)
{
    return strncasecmp(text, "ffffffff", 8) == 0;
}

static int vmdk_descriptor(int fd, uint64_t offset, struct error *err)
{
    char text[DESCRIPTOR_MAX + 1];
    const char *type, *parent;

    if (offset == 0)
        return 0;
    if (read_at(fd, offset, text, DESCRIPTOR_MAX, err))
        return -1;
    text[DESCRIPTOR_MAX] = '\0';
    if (strcasestr(text, "parentFileNameHint"))
        return refuse(err, ALONE, "the VMDK file stands on another one");
    parent = strcasestr(text, "parentCID=");
    if (parent && !is_all_f(parent + strlen("parentCID=")))
        return refuse(err, ALONE, "the VMDK file stands on another one");
    type = strcasestr(text, "createType=\"");
    if (!type)
        return refuse(err, NULL, "the VMDK file has no descriptor");
    type += strlen("createType=\"");
    if (strncasecmp(type, "monolithicSparse\"", 17) != 0 && strncasecmp(type, "streamOptimized\"", 16) != 0)
        return refuse(err, ALONE, "the VMDK file keeps its data in other files");
    return 0;
}

static int inspect_vmdk(int fd, const uint8_t *head, int64_t file_size, struct image_facts *ret,
                        struct error *err)
{
    uint64_t capacity = le64_at(head + 12), grain = le64_at(head + 20), descriptor = le64_at(head + 28);
    uint32_t version = le32_at(head + 4);

    if (memcmp(head, "KDMV", 4) != 0)
        return refuse(err, ALONE, "this is not a VMDK file that stands alone");
    if (version < 1 || version > 3)
        return refuse(err, NULL, "the VMDK file has an unknown version");
    if (capacity == 0) /* then QEMU would follow the descriptor to other files */
        return refuse(err, ALONE, "the VMDK file keeps its data in other files");
    if (capacity > VIRTUAL_MAX / SECTOR || grain == 0 || grain > 4096 || (grain & (grain - 1)))
        return refuse(err, NULL, "the VMDK header has an absurd disk size");
    if (descriptor > (uint64_t)file_size / SECTOR)
        return refuse(err, NULL, "the VMDK file's descriptor is outside of it");
    if (vmdk_descriptor(fd, descriptor * SECTOR, err))
        return -1;
    ret->virtual_size_bytes = (int64_t)(capacity * SECTOR);
    return 0;
}

/* ---- VDI ---- */

static bool is_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i])
            return false;
    }
    return true;
}

static int inspect_vdi(const uint8_t *head, int64_t file_size, struct image_facts *ret,
                       struct error *err)
{
    uint32_t type = le32_at(head + 76), map = le32_at(head + 340), data = le32_at(head + 344);
    uint64_t size = le64_at(head + 368), blocks = le32_at(head + 384);

    if (memcmp(head + 64, "\x7f\x10\xda\xbe", 4) != 0)
        return refuse(err, "Declare the format that it has.", "this is not a VDI file");
    if (le32_at(head + 68) != 0x00010001)
        return refuse(err, NULL, "the VDI file has an unknown version");
    if (type != 1 && type != 2)
        return refuse(err, "Export it as a disk of its own.", "the VDI file is a differencing disk");
    if (!is_zero(head + 424, 32))
        return refuse(err, "Export it as a disk of its own.", "the VDI file stands on another one");
    if (le32_at(head + 360) != SECTOR || le32_at(head + 376) != VDI_BLOCK)
        return refuse(err, NULL, "the VDI header has an unknown geometry");
    if (size == 0 || size > VIRTUAL_MAX || (size + VDI_BLOCK - 1) / VDI_BLOCK > blocks)
        return refuse(err, NULL, "the VDI header has an absurd disk size");
    if (map % SECTOR || data % SECTOR || map < VDI_HEADER || (uint64_t)map + blocks * 4 > (uint64_t)file_size)
        return refuse(err, NULL, "the VDI file's block map does not fit");
    ret->virtual_size_bytes = (int64_t)size;
    return 0;
}

int image_inspect_origin(int fd, int64_t file_size, enum image_origin origin, struct image_facts *ret,
                         struct error *err)
{
    uint8_t head[VDI_HEADER];

    if (origin == IMAGE_ORIGIN_QCOW2 || origin == IMAGE_ORIGIN_RAW)
        return image_inspect_begin(fd, file_size, IMAGE_DISK, IMAGE_CONTENT,
                                   origin == IMAGE_ORIGIN_RAW ? IMAGE_FORMAT_RAW : IMAGE_FORMAT_QCOW2,
                                   ret, err);
    if (file_size < VDI_HEADER)
        return refuse(err, NULL, "this is too short for a disk image");
    if (read_at(fd, 0, head, sizeof(head), err))
        return -1;
    switch (origin) {
    case IMAGE_ORIGIN_VMDK:
        return inspect_vmdk(fd, head, file_size, ret, err);
    case IMAGE_ORIGIN_VDI:
        return inspect_vdi(head, file_size, ret, err);
    default: /* its tables are qemu-img's to read: it has no names of other files that are followed */
        return memcmp(head, "vhdxfile", 8) == 0
                   ? 0
                   : refuse(err, "Declare the format that it has.", "this is not a VHDX file");
    }
}

enum image_origin image_origin(const struct image *i)
{
    if (i->source && i->source->format != IMAGE_ORIGIN_SAME)
        return i->source->format;
    return i->format == IMAGE_FORMAT_RAW ? IMAGE_ORIGIN_RAW : IMAGE_ORIGIN_QCOW2;
}
