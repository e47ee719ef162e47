/* Entry point of the command: the list of all commands, the options every one takes, dispatch. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/cli/cli.h"
#include "service/cli/command.h"
#include "service/cli/help.h"

#define DEFAULT_STATE_DIR "/var/lib/drover"

const struct command *const command_groups[] = {
    vm_commands,
    exec_commands,
    guest_commands,
    console_commands,
    stream_commands,
    recording_commands,
    ticket_commands,
    lease_commands,
    host_commands,
    event_commands,
    image_commands,
    image_import_commands,
    image_label_commands,
    catalogue_commands,
    token_commands,
    op_commands,
    help_commands,
    NULL,
};

const struct option_row global_options[] = {
    {"json", 'j', NULL, "print the server's JSON instead of a table"},
    {"url", 'u', "URL", "the server's address (default: DROVER_URL, else the Unix socket)"},
    {"token", 't', "TOKEN", "API token; prefer DROVER_TOKEN, which other users cannot see"},
    {"socket", 's', "PATH", "the daemon's Unix socket (default: DIR/drover.sock)"},
    {"help", 'h', NULL, "show help for the command"},
    {0}};

static const char *env(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

int cli_connect(struct cli *cli, struct failure *fail)
{
    const char *dir = env("DROVER_STATE_DIR");
    auto_free char *socket = xasprintf("%s/drover.sock", dir ? dir : DEFAULT_STATE_DIR);
    struct client_target target = {.url = cli->url,
                                   .socket = cli->socket ? cli->socket : socket,
                                   .token = cli->token ? cli->token : env("DROVER_TOKEN")};

    if (cli->client)
        return 0;
    if (cli->url && cli->socket)
        return failure_set(fail, CLI_USAGE, "--url and --socket exclude each other");
    if (!target.url && !cli->socket)
        target.url = env("DROVER_URL");
    return client_new(&target, &cli->client, fail);
}

int cli_main(int argc, char **argv)
{
    struct cli cli = {0};
    struct args args;
    struct failure fail = {.exit = CLI_FAILED};
    int rc;

    setlocale(LC_CTYPE, "");
    secret_init();
    if (args_parse(command_groups, global_options, argc, argv, &args, &fail)) {
        if (!args.command && args_flag(&args, "help"))
            return help_overview(stdout), CLI_OK;
        failure_print(&fail, stderr);
        return fail.exit;
    }
    if (args_flag(&args, "help"))
        return help_command(args.command, stdout), CLI_OK;
    cli.json = args_flag(&args, "json");
    cli.url = args_text(&args, "url", NULL);
    cli.socket = args_text(&args, "socket", NULL);
    cli.token = args_text(&args, "token", NULL);
    rc = args.command->run(&cli, &args, &fail);
    client_free(cli.client);
    if (rc) {
        if (*fail.detail || *fail.title)
            failure_print(&fail, stderr);
        return fail.exit;
    }
    if (fflush(stdout) || ferror(stdout)) {
        fputs("drover: the output cannot be written\n", stderr);
        return CLI_FAILED;
    }
    return CLI_OK;
}
