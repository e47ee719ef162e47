/* The inside of a VM: `exec`, `cp`, `vm agent`, `vm addresses`, `vm wait`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/base64.h"
#include "service/cli/command.h"
#include "service/cli/exec_output.h"
#include "service/cli/print.h"

#define INPUT_MAX (256 * 1024)

static char *vm_path(const char *vm, const char *rest)
{
    auto_free char *escaped = url_escape(vm);

    return xasprintf("/v1/vms/%s/%s", escaped, rest);
}

/* ---- exec ---- */

static int add_input(json_t *body, struct failure *fail)
{
    auto_free char *data = xcalloc(1, INPUT_MAX + 1), *text = NULL;
    size_t len = fread(data, 1, INPUT_MAX + 1, stdin);

    if (ferror(stdin))
        return failure_errno(fail, CLI_FAILED, errno, "cannot read standard input");
    if (len > INPUT_MAX)
        return failure_set(fail, CLI_USAGE,
                           "standard input is larger than 256 KiB: send it with `drover cp`");
    text = base64_encode(data, len);
    json_object_set_new(body, "stdin_base64", json_string(text));
    return 0;
}

static int exec_body(const struct args *args, json_t **ret, int64_t *ret_timeout,
                     struct failure *fail)
{
    auto_value json_t *body = json_object(), *argv = json_array();
    const char *text;
    int state = 0;

    for (int i = 1; i < args->count; i++) {
        if (json_array_append_new(argv, json_string(args->operand[i])))
            return failure_set(fail, CLI_USAGE, "the program and its arguments must be UTF-8");
    }
    json_object_set(body, "argv", argv);
    while ((text = args_next(args, "env", &state))) {
        const char *eq = strchr(text, '=');
        auto_free char *name = eq ? xstrndup(text, (size_t)(eq - text)) : NULL;

        if (!eq)
            return failure_set(fail, CLI_USAGE, "--env must read NAME=VALUE, not '%s'", text);
        if (!json_object_get(body, "environment"))
            json_object_set_new(body, "environment", json_object());
        json_object_set_new(json_object_get(body, "environment"), name, json_string(eq + 1));
    }
    if (args_number(args, "timeout", 1, 3600, 30, ret_timeout, fail) ||
        (args_flag(args, "stdin") && add_input(body, fail)))
        return -1;
    json_object_set_new(body, "timeout_seconds", json_integer(*ret_timeout));
    *ret = TAKE_PTR(body);
    return 0;
}

static int run_exec(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = vm_path(args->operand[0], "exec");
    auto_value json_t *body = NULL;
    auto_answer struct answer a = {0};
    struct client_request r = {.method = "POST", .path = path};
    int64_t timeout;

    if (exec_body(args, &body, &timeout, fail) || cli_connect(cli, fail))
        return -1;
    r.body = body;
    r.timeout_s = (long)timeout + 60;
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    exec_output_write(a.value, "stdout", stdout, NULL);
    exec_output_write(a.value, "stderr", stderr, NULL);
    if (value_true(a.value, "timed_out"))
        fprintf(stderr, "drover: killed after %lld s\n", (long long)timeout);
    fail->exit = (enum cli_exit)exec_output_status(a.value);
    return fail->exit ? -1 : 0;
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
    struct client_request r = {.method = "PUT",
                               .timeout_s = -1,
                               .upload = is_stdin ? stdin : opened,
                               .upload_size = -1};
    struct stat st;
    char mode[24] = "";

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
    return client_do(cli->client, &r, &a, fail);
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

static int run_cp(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *from_vm = NULL, *to_vm = NULL;
    const char *from = args->operand[0], *to = args->operand[1], *inside;
    bool is_from = split(from, &from_vm, &from), is_to = split(to, &to_vm, &to);

    if (is_from == is_to)
        return failure_set(fail, CLI_USAGE, "one of the two must be in a VM: VM:/PATH");
    inside = is_from ? from : to;
    if (*inside != '/')
        return failure_set(fail, CLI_USAGE, "the path in the VM must be absolute, not '%s'", inside);
    if (cli_connect(cli, fail))
        return -1;
    return is_to ? copy_in(cli, from, to_vm, to, fail) : copy_out(cli, from_vm, from, to, fail);
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

static const struct option_row exec_options[] = {
    {"env", 'e', "NAME=VALUE", "a variable, instead of the agent's environment; may be repeated"},
    {"stdin", 'i', NULL, "pass standard input on, up to 256 KiB"},
    {"timeout", 0, "SECONDS", "kill the program after this time (default 30), exit status 124"},
    {0}};
static const struct option_row wait_options[] = {
    {"for", 0, "WHAT", "running (default), console, ip or agent"},
    {"pattern", 'p', "REGEX", "until the console printed something that matches"},
    {"timeout", 0, "SECONDS", "how long to wait (default 120, at most 600), exit status 7"},
    {0}};

const struct command guest_commands[] = {
    {"exec", "VM PROGRAM [ARG...]", 2, ARGS_MAX, "run a program in the guest", exec_options,
     run_exec,
     "Through the guest agent. Put -- before the program, so that its options are its own: drover "
     "exec web-1 -- ls -l /. The exit status is the program's, 128 and more for a signal."},
    {"cp", "FROM TO", 2, 2, "copy a file into or out of the guest", NULL, run_cp,
     "One of the two is VM:/PATH, the other a local file or - for standard input or output."},
    {"vm agent", "VM", 1, 1, "what the guest agent says", NULL, run_agent, NULL},
    {"vm addresses", "VM", 1, 1, "where the VM can be reached", NULL, run_addresses, NULL},
    {"vm wait", "VM", 1, 1, "wait until it runs, prints, answers or has an address", wait_options,
     run_wait, NULL},
    {0}};
