/* Headers of formats that are converted from; the first byte chooses which. */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/vm/image_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_close int fd = -1;
    struct image_facts facts = {0};
    struct error err = ERROR_INIT;

    if (size < 1 || size > 65536)
        return 0;
    fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)(size - 1))
        return 0;
    if (image_inspect_origin(fd, (int64_t)size - 1,
                             (enum image_origin)(1 + data[0] % (IMAGE_ORIGIN_COUNT - 1)), &facts, &err) == 0 &&
        facts.virtual_size_bytes < 0)
        __builtin_trap();
    return 0;
}
