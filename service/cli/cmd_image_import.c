/* `image import` and `image publish`: images that the daemon brings by itself, and how far it is. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"
#include "service/cli/progress.h"
#include "service/cli/terminal.h"

/* ---- waiting, with a line that shows how far it is ---- */

/* Of a set: VMs instead of bytes. */
static bool show_vms(struct progress *p, const json_t *progress, const char *stage)
{
    double done = 0, failed = 0, total = 0;

    if (!value_number(progress, "done_vms", &done) || !value_number(progress, "total_vms", &total))
        return false;
    if (!terminal_columns(STDERR_FILENO))
        return true;
    (void)value_number(progress, "failed_vms", &failed);
    fprintf(stderr, "\r%s  %.0f of %.0f VMs", stage, done, total);
    if (failed > 0)
        fprintf(stderr, ", %.0f failed", failed);
    fputs("\033[K", stderr);
    p->shown = true;
    return true;
}

static void show_progress(struct progress *p, struct strbuf *label, const json_t *op)
{
    const char *stage = value_text(op, "progress.stage", NULL);
    double done = 0, total = 0;

    if (!stage || show_vms(p, value_at(op, "progress"), stage) ||
        !value_number(op, "progress.done_bytes", &done))
        return;
    (void)value_number(op, "progress.total_bytes", &total);
    if (!str_eq(label->data, stage)) {
        progress_end(p); /* each stage has a line of its own */
        label->len = 0;
        strbuf_adds(label, stage);
    }
    progress_show(p, label->data, done, total);
}

int cli_watch_operation(struct cli *cli, const char *id, json_t **ret, struct failure *fail)
{
    auto_free char *path = xasprintf("/v1/operations/%s?wait=1", id);
    auto_strbuf struct strbuf label = {0}; /* outlives the answer it was read from */
    struct progress p = {0};
    int rc = -1;

    for (;;) {
        auto_answer struct answer a = {0};
        const char *state;

        if (client_get(cli->client, path, &a, fail))
            break;
        state = value_text(a.value, "state", "");
        show_progress(&p, &label, a.value);
        if (str_eq(state, "pending") || str_eq(state, "running"))
            continue;
        if (str_eq(state, "succeeded")) {
            *ret = json_incref(a.value);
            rc = 0;
        } else {
            failure_from_problem(fail, 500, value_at(a.value, "error"));
        }
        break;
    }
    progress_end(&p);
    return rc;
}

/* ---- creating ---- */

static int show_checks(const json_t *checks, struct failure *fail)
{
    static const char *const titles[] = {"CHECK", "OK", "DETAIL"};
    auto_table struct table *t = table_new(titles, 3);
    const json_t *check;
    size_t i;

    json_array_foreach(json_object_get(checks, "checks"), i, check) {
        table_cell(t, value_text(check, "name", NULL));
        table_cell(t, json_is_true(json_object_get(check, "ok")) ? "yes" : "no");
        table_cell(t, value_text(check, "detail", NULL));
    }
    table_print(t, stdout, "Nothing to check.");
    if (json_is_true(json_object_get(checks, "ok")))
        return 0;
    return failure_set(fail, CLI_FAILED, "the import would fail");
}

/* Steals body. */
static int bring(struct cli *cli, const struct args *args, json_t *taken, struct failure *fail)
{
    auto_value json_t *body = taken, *op = NULL;
    bool dry = args_flag(args, "dry-run");
    struct client_request r = {.method = "POST",
                               .path = dry ? "/v1/images?dry_run=true" : "/v1/images",
                               .body = body};
    auto_answer struct answer a = {0};
    auto_free char *path = NULL;
    const char *id;

    if (!body)
        return failure_set(fail, CLI_USAGE, "the options must be UTF-8");
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (dry)
        return cli->json ? cli_print_json(&a) : show_checks(a.value, fail);
    id = value_text(value_at(a.value, "operation"), "id", NULL);
    if (!args_flag(args, "no-wait") && id && cli_watch_operation(cli, id, &op, fail))
        return -1;
    path = xasprintf("/v1/images/%s", value_text(a.value, "id", ""));
    answer_done(&a);
    a = (struct answer){0};
    if (client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s %s\n", value_text(a.value, "name", args->operand[0]), value_text(a.value, "state", ""));
    return 0;
}

static int run_import(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *kind = args_text(args, "kind", "disk");
    const char *format = args_text(args, "format", str_eq(kind, "disk") ? "qcow2" : NULL);
    const char *sha256 = args_text(args, "sha256", NULL), *sha512 = args_text(args, "sha512", NULL);

    if (!sha256 == !sha512)
        return failure_set(fail, CLI_USAGE, "give the file's hash with --sha256 or --sha512");
    return bring(cli, args,
                 json_pack("{s:s, s:s, s:s*, s:s*, s:{s:s, s:s*, s:s*, s:s*, s:s*}}", "name",
                           args->operand[0], "kind", kind, "format", format, "description",
                           args_text(args, "description", NULL), "source", "url", args->operand[1],
                           "sha256", sha256, "sha512", sha512, "format",
                           args_text(args, "from", NULL), "compression",
                           args_text(args, "compression", NULL)),
                 fail);
}

static int run_publish(struct cli *cli, const struct args *args, struct failure *fail)
{
    return bring(cli, args,
                 json_pack("{s:s, s:s, s:s, s:s*, s:{s:s, s:s*}}", "name", args->operand[1], "kind", "disk",
                           "format", args_text(args, "format", "qcow2"), "description",
                           args_text(args, "description", NULL), "source", "vm", args->operand[0], "freeze",
                           args_text(args, "freeze", NULL)),
                 fail);
}

static const struct option_row import_options[] = {
    {"sha256", 0, "HEX", "hash of what the address leads to"},
    {"sha512", 0, "HEX", "the same, with SHA-512"},
    {"kind", 'k', "KIND", "disk (default) or iso"},
    {"format", 0, "FORMAT", "that a disk is kept in: qcow2 (default) or raw"},
    {"from", 0, "FORMAT", "that arrives, if another: qcow2, raw, vmdk, vdi or vhdx"},
    {"compression", 0, "KIND", "of what arrives: xz"},
    {"description", 0, "TEXT", "a line for people"},
    {"dry-run", 'n', NULL, "only check: is it there, does it fit, is it what it should be"},
    {"no-wait", 0, NULL, "come back at once; `op wait` waits later"},
    {0}};
static const struct option_row publish_options[] = {
    {"freeze", 0, "HOW", "of a running VM's file systems, for a moment: auto (default), require or no"},
    {"format", 0, "FORMAT", "qcow2 (default) or raw"},
    {"description", 0, "TEXT", "a line for people"},
    {"no-wait", 0, NULL, "come back at once; `op wait` waits later"},
    {0}};

const struct command image_import_commands[] = {
    {"image import", "NAME URL", 2, 2, "let the server fetch an image", import_options, run_import,
     "The server checks the hash while it downloads, goes on where a connection breaks off, and "
     "converts the disk if --from says that another format arrives."},
    {"image publish", "VM NAME", 2, 2, "make an image of a VM's root disk", publish_options, run_publish,
     "A VM that runs goes on: the image is its disk at one moment, at which its guest agent has frozen the file "
     "systems if it can; `image show` says how it went."},
    {0}};
