/* `host`, `ksm`, `stats`: what the host is, whether it can, and how much is used. */
#include <stdio.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

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
        printf("%s ", marks[level]);
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

static int run_ksm(struct cli *cli, const struct args *args, struct failure *fail)
{
    return show(cli, "/v1/ksm", fail);
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

const struct command host_commands[] = {
    {"host show", "", 0, 0, "show the host: CPUs, memory, acceleration, versions", NULL,
     run_host_show, NULL},
    {"host check", "", 0, 0, "check what the host can do, with the fix for what it cannot", NULL,
     run_host_check, "The exit status is 1 when a check failed; warnings do not count."},
    {"ksm", "", 0, 0, "show the kernel's samepage merging: counters, savings, knobs", NULL, run_ksm,
     NULL},
    {"stats", "[VM]", 0, 1, "show the last sample of one VM, or a table of all", NULL, run_stats,
     NULL},
    {0}};
