/* What a program in a guest printed, and how it ended. */
#include "service/cli/exec_output.h"

#include <string.h>

#include "service/base/str.h"
#include "service/cli/base64.h"

char *exec_output_bytes(const json_t *answer, const char *name, size_t *ret_len)
{
    auto_free char *encoding = xasprintf("%s_encoding", name);
    const char *text = value_text(answer, name, "");
    char *data = NULL;

    if (!str_eq(value_text(answer, encoding, ""), "base64")) {
        *ret_len = strlen(text);
        return xstrdup(text);
    }
    return base64_decode(text, &data, ret_len) ? data : NULL;
}

void exec_output_write(const json_t *answer, const char *name, FILE *out, size_t *ret_len)
{
    auto_free char *truncated = xasprintf("%s_truncated", name);
    size_t len = 0;
    auto_free char *data = exec_output_bytes(answer, name, &len);

    if (data)
        fwrite(data, 1, len, out);
    if (value_true(answer, truncated))
        fprintf(stderr, "drover: %s was cut\n", name);
    if (ret_len)
        *ret_len = data ? len : 0;
}

int exec_output_status(const json_t *answer)
{
    double number = 0;

    if (value_true(answer, "timed_out"))
        return EXEC_EXIT_TIMEOUT;
    if (value_number(answer, "signal", &number))
        return EXEC_EXIT_SIGNAL + (int)number;
    (void)value_number(answer, "exit_code", &number);
    return (int)number & 0xff;
}
