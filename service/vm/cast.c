/* Writing asciicast lines, and finding the last whole one. */
#include "service/vm/cast.h"

#include <stdbool.h>
#include <string.h>

#define US             1000000
#define SECONDS_DIGITS 12

/* ---- bytes to JSON text ---- */

static void add_ascii(struct strbuf *b, unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        strbuf_addc(b, '\\');
        strbuf_addc(b, (char)c);
        break;
    case '\n':
        strbuf_adds(b, "\\n");
        break;
    case '\r':
        strbuf_adds(b, "\\r");
        break;
    case '\t':
        strbuf_adds(b, "\\t");
        break;
    default:
        if (c < 0x20 || c == 0x7f)
            strbuf_addf(b, "\\u%04x", c);
        else
            strbuf_addc(b, (char)c);
    }
}

static void add_replacement(struct strbuf *b)
{
    strbuf_adds(b, "\xef\xbf\xbd");
}

/* How many bytes a character has that begins so; 0: none does. */
static size_t length_of(unsigned char first)
{
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

/* May c follow? The second byte's range rules out overlong forms, surrogates, and above U+10FFFF.
 */
static bool continues(const struct cast_text *t, unsigned char c)
{
    unsigned char low = 0x80, high = 0xbf;

    if (t->len == 1) {
        low = t->pending[0] == 0xe0 ? 0xa0 : t->pending[0] == 0xf0 ? 0x90 : low;
        high = t->pending[0] == 0xed ? 0x9f : t->pending[0] == 0xf4 ? 0x8f : high;
    }
    return c >= low && c <= high;
}

static void add_byte(struct cast_text *t, struct strbuf *b, unsigned char c)
{
    if (t->len && continues(t, c)) {
        t->pending[t->len++] = c;
        if (t->len == length_of(t->pending[0])) {
            strbuf_add(b, (const char *)t->pending, t->len);
            t->len = 0;
        }
        return;
    }
    if (t->len) {
        add_replacement(b);
        t->len = 0;
    }
    if (c < 0x80)
        add_ascii(b, c);
    else if (length_of(c))
        t->pending[t->len++] = c;
    else
        add_replacement(b);
}

/* ---- lines ---- */

static void begin_line(struct strbuf *b, int64_t at_us, char code)
{
    strbuf_addf(b, "[%lld.%06lld, \"%c\", \"", (long long)(at_us / US), (long long)(at_us % US),
                code);
}

static void end_line(struct strbuf *b)
{
    strbuf_adds(b, "\"]\n");
}

static void add_text(struct strbuf *b, const char *text)
{
    struct cast_text t = {0};

    for (; *text; text++)
        add_byte(&t, b, (unsigned char)*text);
    if (t.len)
        add_replacement(b);
}

void cast_header(struct strbuf *b, const struct cast_header *h)
{
    strbuf_addf(
        b, "{\"version\": 2, \"width\": %u, \"height\": %u, \"timestamp\": %lld, \"title\": \"",
        h->cols ? h->cols : CAST_COLS, h->rows ? h->rows : CAST_ROWS,
        (long long)(h->started_at / 1000));
    add_text(b, h->title);
    strbuf_adds(b, "\", \"env\": {\"TERM\": \"xterm-256color\"}}\n");
}

void cast_output(struct cast_text *t, struct strbuf *b, int64_t at_us, const void *data, size_t len)
{
    const unsigned char *p = data;

    while (len) {
        size_t piece = len < CAST_PIECE ? len : CAST_PIECE, line = b->len, text;

        begin_line(b, at_us, 'o');
        text = b->len;
        for (size_t i = 0; i < piece; i++)
            add_byte(t, b, p[i]);
        if (b->len == text)
            b->data[b->len = line] = '\0';
        else
            end_line(b);
        p += piece;
        len -= piece;
    }
}

void cast_break(struct cast_text *t, struct strbuf *b, int64_t at_us)
{
    if (!t->len)
        return;
    t->len = 0;
    begin_line(b, at_us, 'o');
    add_replacement(b);
    end_line(b);
}

void cast_resize(struct strbuf *b, int64_t at_us, unsigned rows, unsigned cols)
{
    begin_line(b, at_us, 'r');
    strbuf_addf(b, "%ux%u", cols, rows);
    end_line(b);
}

void cast_marker(struct strbuf *b, int64_t at_us, const char *text)
{
    begin_line(b, at_us, 'm');
    add_text(b, text);
    end_line(b);
}

/* ---- reading back ---- */

/* "[12.345678, " in microseconds; -1: not the beginning of an event's line. */
static int64_t time_of(const char *line, size_t len)
{
    int64_t us = 0, unit = US;
    size_t i = 1, digits = 0;

    if (len < 2 || line[0] != '[')
        return -1;
    for (; i < len && line[i] >= '0' && line[i] <= '9' && digits < SECONDS_DIGITS; i++, digits++)
        us = us * 10 + (line[i] - '0') * (int64_t)US;
    if (!digits)
        return -1;
    if (i < len && line[i] == '.') {
        for (i++; i < len && line[i] >= '0' && line[i] <= '9' && unit > 1; i++) {
            unit /= 10;
            us += (line[i] - '0') * unit;
        }
    }
    return i < len && line[i] == ',' ? us : -1;
}

size_t cast_whole(const char *tail, size_t len, int64_t *ret_last_us)
{
    const char *end = memrchr(tail, '\n', len), *line;
    size_t whole = end ? (size_t)(end - tail) + 1 : 0;

    *ret_last_us = -1;
    for (size_t left = whole; left && *ret_last_us < 0; left = (size_t)(line - tail)) {
        line = memrchr(tail, '\n', left - 1);
        line = line ? line + 1 : tail;
        *ret_last_us = time_of(line, left - (size_t)(line - tail));
    }
    return whole;
}
