/*
 * Small strings and buffers: allocation that aborts when memory for a small object is gone,
 * UTF-8-safe truncation, and a growing byte buffer with a hard cap chosen by its owner.
 *
 * Any thread; no shared state.
 */
#ifndef DROVER_BASE_STR_H
#define DROVER_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "service/base/cleanup.h"

/* Says so and aborts: whoever is killed at any moment loses nothing, and whoever goes on might. */
void out_of_memory(void) __attribute__((noreturn, cold));

/* For objects of small, fixed size only; anything a client can size is checked against a limit first. */
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
/*
 * A copy of an object of that size whose first skip bytes are zero instead: the counters that other threads change
 * stand there, and reading them as plain memory would be a race.
 */
void *xcopy_behind(const void *from, size_t skip, size_t size)
    __attribute__((malloc, returns_nonnull, nonnull));
/* For libraries that take an allocator; like malloc(3) and realloc(3), what they return is free()d. */
void *xmalloc(size_t size) __attribute__((malloc));
void *xrealloc(void *p, size_t size);
void *xrealloc_array(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrdup_null(const char *s); /* NULL stays NULL */
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

/* Replaces *p (freeing it) by a copy of s, which may be NULL. */
void str_replace(char **p, const char *s);
/* Copies at most size - 1 bytes; what does not fit is cut on a UTF-8 boundary and marked with U+2026. */
void str_copy_utf8(char *dst, size_t size, const char *src);
bool str_is_utf8(const char *s, size_t len);
bool str_eq(const char *a, const char *b); /* NULL equals only NULL */
bool str_starts(const char *s, const char *prefix);
bool str_has_word(const char *words, const char *word); /* words separated by spaces */
/* Whole string, base 10, no sign, no spaces; false when it is not a number or above max. */
bool str_to_u64(const char *s, uint64_t max, uint64_t *ret);
/* Constant-time over the length of b. */
bool str_eq_secret(const char *a, const char *b);

/* A growing byte buffer. Always NUL-terminated after the first append. */
struct strbuf {
    char *data;
    size_t len;
    size_t cap;
};

void strbuf_done(struct strbuf *b);
void strbuf_add(struct strbuf *b, const void *data, size_t len);
void strbuf_adds(struct strbuf *b, const char *s);
void strbuf_addc(struct strbuf *b, char c);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *strbuf_take(struct strbuf *b); /* never NULL; caller frees */

#define auto_strbuf auto_scope(strbuf_done)

#endif
