/*
 * Content-Digest: what is found is 64 hex digits.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "service/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *header = xstrndup((const char *)data, size < 4096 ? size : 4096);
    char hex[SECRET_SHA256_TEXT];
    bool found = false;
    struct error err;

    if (codec_content_digest(header, hex, &found, &err))
        return 0;
    if (found && (strlen(hex) != 64 || strspn(hex, "0123456789abcdef") != 64))
        abort();
    return 0;
}
