/* `quota`: what a project and its tokens may use at the same time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

static char *shown(const char *name, const json_t *value)
{
    return json_is_integer(value) ? value_show(name, value) : NULL;
}

/* Rows of one owner: a line a resource. */
static void add_rows(struct table *t, const char *whose, const json_t *owner)
{
    const json_t *usage = value_at(owner, "usage"), *quota = value_at(owner, "quota");
    const char *name;
    json_t *used;

    json_object_foreach((json_t *)(uintptr_t)usage, name, used) {
        const json_t *limit = json_object_get(quota, name);

        table_cell(t, whose);
        table_cell(t, name);
        table_cell_take(t, shown(name, used));
        if (json_is_integer(limit))
            table_cell_take(t, shown(name, limit));
        else
            table_cell(t, "no limit");
    }
}

static int print_quotas(struct cli *cli, const char *path, struct failure *fail)
{
    static const char *const titles[] = {"OF", "RESOURCE", ">USED", ">LIMIT"};
    auto_table struct table *t = table_new(titles, 4);
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    if (value_at(a.value, "project")) {
        auto_free char *project = xasprintf("project %s", value_text(a.value, "project.name", ""));
        auto_free char *token = xasprintf("token %s", value_text(a.value, "token.name", ""));

        add_rows(t, project, value_at(a.value, "project"));
        add_rows(t, token, value_at(a.value, "token"));
    } else {
        add_rows(t, value_text(a.value, "name", ""), a.value);
    }
    table_print(t, stdout, "No quotas.");
    return 0;
}

/* /v1/tokens/ID or /v1/projects/NAME, as the options say; NULL: neither is given. */
static char *owner_path(const struct cli *cli, const struct args *args)
{
    const char *token = args_text(args, "of-token", NULL), *project = cli->project;
    auto_free char *ref = url_escape(token ? token : project ? project : "");

    return token ? xasprintf("/v1/tokens/%s", ref) : project ? xasprintf("/v1/projects/%s", ref) : NULL;
}

static int run_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = owner_path(cli, args);

    return print_quotas(cli, path ? path : "/v1/quotas", fail);
}

int quota_add_limit(json_t *quota, const char *text, struct failure *fail)
{
    const char *equals = strchr(text, '=');
    auto_free char *name = equals ? xstrndup(text, (size_t)(equals - text)) : NULL;
    uint64_t limit = 0;

    if (!equals || (strcmp(equals + 1, "none") != 0 && !str_to_u64(equals + 1, INT64_MAX, &limit)))
        return failure_set(fail, CLI_USAGE, "%s is not like vms=10 or vms=none", text);
    json_object_set_new(quota, name,
                        strcmp(equals + 1, "none") == 0 ? json_null()
                                                        : json_integer((json_int_t)limit));
    return 0;
}

static int run_set(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = owner_path(cli, args);
    auto_value json_t *body = json_pack("{s:{}}", "quota");
    struct client_request r = {
        .method = "PATCH", .path = path ? path : "/v1/projects/default", .body = body};
    auto_answer struct answer a = {0};

    for (int i = 0; i < args->count; i++) {
        if (quota_add_limit(json_object_get(body, "quota"), args->operand[i], fail))
            return -1;
    }
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    return cli->json ? cli_print_json(&a) : print_quotas(cli, r.path, fail);
}

static const struct option_row owner_options[] = {
    {"of-token", 0, "ID", "of this token (default when setting: of the project)"},
    {0}};

const struct command quota_commands[] = {
    {"quota show", "", 0, 0, "what may be used at the same time, and what is", owner_options, run_show,
     "Without options: of the project and of the token that asks."},
    {"quota set", "RESOURCE=LIMIT...", 1, 6, "change limits; RESOURCE=none takes one away",
     owner_options, run_set,
     "Resources: vms, cpus, memory_mib, disk_bytes, leases, consoles. Lowering a limit below what is "
     "used ends nothing: only more is refused."},
    {0}};
