/* `op`: operations, the records of work on VMs. */
#include <stdio.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

static char *took(const json_t *op)
{
    const char *finished = value_text(op, "finished_at", NULL);

    return finished ? xstrdup(finished) : print_age(value_text(op, "created_at", NULL));
}

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"ID", "KIND", "STATE", "VM", "BY", "FINISHED"};
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 6);
    auto_strbuf struct strbuf path = {0};
    const char *state = args_text(args, "state", NULL);
    const json_t *op;
    size_t i;

    strbuf_adds(&path, "/v1/operations?limit=200");
    if (state) {
        auto_free char *escaped = url_escape(state);

        strbuf_addf(&path, "&state=%s", escaped);
    }
    if (args_text(args, "vm", NULL)) {
        auto_free char *vm = url_escape(args_text(args, "vm", NULL));

        strbuf_addf(&path, "&vm=%s", vm);
    }
    if (cli_get_all(cli, path.data, &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, op) {
        table_cell(t, value_text(op, "id", NULL));
        table_cell(t, value_text(op, "kind", NULL));
        table_cell(t, value_text(op, "state", NULL));
        table_cell(t, value_text(op, "vm_id", NULL));
        table_cell(t, value_text(op, "actor", NULL));
        table_cell_take(t, took(op));
    }
    table_print(t, stdout, "No operations.");
    return 0;
}

static int run_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *id = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/operations/%s", id);
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

static int run_wait(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *op = NULL;
    int64_t timeout;

    if (args_number(args, "timeout", 0, 86400, 60, &timeout, fail) ||
        cli_wait_operation(cli, args->operand[0], timeout, &op, fail))
        return -1;
    if (cli->json)
        return cli_print_value(op), 0;
    printf("%s %s\n", value_text(op, "kind", "operation"), value_text(op, "state", ""));
    return 0;
}

static int run_cancel(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *id = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/operations/%s", id);
    struct client_request r = {.method = "DELETE", .path = path};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    return cli->json ? cli_print_json(&a) : 0;
}

static const struct option_row list_options[] = {
    {"vm", 0, "VM", "only operations on this VM (name or id)"},
    {"state", 0, "STATE", "pending, running, succeeded, failed or cancelled"},
    {0}};
static const struct option_row wait_options[] = {
    {"timeout", 0, "SECONDS", "give up after this time (default 60), exit status 7"}, {0}};

const struct command op_commands[] = {
    {"op list", "", 0, 0, "list operations, newest first", list_options, run_list, NULL},
    {"op show", "ID", 1, 1, "show one operation", NULL, run_show, NULL},
    {"op wait", "ID", 1, 1, "wait until an operation is finished", wait_options, run_wait,
     "The exit status tells how it ended: 0 succeeded, 7 not finished in time, else why it failed."},
    {"op cancel", "ID", 1, 1, "cancel an operation that has not begun", NULL, run_cancel, NULL},
    {0}};
