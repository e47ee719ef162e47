/* `project`: who owns things, what each may use, and whose memory may be merged with whose. */
#include <stdio.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

static void add_row(struct table *t, const json_t *p)
{
    bool merges = json_is_true(value_at(p, "memory_merge"));
    size_t friends = json_array_size(value_at(p, "merge_with"));
    auto_free char *usage = value_show("vms", value_at(p, "usage.vms"));
    auto_free char *memory = value_show("memory_mib", value_at(p, "usage.memory_mib"));

    table_cell(t, value_text(p, "name", NULL));
    table_cell(t, usage);
    table_cell(t, memory);
    if (!merges)
        table_cell(t, "no");
    else if (friends)
        table_cell_take(t, value_show("merge_with", value_at(p, "merge_with")));
    else
        table_cell(t, "with itself");
    table_cell(t, value_text(p, "created_at", NULL));
}

static int print_projects(const json_t *one, const json_t *all)
{
    static const char *const titles[] = {"NAME", ">VMS", ">MEMORY", "MERGES", "CREATED"};
    auto_table struct table *t = table_new(titles, 5);
    const json_t *p;
    size_t i;

    if (one)
        add_row(t, one);
    json_array_foreach(json_object_get(all, "items"), i, p)
        add_row(t, p);
    table_print(t, stdout, "No projects.");
    return 0;
}

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *all = NULL;

    if (cli_get_all(cli, "/v1/projects?limit=200", &all, fail))
        return -1;
    return cli->json ? (cli_print_value(all), 0) : print_projects(NULL, all);
}

static char *path_of(const struct args *args)
{
    auto_free char *name = url_escape(args->operand[0]);

    return xasprintf("/v1/projects/%s", name);
}

static int run_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = path_of(args);
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    return cli->json ? cli_print_json(&a) : print_projects(a.value, NULL);
}

/* What both making and changing one may say. */
static int add_options(const struct args *args, json_t *body, struct failure *fail)
{
    const char *text;
    int state = 0;

    if (args_flag(args, "merge") && args_flag(args, "no-merge"))
        return failure_set(fail, CLI_USAGE, "--merge and --no-merge exclude each other");
    if (args_flag(args, "merge") || args_flag(args, "no-merge"))
        json_object_set_new(body, "memory_merge", json_boolean(args_flag(args, "merge")));
    while ((text = args_next(args, "merge-with", &state))) {
        if (!json_object_get(body, "merge_with"))
            json_object_set_new(body, "merge_with", json_array());
        if (strcmp(text, "none") != 0)
            json_array_append_new(json_object_get(body, "merge_with"), json_string(text));
    }
    state = 0;
    while ((text = args_next(args, "quota", &state))) {
        if (!json_object_get(body, "quota"))
            json_object_set_new(body, "quota", json_object());
        if (quota_add_limit(json_object_get(body, "quota"), text, fail))
            return -1;
    }
    return 0;
}

static int send_project(struct cli *cli, const char *method, const char *path, json_t *body,
                        struct failure *fail)
{
    struct client_request r = {.method = method, .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    return cli->json ? cli_print_json(&a) : print_projects(a.value, NULL);
}

static int run_create(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *body = json_pack("{s:s}", "name", args->operand[0]);

    if (!body)
        return failure_set(fail, CLI_USAGE, "NAME must be UTF-8");
    return add_options(args, body, fail) ? -1 : send_project(cli, "POST", "/v1/projects", body, fail);
}

static int run_set(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = path_of(args);
    auto_value json_t *body = json_object();

    if (add_options(args, body, fail))
        return -1;
    if (!json_object_size(body))
        return failure_set(fail, CLI_USAGE, "say what is to change: --quota, --merge, --no-merge or --merge-with");
    return send_project(cli, "PATCH", path, body, fail);
}

static int run_delete(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = path_of(args);
    struct client_request r = {.method = "DELETE", .path = path};
    auto_answer struct answer a = {0};

    return cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail) ? -1 : 0;
}

static const struct option_row policy_options[] = {
    {"quota", 'q', "RESOURCE=LIMIT", "what it may use; may be repeated; RESOURCE=none: no limit"},
    {"merge", 0, NULL, "its VMs may merge their memory"},
    {"no-merge", 0, NULL, "they may not (the default of a new project)"},
    {"merge-with", 0, "PROJECT", "also with this one's, if it agrees; may be repeated; none: with no other"},
    {0}};

const struct command project_commands[] = {
    {"project list", "", 0, 0, "list projects", NULL, run_list,
     "--project NAME before or after any other command does it there."},
    {"project show", "PROJECT", 1, 1, "show a project", NULL, run_show, NULL},
    {"project create", "NAME", 1, 1, "make a project", policy_options, run_create,
     "Then a token of it: drover token create NAME --role operator --project PROJECT\n"
     "Merging memory lets VMs learn of one another, so VMs of projects that do not name each other never "
     "merge at the same time on one host."},
    {"project set", "PROJECT", 1, 1, "change what it may use, and whom it trusts", policy_options, run_set, NULL},
    {"project delete", "PROJECT", 1, 1, "delete an empty project", NULL, run_delete, NULL},
    {0}};
