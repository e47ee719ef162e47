/*
 * The SHA-256 in a Content-Digest header (RFC 9530).
 */
#include "api/codec/codec.h"

#include <string.h>

#include "service/base/str.h"

#define DIGEST_BASE64 44 /* of 32 bytes: 43 characters and one '=' */

static int base64_value(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c ? strchr(alphabet, c) : NULL;

    return p ? (int)(p - alphabet) : -1;
}

/* Exactly 32 bytes in canonical form, as lower-case hex. */
static bool base64_to_hex(const char *text, char ret[SECRET_SHA256_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    unsigned bits = 0, have = 0;
    size_t out = 0;

    for (size_t i = 0; i < DIGEST_BASE64 - 1; i++) {
        int value = base64_value(text[i]);

        if (value < 0)
            return false;
        bits = bits << 6 | (unsigned)value;
        for (have += 6; have >= 8; have -= 8) {
            unsigned byte = bits >> (have - 8) & 0xff;

            ret[out++] = hex[byte >> 4];
            ret[out++] = hex[byte & 15];
        }
        bits &= (1u << have) - 1;
    }
    ret[out] = '\0';
    return bits == 0 && text[DIGEST_BASE64 - 1] == '=';
}

int codec_content_digest(const char *header, char ret[SECRET_SHA256_TEXT], bool *ret_found,
                         struct error *err)
{
    static const char key[] = "sha-256=:";
    const char *p = header;

    *ret_found = false;
    /* Digests of other kinds are passed over, as the RFC wants it. */
    while (p && *p) {
        p += strspn(p, " \t,");
        if (str_starts(p, key)) {
            p += strlen(key);
            if (strcspn(p, ":") != DIGEST_BASE64 || p[DIGEST_BASE64] != ':' ||
                !base64_to_hex(p, ret))
                return error_set_at(err, ERROR_INVALID_ARGUMENT, "Content-Digest",
                                    "Content-Digest must be sha-256=:BASE64:");
            *ret_found = true;
            return 0;
        }
        p += strcspn(p, ",");
    }
    return 0;
}
