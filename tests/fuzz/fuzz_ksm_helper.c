/* A packet to the KSM helper; what is understood is within what it does. */
#include <stdlib.h>
#include <string.h>

#include "service/host/helper_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct helper_request r;

    if (helper_request_parse((const char *)data, size, &r) &&
        (r.sets ? !*r.knob || strchr(r.knob, '/') || strchr(r.knob, '.') || !*r.value : r.pid < 2))
        abort();
    (void)helper_is_qemu((const char *)data, size);
    return 0;
}
