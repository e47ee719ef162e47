/* `vm history` and `host history`: figures of the past, a line for each step. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

/* In the order of the server's document; what it knows nothing of is left out. */
static const struct {
    const char *member, *title;
} figures[] = {
    {"cpu_percent", ">CPU"},
    {"running", ">RUNNING"},
    {"promised_bytes", ">PROMISED"},
    {"resident_bytes", ">RESIDENT"},
    {"available_bytes", ">AVAILABLE"},
    {"ksm_merging_bytes", ">MERGED"},
    {"ksm_saved_bytes", ">SAVED"},
    {"ksm_profit_bytes", ">PROFIT"},
    {"ksmd_cpu_percent", ">KSMD"},
    {"ksm_pages_scanned_per_second", ">SCANNED/S"},
    {"storage_read_bytes_per_second", ">READ/S"},
    {"storage_write_bytes_per_second", ">WRITE/S"},
    {"receive_bytes_per_second", ">IN/S"},
    {"transmit_bytes_per_second", ">OUT/S"},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char *show_figure(const char *member, const json_t *value)
{
    if (!json_is_number(value))
        return xstrdup("-");
    if (strstr(member, "_bytes"))
        return print_bytes(json_number_value(value));
    return strstr(member, "_percent") ? xasprintf("%.1f %%", json_number_value(value))
                                      : xasprintf("%g", json_number_value(value));
}

static void print_history(const json_t *history)
{
    const char *titles[COUNT(figures) + 1] = {"TIME"};
    const json_t *columns[COUNT(figures)], *at;
    const char *members[COUNT(figures)];
    size_t count = 0, i;
    struct table *t;

    for (i = 0; i < COUNT(figures); i++) {
        auto_free char *path = xasprintf("figures.%s.mean", figures[i].member);
        const json_t *mean = value_at(history, path);

        if (!mean)
            continue;
        members[count] = figures[i].member;
        columns[count] = mean;
        titles[++count] = figures[i].title;
    }
    t = table_new(titles, count + 1);
    json_array_foreach((json_t *)(uintptr_t)value_at(history, "times"), i, at) {
        time_t seconds = (time_t)json_integer_value(at);
        char text[32] = "-";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
            strftime(text, sizeof(text), "%F %T", &tm);
        table_cell(t, text);
        for (size_t c = 0; c < count; c++)
            table_cell_take(t, show_figure(members[c], json_array_get(columns[c], i)));
    }
    table_print(t, stdout, "Nothing is known of that time.");
    table_free(t);
}

static int run(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const queries[] = {"from", "to", "step"};
    auto_free char *vm = args->count ? url_escape(args->operand[0]) : NULL;
    auto_strbuf struct strbuf path = {0};
    auto_answer struct answer a = {0};
    char mark = '?';

    if (vm)
        strbuf_addf(&path, "/v1/vms/%s/stats/history", vm);
    else
        strbuf_adds(&path, "/v1/host/history");
    for (size_t i = 0; i < COUNT(queries); i++) {
        const char *value = args_text(args, queries[i], NULL);
        auto_free char *escaped = value ? url_escape(value) : NULL;

        if (value) {
            strbuf_addf(&path, "%c%s=%s", mark, queries[i], escaped);
            mark = '&';
        }
    }
    if (cli_connect(cli, fail) || client_get(cli->client, path.data, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    print_history(a.value);
    return 0;
}

static const struct option_row history_options[] = {
    {"from", 0, "TIME", "such as 2026-01-31T12:00:00Z, or seconds since 1970 (default: an hour before --to)"},
    {"to", 0, "TIME", "the same (default: now)"},
    {"step", 0, "SECONDS", "between two lines (default: as many as make about 360 lines)"},
    {0}};

const struct command history_commands[] = {
    {"vm history", "VM", 1, 1, "show a VM's figures of the past", history_options, run,
     "Means over each step, in local time; -o json has the least and the most, too."},
    {"host history", "", 0, 0, "show the host's figures of the past", history_options, run, NULL},
    {0}};
