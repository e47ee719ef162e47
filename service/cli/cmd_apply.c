/*
 * `apply` and `diff`: definitions in files against what a server has. What differs is found here, by
 * manifest.h; whether it may be so is the server's to say.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/manifest.h"
#include "service/cli/manifest_server.h"
#include "service/cli/print.h"
#include "service/cli/style.h"
#include "service/cli/unified.h"
#include "service/cli/yamldoc.h"

#define FILE_MAX ((size_t)32 << 20) /* a hundred VMs with all the user data a VM may have */

/* ---- files ---- */

static int read_stream(FILE *file, const char *name, struct strbuf *text, struct failure *fail)
{
    char piece[8192];
    size_t n;

    while ((n = fread(piece, 1, sizeof(piece), file)) > 0) {
        if (text->len + n > FILE_MAX)
            return failure_set(fail, CLI_USAGE, "%s is larger than %zu MiB", name, FILE_MAX >> 20);
        strbuf_add(text, piece, n);
    }
    return ferror(file) ? failure_errno(fail, CLI_USAGE, errno, "cannot read %s", name) : 0;
}

/* Adds the documents of a file to documents; one that is a list stands for its elements. */
static int read_file(const char *path, json_t *documents, struct failure *fail)
{
    bool is_stdin = str_eq(path, "-");
    const char *name = is_stdin ? "standard input" : path;
    auto_fclose FILE *opened = is_stdin ? NULL : fopen(path, "rbe");
    auto_strbuf struct strbuf text = {0};
    auto_value json_t *read = NULL;
    json_t *document;
    size_t i;

    if (!is_stdin && !opened)
        return failure_errno(fail, CLI_USAGE, errno, "cannot open %s", path);
    if (read_stream(is_stdin ? stdin : opened, name, &text, fail) ||
        yamldoc_read(name, text.data ? text.data : "", text.len, &read, fail))
        return -1;
    json_array_foreach(read, i, document) {
        if (json_is_array(document))
            json_array_extend(documents, document);
        else
            json_array_append(documents, document);
    }
    return 0;
}

struct files {
    json_t *documents;
    struct definition *definition;
    size_t count;
};

static void files_done(struct files *f)
{
    json_decref(f->documents);
    free(f->definition);
}
#define auto_files auto_scope(files_done)

/* All files are read and understood before anything is asked of a server. */
static int files_read(const struct args *args, struct files *f, struct failure *fail)
{
    const char *path;
    int state = 0;

    f->documents = json_array();
    if (!args_flag(args, "file"))
        return failure_set(fail, CLI_USAGE, "name the file: -f FILE, or -f - for standard input");
    while ((path = args_next(args, "file", &state))) {
        if (read_file(path, f->documents, fail))
            return -1;
    }
    f->definition = xcalloc(json_array_size(f->documents) + 1, sizeof(*f->definition));
    for (; f->count < json_array_size(f->documents); f->count++) {
        auto_free char *where = xasprintf("document %zu", f->count + 1);
        struct definition *d = &f->definition[f->count];

        if (definition_read(json_array_get(f->documents, f->count), where, d, fail))
            return -1;
        for (size_t i = 0; i < f->count; i++) {
            if (f->definition[i].kind == d->kind && str_eq(f->definition[i].name, d->name))
                return failure_set(fail, CLI_USAGE, "%s: %s/%s was defined before", where, d->kind->name,
                                   d->name);
        }
    }
    return 0;
}

/* ---- apply ---- */

