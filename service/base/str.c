/*
 * Strings and buffers. Aborts when a small allocation fails: there is nothing useful left to do.
 */
#include "service/base/str.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void out_of_memory(void)
{
    static const char words[] = "<2>out of memory: ending, to be started again; nothing acknowledged is lost\n";
    ssize_t n = write(STDERR_FILENO, words, sizeof(words) - 1); /* the log would allocate */

    (void)n;
    abort();
}

static void *check(void *p)
{
    if (!p)
        out_of_memory();
    return p;
}

void *xmalloc(size_t size)
{
    return check(malloc(size ? size : 1));
}

void *xrealloc(void *p, size_t size)
{
    return check(realloc(p, size ? size : 1));
}

void *xcalloc(size_t n, size_t size)
{
    return check(calloc(n ? n : 1, size ? size : 1));
}

void *xcopy_behind(const void *from, size_t skip, size_t size)
{
    char *copy = xcalloc(1, size);

    memcpy(copy + skip, (const char *)from + skip, size - skip);
    return copy;
}

void *xrealloc_array(void *p, size_t n, size_t size)
{
    return check(reallocarray(p, n ? n : 1, size ? size : 1));
}

char *xstrdup(const char *s)
{
    return check(strdup(s));
}

char *xstrdup_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *copy = xcalloc(len + 1, 1); /* not strndup(3): sanitizers think it reads one byte more */

    memcpy(copy, s, len);
    return copy;
}

char *xasprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        out_of_memory();
    va_end(ap);
    return s;
}

void str_replace(char **p, const char *s)
{
    char *copy = xstrdup_null(s);

    free(*p);
    *p = copy;
}

void str_copy_utf8(char *dst, size_t size, const char *src)
{
    static const char ellipsis[] = "\xe2\x80\xa6";
    size_t len = strlen(src);

    if (len < size) {
        memcpy(dst, src, len + 1);
        return;
    }
    if (size < sizeof(ellipsis)) {
        if (size)
            *dst = '\0';
        return;
    }
    len = size - sizeof(ellipsis);
    while (len && ((unsigned char)src[len] & 0xc0) == 0x80)
        len--;
    memcpy(dst, src, len);
    memcpy(dst + len, ellipsis, sizeof(ellipsis));
}

/* The well-formed byte sequences of Unicode's table 3-7. */
bool str_is_utf8(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    const unsigned char *end = p + len;

    while (p < end) {
        unsigned char c = *p;
        size_t more;
        unsigned char lo = 0x80, hi = 0xbf;

        if (c < 0x80) {
            p++;
            continue;
        }
        if (c >= 0xc2 && c <= 0xdf) {
            more = 1;
        } else if (c >= 0xe0 && c <= 0xef) {
            more = 2;
            lo = c == 0xe0 ? 0xa0 : 0x80;
            hi = c == 0xed ? 0x9f : 0xbf;
        } else if (c >= 0xf0 && c <= 0xf4) {
            more = 3;
            lo = c == 0xf0 ? 0x90 : 0x80;
            hi = c == 0xf4 ? 0x8f : 0xbf;
        } else {
            return false;
        }
        if ((size_t)(end - p) <= more || p[1] < lo || p[1] > hi)
            return false;
        for (size_t i = 2; i <= more; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
        }
        p += more + 1;
    }
    return true;
}

bool str_eq(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool str_has_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = words; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
        if (strcspn(p, " ") == len && memcmp(p, word, len) == 0)
            return true;
    }
    return false;
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_to_u64(const char *s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;

    if (!*s)
        return false;
    for (; *s; s++) {
        unsigned d = (unsigned)(*s - '0');

        if (d > 9 || v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    if (v > max)
        return false;
    *ret = v;
    return true;
}

bool str_eq_secret(const char *a, const char *b)
{
    size_t len = strlen(b);

    return strlen(a) == len && sodium_memcmp(a, b, len) == 0;
}

void strbuf_done(struct strbuf *b)
{
    free(b->data);
    *b = (struct strbuf){0};
}

static void strbuf_room(struct strbuf *b, size_t more)
{
    size_t need = b->len + more + 1;
    size_t cap = b->cap ? b->cap : 128;

    if (need <= b->cap)
        return;
    while (cap < need)
        cap *= 2;
    b->data = xrealloc_array(b->data, cap, 1);
    b->cap = cap;
}

void strbuf_add(struct strbuf *b, const void *data, size_t len)
{
    strbuf_room(b, len);
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void strbuf_adds(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_addc(struct strbuf *b, char c)
{
    strbuf_add(b, &c, 1);
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
    char small[256];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0)
        out_of_memory();
    if ((size_t)n < sizeof(small)) {
        strbuf_add(b, small, (size_t)n);
        return;
    }
    strbuf_room(b, (size_t)n);
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

char *strbuf_take(struct strbuf *b)
{
    char *s = b->data ? b->data : xstrdup("");

    *b = (struct strbuf){0};
    return s;
}
