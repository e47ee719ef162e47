/* The head of a saved image is given to another domain or refused, whatever its bytes are. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/error.h"
#include "service/base/str.h"
#include "service/virt/domxml.h"
#include "service/virt/virt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct virt_domain domain = {.uuid = "6f1c0f52-5a0a-4b43-9d0e-3f0f5d1c2a01",
                                              .name = "clone",
                                              .generation = 1,
                                              .cpus = 1,
                                              .memory_mib = 16,
                                              .machine = "q35"};
    auto_free char *ret = NULL;
    size_t len, want;
    struct error err;

    if (size > 65536)
        return 0;
    if (domxml_clone((const char *)data, size, &domain, "b7a7c6de-0000-4000-8000-000000000001", &ret,
                     &len, &err) == 0 &&
        (domxml_saved_length(ret, &want, &err) || want != len))
        abort();
    return 0;
}
