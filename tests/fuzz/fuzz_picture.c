/* A picture of a screen: whatever QEMU wrote, what comes out is a PNG or nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *png = NULL;
    size_t len = 0;
    struct error err;

    if (picture_to_png((const char *)data, size, &png, &len, &err)) {
        if (png)
            abort();
        return 0;
    }
    if (len < 8 || memcmp(png, "\x89PNG\r\n\x1a\n", 8) != 0)
        abort();
    return 0;
}
