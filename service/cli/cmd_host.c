/* `host`, `ksm`, `stats`: what the host is, whether it can, and how much is used. */
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"
#include "service/cli/style.h"

static int show(struct cli *cli, const char *path, struct failure *fail)
{
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

static int run_host_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    return show(cli, "/v1/host", fail);
}

static int run_host_check(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const marks[] = {"[ ok ]", "[warn]", "[fail]"};
    static const enum style styles[] = {STYLE_GOOD, STYLE_BUSY, STYLE_BAD};
    auto_answer struct answer a = {0};
    unsigned failed = 0;
    const json_t *check;
    size_t i;

    if (cli_connect(cli, fail) || client_get(cli->client, "/v1/host/checks", &a, fail))
        return -1;
    if (cli->json)
        cli_print_json(&a);
    json_array_foreach(json_object_get(a.value, "items"), i, check) {
        const char *result = value_text(check, "result", "failed");
        int level = str_eq(result, "ok") ? 0 : str_eq(result, "warning") ? 1 : 2;
        const char *rows[] = {value_text(check, "cause", NULL), value_text(check, "detail", NULL),
                              value_text(check, "fix", NULL)};
        static const char *const leads[] = {"       ", "       ", "  fix: "};

        failed += level == 2;
        if (cli->json)
            continue;
        style_begin(stdout, styles[level]);
        fputs(marks[level], stdout);
        style_end(stdout);
        putchar(' ');
        print_safe(stdout, value_text(check, "title", value_text(check, "id", "")));
        putchar('\n');
        for (size_t r = 0; r < 3; r++) {
            if (!rows[r] || !*rows[r])
                continue;
            fputs(leads[r], stdout);
            print_safe(stdout, rows[r]);
            putchar('\n');
        }
    }
    if (!failed)
        return 0;
    return failure_set(fail, CLI_FAILED, "%u check%s failed", failed, failed == 1 ? "" : "s");
}

/* A group's or a VM's line: memory, what of it is merged, and why not. */
static void density_cells(struct table *t, const json_t *row, const char *prefix)
{
    static const char *const members[] = {"promised_bytes", "resident_bytes", "merging_bytes",
                                          "saved_bytes"};

    for (size_t i = 0; i < 4; i++) {
        auto_free char *path = xasprintf("%s%s", i < 2 ? "" : prefix, members[i]);

        table_cell_take(t, value_show(members[i], value_at(row, path)));
    }
}

static int run_density(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const group_titles[] = {"GROUP",    ">VMS",    ">PROMISED", ">RESIDENT",
                                               ">MERGED", ">SAVED", ">MORE FIT"};
    static const char *const vm_titles[] = {"VM",       "IMAGE",   ">PROMISED", ">RESIDENT",
                                            ">MERGED", ">SAVED", "KSM"};
    auto_table struct table *groups = table_new(group_titles, 7), *vms = table_new(vm_titles, 7);
    auto_free char *by = url_escape(args_text(args, "by", "image"));
    auto_free char *path = xasprintf("/v1/ksm/density?by=%s", by);
    auto_answer struct answer a = {0};
    const json_t *row;
    size_t i;

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    json_array_foreach(json_object_get(a.value, "groups"), i, row) {
        table_cell(groups, value_text(row, "name", value_text(row, "key", "(none)")));
        table_cell_take(groups, value_show("running", value_at(row, "running")));
        density_cells(groups, row, "");
        table_cell_take(groups, value_show("count", value_at(row, "fits_more.count")));
    }
    json_array_foreach(json_object_get(a.value, "vms"), i, row) {
        table_cell(vms, value_text(row, "name", "-"));
        table_cell(vms, value_text(row, "image", NULL));
        density_cells(vms, row, "ksm.");
        table_cell(vms, value_text(row, "ksm.cause", NULL));
    }
    table_print(groups, stdout, "No VM runs.");
    if (json_array_size(json_object_get(a.value, "vms"))) {
        putchar('\n');
        table_print(vms, stdout, "");
    }
    return 0;
}

static int run_ksm(struct cli *cli, const struct args *args, struct failure *fail)
{
    return show(cli, "/v1/ksm", fail);
}

