/*
 * `apply` and `diff`: definitions in files against what a server has. What differs is found here, by
 * manifest.h; whether it may be so is the server's to say.
 */
#include <stdio.h>
#include <stdlib.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/manifest.h"
#include "service/cli/manifest_file.h"
#include "service/cli/manifest_server.h"
#include "service/cli/print.h"
#include "service/cli/prune.h"
#include "service/cli/style.h"
#include "service/cli/unified.h"
#include "service/cli/yamldoc.h"

/* ---- apply ---- */

/* The label that stands for the name of what has none. */
static void add_name_label(json_t *body, const char *name)
{
    json_t *labels = json_copy(json_object_get(body, "labels"));

    if (!labels)
        labels = json_object();
    json_object_set_new(labels, "name", json_string(name));
    json_object_set_new(body, "labels", labels);
}

/* Drawn by the server, and shown this once. */
static void say_secret(const struct definition *d, const json_t *answer)
{
    const char *secret = value_text(answer, "secret", NULL);

    if (secret)
        fprintf(stderr, "%s/%s: its secret, shown this once: %s\n", d->kind->name, d->name, secret);
}

static int wait_for(struct cli *cli, const char *operation, struct failure *fail)
{
    auto_value json_t *done = NULL;

    return operation ? cli_watch_operation(cli, operation, &done, fail) : 0;
}

