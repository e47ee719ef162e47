/* `lease` and `pool`: VMs with a death date, and what keeps some of them ready. */
#include <stdio.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

/* ---- leases ---- */

static void lease_row(struct table *t, const json_t *lease)
{
    table_cell(t, value_text(lease, "id", NULL));
    table_cell(t, value_text(lease, "state", NULL));
    table_cell(t, value_text(lease, "pool", NULL));
    table_cell(t, value_text(lease, "vm.name", NULL));
    table_cell(t, value_text(lease, "holder", NULL));
    table_cell(t, value_text(lease, "expires_at", NULL));
    table_cell(t, value_text(lease, "end_reason", NULL));
}

static int lease_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"ID", "STATE", "POOL", "VM", "HOLDER", "EXPIRES", "ENDED BY"};
    bool all_states = args_flag(args, "all");
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 7);
    const json_t *lease;
    size_t i;

    if (cli_get_all(cli, "/v1/leases?limit=200", &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, lease)
    {
        if (all_states || !str_eq(value_text(lease, "state", ""), "ended"))
            lease_row(t, lease);
    }
    table_print(t, stdout, "No leases.");
    return 0;
}

static int create_body(const struct args *args, json_t **ret, struct failure *fail)
{
    json_int_t ttl, idle, queue;
    auto_value json_t *body = json_pack("{s:s, s:s*, s:s*}", "pool", args->operand[0], "holder",
                                        args_text(args, "holder", NULL), "on_expiry",
                                        args_text(args, "on-expiry", NULL));

    if (!body)
        return failure_set(fail, CLI_USAGE, "names must be UTF-8");
    if (args_lifetime(args, "for", 0, &ttl, fail) || args_lifetime(args, "idle", 0, &idle, fail) ||
        args_lifetime(args, "queue", 0, &queue, fail))
        return -1;
    if (ttl)
        json_object_set_new(body, "ttl_seconds", json_integer(ttl));
    if (idle)
        json_object_set_new(body, "idle_seconds", json_integer(idle));
    if (queue)
        json_object_set_new(body, "queue_seconds", json_integer(queue));
    *ret = TAKE_PTR(body);
    return 0;
}

static int lease_create(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *wait = args_text(args, "wait", "claimed");
    auto_free char *what = url_escape(wait);
    auto_free char *path = xasprintf("/v1/leases?wait=%s&timeout=600", what);
    struct client_request r = {.method = "POST", .path = path, .timeout_s = 610};
    auto_value json_t *body = NULL;
    auto_answer struct answer a = {0};

    if (create_body(args, &body, fail) || cli_connect(cli, fail))
        return -1;
    r.body = body;
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s %s\n", value_text(a.value, "id", ""), value_text(a.value, "vm.name", ""));
    fprintf(stderr, "%s, until %s. Give it back: drover lease release %s\n",
            value_true(a.value, "warm") ? "It waited ready" : "It is booting",
            value_text(a.value, "expires_at", "-"), value_text(a.value, "id", "ID"));
    return 0;
}

/* method NULL: GET. body: borrowed. */
static int one(struct cli *cli, const char *method, const char *collection, const char *name,
               const char *rest, json_t *body, struct failure *fail)
{
    auto_free char *id = url_escape(name);
    auto_free char *path = xasprintf("/v1/%s/%s%s", collection, id, rest);
    struct client_request r = {.method = method ? method : "GET", .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (!a.value)
        return 0;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

static int lease_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    return one(cli, NULL, "leases", args->operand[0], "", NULL, fail);
}

static int lease_record(struct cli *cli, const struct args *args, struct failure *fail)
{
    return one(cli, NULL, "leases", args->operand[0], "/record", NULL, fail);
}

static int lease_renew(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *body = NULL;
    json_int_t ttl;

    if (args_lifetime(args, "for", 3600, &ttl, fail))
        return -1;
    body = json_pack("{s:I}", "ttl_seconds", ttl);
    return one(cli, "PATCH", "leases", args->operand[0], "", body, fail);
}

static int lease_release(struct cli *cli, const struct args *args, struct failure *fail)
{
    for (int i = 0; i < args->count; i++) {
        if (one(cli, "DELETE", "leases", args->operand[i], "", NULL, fail))
            return -1;
    }
    return 0;
}

static const struct option_row list_options[] = {
    {"all", 'a', NULL, "those that have ended, too"}, {0}};
static const struct option_row create_options[] = {
    {"for", 'f', "TIME", "how long it lasts unless renewed, such as 15m or 2h"},
    {"idle", 0, "TIME", "it also ends when nobody used it for that long"},
    {"queue", 'q', "TIME", "wait that long in line when the pool has no VM to give"},
    {"holder", 0, "NAME", "who holds it, in your words"},
    {"on-expiry", 0, "WHAT", "delete (the default), stop or pause the VM when time is up"},
    {"wait", 'w', "WHAT", "until it is claimed (the default), running, its console has printed, or it is ready"},
    {0}};
static const struct option_row renew_options[] = {
    {"for", 'f', "TIME", "from now; an hour unless told otherwise"}, {0}};

/* ---- pools ---- */

static int pool_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"NAME",    "DEPTH", ">READY",  ">WARMING",
                                         ">LEASED", ">MAX",  ">MEMORY", "LAST ERROR"};
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 8);
    const json_t *pool;
    size_t i;

    if (cli_get_all(cli, "/v1/pools?limit=200", &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, pool)
    {
        table_cell(t, value_text(pool, "name", NULL));
        table_cell(t, value_text(pool, "depth", NULL));
        table_cell_take(t, value_show("ready", value_at(pool, "status.ready")));
        table_cell_take(t, value_show("warming", value_at(pool, "status.warming")));
        table_cell_take(t, value_show("leased", value_at(pool, "status.leased")));
        table_cell_take(t, value_show("max", value_at(pool, "max")));
        table_cell_take(t, value_show("own_bytes", value_at(pool, "status.memory.own_bytes")));
        table_cell(t, value_text(pool, "status.last_error", NULL));
    }
    table_print(t, stdout, "No pools. Make one: drover pool create NAME --image IMAGE --ready 2");
    return 0;
}

