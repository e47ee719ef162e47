/* Server-sent events as the command line reads them: any bytes, in pieces of any size. */
#include <stddef.h>
#include <stdint.h>

#include "service/cli/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_event(void *opaque, const char *data, size_t len)
{
    size_t *left = opaque;

    /* Touch every byte handed over, so that a wrong length is seen. */
    for (size_t i = 0; i < len; i++)
        *left += (size_t)(data[i] == 0);
    return len != 3; /* some events end the stream */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t zeros = 0, step = size ? data[0] % 17 + 1u : 1;
    struct sse s;

    sse_init(&s, on_event, &zeros);
    for (size_t at = 0; at < size; at += step) {
        if (!sse_feed(&s, (const char *)data + at, step < size - at ? step : size - at))
            break;
    }
    sse_done(&s);
    return 0;
}
