/* `set`: the same machines for many, as one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

static char *address(const struct args *args, const char *rest)
{
    auto_free char *set = url_escape(args->operand[0]);

    return xasprintf("/v1/sets/%s%s", set, rest);
}

static char *running_of(const json_t *set)
{
    double running = 0, total = 0;

    value_number(set, "vms.running", &running);
    value_number(set, "vms.total", &total);
    return xasprintf("%.0f/%.0f", running, total);
}

static char *progress_of(const json_t *set)
{
    double done = 0, failed = 0, total = 0;

    if (!value_number(set, "progress.total_vms", &total))
        return xstrdup("-");
    value_number(set, "progress.done_vms", &done);
    value_number(set, "progress.failed_vms", &failed);
    return failed > 0 ? xasprintf("%.0f of %.0f, %.0f failed", done, total, failed)
                      : xasprintf("%.0f of %.0f", done, total);
}

static int set_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"NAME", "STATE", ">MEMBERS", ">RUNNING", "PROGRESS", "EXPIRES",
                                         "REASON"};
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 7);
    const json_t *set;
    size_t i;

    (void)args;
    if (cli_get_all(cli, "/v1/sets?limit=200", &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, set)
    {
        table_cell(t, value_text(set, "name", NULL));
        table_cell(t, value_text(set, "state", NULL));
        table_cell_take(t, value_show("count", value_at(set, "count")));
        table_cell_take(t, running_of(set));
        table_cell_take(t, progress_of(set));
        table_cell(t, value_text(set, "expires_at", NULL));
        table_cell(t, value_text(set, "state_reason", NULL));
    }
    table_print(t, stdout, "No sets. Make one: drover set create NAME --count 50 --image IMAGE");
    return 0;
}

static void member_rows(struct table *t, const json_t *member)
{
    const json_t *vm;
    size_t i;

    json_array_foreach(value_at(member, "vms"), i, vm)
    {
        const json_t *card = json_array_get(value_at(vm, "networks"), 0);

        table_cell_take(t, value_show("member", value_at(member, "member")));
        table_cell(t, value_text(vm, "machine", NULL));
        table_cell(t, value_text(vm, "name", NULL));
        table_cell(t, value_text(vm, "state", NULL));
        table_cell(t, value_text(card, "address", NULL));
        table_cell(t, value_text(vm, "state_reason", NULL));
    }
}

static int set_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {">MEMBER", "MACHINE", "VM", "STATE", "ADDRESS", "REASON"};
    auto_free char *path = address(args, "");
    auto_free char *running = NULL;
    auto_table struct table *t = table_new(titles, 6);
    auto_answer struct answer a = {0};
    const json_t *member;
    size_t i;

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    running = running_of(a.value);
    print_safe(stdout, value_text(a.value, "name", "-"));
    printf(": %s, %s VMs run", value_text(a.value, "state", "-"), running);
    if (value_text(a.value, "state_reason", NULL)) {
        fputs(" (", stdout);
        print_safe(stdout, value_text(a.value, "state_reason", ""));
        fputc(')', stdout);
    }
    fputc('\n', stdout);
    json_array_foreach(value_at(a.value, "members"), i, member)
        member_rows(t, member);
    table_print(t, stdout, "No members.");
    return 0;
}

/* ---- what takes a while ---- */

static int follow(struct cli *cli, const struct args *args, const json_t *op, struct failure *fail)
{
    const char *id = value_text(op, "id", NULL);
    auto_value json_t *done = NULL;

    if (!id || args_flag(args, "no-wait")) {
        if (id)
            printf("%s\n", id);
        return 0;
    }
    if (cli_watch_operation(cli, id, &done, fail))
        return -1;
    if (cli->json)
        cli_print_value(done);
    return 0;
}

