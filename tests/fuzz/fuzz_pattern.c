/* A regular expression (the first line) and what a console printed (the rest): neither takes long. */
#include <stdint.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    size_t len = end ? (size_t)(end - data) : size;
    auto_free char *text = xstrndup((const char *)data, len);
    auto_pattern struct pattern *p = NULL;
    struct error err;

    if (pattern_new(text, "pattern", &p, &err) == 0 && end)
        (void)pattern_find(p, (const char *)end + 1, size - len - 1, &err);
    return 0;
}
