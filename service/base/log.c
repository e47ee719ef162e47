/*
 * The log. Writes each line with one write(2), so lines of several threads never mix.
 */
#include "service/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/error.h"
#include "service/base/str.h"

static _Atomic int max_level = LOG_LEVEL_INFO;
static _Thread_local char request[40];

void log_set_level(enum log_level level)
{
    atomic_store(&max_level, (int)level);
}

void log_set_level_named(const char *name)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"error", LOG_LEVEL_ERROR},
                  {"warning", LOG_LEVEL_WARNING},
                  {"info", LOG_LEVEL_INFO},
                  {"debug", LOG_LEVEL_DEBUG}};

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (str_eq(levels[i].name, name))
            log_set_level(levels[i].level);
    }
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

void log_set_request(const char *request_id)
{
    str_copy_utf8(request, sizeof(request), request_id ? request_id : "");
}

static void put(enum log_level level, const char *text)
{
    char line[2048];
    size_t n = (size_t)snprintf(line, sizeof(line), "<%d>", (int)level);

    for (const char *p = text; *p && n < sizeof(line) - 64; p++) {
        unsigned char c = (unsigned char)*p;

        if (c < 0x20 || c == 0x7f)
            n += (size_t)snprintf(line + n, sizeof(line) - n, "\\x%02x", c);
        else
            line[n++] = (char)c;
    }
    if (*request)
        n += (size_t)snprintf(line + n, sizeof(line) - n, " request=%s", request);
    line[n++] = '\n';
    /* Nobody can be told when stderr itself is gone. */
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}

void log_at(enum log_level level, const char *fmt, ...)
{
    char text[1600];
    va_list ap;

    if (!log_enabled(level))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    put(level, text);
}

void log_failure(enum log_level level, const struct error *err, const char *fmt, ...)
{
    char what[512];
    char text[1600];
    va_list ap;

    if (!log_enabled(level))
        return;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    snprintf(text, sizeof(text), "%s: %s code=%s%s%s%s%s", what, err->detail, error_slug(err->code),
             *err->pointer ? " pointer=" : "", err->pointer, *err->cause ? " cause=" : "", err->cause);
    put(level, text);
}
