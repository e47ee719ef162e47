/*
 * The image inspector on arbitrary bytes. The first byte says what the rest is declared to be. What
 * it accepts must have a size that makes sense.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service/vm/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        enum image_kind kind;
        enum image_part part;
        enum image_format format;
    } declared[] = {
        {IMAGE_DISK, IMAGE_CONTENT, IMAGE_FORMAT_QCOW2},
        {IMAGE_DISK, IMAGE_CONTENT, IMAGE_FORMAT_RAW},
        {IMAGE_KERNEL, IMAGE_KERNEL_PART, IMAGE_FORMAT_NONE},
        {IMAGE_KERNEL, IMAGE_INITRD_PART, IMAGE_FORMAT_NONE},
        {IMAGE_ISO, IMAGE_CONTENT, IMAGE_FORMAT_NONE},
    };
    struct image_facts facts = {.virtual_size_bytes = -1};
    struct error err = ERROR_INIT;
    static int fd = -1;
    unsigned as;
    int rc;

    if (size < 1 || size > 1 << 20)
        return 0;
    if (fd < 0)
        fd = memfd_create("image", MFD_CLOEXEC);
    as = data[0] % 5;
    if (ftruncate(fd, 0) || pwrite(fd, data + 1, size - 1, 0) != (ssize_t)(size - 1))
        abort();
    rc = image_inspect(fd, declared[as].kind, declared[as].part, declared[as].format, &facts, &err);
    if (rc == 0 && declared[as].kind == IMAGE_DISK &&
        (facts.virtual_size_bytes <= 0 || facts.virtual_size_bytes > (int64_t)1 << 46))
        abort();
    if (rc && err.code != ERROR_IMAGE_REFUSED)
        abort();
    return 0;
}
