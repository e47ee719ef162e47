/* One line, bounded, without its newline. */
#include "service/cli/secret_file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/terminal.h"

#define LINE_MAX_BYTES 4096

int secret_file_read(const char *path, char **ret, struct failure *fail)
{
    bool is_stdin = str_eq(path, "-");
    auto_fclose FILE *opened = is_stdin ? NULL : fopen(path, "rbe");
    char line[LINE_MAX_BYTES];
    size_t len;

    if (!is_stdin && !opened)
        return failure_errno(fail, CLI_USAGE, errno, "cannot open %s", path);
    if (is_stdin && isatty(STDIN_FILENO)) {
        *ret = terminal_ask_secret("Secret: ");
        return *ret ? 0 : failure_set(fail, CLI_USAGE, "nothing was typed");
    }
    if (!fgets(line, sizeof(line), is_stdin ? stdin : opened))
        return failure_set(fail, CLI_USAGE, "there is nothing in %s", is_stdin ? "standard input" : path);
    len = strcspn(line, "\r\n");
    if (!line[len] && len == sizeof(line) - 1)
        return failure_set(fail, CLI_USAGE, "%s is too long for a secret", path);
    line[len] = '\0';
    if (len == 0)
        return failure_set(fail, CLI_USAGE, "the first line of %s is empty", is_stdin ? "standard input" : path);
    *ret = xstrdup(line);
    explicit_bzero(line, sizeof(line));
    return 0;
}