static int ask(struct cli *cli, const struct args *args, const char *method, const char *path,
               json_t *body, struct failure *fail)
{
    struct client_request r = {.method = method, .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    return follow(cli, args, a.value, fail);
}

static int set_verb(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *rest = xasprintf("/%s", strchr(args->command->words, ' ') + 1);
    auto_free char *path = address(args, rest);

    return ask(cli, args, "POST", path, NULL, fail);
}

static int start_body(const struct args *args, json_t **ret, struct failure *fail)
{
    bool on = args_flag(args, "start"), off = args_flag(args, "no-start");

    if (on && off)
        return failure_set(fail, CLI_USAGE, "--start and --no-start exclude each other");
    *ret = json_object();
    if (on || off)
        json_object_set_new(*ret, "start", json_boolean(on));
    return 0;
}

/* "web=debian-13" */
static int add_images(const struct args *args, json_t *body, struct failure *fail)
{
    const char *text;
    int state = 0;

    while ((text = args_next(args, "image", &state))) {
        const char *equals = strchr(text, '=');
        auto_free char *machine = equals ? xstrndup(text, (size_t)(equals - text)) : NULL;
        json_t *images = json_object_get(body, "images");

        if (!equals || equals == text || !equals[1])
            return failure_set(fail, CLI_USAGE, "--image must read MACHINE=IMAGE");
        if (!images) {
            images = json_object();
            json_object_set_new(body, "images", images);
        }
        if (json_object_set_new(images, machine, json_string(equals + 1)))
            return failure_set(fail, CLI_USAGE, "names must be UTF-8");
    }
    return 0;
}

static int set_reimage(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = address(args, "/reimage");
    auto_value json_t *body = NULL;

    if (start_body(args, &body, fail) || add_images(args, body, fail))
        return -1;
    return ask(cli, args, "POST", path, body, fail);
}

static int set_reset(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *member = url_escape(args->operand[1]);
    auto_free char *rest = xasprintf("/members/%s/reset", member);
    auto_free char *path = address(args, rest);
    auto_value json_t *body = NULL;

    if (start_body(args, &body, fail))
        return -1;
    return ask(cli, args, "POST", path, body, fail);
}

static int set_delete(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = address(args, "");

    return ask(cli, args, "DELETE", path, NULL, fail);
}

static int set_extend(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = address(args, "");
    struct client_request r = {.method = "PATCH", .path = path};
    auto_value json_t *body = NULL;
    auto_answer struct answer a = {0};
    json_int_t ttl;

    if (args_lifetime(args, "for", 0, &ttl, fail))
        return -1;
    body = json_pack("{s:o}", "ttl_seconds", ttl ? json_integer(ttl) : json_null());
    r.body = body;
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s\n", value_text(a.value, "expires_at", "it does not end by itself"));
    return 0;
}

/* ---- making ---- */

/* NAME or NAME:IMAGE[:MEMORY]; what one leaves out is --image's and --memory's. */
static int add_machine(const struct args *args, const char *text, json_t *machines, int64_t memory,
                       int64_t cpus, struct failure *fail)
{
    auto_free char *copy = xstrdup(text ? text : "pc");
    char *image = strchr(copy, ':'), *size = NULL, *end;
    long mib = (long)memory;

    if (image) {
        *image++ = '\0';
        size = strchr(image, ':');
    }
    if (size) {
        *size++ = '\0';
        mib = strtol(size, &end, 10);
        if (!*size || *end || mib < 16)
            return failure_set(fail, CLI_USAGE, "--machine must read NAME, NAME:IMAGE or NAME:IMAGE:MIB");
    }
    if (json_array_append_new(
            machines, json_pack("{s:s, s:s*, s:I, s:I}", "name", copy, "image",
                                image && *image ? image : args_text(args, "image", NULL), "memory_mib",
                                (json_int_t)mib, "cpus", (json_int_t)cpus)))
        return failure_set(fail, CLI_USAGE, "names must be UTF-8");
    return 0;
}

static int add_all_machines(const struct args *args, json_t *body, struct failure *fail)
{
    json_t *machines = json_array();
    int64_t memory, cpus;
    const char *text;
    int state = 0;

    json_object_set_new(body, "machines", machines);
    if (args_number(args, "memory", 16, 4194304, 512, &memory, fail) ||
        args_number(args, "cpus", 1, 255, 1, &cpus, fail))
        return -1;
    if (!args_flag(args, "machine"))
        return add_machine(args, NULL, machines, memory, cpus, fail);
    while ((text = args_next(args, "machine", &state))) {
        if (add_machine(args, text, machines, memory, cpus, fail))
            return -1;
    }
    return 0;
}

static int create_body(const struct args *args, json_t **ret, struct failure *fail)
{
    const char *subnet = args_text(args, "subnet", NULL);
    int64_t count, wave, gateway;
    json_int_t ttl;
    auto_value json_t *body = NULL;

    if (args_number(args, "count", 1, 1000, 0, &count, fail) ||
        args_number(args, "wave", 1, 64, 0, &wave, fail) ||
        args_number(args, "gateway-host", 1, 16777214, 0, &gateway, fail) ||
        args_lifetime(args, "for", 0, &ttl, fail))
        return -1;
    if (!count)
        return failure_set(fail, CLI_USAGE, "--count is required: how many members the set has");
    body = json_pack("{s:s, s:I, s:b, s:s*, s:s*}", "name", args->operand[0], "count", (json_int_t)count,
                     "start", !args_flag(args, "no-start"), "name_pattern",
                     args_text(args, "pattern", NULL), "ready_when", args_text(args, "ready-when", NULL));
    if (!body)
        return failure_set(fail, CLI_USAGE, "names must be UTF-8");
    if (wave)
        json_object_set_new(body, "wave", json_integer(wave));
    if (ttl)
        json_object_set_new(body, "ttl_seconds", json_integer(ttl));
    if (subnet) {
        json_t *plan = json_pack("{s:s}", "subnet", subnet);

        if (gateway)
            json_object_set_new(plan, "gateway_host", json_integer(gateway));
        json_object_set_new(body, "addresses", plan);
    }
    if (add_all_machines(args, body, fail))
        return -1;
    *ret = TAKE_PTR(body);
    return 0;
}

static void print_plan(const json_t *plan)
{
    static const char *const titles[] = {">MEMBER", "MACHINE", "VM", "ADDRESS"};
    auto_table struct table *t = table_new(titles, 4);
    const json_t *vm;
    size_t i;

    json_array_foreach(value_at(plan, "vms"), i, vm)
    {
        const json_t *card = json_array_get(value_at(vm, "networks"), 0);

        table_cell_take(t, value_show("member", value_at(vm, "member")));
        table_cell(t, value_text(vm, "machine", NULL));
        table_cell(t, value_text(vm, "name", NULL));
        table_cell(t, value_text(card, "address", NULL));
    }
    table_print(t, stdout, "Nothing would be made.");
}

static int set_create(struct cli *cli, const struct args *args, struct failure *fail)
{
    bool dry = args_flag(args, "dry-run");
    struct client_request r = {.method = "POST", .path = dry ? "/v1/sets?dry_run=true" : "/v1/sets"};
    auto_value json_t *body = NULL;
    auto_answer struct answer a = {0};

    if (create_body(args, &body, fail) || cli_connect(cli, fail))
        return -1;
    r.body = body;
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    if (!dry)
        return follow(cli, args, value_at(a.value, "operation"), fail);
    if (cli->json)
        return cli_print_json(&a);
    print_plan(a.value);
    return 0;
}

#define NO_WAIT {"no-wait", 0, NULL, "do not wait; print the operation's id"}
static const struct option_row create_options[] = {
    {"count", 'n', "N", "members, such as students"},
    {"image", 'i', "IMAGE", "what the machines start from"},
    {"machine", 0, "NAME[:IMAGE[:MIB]]", "a machine of each member; may be repeated (one, pc)"},
    {"memory", 'm', "MIB", "memory of each machine (512)"},
    {"cpus", 'c', "N", "CPUs of each machine (1)"},
    {"pattern", 0, "PATTERN", "the VMs' names, such as student-{n:02}-{machine}"},
    {"subnet", 0, "CIDR", "addresses for the guests: 10.40.{n}.0/24 for one network of each member"},
    {"gateway-host", 0, "N", "the host number of the gateway in it"},
    {"ready-when", 0, "WHAT", "running (the default), console or ready: before the next one starts"},
    {"wave", 0, "N", "VMs that start at the same time"},
    {"for", 'f', "TIME", "the set is deleted after that, such as 8h or 5d"},
    {"no-start", 0, NULL, "make the VMs, but do not start them"},
    {"dry-run", 0, NULL, "only show what would be made"},
    NO_WAIT,
    {0}};
static const struct option_row wait_options[] = {NO_WAIT, {0}};
static const struct option_row reset_options[] = {
    {"no-start", 0, NULL, "leave the VMs off"}, NO_WAIT, {0}};
static const struct option_row reimage_options[] = {
    {"image", 'i', "MACHINE=IMAGE", "another image for a machine; may be repeated"},
    {"start", 0, NULL, "start all afterwards (else: those that were on)"},
    {"no-start", 0, NULL, "leave all off"},
    NO_WAIT,
    {0}};
static const struct option_row extend_options[] = {
    {"for", 'f', "TIME", "from now; left out, the set does not end by itself"}, {0}};

const struct command set_commands[] = {
    {"set create", "NAME", 1, 1, "make the same machines for many", create_options, set_create,
     "VMs start in waves; progress is shown until all are there. What this command has no option for "
     "can be sent with POST /v1/sets."},
    {"set list", "", 0, 0, "list sets", NULL, set_list, NULL},
    {"set show", "SET", 1, 1, "show a set's members and their VMs", NULL, set_show, NULL},
    {"set start", "SET", 1, 1, "start all VMs of a set, in waves", wait_options, set_verb, NULL},
    {"set stop", "SET", 1, 1, "pull the plugs of all VMs of a set", wait_options, set_verb, NULL},
    {"set reset", "SET MEMBER", 2, 2, "put one member's VMs back to their images", reset_options, set_reset,
     "What was on their disks is lost. Names and addresses stay."},
    {"set reimage", "SET", 1, 1, "put all VMs of a set back to their images", reimage_options, set_reimage,
     "What was on their disks is lost. Names and addresses stay; an image's name that has moved on "
     "gives the newer build."},
    {"set extend", "SET", 1, 1, "change when a set ends", extend_options, set_extend, NULL},
    {"set delete", "SET", 1, 1, "delete a set, its VMs and their disks", wait_options, set_delete, NULL},
    {0}};