static int make(struct cli *cli, const struct definition *d, struct failure *fail)
{
    auto_free char *id = url_escape(d->name);
    auto_free char *path = d->kind->put ? xasprintf("%s/%s", d->kind->path, id) : xstrdup(d->kind->path);
    auto_value json_t *body = definition_part(d->kind, d->spec, false);
    struct client_request r = {.method = d->kind->put ? "PUT" : "POST", .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (d->kind->by_label)
        add_name_label(body, d->name);
    else if (!d->kind->put)
        json_object_set_new(body, "name", json_string(d->name));
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    say_secret(d, a.value);
    return d->kind->waits ? wait_for(cli, value_text(a.value, "operation.id", NULL), fail) : 0;
}

/* want: what of the definition to bring about now. */
static int change(struct cli *cli, const struct definition *d, const struct found *f, const json_t *want,
                  bool *ret_changed, bool *ret_pending, struct failure *fail)
{
    auto_free char *condition = d->kind->has_etag && f->etag ? xasprintf("If-Match: \"%s\"", f->etag) : NULL;
    const char *headers[] = {condition, NULL};
    auto_value json_t *body =
        d->kind->put ? definition_whole(d->kind, f->have, want) : definition_patch(d->kind, f->have, want);
    struct client_request r = {.method = d->kind->put ? "PUT" : "PATCH",
                               .path = f->path,
                               .body = body,
                               .headers = condition ? headers : NULL};
    auto_answer struct answer a = {0};

    if (f->name_label && json_object_get(body, "labels"))
        add_name_label(body, f->name_label);
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    /* A member set to null may have had its default all along. */
    *ret_changed = !f->etag || !str_eq(f->etag, value_text(a.value, "etag", NULL));
    *ret_pending = value_true(a.value, "pending_changes");
    return 0;
}

static bool same(const struct kind *kind, const json_t *have, const json_t *want)
{
    auto_value json_t *before = definition_seen(kind, have, want), *after = definition_wanted(kind, want);

    return json_equal(before, after);
}

/* Of an image that somebody else has begun to import. */
static int wait_for_import(struct cli *cli, const struct found *f, struct failure *fail)
{
    auto_value json_t *all = NULL;
    const json_t *op;
    size_t i;

    if (cli_get_all(cli, "/v1/operations?limit=200&state=running", &all, fail))
        return -1;
    json_array_foreach(json_object_get(all, "items"), i, op) {
        if (str_eq(value_text(op, "image_id", NULL), f->id))
            return wait_for(cli, value_text(op, "id", NULL), fail);
    }
    return 0;
}

/*
 * A secret that is never shown cannot be compared here: it is sent, and the server says whether it was
 * another one. What came before has changed `updated_at` already, so it is read again.
 */
static int change_secret(struct cli *cli, const struct definition *d, const struct found *f, bool *changed,
                         struct failure *fail)
{
    const char *secret = d->kind->by_label ? value_text(d->spec, "secret", NULL) : NULL;
    auto_value json_t *body = secret ? json_pack("{s:s}", "secret", secret) : NULL;
    struct client_request r = {.method = "PATCH", .path = f->path, .body = body};
    auto_answer struct answer before = {0}, after = {0};

    if (!secret)
        return 0;
    if (client_get(cli->client, f->path, &before, fail) || client_do(cli->client, &r, &after, fail))
        return -1;
    *changed = *changed || !str_eq(value_text(before.value, "updated_at", ""),
                                   value_text(after.value, "updated_at", ""));
    return 0;
}

struct outcome {
    const char *result; /* created, changed, unchanged or failed */
    bool pending;       /* a running guest does not have it yet */
};

static int apply_one(struct cli *cli, const struct definition *d, bool dry, struct outcome *o, struct failure *fail)
{
    auto_value json_t *now = definition_part(d->kind, d->spec, false);
    auto_found struct found f = {0};
    bool changed = true;

    if (definition_get(cli, d, d->kind->put, &f, fail))
        return -1;
    o->result = "created";
    if (!f.have)
        return dry ? 0 : make(cli, d, fail);
    o->result = "unchanged";
    if (!dry && d->kind->waits && str_eq(f.state, "importing") && wait_for_import(cli, &f, fail))
        return -1;
    if (dry)
        changed = !same(d->kind, f.have, d->spec);
    else if (same(d->kind, f.have, now))
        changed = false;
    else if (change(cli, d, &f, now, &changed, &o->pending, fail))
        return -1;
    if (!dry && change_secret(cli, d, &f, &changed, fail))
        return -1;
    o->result = changed ? "changed" : "unchanged";
    return 0;
}

/* What could not be said when it was made, or speaks of what was made after it. */
static int finish_one(struct cli *cli, const struct definition *d, struct outcome *o, struct failure *fail)
{
    auto_value json_t *later = definition_part(d->kind, d->spec, true);
    auto_found struct found f = {0};
    bool changed = false, ignored;

    if (!json_object_size(later))
        return 0;
    if (definition_get(cli, d, false, &f, fail))
        return -1;
    if (!f.have || same(d->kind, f.have, later))
        return 0;
    if (change(cli, d, &f, later, &changed, &ignored, fail))
        return -1;
    if (changed && str_eq(o->result, "unchanged"))
        o->result = "changed";
    return 0;
}

/* ---- what cannot be done, before anything is ---- */

static int check_have(const struct definition *d, const struct found *f, struct failure *fail)
{
    const char *member = f->have ? definition_fixed(d->kind, f->have, d->spec) : NULL;

    if (member) {
        failure_set(fail, CLI_CONFLICT, "%s is another on the server, and stays as it is", member);
        failure_remedy(fail, "%s", d->kind->remedy);
        return -1;
    }
    if (!str_eq(d->kind->name, "image"))
        return 0;
    if (!f->have && !value_at(d->spec, "source")) {
        failure_set(fail, CLI_NOT_FOUND, "the server has no such image, and the file does not say where it comes from");
        failure_remedy(fail, "Give its spec a source with url and sha256, or upload it: drover image create.");
        return -1;
    }
    if (f->have && (str_eq(f->state, "failed") || str_eq(f->state, "retired"))) {
        failure_set(fail, CLI_CONFLICT, "the image on the server is %s", f->state);
        failure_remedy(fail, "Delete it (drover image delete), and apply again.");
        return -1;
    }
    return 0;
}

static int check_one(struct cli *cli, const struct definition *d, struct failure *fail)
{
    auto_found struct found f = {0};

    if (!d->kind->remedy)
        return 0;
    return definition_get(cli, d, false, &f, fail) ? -1 : check_have(d, &f, fail);
}

static void say_result(const struct kind *kind, const char *what, const char *result, bool dry, bool pending)
{
    auto_free char *name = xasprintf("%s/%s", kind->name, what);

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

static void say_failure(const struct kind *kind, const char *name, const struct failure *fail)
{
    fflush(stdout);
    fprintf(stderr, "%s/%s: ", kind->name, name);
    failure_print(fail, stderr);
}

static int check_all(struct cli *cli, const struct files *f, struct failure *fail)
{
    enum cli_exit exit_code = CLI_OK;
    size_t refused = 0;

    for (size_t i = 0; i < f->count; i++) {
        if (!check_one(cli, &f->definition[i], fail))
            continue;
        if (fail->exit == CLI_CONNECT)
            return -1;
        say_failure(f->definition[i].kind, f->definition[i].name, fail);
        exit_code = exit_code ? exit_code : fail->exit;
        refused++;
    }
    if (!refused)
        return 0;
    return failure_set(fail, exit_code, "%zu of %zu definitions cannot be applied; nothing was changed", refused,
                       f->count);
}

/* The definitions first to end, which are of one kind. Returns how many failed, or -1: the server is gone. */
static int apply_kind(struct cli *cli, const struct definition *first, const struct definition *end, bool dry,
                      json_t *results, enum cli_exit *exit_code, struct failure *fail)
{
    auto_free struct outcome *outcomes = xcalloc((size_t)(end - first), sizeof(*outcomes));
    int failed = 0;

    for (int pass = 0; pass < (dry ? 1 : 2); pass++) {
        for (const struct definition *d = first; d < end; d++) {
            struct outcome *o = &outcomes[d - first];

            if (str_eq(o->result, "failed") ||
                !(pass ? finish_one(cli, d, o, fail) : apply_one(cli, d, dry, o, fail)))
                continue;
            if (fail->exit == CLI_CONNECT)
                return -1;
            say_failure(d->kind, d->name, fail);
            *exit_code = *exit_code ? *exit_code : fail->exit;
            o->result = "failed";
            failed++;
        }
    }
    for (const struct definition *d = first; d < end; d++) {
        const struct outcome *o = &outcomes[d - first];

        if (!cli->json && !str_eq(o->result, "failed"))
            say_result(d->kind, d->name, o->result, dry, o->pending);
        json_array_append_new(results, json_pack("{s:s, s:s, s:s}", "kind", d->kind->name, "name", d->name,
                                                 "result", o->result));
    }
    return failed;
}

/* Returns how many could not be deleted, or -1: the server is gone. */
static int prune_all(struct cli *cli, const struct prune *p, bool dry, json_t *results, enum cli_exit *exit_code,
                     struct failure *fail)
{
    int failed = 0;

    for (size_t i = 0; i < p->count; i++) {
        const struct doomed *d = &p->doomed[i];
        const char *result = "deleted";

        if (!dry && prune_one(cli, d, fail)) {
            if (fail->exit == CLI_CONNECT)
                return -1;
            say_failure(d->kind, d->name, fail);
            *exit_code = *exit_code ? *exit_code : fail->exit;
            result = "failed";
            failed++;
        } else if (!cli->json) {
            say_result(d->kind, d->name, result, dry, false);
        }
        json_array_append_new(results, json_pack("{s:s, s:s, s:s}", "kind", d->kind->name, "name", d->name,
                                                 "result", result));
    }
    return failed;
}

static int run_apply(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *results = json_pack("{s:[]}", "items");
    const char *label = args_text(args, "prune", NULL);
    bool dry = args_flag(args, "dry-run");
    auto_files struct files f = {0};
    auto_prune struct prune doomed = {0};
    enum cli_exit exit_code = CLI_OK;
    int failed = 0, kept = 0;

    if (files_read(args, &f, fail) || cli_connect(cli, fail) || check_all(cli, &f, fail) ||
        prune_find(cli, &f, label, &doomed, fail))
        return -1;
    if (!dry && !args_flag(args, "yes") && prune_ask(&doomed, label, fail))
        return -1;
    for (const struct definition *d = f.definition, *next, *end = d + f.count; d < end; d = next) {
        int n;

        for (next = d + 1; next < end && next->kind == d->kind; next++)
            ;
        n = apply_kind(cli, d, next, dry, json_object_get(results, "items"), &exit_code, fail);
        if (n < 0)
            return -1;
        failed += n;
    }
    if (!failed)
        kept = prune_all(cli, &doomed, dry, json_object_get(results, "items"), &exit_code, fail);
    if (kept < 0)
        return -1;
    if (cli->json)
        cli_print_value(results);
    if (failed)
        return failure_set(fail, exit_code, "%d of %zu definitions could not be applied%s", failed, f.count,
                           doomed.count ? "; nothing was deleted" : "");
    return kept ? failure_set(fail, exit_code, "%d of %zu could not be deleted", kept, doomed.count) : 0;
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
    auto_value json_t *before = NULL, *after = definition_wanted(d->kind, d->spec);
    auto_free char *old_text = NULL, *new_text = NULL, *old_label = NULL, *new_label = NULL;
    auto_found struct found f = {0};

    if (definition_get(cli, d, false, &f, fail))
        return -1;
    before = f.have ? definition_seen(d->kind, f.have, d->spec) : json_object();
    if (f.have && json_equal(before, after))
        return 0;
    *ret_differ = true;
    old_text = as_yaml(before);
    new_text = as_yaml(after);
    old_label = xasprintf("%s/%s  (%s)", d->kind->name, d->name, f.have ? "server" : "not on the server");
    new_label = xasprintf("%s/%s  (file)", d->kind->name, d->name);
    if (!unified_print(stdout, old_label, old_text, new_label, new_text))
        printf("--- %s\n+++ %s\n", old_label, new_label); /* to be made, with defaults only */
    if (d->kind->remedy && check_have(d, &f, fail))
        say_failure(d->kind, d->name, fail);
    return 0;
}

static int run_diff(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_files struct files f = {0};
    auto_prune struct prune doomed = {0};
    bool differ = false;
    int rc = files_read(args, &f, fail) || cli_connect(cli, fail) ||
                     prune_find(cli, &f, args_text(args, "prune", NULL), &doomed, fail)
                 ? -1
                 : 0;

    for (size_t i = 0; rc == 0 && i < f.count; i++)
        rc = diff_one(cli, &f.definition[i], &differ, fail);
    for (size_t i = 0; rc == 0 && i < doomed.count; i++) {
        auto_free char *name = xasprintf("%s/%s", doomed.doomed[i].kind->name, doomed.doomed[i].name);

        printf("--- %s  (server)\n+++ %s  (in none of the files: deleted)\n", name, name);
        differ = true;
    }
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
    {"prune", 0, "KEY=VALUE", "afterwards delete VMs, sets and webhooks with this label that no file defines"},
    {"yes", 'y', NULL, "do not ask before something is deleted"},
    {0}};
static const struct option_row diff_options[] = {
    FILE_OPTION,
    {"prune", 0, "KEY=VALUE", "also show what apply --prune would delete"},
    {0}};

const struct command apply_commands[] = {
    {"apply", "", 0, 0, "make the server have what files define", apply_options, run_apply,
     "Each document has a kind (project, image, label, pool, set, vm or webhook), a name and a spec. What "
     "is missing is created, what differs is changed, in the order in which they need one another, and each "
     "object is said to be created, changed or unchanged. A member that the spec does not name is left as it "
     "is; labels and lists are made exactly so. Nothing is deleted without --prune, and a VM's `start` counts only "
     "when it is created. A webhook's `secret` is sent each time, for the server shows it to nobody: only the server "
     "knows whether it is another one, so that --dry-run and diff do not. An image is waited for until it is there. "
     "What an image or a set cannot change is said, with what can be done, before anything is changed. A change that "
     "somebody made meanwhile is not overwritten (exit status 5); the other definitions are applied even when one "
     "fails.\n"
     "--prune KEY=VALUE deletes what carries this label and is in none of the files: VMs with their disks, "
     "also those that run, sets and webhooks; nothing that a pool, a lease or a set made, and nothing without "
     "labels, such as pools and images. It asks first, unless there is --yes, and only deletes when all "
     "definitions could be applied. Each definition in the files that can have labels must carry this one."},
    {"diff", "", 0, 0, "show what apply would change", diff_options, run_diff,
     "The exit status is 0 when there is nothing to change, 1 when there is, and above 1 when something "
     "went wrong."},
    {0}};
