/*
 * Console bytes as readable text. A guest is hostile and its output ends in people's terminals and
 * logs: escape sequences and control characters go, what is not UTF-8 becomes U+FFFD.
 */
#include "api/codec/codec.h"

#include <string.h>

#include "service/base/str.h"

#define ESC 0x1b

/* The length of the escape sequence at p, at least 1; an unfinished one is swallowed whole. */
static size_t escape_length(const unsigned char *p, size_t len)
{
    size_t i = 2;

    if (len < 2)
        return len;
    switch (p[1]) {
    case '[': /* CSI: parameters and intermediates, then one final byte */
        while (i < len && p[i] >= 0x20 && p[i] <= 0x3f)
            i++;
        return i < len && p[i] >= 0x40 && p[i] <= 0x7e ? i + 1 : i;
    case ']': /* OSC, DCS, SOS, PM, APC: up to BEL or ESC \ */
    case 'P':
    case 'X':
    case '^':
    case '_':
        while (i < len && p[i] != 0x07 && p[i] != ESC && p[i] != '\n')
            i++;
        if (i + 1 < len && p[i] == ESC && p[i + 1] == '\\')
            return i + 2;
        return i < len && p[i] == 0x07 ? i + 1 : i;
    default: /* intermediates and one final byte; a control character is not part of it */
        i = 1;
        while (i < len && p[i] >= 0x20 && p[i] <= 0x2f)
            i++;
        return i < len && p[i] >= 0x30 && p[i] <= 0x7e ? i + 1 : i;
    }
}

/* The length of the valid UTF-8 sequence at p, or 0. */
static size_t utf8_length(const unsigned char *p, size_t len)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

    return n <= len && str_is_utf8((const char *)p, n) ? n : 0;
}

char *codec_console_text(const char *data, size_t len, size_t *ret_len)
{
    const unsigned char *p = (const unsigned char *)data;
    struct strbuf b = {0};

    for (size_t i = 0; i < len;) {
        size_t n = 1;

        if (p[i] == ESC) {
            n = escape_length(p + i, len - i);
        } else if (p[i] == '\n' || p[i] == '\t') {
            strbuf_addc(&b, (char)p[i]);
        } else if (p[i] >= 0x80) {
            n = utf8_length(p + i, len - i);
            /* U+0080 to U+009F are control characters, too */
            if (n && !(p[i] == 0xc2 && p[i + 1] < 0xa0))
                strbuf_add(&b, p + i, n);
            else if (!n)
                strbuf_adds(&b, "\xef\xbf\xbd");
            n = n ? n : 1;
        } else if (p[i] >= 0x20 && p[i] != 0x7f) {
            strbuf_addc(&b, (char)p[i]);
        }
        i += n;
    }
    *ret_len = b.len;
    return strbuf_take(&b);
}
