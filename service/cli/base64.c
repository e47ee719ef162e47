/* Base64, by libsodium. */
#include "service/cli/base64.h"

#include <sodium.h>
#include <string.h>

#include "service/base/str.h"

char *base64_encode(const void *data, size_t len)
{
    size_t size = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);
    char *text = xcalloc(size, 1);

    sodium_bin2base64(text, size, data, len, sodium_base64_VARIANT_ORIGINAL);
    return text;
}

bool base64_decode(const char *text, char **ret, size_t *ret_len)
{
    size_t len = strlen(text);
    auto_free char *data = xcalloc(len + 1, 1);

    if (sodium_base642bin((unsigned char *)data, len, text, len, NULL, ret_len, NULL,
                          sodium_base64_VARIANT_ORIGINAL))
        return false;
    *ret = TAKE_PTR(data);
    return true;
}
