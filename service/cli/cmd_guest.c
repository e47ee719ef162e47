/* The inside of a VM: `cp`, `vm agent`, `vm addresses`, `vm wait`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"
#include "service/cli/progress.h"

static char *vm_path(const char *vm, const char *rest)
{
    auto_free char *escaped = url_escape(vm);

    return xasprintf("/v1/vms/%s/%s", escaped, rest);
}

/* ---- cp ---- */

/* VM:PATH, and not a local path that has a colon in it. */
static bool split(const char *text, char **ret_vm, const char **ret_path)
{
    const char *colon = strchr(text, ':');

    if (!colon || colon == text || memchr(text, '/', (size_t)(colon - text)))
        return false;
    *ret_vm = xstrndup(text, (size_t)(colon - text));
    *ret_path = colon + 1;
    return true;
}

static char *file_path(const char *vm, const char *path, const char *more)
{
    auto_free char *escaped = url_escape(path);
    auto_free char *rest = xasprintf("files?path=%s%s", escaped, more);

    return vm_path(vm, rest);
}

static int copy_in(struct cli *cli, const char *name, const char *vm, const char *to,
                   struct failure *fail)
{
    bool is_stdin = str_eq(name, "-");
    auto_fclose FILE *opened = is_stdin ? NULL : fopen(name, "rbe");
    auto_free char *path = NULL;
    auto_answer struct answer a = {0};
    struct progress p = {.label = name};
    struct client_request r = {.method = "PUT",
                               .timeout_s = -1,
                               .upload = is_stdin ? stdin : opened,
                               .upload_size = -1,
                               .progress = progress_upload,
                               .opaque = &p};
    struct stat st;
    char mode[24] = "";
    int rc;

    if (!r.upload)
        return failure_errno(fail, CLI_USAGE, errno, "cannot open %s", name);
    if (fstat(fileno(r.upload), &st) == 0 && S_ISDIR(st.st_mode))
        return failure_set(fail, CLI_USAGE, "%s is a directory", name);
    if (!is_stdin && S_ISREG(st.st_mode)) {
        r.upload_size = st.st_size;
        snprintf(mode, sizeof(mode), "&mode=%04o", (unsigned)st.st_mode & 0777);
    }
    path = file_path(vm, to, mode);
    r.path = path;
    rc = client_do(cli->client, &r, &a, fail);
    progress_end(&p);
    return rc;
}

static bool on_data(void *opaque, const char *data, size_t len)
{
    return fwrite(data, 1, len, opaque) == len;
}

static int copy_out(struct cli *cli, const char *vm, const char *from, const char *name,
                    struct failure *fail)
{
    bool is_stdout = str_eq(name, "-");
    auto_free char *path = file_path(vm, from, "");
    auto_fclose FILE *opened = is_stdout ? NULL : fopen(name, "wbe");
    FILE *out = is_stdout ? stdout : opened;
    auto_answer struct answer a = {0};
    struct client_request r = {.path = path, .timeout_s = -1, .on_data = on_data, .opaque = out};

    if (!out)
        return failure_errno(fail, CLI_USAGE, errno, "cannot write %s", name);
    if (client_do(cli->client, &r, &a, fail)) {
        if (!is_stdout)
            (void)unlink(name); /* half a file is none */
        return -1;
    }
    if (fflush(out) || ferror(out))
        return failure_errno(fail, CLI_FAILED, errno, "cannot write %s", name);
    return 0;
}

/* A target that ends with a slash, or is a folder here, is where the file goes under its own name. */
static char *target(const char *from, const char *to, bool here)
{
    const char *slash = strrchr(from, '/'), *name = slash ? slash + 1 : from;
    size_t len = strlen(to);
    struct stat st;

    if (!*name || str_eq(from, "-"))
        return xstrdup(to);
    if (len && to[len - 1] == '/')
        return xasprintf("%s%s", to, name);
    if (here && !str_eq(to, "-") && stat(to, &st) == 0 && S_ISDIR(st.st_mode))
        return xasprintf("%s/%s", to, name);
    return xstrdup(to);
}