static int make(struct cli *cli, const struct definition *d, struct failure *fail)
{
    auto_free char *id = url_escape(d->name);
    auto_free char *path = d->kind->put ? xasprintf("%s/%s", d->kind->path, id) : xstrdup(d->kind->path);
    auto_value json_t *body = json_copy((json_t *)(uintptr_t)d->spec);
    struct client_request r = {.method = d->kind->put ? "PUT" : "POST", .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (!d->kind->put)
        json_object_set_new(body, "name", json_string(d->name));
    return client_do(cli->client, &r, &a, fail);
}

static int change(struct cli *cli, const struct definition *d, const json_t *have, const char *etag,
                  bool *ret_changed, bool *ret_pending, struct failure *fail)
{
    auto_free char *id = url_escape(d->name), *path = xasprintf("%s/%s", d->kind->path, id);
    auto_free char *condition = d->kind->has_etag && etag ? xasprintf("If-Match: \"%s\"", etag) : NULL;
    const char *headers[] = {condition, NULL};
    auto_value json_t *body =
        d->kind->put ? definition_whole(d->kind, have, d->spec) : definition_patch(d->kind, have, d->spec);
    struct client_request r = {.method = d->kind->put ? "PUT" : "PATCH",
                               .path = path,
                               .body = body,
                               .headers = condition ? headers : NULL};
    auto_answer struct answer a = {0};

    if (client_do(cli->client, &r, &a, fail))
        return -1;
    /* A member set to null may have had its default all along. */
    *ret_changed = !etag || !str_eq(etag, value_text(a.value, "etag", NULL));
    *ret_pending = value_true(a.value, "pending_changes");
    return 0;
}

static int apply_one(struct cli *cli, const struct definition *d, bool dry, const char **ret_result,
                     bool *ret_pending, struct failure *fail)
{
    auto_value json_t *have = NULL, *before = NULL, *after = NULL;
    auto_free char *etag = NULL;
    bool changed = true;

    if (definition_get(cli, d, d->kind->put, &have, &etag, fail))
        return -1;
    *ret_result = "created";
    if (!have)
        return dry ? 0 : make(cli, d, fail);
    before = definition_seen(d->kind, have, d->spec);
    after = definition_wanted(d->kind, d->spec);
    *ret_result = "unchanged";
    if (json_equal(before, after))
        return 0;
    if (!dry && change(cli, d, have, etag, &changed, ret_pending, fail))
        return -1;
    *ret_result = changed ? "changed" : "unchanged";
    return 0;
}

static void say_result(const struct definition *d, const char *result, bool dry, bool pending)
{
    auto_free char *name = xasprintf("%s/%s", d->kind->name, d->name);

    print_safe(stdout, name);
    putchar(' ');
    style_begin(stdout, str_eq(result, "unchanged") ? STYLE_FAINT : STYLE_GOOD);
    fputs(result, stdout);
    style_end(stdout);
    puts(dry && !str_eq(result, "unchanged") ? " (not done: --dry-run)"
         : pending                          ? " (the running guest takes it over when it is stopped and started)"
                                            : "");
    fflush(stdout);
}

static void say_failure(const struct definition *d, const struct failure *fail)
{
    fflush(stdout);
    fprintf(stderr, "%s/%s: ", d->kind->name, d->name);
    failure_print(fail, stderr);
}

static int run_apply(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *results = json_pack("{s:[]}", "items");
    bool dry = args_flag(args, "dry-run");
    auto_files struct files f = {0};
    enum cli_exit exit_code = CLI_OK;
    size_t failed = 0;

    if (files_read(args, &f, fail) || cli_connect(cli, fail))
        return -1;
    for (size_t i = 0; i < f.count; i++) {
        const struct definition *d = &f.definition[i];
        const char *result = "failed";
        bool pending = false;

        if (apply_one(cli, d, dry, &result, &pending, fail)) {
            if (fail->exit == CLI_CONNECT)
                return -1;
            say_failure(d, fail);
            exit_code = exit_code ? exit_code : fail->exit;
            failed++;
            result = "failed";
        } else if (!cli->json) {
            say_result(d, result, dry, pending);
        }
        json_array_append_new(json_object_get(results, "items"),
                              json_pack("{s:s, s:s, s:s}", "kind", d->kind->name, "name", d->name,
                                        "result", result));
    }
    if (cli->json)
        cli_print_value(results);
    if (!failed)
        return 0;
    return failure_set(fail, exit_code, "%zu of %zu definitions could not be applied", failed, f.count);
}

/* ---- diff ---- */

static char *as_yaml(const json_t *value)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out;

    if (json_object_size(value) == 0)
        return xstrdup("");
    out = open_memstream(&text, &len);
    if (!out || !yamldoc_write(value, false, out) || fclose(out))
        abort();
    return text;
}

static int diff_one(struct cli *cli, const struct definition *d, bool *ret_differ, struct failure *fail)
{
    auto_value json_t *have = NULL, *before = NULL, *after = definition_wanted(d->kind, d->spec);
    auto_free char *etag = NULL, *old_text = NULL, *new_text = NULL, *old_label = NULL, *new_label = NULL;

    if (definition_get(cli, d, false, &have, &etag, fail))
        return -1;
    before = have ? definition_seen(d->kind, have, d->spec) : json_object();
    if (have && json_equal(before, after))
        return 0;
    *ret_differ = true;
    old_text = as_yaml(before);
    new_text = as_yaml(after);
    old_label = xasprintf("%s/%s  (%s)", d->kind->name, d->name, have ? "server" : "not on the server");
    new_label = xasprintf("%s/%s  (file)", d->kind->name, d->name);
    if (!unified_print(stdout, old_label, old_text, new_label, new_text))
        printf("--- %s\n+++ %s\n", old_label, new_label); /* to be made, with defaults only */
    return 0;
}

static int run_diff(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_files struct files f = {0};
    bool differ = false;
    int rc = files_read(args, &f, fail) || cli_connect(cli, fail) ? -1 : 0;

    for (size_t i = 0; rc == 0 && i < f.count; i++)
        rc = diff_one(cli, &f.definition[i], &differ, fail);
    if (rc) {
        /* 1 says that something differs, and nothing else. */
        fail->exit = fail->exit == CLI_FAILED ? CLI_USAGE : fail->exit;
        return -1;
    }
    fail->exit = CLI_FAILED; /* without a word: the differences are the message */
    return differ ? -1 : 0;
}

#define FILE_OPTION                                                                                \
    {                                                                                              \
        "file", 'f', "FILE", "YAML or JSON, any number of documents; - is standard input; may be repeated" \
    }

static const struct option_row apply_options[] = {
    FILE_OPTION,
    {"dry-run", 'n', NULL, "only say what would be done"},
    {0}};
static const struct option_row diff_options[] = {FILE_OPTION, {0}};

const struct command apply_commands[] = {
    {"apply", "", 0, 0, "make the server have what files define", apply_options, run_apply,
     "Each document has a kind (label, pool or vm), a name and a spec. What is missing is created, what "
     "differs is changed, and each object is said to be created, changed or unchanged. A member that the "
     "spec does not name is left as it is; labels and lists are made exactly so. Nothing is deleted, and "
     "a VM's `start` counts only when it is created. A change that somebody made meanwhile is not "
     "overwritten (exit status 5); the other definitions are applied even when one fails."},
    {"diff", "", 0, 0, "show what apply would change", diff_options, run_diff,
     "The exit status is 0 when there is nothing to change, 1 when there is, and above 1 when something "
     "went wrong."},
    {0}};
