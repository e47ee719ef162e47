/* Entry point of the command: the list of all commands, the options every one takes, dispatch. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/cli/cli.h"
#include "service/cli/command.h"
#include "service/cli/context.h"
#include "service/cli/help.h"
#include "service/cli/output.h"
#include "service/cli/secret_file.h"
#include "service/cli/watch.h"
#include "service/cli/words.h"

const struct command *const command_groups[] = {
    vm_commands,
    vm_set_commands,
    ask_commands,
    agent_commands,
    history_commands,
    apply_commands,
    export_commands,
    exec_commands,
    guest_commands,
    console_commands,
    stream_commands,
    recording_commands,
    ticket_commands,
    lease_commands,
    set_commands,
    run_commands,
    ci_commands,
    host_commands,
    host_guest_commands,
    top_commands,
    event_commands,
    audit_commands,
    webhook_commands,
    image_commands,
    image_import_commands,
    image_label_commands,
    image_card_commands,
    catalogue_commands,
    token_commands,
    project_commands,
    quota_commands,
    db_commands,
    context_commands,
    op_commands,
    help_commands,
    complete_commands,
    NULL,
};

const struct option_row global_options[] = {
    {"output", 'o', "FORM", "table (default), json, yaml, or name: only names, one on a line"},
    {"json", 'j', NULL, "the same as -o json"},
    {"watch", 0, NULL, "of lists and things: show it again whenever something about it changes"},
    {"url", 'u', "URL", "the server's address (default: see `drover help context show`)"},
    {"context", 0, "NAME", "a server of `drover context list`"},
    {"token-file", 0, "FILE", "read the API token from a file; - is standard input"},
    {"token", 't', "TOKEN", "API token; prefer --token-file, DROVER_TOKEN or a context, which others cannot see"},
    {"project", 'P', "NAME", "act in this project (default: DROVER_PROJECT, else the token's own)"},
    {"socket", 's', "PATH", "the daemon's Unix socket (default: DIR/drover.sock)"},
    {"help", 'h', NULL, "show help for the command, or for a family of commands such as vm"},
    {"version", 0, NULL, "show the version of this command"},
    {0}};

static const char *env(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

int cli_choose(struct cli *cli, struct context_choice *ret, struct failure *fail)
{
    const struct context_given given = {.url = cli->url,
                                        .socket = cli->socket,
                                        .token = cli->token,
                                        .context = cli->context,
                                        .env_url = env("DROVER_URL"),
                                        .env_token = env("DROVER_TOKEN"),
                                        .env_context = env("DROVER_CONTEXT"),
                                        .env_state_dir = env("DROVER_STATE_DIR")};

    return context_choose(&given, ret, fail);
}

int cli_connect(struct cli *cli, struct failure *fail)
{
    auto_context_choice struct context_choice c = {0};
    struct client_target target;

    if (cli->client)
        return 0;
    if (cli_choose(cli, &c, fail))
        return -1;
    target = (struct client_target){.url = c.url, .socket = c.socket, .token = c.token,
                                    .project = cli->project,
                                    .trust = {.ca = env("DROVER_CACERT"),
                                              .certificate = env("DROVER_CERT"),
                                              .key = env("DROVER_KEY")}};
    return client_new(&target, &cli->client, fail);
}

/* The token of --token or --token-file; the caller frees it. */
static int read_token(const struct args *args, char **ret, struct failure *fail)
{
    const char *text = args_text(args, "token", NULL), *file = args_text(args, "token-file", NULL);

    if (text && file)
        return failure_set(fail, CLI_USAGE, "--token and --token-file exclude each other");
    if (text) {
        *ret = xstrdup(text);
        /* From here on, ps and /proc show no more of it. */
        memset((char *)(uintptr_t)text, 'x', strlen(text));
    }
    return file ? secret_file_read(file, ret, fail) : 0;
}

/* What to do about it, where nobody closer to it said so. */
static void add_remedy(const struct args *args, struct failure *fail)
{
    const char *words = args->command ? args->command->words : "";
    auto_free char *family = xstrndup(words, strcspn(words, " "));
    const char *list[] = {family, "list"};
    int n = 0;

    if (*fail->remedy)
        return;
    switch (fail->exit) {
    case CLI_CONNECT:
        failure_remedy(fail, "drover context show says which server is asked, and why");
        return;
    case CLI_AUTH:
        failure_remedy(fail, "drover whoami says who the server takes you for, and what you may do");
        return;
    case CLI_CONFLICT:
        failure_remedy(fail, "Look at it as it is now, and ask again.");
        return;
    case CLI_NOT_FOUND:
        (void)words_find(command_groups, 2, list, &n);
        failure_remedy(fail, n == 2 ? "drover %s list" : "drover help %s", n == 2 ? family : words);
        return;
    case CLI_TIMEOUT:
        failure_remedy(fail, "drover op list says what is still under way; drover help %s how to wait longer", words);
        return;
    default:
        if (*fail->request_id && !*fail->pointer)
            failure_remedy(fail, "The daemon's log has more under this request: journalctl -u droverd");
        else
            failure_remedy(fail, "drover help%s%s", *words ? " " : "", words);
    }
}

static void complain(const struct args *args, struct failure *fail)
{
    add_remedy(args, fail);
    failure_print(fail, stderr);
}

int cli_main(int argc, char **argv)
{
    struct cli cli = {0};
    struct args args;
    struct failure fail = {.exit = CLI_FAILED};
    auto_free char *token = NULL;
    enum output_form form;
    int rc;

    setlocale(LC_CTYPE, "");
    secret_init();
    if (args_parse(command_groups, global_options, argc, argv, &args, &fail)) {
        if (!args.command && args_flag(&args, "version"))
            return help_version(stdout), CLI_OK;
        if (!args.command && args_flag(&args, "help"))
            return help_family(args.family, stdout), CLI_OK;
        if (!args.command && *args.family)
            help_family(args.family, stderr);
        complain(&args, &fail);
        return args.command && args.command->failure_exit ? args.command->failure_exit : fail.exit;
    }
    if (args_flag(&args, "version"))
        return help_version(stdout), CLI_OK;
    if (args_flag(&args, "help"))
        return help_command(args.command, stdout), CLI_OK;
    if (output_choose(args_text(&args, "output", args_flag(&args, "json") ? "json" : NULL), &form, &fail)) {
        complain(&args, &fail);
        return fail.exit;
    }
    output_start(form, args.command->words);
    cli.json = form != OUTPUT_TABLE;
    cli.url = args_text(&args, "url", NULL);
    cli.socket = args_text(&args, "socket", NULL);
    cli.project = args_text(&args, "project", env("DROVER_PROJECT"));
    cli.context = args_text(&args, "context", NULL);
    cli.token_in_sight = args_flag(&args, "token");
    rc = read_token(&args, &token, &fail);
    cli.token = token;
    if (rc == 0)
        rc = args_flag(&args, "watch") ? watch_run(&cli, &args, &fail) : args.command->run(&cli, &args, &fail);
    client_free(cli.client);
    if (token)
        explicit_bzero(token, strlen(token));
    if (rc) {
        if (!*fail.detail && !*fail.title)
            return fail.exit; /* not ours: what ran there ended so */
        fflush(stdout);
        complain(&args, &fail);
        return args.command->failure_exit ? args.command->failure_exit : fail.exit;
    }
    if (output_end(&fail)) {
        complain(&args, &fail);
        return fail.exit;
    }
    return CLI_OK;
}
