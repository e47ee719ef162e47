/* Files of definitions: any bytes; what is read is written and read again as the same. */
#include <stdint.h>
#include <stdlib.h>

#include "service/cli/manifest.h"
#include "service/cli/yamldoc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const json_t *value)
{
    auto_value json_t *again = NULL;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct failure fail;

    if (!out || !yamldoc_write(value, false, out))
        abort();
    fclose(out);
    if (yamldoc_read("again", text, len, &again, &fail) ||
        (!json_is_null(value) && !json_equal(json_array_get(again, 0), value)))
        abort();
    free(text);
}

/* What a server has just as the file says leaves nothing to do. */
static void check_settled(const json_t *document)
{
    struct definition d;
    struct failure fail;

    if (definition_read(document, "x", &d, &fail))
        return;
    auto_value json_t *seen = definition_seen(d.kind, d.spec, d.spec), *wanted = definition_wanted(d.kind, d.spec);
    auto_value json_t *patch = definition_patch(d.kind, d.spec, d.spec);

    if (!json_equal(seen, wanted) || json_object_size(patch))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_value json_t *documents = NULL;
    struct failure fail;
    json_t *document;
    size_t i;

    if (yamldoc_read("x", (const char *)data, size, &documents, &fail))
        return 0;
    json_array_foreach(documents, i, document) {
        check_same(document);
        check_settled(document);
    }
    return 0;
}
