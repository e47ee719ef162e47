/* `audit`: who asked for what, from where, and how it ended. */
#include <stdio.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

#define PAGE_MAX 1000

/* Those arguments of the request that were given. */
static void add_filters(struct strbuf *path, const struct args *args)
{
    static const char *const names[] = {"principal", "operation", "since", "until"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = args_text(args, names[i], NULL);
        auto_free char *escaped = value ? url_escape(value) : NULL;

        if (value)
            strbuf_addf(path, "&%s=%s", names[i], escaped);
    }
    if (args_flag(args, "failed"))
        strbuf_adds(path, "&failed=true");
}

static void add_row(struct table *t, const json_t *e)
{
    auto_free char *params = value_show("params", value_at(e, "params"));
    const char *code = value_text(e, "code", NULL);
    auto_free char *status = value_show("status", value_at(e, "status"));

    table_cell(t, value_text(e, "at", NULL));
    table_cell(t, *value_text(e, "name", "") ? value_text(e, "name", "") : value_text(e, "principal", NULL));
    table_cell(t, value_text(e, "address", NULL));
    table_cell(t, value_text(e, "operation", NULL));
    table_cell(t, params);
    table_cell_take(t, code ? xasprintf("%s %s", status, code) : xstrdup(status));
}

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"AT", "WHO", "FROM", "OPERATION", "OF", "ANSWER"};
    bool whole = args_flag(args, "all");
    auto_table struct table *t = table_new(titles, 6);
    auto_strbuf struct strbuf path = {0};
    auto_answer struct answer a = {0};
    auto_value json_t *all = NULL;
    const json_t *e, *page;
    int64_t limit;
    size_t i;

    if (args_number(args, "limit", 1, PAGE_MAX, 50, &limit, fail))
        return -1;
    strbuf_addf(&path, "/v1/audit?limit=%lld", whole ? (long long)PAGE_MAX : (long long)limit);
    add_filters(&path, args);
    if (whole ? cli_get_all(cli, path.data, &all, fail)
              : cli_connect(cli, fail) || client_get(cli->client, path.data, &a, fail))
        return -1;
    page = whole ? all : a.value;
    if (cli->json)
        return cli_print_value(page), 0;
    json_array_foreach(json_object_get(page, "items"), i, e)
        add_row(t, e);
    table_print(t, stdout, "Nothing was asked for.");
    return 0;
}

static const struct option_row list_options[] = {
    {"principal", 0, "ID", "only what this one asked for, as token:AbCdEf123456"},
    {"operation", 0, "NAME", "only this operation of the API, as deleteVm"},
    {"failed", 0, NULL, "only what was refused or went wrong"},
    {"since", 0, "TIME", "only from then on, as 2026-01-31T12:00:00Z"},
    {"until", 0, "TIME", "only before then"},
    {"limit", 0, "N", "so many, the newest (default 50)"},
    {"all", 0, NULL, "everything that is kept, to be exported with -o json"},
    {0}};

const struct command audit_commands[] = {
    {"audit list", "", 0, 0, "who asked for what, newest first", list_options, run_list,
     "Writes, opened streams, everything done inside guests, and refusals. `drover events` tells what became of it; "
     "both name the request."},
    {0}};
