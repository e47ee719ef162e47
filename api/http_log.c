/*
 * Request lines. Under load a write(2) for each would be the dearest part of a small request, so
 * they are gathered during a turn of the loop and written at its end, before it can sleep.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "api/http_internal.h"
#include "service/base/log.h"

#define LINE_MAX_BYTES 512

static void add(struct http *h, const char *text)
{
    size_t len = strlen(text);

    memcpy(h->log + h->log_len, text, len);
    h->log_len += len;
}

static void add_number(struct http *h, uint64_t n)
{
    char digits[24];
    char *p = digits + sizeof(digits) - 1;

    *p = '\0';
    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    add(h, p);
}

/* What a client chose may be shown only when it is one of a few words. */
static const char *method_name(const char *method)
{
    static const char *const known[] = {"GET",    "HEAD",    "POST",  "PUT",    "PATCH",
                                        "DELETE", "OPTIONS", "TRACE", "CONNECT"};

    for (size_t i = 0; method && i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(method, known[i]) == 0)
            return known[i];
    }
    return "-";
}

/*
 * Reads that went well are said at debug only: they change nothing, the counters have them, and the
 * line costs as much as a twentieth of such a request.
 */
static enum log_level level_of(const char *method, int status)
{
    bool reads = method && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);

    return reads && status >= 200 && status < 400 ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
}

void request_log(struct exchange *x, int status, int64_t ns)
{
    struct http *h = x->http;
    uint64_t tenths = (uint64_t)ns / 100000;
    enum log_level level = level_of(x->req.method, status);

    if (!log_enabled(level))
        return;
    if (h->log_len + LINE_MAX_BYTES > sizeof(h->log))
        request_log_flush(h);
    /* The template, not the path, and never the query: those may hold names and secrets. */
    add(h, level == LOG_LEVEL_DEBUG ? "<7>" : "<6>");
    add(h, method_name(x->req.method));
    add(h, " ");
    add(h, x->req.route ? x->req.route->path : "(no route)");
    add(h, " ");
    add_number(h, (uint64_t)status);
    add(h, " ");
    add_number(h, tenths / 10);
    add(h, ".");
    add_number(h, tenths % 10);
    add(h, " ms principal=");
    add(h, x->req.has_principal ? x->req.principal.id : "-");
    add(h, " peer=");
    add(h, x->conn->peer);
    add(h, " request=");
    add(h, x->req.id);
    add(h, "\n");
}

void request_log_flush(struct http *h)
{
    size_t at = 0;

    while (at < h->log_len) {
        ssize_t n = write(STDERR_FILENO, h->log + at, h->log_len - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* nobody can be told when stderr itself is gone */
        at += (size_t)n;
    }
    h->log_len = 0;
}
