/* Failures of a command. Knows nothing of HTTP beyond the meaning of a status. */
#include "service/cli/failure.h"

#include <stdarg.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/print.h"
#include "service/cli/style.h"

__attribute__((format(printf, 3, 0))) static void set_text(char *dst, size_t size, const char *fmt,
                                                           va_list ap)
{
    char text[1024];

    vsnprintf(text, sizeof(text), fmt, ap);
    str_copy_utf8(dst, size, text);
}

int failure_set(struct failure *fail, enum cli_exit exit_code, const char *fmt, ...)
{
    va_list ap;

    *fail = (struct failure){.exit = exit_code};
    va_start(ap, fmt);
    set_text(fail->detail, sizeof(fail->detail), fmt, ap);
    va_end(ap);
    return -1;
}

int failure_errno(struct failure *fail, enum cli_exit exit_code, int errnum, const char *fmt, ...)
{
    size_t len;
    va_list ap;

    *fail = (struct failure){.exit = exit_code};
    va_start(ap, fmt);
    set_text(fail->detail, sizeof(fail->detail), fmt, ap);
    va_end(ap);
    len = strlen(fail->detail);
    snprintf(fail->detail + len, sizeof(fail->detail) - len, ": %s", strerror(errnum));
    return -1;
}

int failure_from_error(struct failure *fail, const struct error *err)
{
    failure_set(fail, CLI_FAILED, "%s%s%s", err->detail, *err->cause ? ": " : "", err->cause);
    str_copy_utf8(fail->remedy, sizeof(fail->remedy), err->remedy);
    return -1;
}

void failure_remedy(struct failure *fail, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_text(fail->remedy, sizeof(fail->remedy), fmt, ap);
    va_end(ap);
}

enum cli_exit failure_exit_for_status(int status)
{
    switch (status) {
    case 401:
    case 403:
        return CLI_AUTH;
    case 404:
        return CLI_NOT_FOUND;
    case 409:
    case 410:
    case 412:
        return CLI_CONFLICT;
    case 408:
    case 504:
        return CLI_TIMEOUT;
    default:
        return CLI_FAILED;
    }
}

static void print_line(FILE *out, const char *lead, enum style style, const char *text)
{
    if (!*text)
        return;
    style_begin(out, style);
    fputs(lead, out);
    style_end(out);
    print_safe(out, text);
    fputc('\n', out);
}

void failure_print(const struct failure *fail, FILE *out)
{
    auto_free char *text =
        xasprintf("%s%s%s", fail->title, *fail->title && *fail->detail ? ": " : "", fail->detail);

    print_line(out, "drover: ", STYLE_BAD, *text ? text : "it failed");
    print_line(out, "  at: ", STYLE_PLAIN, fail->pointer);
    print_line(out, "  try: ", STYLE_STRONG, fail->remedy);
    print_line(out, "  request: ", STYLE_FAINT, fail->request_id);
}
