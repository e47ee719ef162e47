/* `context`: the servers somebody uses, by name. Talks to none of them. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/context.h"
#include "service/cli/print.h"
#include "service/cli/terminal.h"

static json_t *shown(const char *name, const json_t *one, const char *current)
{
    return json_pack("{s:s, s:s*, s:s*, s:b, s:b}", "name", name, "url", value_text(one, "url", NULL),
                     "socket", value_text(one, "socket", NULL), "has_token",
                     json_object_get(one, "token") ? 1 : 0, "current", str_eq(name, current) ? 1 : 0);
}

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"", "NAME", "SERVER", "TOKEN"};
    auto_table struct table *t = table_new(titles, 4);
    auto_value json_t *file = NULL, *all = json_pack("{s:[]}", "items");
    json_t *items = json_object_get(all, "items"), *one;
    const char *name, *current;
    size_t i;

    if (contexts_load(&file, fail))
        return -1;
    current = value_text(file, "current", CONTEXT_LOCAL);
    json_object_foreach(json_object_get(file, "contexts"), name, one)
        json_array_append_new(items, shown(name, one, current));
    json_array_append_new(items, shown(CONTEXT_LOCAL, NULL, current));
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(items, i, one) {
        table_cell_take(t, xstrdup(value_true(one, "current") ? "*" : " "));
        table_cell(t, value_text(one, "name", NULL));
        table_cell(t, value_text(one, "url", value_text(one, "socket", "this host's socket")));
        table_cell(t, value_true(one, "has_token") ? "yes" : "no");
    }
    table_print(t, stdout, "");
    return 0;
}

/* A line from the terminal, unseen, or NULL when there is none to ask. */
static char *ask_token(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO)
               ? terminal_ask_secret("API token (empty: none): ") : NULL;
}

static int run_add(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *name = args->operand[0];
    auto_value json_t *file = NULL, *one = NULL;
    auto_free char *asked = NULL;
    json_t *contexts;

    if (context_check_name(name, fail))
        return -1;
    if (cli->token_in_sight) {
        failure_set(fail, CLI_USAGE, "a token on a command line can be read by others");
        failure_remedy(fail, "--token-file FILE, --token-file - for standard input, or type it when asked");
        return -1;
    }
    if (!cli->url == !cli->socket)
        return failure_set(fail, CLI_USAGE, "say where the server is: --url URL or --socket PATH");
    if (cli->url && !str_starts(cli->url, "http://") && !str_starts(cli->url, "https://"))
        return failure_set(fail, CLI_USAGE, "the server's address must begin with http:// or https://");
    if (contexts_load(&file, fail))
        return -1;
    contexts = json_object_get(file, "contexts");
    if (json_object_get(contexts, name) && !args_flag(args, "replace")) {
        failure_set(fail, CLI_CONFLICT, "there is a context '%s' already", name);
        failure_remedy(fail, "drover context create --replace …");
        return -1;
    }
    if (!cli->token && cli->url)
        asked = ask_token();
    one = json_pack("{s:s*, s:s*, s:s*}", "url", cli->url, "socket", cli->socket, "token",
                    cli->token ? cli->token : asked && *asked ? asked : NULL);
    if (asked)
        explicit_bzero(asked, strlen(asked));
    if (!one)
        return failure_set(fail, CLI_USAGE, "addresses and tokens must be UTF-8");
    json_object_set(contexts, name, one);
    if (args_flag(args, "use"))
        json_object_set_new(file, "current", json_string(name));
    if (contexts_save(file, fail))
        return -1;
    if (!args_flag(args, "use"))
        fprintf(stderr, "Use it: drover context use %s\n", name);
    return 0;
}

static int run_use(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *name = args->operand[0];
    auto_value json_t *file = NULL;

    if (contexts_load(&file, fail))
        return -1;
    if (!str_eq(name, CONTEXT_LOCAL) && !json_object_get(json_object_get(file, "contexts"), name)) {
        failure_set(fail, CLI_NOT_FOUND, "there is no context '%s'", name);
        failure_remedy(fail, "drover context list");
        return -1;
    }
    json_object_set_new(file, "current", json_string(name));
    return contexts_save(file, fail);
}

static int run_remove(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *name = args->operand[0];
    auto_value json_t *file = NULL;

    if (contexts_load(&file, fail))
        return -1;
    if (json_object_del(json_object_get(file, "contexts"), name))
        return failure_set(fail, CLI_NOT_FOUND, "there is no context '%s'", name);
    if (str_eq(value_text(file, "current", NULL), name))
        json_object_del(file, "current");
    return contexts_save(file, fail);
}

/* Without a name: what a command would talk to now, and why. */
static int run_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_context_choice struct context_choice c = {0};
    auto_value json_t *value = NULL, *file = NULL;

    if (args->count) {
        const json_t *one;

        if (contexts_load(&file, fail))
            return -1;
        one = json_object_get(json_object_get(file, "contexts"), args->operand[0]);
        if (!one && !str_eq(args->operand[0], CONTEXT_LOCAL))
            return failure_set(fail, CLI_NOT_FOUND, "there is no context '%s'", args->operand[0]);
        value = shown(args->operand[0], one, value_text(file, "current", CONTEXT_LOCAL));
    } else {
        if (cli_choose(cli, &c, fail))
            return -1;
        value = json_pack("{s:s*, s:s*, s:s*, s:s, s:s}", "name", c.name, "url", c.url, "socket", c.socket,
                          "chosen_by", c.by, "token_from", c.token ? c.token_by : "nowhere");
    }
    if (cli->json)
        return cli_print_value(value), 0;
    value_print_rows(value);
    return 0;
}

static const struct option_row add_options[] = {
    {"use", 0, NULL, "use it from now on"},
    {"replace", 0, NULL, "instead of the one that has this name"},
    {0}};

const struct command context_commands[] = {
    {"context list", "", 0, 0, "list the servers you use; * is the one that is used", NULL, run_list, NULL},
    {"context create", "NAME", 1, 1, "give a server a name: its --url or --socket, and a token", add_options,
     run_add,
     "drover context create lab --url https://lab.example.org --token-file FILE. Without --token-file the "
     "token is asked for on a terminal. It is kept in ~/.config/drover/contexts, which only you can read, "
     "and is sent to no other server."},
    {"context use", "NAME", 1, 1, "use this server from now on; local is this host's socket", NULL, run_use,
     NULL},
    {"context show", "[NAME]", 0, 1, "show which server is used, and why", NULL, run_show,
     "The order: --url or --socket, --context, DROVER_URL, DROVER_CONTEXT, DROVER_STATE_DIR, what "
     "`context use` chose, this host's socket. A context's token goes to its server only, and "
     "DROVER_TOKEN to none that a context names; --token-file outweighs both."},
    {"context delete", "NAME", 1, 1, "forget a server and its token", NULL, run_remove, NULL},
    {0}};
