/* Query strings: what is accepted is UTF-8 without control bytes, inside its buffer. Links api. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/query.h"
#include "service/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct query *q, const char *text)
{
    size_t len = strlen(text);

    if (*text && (text < q->text || text + len >= q->text + sizeof(q->text)))
        abort();
    if (!str_is_utf8(text, len))
        abort();
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct query q;
    struct error err;
    char *raw = malloc(size + 1);

    if (!raw)
        abort();
    memcpy(raw, data, size);
    raw[size] = '\0';
    if (query_parse(raw, &q, &err) == 0) {
        for (size_t i = 0; i < q.count; i++) {
            check(&q, q.args[i].name);
            check(&q, q.args[i].value);
        }
    }
    free(raw);
    return 0;
}
