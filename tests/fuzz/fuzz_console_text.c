/*
 * Console bytes as text: whatever a guest prints, the result is UTF-8 without control characters.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "service/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len;
    auto_free char *text = codec_console_text((const char *)data, size, &len);

    if (strlen(text) != len || !str_is_utf8(text, len) || len > size * 3)
        abort();
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            abort();
    }
    return 0;
}
