/* `image label`, `labels`, `unlabel`, `verify`; `vm flatten`, `vm rebase`. */
#include <stdio.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

static int run_labels(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"LABEL", "IMAGE", ">VERSION", ">KEEP", "SINCE"};
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 5);
    const json_t *label;
    size_t i;

    if (cli_get_all(cli, "/v1/image-labels", &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, label) {
        table_cell(t, value_text(label, "name", NULL));
        table_cell(t, value_text(label, "image_name", value_text(label, "image_id", NULL)));
        table_cell_take(t, value_show("version", value_at(label, "version")));
        table_cell_take(t, value_show("keep", value_at(label, "keep")));
        table_cell_take(t, print_age(value_text(label, "created_at", NULL)));
    }
    table_print(t, stdout, "No labels. Make one: drover image label LABEL IMAGE");
    return 0;
}

static int run_label(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *name = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/image-labels/%s", name);
    auto_value json_t *body = json_pack("{s:s}", "image", args->operand[1]);
    struct client_request r = {.method = "PUT", .path = path, .body = body};
    auto_answer struct answer a = {0};
    int64_t keep;

    if (!body)
        return failure_set(fail, CLI_USAGE, "the names must be UTF-8");
    if (args_number(args, "keep", 0, 1000, -1, &keep, fail))
        return -1;
    if (keep >= 0)
        json_object_set_new(body, "keep", json_integer(keep));
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s -> %s\n", args->operand[0], value_text(a.value, "image_name", args->operand[1]));
    return 0;
}

static int run_unlabel(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *name = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/image-labels/%s", name);
    struct client_request r = {.method = "DELETE", .path = path};
    auto_answer struct answer a = {0};

    return cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail) ? -1 : 0;
}

/* Steals body, which may be NULL. */
static int copy(struct cli *cli, const char *path, json_t *taken, struct failure *fail)
{
    auto_value json_t *body = taken, *op = NULL;
    struct client_request r = {.method = "POST", .path = path, .body = body};
    auto_answer struct answer a = {0};
    auto_free char *text = NULL;
    double done = 0;

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail) ||
        cli_watch_operation(cli, value_text(a.value, "id", ""), &op, fail))
        return -1;
    if (cli->json)
        return cli_print_value(op), 0;
    value_number(value_at(op, "progress"), "done_bytes", &done);
    text = print_bytes(done);
    printf("%s %s, %s\n", value_text(op, "kind", ""), value_text(op, "state", ""), text);
    return 0;
}

static int run_verify(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *name = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/images/%s/verify", name);

    return copy(cli, path, NULL, fail);
}

static int run_flatten(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *name = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s/flatten", name);

    return copy(cli, path, NULL, fail);
}

static int run_rebase(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *name = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s/rebase", name);

    return copy(cli, path, json_pack("{s:s}", "image", args->operand[1]), fail);
}

static const struct option_row label_options[] = {
    {"keep", 0, "NUMBER", "versions that stay; older images are deleted, or retired while VMs use them"},
    {0}};

const struct command image_label_commands[] = {
    {"image labels", "", 0, 0, "list the labels of images", NULL, run_labels, NULL},
    {"image label", "LABEL IMAGE", 2, 2, "make a label, or move it to another image", label_options,
     run_label, "A label is used like an image's name: drover vm create NAME --image LABEL."},
    {"image unlabel", "LABEL", 1, 1, "delete a label; the images stay", NULL, run_unlabel, NULL},
    {"image verify", "IMAGE", 1, 1, "compare an image's bytes with their digests", NULL, run_verify, NULL},
    {"vm flatten", "VM", 1, 1, "make a stopped VM's root disk stand alone", NULL, run_flatten, NULL},
    {"vm rebase", "VM IMAGE", 2, 2, "put a stopped VM's root disk onto another image", NULL, run_rebase,
     "The guest sees the same bytes as before."},
    {0}};
