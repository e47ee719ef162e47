/* Bytes as a VM definition: what is accepted must survive being stored and read again. */
#include <stdint.h>

#include "service/json/doc.h"
#include "service/vm/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct doc_limits limits = {.bytes = 65536, .depth = 16, .tokens = 4096};
    auto_json json_t *value = NULL;
    auto_vm_spec struct vm_spec *spec = NULL, *again = NULL;
    bool start;
    struct error err;

    if (doc_parse((const char *)data, size, &limits, &value, &err) ||
        vm_spec_decode(value, &spec, &start, &err))
        return 0;
    char *text = vm_spec_stored_text(spec);

    if (vm_spec_from_text(text, &again, &err) || vm_spec_needs_stop(spec, again))
        __builtin_trap();
    free(text);
    return 0;
}