static int run_ksm_tune(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *body = json_pack("{s:{s:s}}", "tuner", "mode", args->operand[0]);
    struct client_request r = {.method = "PATCH", .path = "/v1/ksm", .body = body};
    auto_answer struct answer a = {0};
    int64_t cpu, boost;

    if (args_number(args, "cpu", 1, 100, 0, &cpu, fail) ||
        args_number(args, "boost", 1, 100, 0, &boost, fail) || cli_connect(cli, fail))
        return -1;
    if (cpu)
        json_object_set_new(json_object_get(body, "tuner"), "cpu_percent", json_integer(cpu));
    if (boost)
        json_object_set_new(json_object_get(body, "tuner"), "boost_cpu_percent", json_integer(boost));
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(value_at(a.value, "tuner"));
    return 0;
}

/* The sum of a member over a list; false when no element has it. */
static bool sum(const json_t *list, const char *member, double *ret)
{
    const json_t *element;
    size_t i;
    bool any = false;

    *ret = 0;
    json_array_foreach((json_t *)(uintptr_t)list, i, element) {
        double v;

        if (value_number(element, member, &v)) {
            *ret += v;
            any = true;
        }
    }
    return any;
}

static void sum_cell(struct table *t, const json_t *stats, const char *list, const char *member)
{
    double v;

    table_cell_take(t, sum(value_at(stats, list), member, &v) ? print_bytes(v) : xstrdup("-"));
}

static int stats_all(struct cli *cli, struct failure *fail)
{
    static const char *const titles[] = {"VM",       ">CPU", ">CPU TIME", ">RESIDENT", ">READ",
                                         ">WRITTEN", ">IN",  ">OUT",      ">MERGED"};
    auto_table struct table *t = table_new(titles, 9);
    auto_answer struct answer a = {0};
    auto_value json_t *vms = NULL;
    const json_t *s, *vm;
    size_t i, k;

    if (cli_connect(cli, fail) || client_get(cli->client, "/v1/stats", &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    if (cli_get_all(cli, "/v1/vms?limit=1000", &vms, fail))
        return -1;
    json_array_foreach(json_object_get(a.value, "items"), i, s) {
        const char *name = value_text(s, "vm_id", "");

        json_array_foreach(json_object_get(vms, "items"), k, vm) {
            if (str_eq(value_text(vm, "id", NULL), name)) {
                name = value_text(vm, "name", name);
                break;
            }
        }
        table_cell(t, name);
        table_cell_take(t, value_show("usage_percent", value_at(s, "cpu.usage_percent")));
        table_cell_take(t, value_show("usage_seconds", value_at(s, "cpu.usage_seconds")));
        table_cell_take(t, value_show("resident_bytes", value_at(s, "memory.resident_bytes")));
        sum_cell(t, s, "disks", "read_bytes");
        sum_cell(t, s, "disks", "write_bytes");
        sum_cell(t, s, "interfaces", "receive_bytes");
        sum_cell(t, s, "interfaces", "transmit_bytes");
        table_cell_take(t, value_show("merging_bytes", value_at(s, "ksm.merging_bytes")));
    }
    table_print(t, stdout, "No VM runs.");
    return 0;
}

static int run_stats(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = args->count ? url_escape(args->operand[0]) : NULL;
    auto_free char *path = vm ? xasprintf("/v1/vms/%s/stats", vm) : NULL;

    return path ? show(cli, path, fail) : stats_all(cli, fail);
}

static const struct option_row density_options[] = {
    {"by", 0, "WHAT", "group by image (default), set or label.KEY"}, {0}};

static const struct option_row tune_options[] = {
    {"cpu", 0, "PERCENT", "of one CPU that ksmd may take in the long run"},
    {"boost", 0, "PERCENT", "that it may take while new VMs wait to be merged"},
    {0}};

const struct command host_commands[] = {
    {"host show", "", 0, 0, "show the host: CPUs, memory, acceleration, versions", NULL,
     run_host_show, NULL},
    {"host check", "", 0, 0, "check what the host can do, with the fix for what it cannot", NULL,
     run_host_check, "The exit status is 1 when a check failed; warnings do not count."},
    {"ksm", "", 0, 0, "show the kernel's samepage merging: counters, savings, knobs", NULL, run_ksm,
     NULL},
    {"ksm density", "", 0, 0, "show who shares what, why a VM does not merge, how many more fit",
     density_options, run_density, NULL},
    {"ksm tune", "off|static|auto", 1, 1, "say who turns KSM's knobs", tune_options, run_ksm_tune, NULL},
    {"stats", "[VM]", 0, 1, "show the last sample of one VM, or a table of all", NULL, run_stats,
     NULL},
    {0}};
