/* The note a tuner leaves for whoever comes after its crash. */
#include <stdlib.h>
#include <string.h>

#include "service/vm/ksm_knobs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = size > 65536 ? NULL : malloc(size + 1);
    struct ksm_found found;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (ksm_found_parse(text, "A", &found)) {
        for (int i = 0; i < HOST_KSM_COUNT; i++) {
            if (found.has[i] && (found.value[i] < 0 || !host_ksm_is_knob((enum host_ksm_key)i)))
                abort();
        }
    }
    free(text);
    return 0;
}
