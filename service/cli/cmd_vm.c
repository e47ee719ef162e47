/* `vm`: list, show, the verbs. Creating is in cmd_vm_create.c. */
#include "service/cli/cmd_vm.h"

#include <stdio.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

static void add_filter(struct strbuf *path, const char *name, const char *value)
{
    auto_free char *escaped = value ? url_escape(value) : NULL;

    if (value)
        strbuf_addf(path, "&%s=%s", name, escaped);
}

/* When it was powered on, which the server also tells of a VM that has long been off. */
static const char *up_since(const json_t *vm)
{
    const char *state = value_text(vm, "state", "");
    bool is_on = str_eq(state, "running") || str_eq(state, "paused") || str_eq(state, "stopping");

    return is_on ? value_text(vm, "started_at", NULL) : NULL;
}

static void add_row(struct table *t, const json_t *vm)
{
    double memory = 0;

    table_cell(t, value_text(vm, "name", NULL));
    table_cell(t, value_text(vm, "state", NULL));
    table_cell_take(t, value_show("cpus", value_at(vm, "cpus")));
    table_cell_take(t, value_number(vm, "memory_mib", &memory) ? print_bytes(memory * 1048576)
                                                               : xstrdup("-"));
    table_cell(t, value_text(vm, "image", NULL));
    table_cell(t, value_text(vm, "effective_acceleration", NULL));
    table_cell_take(t, print_age(up_since(vm)));
    table_cell(t, value_text(vm, "state_reason", NULL));
}

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"NAME",  "STATE", ">CPUS", ">MEMORY",
                                         "IMAGE", "BY",    ">UP",   "REASON"};
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 8);
    auto_strbuf struct strbuf path = {0};
    const char *label;
    const json_t *vm;
    int state = 0;
    size_t i;

    strbuf_adds(&path, "/v1/vms?limit=1000");
    add_filter(&path, "state", args_text(args, "state", NULL));
    add_filter(&path, "name", args_text(args, "name", NULL));
    add_filter(&path, "set", args_text(args, "set", NULL));
    while ((label = args_next(args, "label", &state)))
        add_filter(&path, "label", label);
    if (cli_get_all(cli, path.data, &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, vm)
        add_row(t, vm);
    table_print(t, stdout, "No VMs. Make one: drover vm create NAME --image IMAGE --start");
    return 0;
}

static int run_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s", vm);
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

/* The operation an answer describes: itself, or its member "operation". */
static const json_t *operation_of(const json_t *answer)
{
    const json_t *inner = value_at(answer, "operation");

    return inner ? inner : answer;
}

static int act(struct cli *cli, const struct args *args, const char *method, const char *path,
               struct failure *fail)
{
    struct client_request r = {.method = method, .path = path};
    const char *match = args_text(args, "if-match", NULL);
    auto_free char *condition = match ? xasprintf("If-Match: \"%s\"", match) : NULL;
    const char *headers[] = {condition, NULL};
    auto_answer struct answer a = {0};
    auto_value json_t *op = NULL;
    int64_t timeout, queue;
    const char *id;

    r.headers = condition ? headers : NULL;
    if (args_number(args, "timeout", 1, 86400, 120, &timeout, fail) ||
        args_number(args, "queue", 0, 3600, 0, &queue, fail))
        return -1;
    r.timeout_s = queue ? (long)queue + 60 : 0;
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    id = value_text(operation_of(a.value), "id", NULL);
    if (!id || args_flag(args, "no-wait")) {
        if (cli->json)
            return cli_print_json(&a);
        if (id)
            printf("%s\n", id);
        return 0;
    }
    if (cli_wait_operation(cli, id, timeout, &op, fail))
        return -1;
    if (cli->json)
        cli_print_value(op);
    return 0;
}

/* The last word of the command is the verb. */
static int run_verb(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *queue = args_text(args, "queue", NULL);
    auto_free char *vm = url_escape(args->operand[0]), *line = queue ? url_escape(queue) : NULL;
    auto_free char *path = xasprintf("/v1/vms/%s/%s%s%s", vm, strchr(args->command->words, ' ') + 1,
                                     line ? "?queue_seconds=" : "", line ? line : "");

    return act(cli, args, "POST", path, fail);
}

static int run_delete(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s%s", vm, args_flag(args, "force") ? "?force=true" : "");

    return act(cli, args, "DELETE", path, fail);
}

static int run_timeline(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s/timeline", vm);
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

static const struct option_row list_options[] = {
    {"state", 0, "STATE", "only VMs in this state"},
    {"label", 'l', "KEY=VALUE", "only VMs with this label; may be repeated"},
    {"name", 0, "NAME", "only the VM with this name"},
    {"set", 0, "SET", "only the VMs of this set"},
    {0}};
#define WAIT_OPTIONS                                                                               \
    {"no-wait", 0, NULL, "do not wait; print the operation's id"},                                 \
    {                                                                                              \
        "timeout", 0, "SECONDS", "how long to wait (default 120), exit status 7"                   \
    }
static const struct option_row verb_options[] = {WAIT_OPTIONS, {0}};
static const struct option_row start_options[] = {
    {"queue", 0, "SECONDS", "wait so long for memory when there is not enough now"},
    WAIT_OPTIONS,
    {0}};
static const struct option_row delete_options[] = {
    {"force", 'f', NULL, "stop the VM first if it runs"},
    {"if-match", 0, "ETAG", "only if the definition still is this one (vm show: etag)"},
    WAIT_OPTIONS,
    {0}};

#define VERB(verb, summary, details)                                                               \
    {                                                                                              \
        "vm " verb, "VM", 1, 1, summary, verb_options, run_verb, details                           \
    }

const struct command vm_commands[] = {
    {"vm list", "", 0, 0, "list VMs", list_options, run_list, NULL},
    {"vm create", "NAME", 1, 1, "create a VM", vm_create_options, vm_create_run,
     "Without --image the VM has no disk. --wait running, console or ready starts it and waits "
     "until it runs, until its serial console has printed something, or until the guest says that it is "
     "ready (over vsock, as systemd does, or with --ready-pattern)."},
    {"vm timeline", "VM", 1, 1, "show how far the VM's boot came", NULL, run_timeline,
     "Seen on the console, and said by the guest over vsock; - is what was not seen."},
    {"vm show", "VM", 1, 1, "show one VM with everything known about it", NULL, run_show, NULL},
    {"vm start", "VM", 1, 1, "power a VM on, or restore a saved one", start_options, run_verb, NULL},
    VERB("shutdown", "ask the guest to shut down",
         "The guest decides. A guest without ACPI support does not hear it: use `vm stop`."),
    VERB("stop", "pull the plug", "What the guest has not written to its disk is lost."),
    VERB("reboot", "ask the guest to reboot", NULL),
    VERB("reset", "press the reset button", NULL),
    VERB("pause", "stop the CPUs, keep the memory", NULL),
    VERB("resume", "let a paused VM go on", NULL),
    VERB("save", "write the memory to disk and power off; `vm start` goes on from there", NULL),
    {"vm delete", "VM", 1, 1, "delete a VM and its disks", delete_options, run_delete, NULL},
    {0}};
