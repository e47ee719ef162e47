/* A block of history, as a damaged disk would give it. */
#include "service/vm/history_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int16_t codes[HISTORY_PLANES * 96];

    (void)history_unpack(data, size, codes, HISTORY_FIGURES, HISTORY_POINTS);
    (void)history_unpack(data, size, codes, HISTORY_PLANES, 60);
    (void)history_unpack(data, size, codes, HISTORY_PLANES, 96);
    return 0;
}
