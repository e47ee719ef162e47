/* `token` and `login-link`: credentials. A secret is printed once, on stdout, alone. */
#include <stdio.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"ID", "NAME", "ROLE", "SCOPES", "EXPIRES", "LAST USED"};
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 6);
    const json_t *token;
    size_t i;

    if (cli_get_all(cli, "/v1/tokens?limit=200", &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, token) {
        table_cell(t, value_text(token, "id", NULL));
        table_cell(t, value_text(token, "name", NULL));
        table_cell(t, value_text(token, "role", NULL));
        table_cell_take(t, value_show("scopes", value_at(token, "scopes")));
        table_cell(t, value_text(token, "expires_at", "never"));
        table_cell(t, value_text(token, "last_used_at", "never"));
    }
    table_print(t, stdout, "No tokens.");
    return 0;
}

static int run_create(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *body = json_pack("{s:s, s:s*}", "name", args->operand[0], "role",
                                        args_text(args, "role", NULL));
    struct client_request r = {.method = "POST", .path = "/v1/tokens", .body = body};
    auto_answer struct answer a = {0};
    const char *scope;
    int state = 0;
    json_int_t seconds = 0;

    if (!body)
        return failure_set(fail, CLI_USAGE, "NAME must be UTF-8");
    if (!args_flag(args, "role"))
        return failure_set(fail, CLI_USAGE, "--role viewer, operator or admin must be given");
    while ((scope = args_next(args, "scope", &state))) {
        if (!json_object_get(body, "scopes"))
            json_object_set_new(body, "scopes", json_array());
        json_array_append_new(json_object_get(body, "scopes"), json_string(scope));
    }
    if (args_lifetime(args, "expires", 0, &seconds, fail))
        return -1;
    if (seconds)
        json_object_set_new(body, "expires_in_seconds", json_integer(seconds));
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s\n", value_text(a.value, "token", ""));
    fprintf(stderr, "Keep it: it cannot be shown again. Revoke it: drover token revoke %s\n",
            value_text(a.value, "id", "ID"));
    return 0;
}

static int run_revoke(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *id = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/tokens/%s", id);
    struct client_request r = {.method = "DELETE", .path = path};
    auto_answer struct answer a = {0};

    return cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail) ? -1 : 0;
}

static int run_login_link(struct cli *cli, const struct args *args, struct failure *fail)
{
    struct client_request r = {.method = "POST", .path = "/v1/session/codes"};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s\n", value_text(a.value, "url", ""));
    return 0;
}

static const struct option_row create_options[] = {
    {"role", 'r', "ROLE", "admin, operator or viewer"},
    {"scope", 0, "SCOPE", "narrow it to a scope; may be repeated"},
    {"expires", 'e', "TIME", "lifetime, such as 15m, 12h or 30d (default: no end)"},
    {0}};

const struct command token_commands[] = {
    {"token list", "", 0, 0, "list API tokens (never their secrets)", NULL, run_list, NULL},
    {"token create", "NAME", 1, 1, "make an API token and print its secret once", create_options,
     run_create, NULL},
    {"token revoke", "ID", 1, 1, "revoke a token; its sessions and viewers end", NULL, run_revoke, NULL},
    {"login-link", "", 0, 0, "print a one-time link that signs a browser in", NULL, run_login_link,
     NULL},
    {0}};
