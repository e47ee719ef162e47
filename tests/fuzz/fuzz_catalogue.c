/* Indexes of catalogues: any text, as either kind; and armoured keys. The first byte chooses. */
#include <stdint.h>
#include <string.h>

#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/catalogue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char base[] = "https://example.org/images/index.json";
    auto_free char *text = NULL;
    auto_free unsigned char *key = NULL;
    auto_json json_t *list = NULL;
    struct error err = ERROR_INIT;
    size_t len;

    if (size < 1 || size > 65536)
        return 0;
    text = xstrndup((const char *)data + 1, size - 1);
    if (data[0] == 'k') {
        (void)catalogue_dearmour(text, &key, &len, &err);
        return 0;
    }
    if (data[0] == 'v' ? catalogue_parse_virt_builder((const char *)data + 1, size - 1, base, &list, &err)
                       : catalogue_parse_drover((const char *)data + 1, size - 1, base, &list, &err))
        return 0;
    /* What came through lies below the index. */
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *source = json_object_get(json_array_get(list, i), "source");
        const char *url = json_string_value(json_object_get(source, "url"));

        if (url && !str_starts(url, "https://example.org/images/"))
            __builtin_trap();
    }
    return 0;
}
