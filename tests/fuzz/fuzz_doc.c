/* Bytes as a JSON body: parsed within limits or refused, never more. */
#include <stdint.h>

#include "service/json/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct doc_limits limits = {.bytes = 65536, .depth = 16, .tokens = 4096};
    auto_json json_t *value = NULL;
    struct error err;

    if (doc_parse((const char *)data, size, &limits, &value, &err) == 0) {
        auto_json json_t *patched = doc_merge_patch(value, value);
        char *text = doc_text(patched);

        free(text);
    }
    return 0;
}
