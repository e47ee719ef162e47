/* `host shutdown-guests`, `start-guests`, `shutdown-report`: what a host does with its guests when it goes down. */
#include <stdio.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

#define PATH "/v1/host/shutdown-guests"

static char *took(const json_t *vm)
{
    double ms;

    return value_number(vm, "took_ms", &ms) ? xasprintf("%.1f s", ms / 1e3) : xstrdup("-");
}

static void print_report(const json_t *report)
{
    static const char *const titles[] = {"VM", "ACTION", "OUTCOME", ">TOOK", "REASON"};
    auto_table struct table *t = table_new(titles, 5);
    const json_t *vm;
    size_t i;

    json_array_foreach(json_object_get(report, "vms"), i, vm) {
        table_cell(t, value_text(vm, "name", NULL));
        table_cell(t, value_text(vm, "action", NULL));
        table_cell(t, value_text(vm, "outcome", NULL));
        table_cell_take(t, took(vm));
        table_cell(t, value_text(vm, "detail", NULL));
    }
    table_print(t, stdout, "No guest was on.");
    if (value_true(report, "refuses_starts"))
        fputs("No VM starts until the host was booted; `drover host start-guests` lets them.\n", stderr);
}

static int report(struct cli *cli, const char *method, const char *path, struct failure *fail)
{
    struct client_request r = {.method = method, .path = path};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    print_report(a.value);
    return 0;
}

static int run_report(struct cli *cli, const struct args *args, struct failure *fail)
{
    (void)args;
    return report(cli, "GET", PATH, fail);
}

static int run_start(struct cli *cli, const struct args *args, struct failure *fail)
{
    (void)args;
    return report(cli, "POST", "/v1/host/start-guests", fail);
}

static int run_shutdown(struct cli *cli, const struct args *args, struct failure *fail)
{
    struct client_request r = {.method = "POST", .path = PATH};
    auto_answer struct answer a = {0};
    auto_value json_t *done = NULL;
    struct failure ignored;
    const char *id;
    int rc;

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    id = value_text(a.value, "id", "");
    if (args_flag(args, "no-wait")) {
        printf("%s\n", id);
        return 0;
    }
    rc = cli_watch_operation(cli, id, &done, fail);
    /* Who did not go is in the report, too; it must not hide why the operation failed. */
    if (report(cli, "GET", PATH, rc ? &ignored : fail))
        return -1;
    return rc;
}

static const struct option_row shutdown_options[] = {
    {"no-wait", 0, NULL, "print the operation's id at once instead of waiting for its end"}, {0}};

const struct command host_guest_commands[] = {
    {"host shutdown-guests", "", 0, 0, "shut down or save all guests, each as its definition says", shutdown_options,
     run_shutdown,
     "Each VM's on_host_shutdown says what happens to it, host_shutdown_seconds how long that may take; then it is "
     "stopped. No VM starts meanwhile and until the host was booted. `drover op cancel ID` ends it and leaves "
     "every VM as it is. drover-guests.service does this when the host shuts down."},
    {"host start-guests", "", 0, 0, "the host stays up: let VMs start again, and start those that ran", NULL, run_start,
     NULL},
    {"host shutdown-report", "", 0, 0, "show what the last shutdown of the guests did with each", NULL, run_report,
     NULL},
    {0}};
