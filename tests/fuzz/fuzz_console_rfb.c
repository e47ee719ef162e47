/* A watcher's half of an RFB connection: however it is cut, the same bytes pass, and no input. */
#include <stdlib.h>
#include <string.h>

#include "service/vm/console_rfb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What passes when the input comes in pieces of step bytes; false when it is refused. */
static bool run(const uint8_t *data, size_t size, size_t step, unsigned char *out, size_t *ret_len)
{
    struct rfb_filter f = {0};

    *ret_len = 0;
    for (size_t at = 0; at < size; at += step) {
        size_t len = size - at < step ? size - at : step, n = 0;

        if (!rfb_filter(&f, data + at, len, out + *ret_len, &n))
            return false;
        if (n > len + RFB_FILTER_EXTRA)
            abort();
        *ret_len += n;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *whole = malloc(size + RFB_FILTER_EXTRA), *cut = malloc(size + RFB_FILTER_EXTRA);
    struct rfb_filter again = {0};
    size_t a, b, n;
    bool ok = run(data, size, size ? size : 1, whole, &a);

    if (run(data, size, 1, cut, &b) != ok)
        abort();
    if (ok && (a != b || a > size || memcmp(whole, cut, a) != 0))
        abort();
    /* What passed is itself something that passes, whole: nothing hides behind a second reading. */
    if (ok && (!rfb_filter(&again, whole, a, cut, &n) || n != a || memcmp(whole, cut, a) != 0))
        abort();
    free(whole);
    free(cut);
    return 0;
}