static int pool_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    return one(cli, NULL, "pools", args->operand[0], "", NULL, fail);
}

static int pool_delete(struct cli *cli, const struct args *args, struct failure *fail)
{
    return one(cli, "DELETE", "pools", args->operand[0], "", NULL, fail);
}

static int pool_put(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *vm = json_pack("{s:s*}", "image", args_text(args, "image", NULL)), *body = NULL;
    int64_t memory, cpus, ready, max;

    if (!vm)
        return failure_set(fail, CLI_USAGE, "names must be UTF-8");
    if (args_number(args, "memory", 16, 4194304, 512, &memory, fail) ||
        args_number(args, "cpus", 1, 255, 1, &cpus, fail) ||
        args_number(args, "ready", 0, 1000, 1, &ready, fail) ||
        args_number(args, "max", 1, 10000, 10, &max, fail))
        return -1;
    json_object_set_new(vm, "memory_mib", json_integer(memory));
    json_object_set_new(vm, "cpus", json_integer(cpus));
    if (args_flag(args, "guest-agent"))
        json_object_set_new(vm, "guest_agent", json_true());
    body = json_pack("{s:O, s:I, s:I, s:s*, s:s*}", "vm", vm, "ready", (json_int_t)ready, "max",
                     (json_int_t)max, "depth", args_text(args, "depth", NULL), "ready_when",
                     args_text(args, "ready-when", NULL));
    return one(cli, "PUT", "pools", args->operand[0], "", body, fail);
}

/* The server makes a pool or changes it with one request: what is there is looked for first. */
static int pool_create(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *name = url_escape(args->operand[0]), *path = xasprintf("/v1/pools/%s", name);
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail))
        return -1;
    if (client_get(cli->client, path, &a, fail) == 0) {
        failure_set(fail, CLI_CONFLICT, "there is a pool '%s' already", args->operand[0]);
        failure_remedy(fail, "drover pool put changes it");
        return -1;
    }
    if (fail->exit != CLI_NOT_FOUND)
        return -1;
    *fail = (struct failure){.exit = CLI_FAILED};
    return pool_put(cli, args, fail);
}

static const struct option_row put_options[] = {
    {"image", 'i', "IMAGE", "what its VMs start from"},
    {"memory", 'm', "MIB", "memory of each"},
    {"cpus", 'c', "N", "CPUs of each"},
    {"guest-agent", 0, NULL, "a port for the QEMU guest agent of each, which `run` needs"},
    {"ready", 'r', "N", "VMs to keep ready (1)"},
    {"max", 0, "N", "VMs altogether (10)"},
    {"depth", 0, "DEPTH", "booted (the default), snapshot or cold"},
    {"ready-when", 0, "WHAT", "running (the default), or console: it has printed something"},
    {0}};

const struct command lease_commands[] = {
    {"lease create", "POOL", 1, 1, "ask for a VM of a pool", create_options, lease_create,
     "Prints the lease's id and the VM's name. It is deleted when its time is up, whoever crashes."},
    {"lease list", "", 0, 0, "list leases", list_options, lease_list, NULL},
    {"lease show", "LEASE", 1, 1, "show a lease", NULL, lease_show, NULL},
    {"lease renew", "LEASE", 1, 1, "let a lease last longer", renew_options, lease_renew, NULL},
    {"lease release", "LEASE...", 1, ARGS_MAX, "give VMs back; they are deleted", NULL,
     lease_release, NULL},
    {"lease record", "LEASE", 1, 1, "show what happened to a lease", NULL, lease_record, NULL},
    {"pool list", "", 0, 0, "list pools", NULL, pool_list, NULL},
    {"pool show", "POOL", 1, 1, "show a pool", NULL, pool_show, NULL},
    {"pool create", "NAME", 1, 1, "make a pool", put_options, pool_create,
     "What this command has no option for can be sent with PUT /v1/pools/NAME, or kept in a file: drover help apply."},
    {"pool put", "POOL", 1, 1, "make a pool, or change it", put_options, pool_put,
     "VMs that wait and were made from a former definition are replaced. What this command has no "
     "option for can be sent with PUT /v1/pools/POOL."},
    {"pool delete", "POOL", 1, 1, "delete a pool and the VMs that wait in it", NULL, pool_delete, NULL},
    {0}};
