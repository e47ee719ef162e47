/* Lines of a recording from anywhere, as `recording play` reads them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/cli/cast.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cast_event e;

    if (size > 1 << 20)
        return 0;
    (void)cast_is_header((const char *)data, size);
    if (!cast_read((const char *)data, size, &e))
        return 0;
    if (!(e.at >= 0) || !e.text || e.text[e.len] || !e.value)
        abort();
    value_free(e.value);
    return 0;
}
