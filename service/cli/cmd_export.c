/* `export`: what a server has, as definitions that `apply` takes. */
#include <stdio.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/manifest.h"
#include "service/cli/manifest_server.h"
#include "service/cli/output.h"

static int export_object(struct cli *cli, const struct args *args, const struct kind *kind,
                         const json_t *object, struct failure *fail)
{
    const char *name = definition_name(kind, object);
    auto_free char *id = url_escape(name), *path = xasprintf("%s/%s", kind->path, id), *secret = NULL;
    auto_value json_t *spec = NULL, *sparse = NULL, *document = NULL;

    if (!args_flag(args, "no-user-data") && definition_secret(cli, path, object, &secret, fail)) {
        if (fail->exit != CLI_AUTH)
            return -1;
        fprintf(stderr, "drover: %s/%s: this credential may not read its user data; it is left out\n",
                kind->name, name);
    }
    spec = definition_spec(kind, object, secret);
    sparse = definition_sparse(kind, spec);
    document = json_pack("{s:s, s:s, s:O}", "kind", kind->name, "name", name, "spec", sparse);
    cli_print_value(document);
    return 0;
}

static int export_all(struct cli *cli, const struct args *args, const struct kind *kind,
                      struct failure *fail)
{
    auto_free char *path = xasprintf("%s%s", kind->path, kind->list);
    auto_value json_t *all = NULL;
    const json_t *object;
    size_t i;

    if (cli_get_all(cli, path, &all, fail)) {
        if (fail->exit != CLI_AUTH || args->count)
            return -1;
        fprintf(stderr, "drover: this credential may not read %ss; they are left out\n", kind->name);
        *fail = (struct failure){.exit = CLI_FAILED};
        return 0;
    }
    json_array_foreach(json_object_get(all, "items"), i, object) {
        if (!definition_is_nobodys(kind, object) && export_object(cli, args, kind, object, fail))
            return -1;
    }
    return 0;
}

static int export_one(struct cli *cli, const struct args *args, const struct kind *kind, const char *name,
                      struct failure *fail)
{
    auto_free char *id = url_escape(name), *path = xasprintf("%s/%s", kind->path, id);
    auto_free char *list = xasprintf("%s%s", kind->path, kind->list);
    auto_value json_t *all = NULL;
    auto_answer struct answer a = {0};
    const json_t *object;
    bool found = false;
    size_t i;

    if (!kind->by_label)
        return client_get(cli->client, path, &a, fail) ? -1 : export_object(cli, args, kind, a.value, fail);
    if (cli_get_all(cli, list, &all, fail))
        return -1;
    json_array_foreach(json_object_get(all, "items"), i, object) {
        if (!str_eq(name, definition_name(kind, object)) && !str_eq(name, value_text(object, "id", NULL)))
            continue;
        found = true;
        if (export_object(cli, args, kind, object, fail))
            return -1;
    }
    return found ? 0 : failure_set(fail, CLI_NOT_FOUND, "no %s has the label name=%s, or this id", kind->name, name);
}

static int run_export(struct cli *cli, const struct args *args, struct failure *fail)
{
    const struct kind *kind = args->count ? kind_find(args->operand[0]) : NULL;

    if (args->count && !kind)
        return failure_set(fail, CLI_USAGE, "there are no definitions of '%s'; kinds are project, image, label, pool, "
                                            "set, vm and webhook", args->operand[0]);
    if (cli_connect(cli, fail))
        return -1;
    if (!cli->json)
        output_start(OUTPUT_YAML, args->command->words);
    for (const struct kind *k = kinds; !kind && k->name; k++) {
        if (export_all(cli, args, k, fail))
            return -1;
    }
    if (kind && args->count == 1)
        return export_all(cli, args, kind, fail);
    for (int i = 1; kind && i < args->count; i++) {
        if (export_one(cli, args, kind, args->operand[i], fail))
            return -1;
    }
    return 0;
}

static const struct option_row export_options[] = {
    {"no-user-data", 0, NULL, "leave user data out, which may hold secrets"}, {0}};

const struct command export_commands[] = {
    {"export", "[KIND [NAME...]]", 0, ARGS_MAX, "print definitions that apply takes", export_options,
     run_export,
     "KIND is project, image, label, pool, set, vm or webhook; without it, everything, but not VMs that a "
     "pool or a set made, images that are not ready, and the project `default` as every server has it. YAML "
     "unless -o json. User data of VMs and pools, which may hold secrets, is part of it; so are the MAC addresses "
     "of VMs. That of a set's machines and webhooks' secrets are not. A webhook's name is its label `name`, "
     "else its id."},
    {0}};
