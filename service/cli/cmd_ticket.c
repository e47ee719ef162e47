/* `ticket` and `share`: access to one stream of one VM for who has no token. */
#include <stdio.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

#define SHARE_SECONDS 3600

struct ticket_defaults {
    const char *mode;
    bool single_use;
    json_int_t seconds; /* 0: the server's */
};

static int body_of(const struct args *args, const struct ticket_defaults *d, json_t **ret,
                   struct failure *fail)
{
    bool view = args_flag(args, "view"), control = args_flag(args, "control");
    json_int_t seconds = d->seconds;
    auto_value json_t *body = NULL;

    if (view && control)
        return failure_set(fail, CLI_USAGE, "--view and --control exclude each other");
    if (args_flag(args, "once") && args_flag(args, "many"))
        return failure_set(fail, CLI_USAGE, "--once and --many exclude each other");
    if (args_lifetime(args, "for", seconds, &seconds, fail))
        return -1;
    body = json_pack("{s:s, s:s, s:s, s:b, s:s*}", "vm", args->operand[0], "stream",
                     args_text(args, "stream", "console"), "mode",
                     view      ? "view"
                     : control ? "control"
                               : d->mode,
                     "single_use",
                     args_flag(args, "once")   ? 1
                     : args_flag(args, "many") ? 0
                                               : (int)d->single_use,
                     "name", args_text(args, "name", NULL));
    if (!body)
        return failure_set(fail, CLI_USAGE, "names must be UTF-8");
    if (seconds)
        json_object_set_new(body, "expires_in_seconds", json_integer(seconds));
    *ret = TAKE_PTR(body);
    return 0;
}

static int make(struct cli *cli, const struct args *args, const struct ticket_defaults *d,
                const char *member, struct failure *fail)
{
    auto_value json_t *body = NULL;
    struct client_request r = {.method = "POST", .path = "/v1/tickets"};
    auto_answer struct answer a = {0};

    if (body_of(args, d, &body, fail) || cli_connect(cli, fail))
        return -1;
    r.body = body;
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s\n", value_text(a.value, member, ""));
    fprintf(stderr, "Good %s until %s. Take it back: drover ticket revoke %s\n",
            value_true(a.value, "single_use") ? "once," : "for everybody who has it,",
            value_text(a.value, "expires_at", "-"), value_text(a.value, "id", "ID"));
    return 0;
}

static int run_create(struct cli *cli, const struct args *args, struct failure *fail)
{
    const struct ticket_defaults d = {"control", true, 0};

    return make(cli, args, &d, "url", fail);
}

static int run_share(struct cli *cli, const struct args *args, struct failure *fail)
{
    const struct ticket_defaults d = {"view", false, SHARE_SECONDS};

    return make(cli, args, &d, "link", fail);
}

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"ID",   "VM",      "STREAM",  "MODE",     "USE",
                                         "NAME", "MADE BY", "EXPIRES", "LAST USED"};
    auto_free char *vm = args->count ? url_escape(args->operand[0]) : NULL;
    auto_free char *path = vm ? xasprintf("/v1/tickets?vm=%s", vm) : xstrdup("/v1/tickets");
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 9);
    const json_t *ticket;
    size_t i;

    if (cli_get_all(cli, path, &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, ticket)
    {
        table_cell(t, value_text(ticket, "id", NULL));
        table_cell(t, value_text(ticket, "vm.name", NULL));
        table_cell(t, value_text(ticket, "stream", NULL));
        table_cell(t, value_text(ticket, "mode", NULL));
        table_cell(t, value_true(ticket, "single_use") ? "once" : "many");
        table_cell(t, value_text(ticket, "name", NULL));
        table_cell(t, value_text(ticket, "created_by", NULL));
        table_cell(t, value_text(ticket, "expires_at", NULL));
        table_cell(t, value_text(ticket, "last_used_at", "never"));
    }
    table_print(t, stdout, "No tickets.");
    return 0;
}

static int run_revoke(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *id = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/tickets/%s", id);
    struct client_request r = {.method = "DELETE", .path = path};
    auto_answer struct answer a = {0};

    return cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail) ? -1 : 0;
}

static const struct option_row options[] = {
    {"view", 0, NULL, "to watch only"},
    {"control", 0, NULL, "to watch and to type"},
    {"for", 'f', "TIME", "lifetime, such as 15m, 12h or 3d"},
    {"once", 0, NULL, "good for one connection"},
    {"many", 0, NULL, "good for any number of connections until it expires"},
    {"name", 'n', "NAME", "what it is for; its users appear under this name"},
    {"stream", 0, "STREAM",
     "console (the default), serial/N, channels/NAME, display or vsock/PORT"},
    {0}};

const struct command ticket_commands[] = {
    {"share", "VM", 1, 1, "print a link that shows a VM's console to whoever has it", options,
     run_share,
     "To watch, for an hour and for any number of people, unless told otherwise. Sockets opened "
     "with it end with it."},
    {"ticket create", "VM", 1, 1, "print a WebSocket address that opens a VM's console", options,
     run_create, "To type, once, within half a minute, unless told otherwise."},
    {"ticket list", "[VM]", 0, 1, "list tickets and share links (never their secrets)", NULL,
     run_list, NULL},
    {"ticket revoke", "ID", 1, 1, "take a ticket or share link back; its sockets are closed", NULL,
     run_revoke, NULL},
    {0}};
