/*
 * Query strings. Decodes in place into the caller's struct, so nothing a client sends allocates.
 */
#include "api/query.h"

#include <string.h>

#include "service/base/str.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int query_hex_byte(const char *p)
{
    int high = hex_digit(p[0]);
    int low = high < 0 ? -1 : hex_digit(p[1]);

    return low < 0 ? -1 : high << 4 | low;
}

/* Decodes one name or value up to any of stop; NULL when it is not acceptable. */
static const char *decode(const char *raw, const char *stop, char **out)
{
    char *start = *out;
    char *to = start;

    for (; *raw && !strchr(stop, *raw); raw++) {
        int c = (unsigned char)*raw;

        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            c = query_hex_byte(raw + 1);
            if (c < 0)
                return NULL;
            raw += 2;
        } else if (c <= 0x20 || c >= 0x7f) {
            return NULL;
        }
        if (c < 0x20 || c == 0x7f)
            return NULL;
        *to++ = (char)c;
    }
    *to = '\0';
    *out = to + 1;
    return str_is_utf8(start, (size_t)(to - start)) ? raw : NULL;
}

int query_parse(const char *raw, struct query *ret, struct error *err)
{
    char *out = ret->text;

    ret->count = 0;
    if (strlen(raw) > QUERY_TEXT_MAX - QUERY_ARGS_MAX)
        return error_set(err, ERROR_INVALID_ARGUMENT, "The query is longer than %d bytes.",
                         QUERY_TEXT_MAX - QUERY_ARGS_MAX);
    while (*raw) {
        const char *name = out;
        const char *value = "";

        if (*raw == '&') {
            raw++;
            continue;
        }
        if (ret->count == QUERY_ARGS_MAX)
            return error_set(err, ERROR_INVALID_ARGUMENT, "The query has more than %d arguments.",
                             QUERY_ARGS_MAX);
        raw = decode(raw, "=&", &out);
        if (raw && *raw == '=') {
            value = out;
            raw = decode(raw + 1, "&", &out);
        }
        if (!raw)
            return error_set_at(err, ERROR_INVALID_ARGUMENT, "query",
                                "The query is not percent-encoded UTF-8 without control bytes.");
        ret->args[ret->count].name = name;
        ret->args[ret->count].value = value;
        ret->count++;
    }
    return 0;
}
