/*
 * The error value and its table. Deliberately does not log: that is done once, at the edge.
 */
#include "service/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "service/base/str.h"

static const struct {
    const char *slug;
    const char *title;
    int status;
    bool retry;
} table[ERROR_COUNT] = {
#define E(sym, slug_, status_, title_, retry_)                                                     \
    [ERROR_##sym] = {.slug = slug_, .title = title_, .status = status_, .retry = retry_},
#include "service/base/errors.def"
#undef E
};

static void __attribute__((format(printf, 3, 0)))
format_into(char *dst, size_t size, const char *fmt, va_list ap)
{
    char buf[1024];

    vsnprintf(buf, sizeof(buf), fmt, ap);
    str_copy_utf8(dst, size, buf);
}

int error_set(struct error *err, enum error_code code, const char *fmt, ...)
{
    va_list ap;

    *err = (struct error){.code = code};
    va_start(ap, fmt);
    format_into(err->detail, sizeof(err->detail), fmt, ap);
    va_end(ap);
    return -1;
}

int error_set_at(struct error *err, enum error_code code, const char *pointer, const char *fmt, ...)
{
    va_list ap;

    *err = (struct error){.code = code};
    str_copy_utf8(err->pointer, sizeof(err->pointer), pointer);
    va_start(ap, fmt);
    format_into(err->detail, sizeof(err->detail), fmt, ap);
    va_end(ap);
    return -1;
}

int error_errno(struct error *err, int errnum, const char *fmt, ...)
{
    bool full = errnum == ENOSPC || errnum == EDQUOT;
    va_list ap;

    *err = (struct error){.code = full ? ERROR_INSUFFICIENT_STORAGE : ERROR_SYSTEM};
    va_start(ap, fmt);
    format_into(err->detail, sizeof(err->detail), fmt, ap);
    va_end(ap);
    error_cause(err, "%s", strerror(errnum));
    return -1;
}

void error_remedy(struct error *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    format_into(err->remedy, sizeof(err->remedy), fmt, ap);
    va_end(ap);
}

void error_cause(struct error *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    format_into(err->cause, sizeof(err->cause), fmt, ap);
    va_end(ap);
}

void error_prefix(struct error *err, const char *fmt, ...)
{
    char old[sizeof(err->cause)];
    char prefix[sizeof(err->cause)];
    char both[2 * sizeof(err->cause) + 4];
    va_list ap;

    memcpy(old, err->cause, sizeof(old));
    va_start(ap, fmt);
    format_into(prefix, sizeof(prefix), fmt, ap);
    va_end(ap);
    snprintf(both, sizeof(both), "%s%s%s", prefix, *old ? ": " : "", old);
    str_copy_utf8(err->cause, sizeof(err->cause), both);
}

const char *error_slug(enum error_code code)
{
    return table[code].slug;
}

const char *error_title(enum error_code code)
{
    return table[code].title;
}

int error_status(enum error_code code)
{
    return table[code].status;
}

bool error_retry(enum error_code code)
{
    return table[code].retry;
}

enum error_code error_from_slug(const char *slug)
{
    for (int i = 0; i < ERROR_COUNT; i++) {
        if (strcmp(table[i].slug, slug) == 0)
            return (enum error_code)i;
    }
    return ERROR_COUNT;
}