static int run_cp(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *from_vm = NULL, *to_vm = NULL, *at = NULL;
    const char *from = args->operand[0], *to = args->operand[1], *inside;
    bool is_from = split(from, &from_vm, &from), is_to = split(to, &to_vm, &to);

    if (is_from == is_to)
        return failure_set(fail, CLI_USAGE, "one of the two must be in a VM: VM:/PATH");
    inside = is_from ? from : to;
    if (*inside != '/')
        return failure_set(fail, CLI_USAGE, "the path in the VM must be absolute, not '%s'", inside);
    at = target(from, to, is_from);
    if (cli_connect(cli, fail))
        return -1;
    return is_to ? copy_in(cli, from, to_vm, at, fail) : copy_out(cli, from_vm, from, at, fail);
}

/* ---- what it says ---- */

static int run_agent(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = vm_path(args->operand[0], "agent");
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

static int run_addresses(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"ADDRESS", "INTERFACE", "MAC", "SOURCE"};
    static const char *const members[] = {"address", "interface", "mac", "source"};
    auto_free char *path = vm_path(args->operand[0], "addresses");
    auto_table struct table *t = table_new(titles, 4);
    auto_answer struct answer a = {0};
    const json_t *item;
    size_t i;

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    json_array_foreach(value_at(a.value, "items"), i, item)
    {
        for (size_t j = 0; j < 4; j++)
            table_cell(t, value_text(item, members[j], NULL));
    }
    table_print(t, stdout, "No address is known.");
    return 0;
}

static int run_dirty_rate(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = vm_path(args->operand[0], "dirty-rate");
    auto_value json_t *body = NULL;
    auto_answer struct answer a = {0};
    struct client_request r = {.method = "POST", .path = path};
    int64_t seconds;

    if (args_number(args, "seconds", 1, 60, 1, &seconds, fail) || cli_connect(cli, fail))
        return -1;
    body = json_pack("{s:I}", "seconds", (json_int_t)seconds);
    r.body = body;
    r.timeout_s = (long)seconds + 30;
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

static int run_wait(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *what = args_text(args, "for", NULL), *pattern = args_text(args, "pattern", NULL);
    auto_free char *escaped = url_escape(pattern ? pattern : what ? what : "running");
    auto_free char *rest = NULL, *path = NULL;
    auto_answer struct answer a = {0};
    struct client_request r = {0};
    int64_t timeout;

    if (what && pattern)
        return failure_set(fail, CLI_USAGE, "--for and --pattern exclude each other");
    if (args_number(args, "timeout", 1, 600, 120, &timeout, fail) || cli_connect(cli, fail))
        return -1;
    rest = xasprintf("wait?%s=%s&timeout=%lld", pattern ? "pattern" : "for", escaped,
                     (long long)timeout);
    path = vm_path(args->operand[0], rest);
    r.path = path;
    r.timeout_s = (long)timeout + 30;
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    return cli->json ? cli_print_json(&a) : 0;
}

static const struct option_row wait_options[] = {
    {"for", 0, "WHAT", "running (default), console, ip or agent"},
    {"pattern", 'p', "REGEX", "until the console printed something that matches"},
    {"timeout", 0, "SECONDS", "how long to wait (default 120, at most 600), exit status 7"},
    {0}};

static const struct option_row dirty_options[] = {
    {"seconds", 0, "SECONDS", "how long QEMU looks (default 1, at most 60)"}, {0}};

const struct command guest_commands[] = {
    {"cp", "FROM TO", 2, 2, "copy a file into or out of the guest", NULL, run_cp,
     "One of the two is VM:/PATH, the other a local file or - for standard input or output. A target that "
     "ends with a slash, and a local folder, take the file under its own name."},
    {"vm agent", "VM", 1, 1, "what the guest agent says", NULL, run_agent, NULL},
    {"vm addresses", "VM", 1, 1, "where the VM can be reached", NULL, run_addresses, NULL},
    {"vm dirty-rate", "VM", 1, 1, "measure how fast the guest writes to its memory", dirty_options,
     run_dirty_rate, NULL},
    {"vm wait", "VM", 1, 1, "wait until it runs, prints, answers or has an address", wait_options,
     run_wait, NULL},
    {0}};
