/* What a label says belongs to the files and the files do not define. See prune.h. */
#include "service/cli/prune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/manifest_server.h"
#include "service/cli/print.h"

static bool has_labels(const struct kind *kind)
{
    for (const struct spec_member *m = kind->members; m->name; m++) {
        if (str_eq(m->name, "labels"))
            return true;
    }
    return false;
}

/* object: as a server shows it, or a spec. Keys have dots. */
static bool carries(const json_t *object, const char *key, const char *value)
{
    return str_eq(json_string_value(json_object_get(json_object_get(object, "labels"), key)), value);
}

static bool is_defined(const struct files *files, const struct kind *kind, const json_t *object)
{
    for (size_t i = 0; i < files->count; i++) {
        const struct definition *d = &files->definition[i];

        if (d->kind == kind && (str_eq(d->name, definition_name(kind, object)) ||
                                str_eq(d->name, value_text(object, "id", NULL))))
            return true;
    }
    return false;
}

void prune_done(struct prune *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->doomed[i].name);
        free(p->doomed[i].path);
        free(p->doomed[i].etag);
        free(p->doomed[i].state);
    }
    free(p->doomed);
}

static void add(struct prune *p, const struct kind *kind, const json_t *object)
{
    auto_free char *id = url_escape(value_text(object, "id", ""));
    bool is_vm = str_eq(kind->name, "vm");

    p->doomed = xrealloc(p->doomed, (p->count + 1) * sizeof(*p->doomed));
    p->doomed[p->count++] = (struct doomed){.kind = kind,
                                            .name = xstrdup(definition_name(kind, object)),
                                            .path = xasprintf("%s/%s%s", kind->path, id, is_vm ? "?force=true" : ""),
                                            .etag = is_vm ? xstrdup_null(value_text(object, "etag", NULL)) : NULL,
                                            .state = xstrdup_null(value_text(object, "state", NULL))};
}

static int find_of_kind(struct cli *cli, const struct files *files, const struct kind *kind, const char *key,
                        const char *value, struct prune *p, struct failure *fail)
{
    auto_free char *list = xasprintf("%s%s", kind->path, kind->list);
    auto_value json_t *all = NULL;
    const json_t *object;
    size_t i;

    if (cli_get_all(cli, list, &all, fail))
        return -1;
    json_array_foreach(json_object_get(all, "items"), i, object) {
        if (carries(object, key, value) && !definition_is_nobodys(kind, object) && !is_defined(files, kind, object) &&
            !str_eq(value_text(object, "state", NULL), "deleting"))
            add(p, kind, object);
    }
    return 0;
}

static int check_files(const struct files *files, const char *label, const char *key, const char *value,
                       struct failure *fail)
{
    for (size_t i = 0; i < files->count; i++) {
        const struct definition *d = &files->definition[i];

        if (!has_labels(d->kind) || carries(d->spec, key, value))
            continue;
        failure_set(fail, CLI_USAGE, "%s/%s does not carry the label %s", d->kind->name, d->name, label);
        failure_remedy(fail, "Write the label into its spec: what is pruned later must be known by it.");
        return -1;
    }
    return 0;
}

int prune_find(struct cli *cli, const struct files *files, const char *label, struct prune *ret,
               struct failure *fail)
{
    const char *equals = label ? strchr(label, '=') : NULL;
    auto_free char *key = equals ? xstrndup(label, (size_t)(equals - label)) : NULL;
    size_t kinds_count = 0;

    if (!label)
        return 0;
    if (!key || !*key)
        return failure_set(fail, CLI_USAGE, "--prune %s is not like key=value", label);
    if (check_files(files, label, key, equals + 1, fail))
        return -1;
    while (kinds[kinds_count].name)
        kinds_count++;
    /* Those go first that need others. */
    while (kinds_count-- > 0) {
        if (has_labels(&kinds[kinds_count]) &&
            find_of_kind(cli, files, &kinds[kinds_count], key, equals + 1, ret, fail))
            return -1;
    }
    return 0;
}

int prune_ask(const struct prune *p, const char *label, struct failure *fail)
{
    char answer[8] = "";

    if (!p->count)
        return 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct doomed *d = &p->doomed[i];
        auto_free char *line = xasprintf("%s/%s%s%s%s", d->kind->name, d->name, d->state ? " (" : "",
                                         d->state ? d->state : "", d->state ? ")" : "");

        print_safe(stderr, line);
        fputs(" would be deleted\n", stderr);
    }
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        failure_set(fail, CLI_USAGE, "%zu with the label %s would be deleted; nothing was changed", p->count, label);
        failure_remedy(fail, "--yes deletes them without asking; --dry-run says what would be done");
        return -1;
    }
    fprintf(stderr, "Delete %zu, with their disks, after the files are applied? [y/N] ", p->count);
    fflush(stderr);
    if (fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y'))
        return 0;
    failure_set(fail, CLI_USAGE, "not confirmed; nothing was changed");
    failure_remedy(fail, "Without --prune the files are applied and nothing is deleted.");
    return -1;
}

int prune_one(struct cli *cli, const struct doomed *d, struct failure *fail)
{
    auto_free char *condition = d->etag ? xasprintf("If-Match: \"%s\"", d->etag) : NULL;
    const char *headers[] = {condition, NULL};
    struct client_request r = {.method = "DELETE", .path = d->path, .headers = condition ? headers : NULL};
    auto_answer struct answer a = {0};
    auto_value json_t *op = NULL;
    const char *id;

    if (client_do(cli->client, &r, &a, fail)) {
        if (fail->exit != CLI_NOT_FOUND)
            return -1;
        *fail = (struct failure){.exit = CLI_FAILED}; /* somebody was faster */
        return 0;
    }
    id = value_text(a.value, "operation.id", value_text(a.value, "id", NULL));
    return id ? cli_watch_operation(cli, id, &op, fail) : 0;
}
