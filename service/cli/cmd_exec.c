/*
 * `exec`: a program in a guest, as if it ran here: its output as it comes, stdin, its exit status. A
 * broken connection is taken up where it stopped. With --json, or where the guest has no shell, the
 * program's end is waited for.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/base64.h"
#include "service/cli/command.h"
#include "service/cli/exec_output.h"
#include "service/cli/exec_stream.h"
#include "service/cli/print.h"

#define INPUT_MAX (256 * 1024)

static volatile sig_atomic_t interrupted;

/* ---- what is asked for ---- */

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
    if (args_number(args, "timeout", 1, 3600, 30, ret_timeout, fail))
        return -1;
    json_object_set_new(body, "timeout_seconds", json_integer(*ret_timeout));
    *ret = TAKE_PTR(body);
    return 0;
}

/* How a program ended, from an answer or an exit frame. */
static int end_of(const json_t *told, int64_t timeout, struct failure *fail)
{
    if (value_true(told, "timed_out"))
        fprintf(stderr, "drover: killed after %lld s\n", (long long)timeout);
    fail->exit = (enum cli_exit)exec_output_status(told);
    return fail->exit ? -1 : 0;
}

/* ---- all at once ---- */

static int run_at_once(struct cli *cli, const char *path, const json_t *body, int64_t timeout,
                       struct failure *fail)
{
    struct client_request r = {
        .method = "POST", .path = path, .body = body, .timeout_s = (long)timeout + 60};
    auto_answer struct answer a = {0};

    if (client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    exec_output_write(a.value, "stdout", stdout, NULL);
    exec_output_write(a.value, "stderr", stderr, NULL);
    return end_of(a.value, timeout, fail);
}

/* ---- as it comes ---- */

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* A second Ctrl-C ends this program and not the guest's. */
static void watch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static bool wants_end(void *opaque)
{
    (void)opaque;
    return interrupted != 0;
}

static int end_of_stream(const struct exec_stream *s, int64_t timeout, struct failure *fail)
{
    const json_t *problem = value_at(s->exit, "problem");

    if (str_eq(value_text(s->exit, "state", ""), "failed"))
        return failure_set(fail, CLI_FAILED, "%s",
                           value_text(problem, "detail", "the program could not be followed to its end"));
    if (value_true(s->exit, "cut"))
        fputs("drover: not all of the output could be read\n", stderr);
    return end_of(s->exit, timeout, fail);
}

static int run_streamed(struct cli *cli, const char *path, json_t *body, int64_t timeout, bool has_input,
                        struct failure *fail)
{
    struct client_request r = {.method = "POST", .path = path, .body = body, .timeout_s = 120};
    auto_exec_stream struct exec_stream s = {.has_input = has_input, .wants_kill = wants_end};
    auto_answer struct answer a = {0};
    auto_free char *stream = NULL;
    int rc;

    json_object_set_new(body, "stream", json_true());
    if (!has_input)
        json_object_set_new(body, "stdin", json_string(""));
    watch_interrupts();
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    stream = xasprintf("%s/%s/stream", path, value_text(a.value, "id", ""));
    rc = exec_stream_follow(cli, stream, &s, fail);
    return rc ? rc : end_of_stream(&s, timeout, fail);
}

static int run_exec(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s/exec", vm);
    bool at_once = cli->json || args_flag(args, "no-stream"), has_input = args_flag(args, "stdin");
    auto_value json_t *body = NULL;
    int64_t timeout;

    if (exec_body(args, &body, &timeout, fail) || (at_once && has_input && add_input(body, fail)) ||
        cli_connect(cli, fail))
        return -1;
    return at_once ? run_at_once(cli, path, body, timeout, fail)
                   : run_streamed(cli, path, body, timeout, has_input, fail);
}

static const struct option_row exec_options[] = {
    {"env", 'e', "NAME=VALUE", "a variable, instead of the agent's environment; may be repeated"},
    {"stdin", 'i', NULL, "pass standard input on"},
    {"timeout", 0, "SECONDS", "kill the program after this time (default 30), exit status 124"},
    {"no-stream", 0, NULL, "print all output at the end; needs no shell in the guest"},
    {0}};

const struct command exec_commands[] = {
    {"exec", "VM PROGRAM [ARG...]", 2, ARGS_MAX, "run a program in the guest", exec_options,
     run_exec,
     "Through the guest agent. Put -- before the program, so that its options are its own: drover "
     "exec web-1 -- ls -l /. Output comes while it runs; Ctrl-C kills it. The exit status is the "
     "program's, 128 and more for a signal."},
    {0}};
