/*
 * What is said of an image, and running it by that: `image set`, `image run`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/str.h"
#include "service/cli/cmd_vm.h"
#include "service/cli/command.h"

struct wish {
    json_t *patch;
    const char *screenshot; /* a file, "" to take it away, or NULL */
};

static void wish_done(struct wish *w)
{
    json_decref(w->patch);
}

static int add_word(struct wish *w, const char *word, struct failure *fail)
{
    const char *equals = strchr(word, '=');
    auto_free char *name = equals ? xstrndup(word, (size_t)(equals - word)) : NULL;
    bool of_vm = equals && str_starts(name, "vm.");
    json_t *member = NULL, *into = w->patch;

    if (!equals || equals == word)
        return failure_set(fail, CLI_USAGE, "say MEMBER=VALUE, such as title='A small Linux', not '%s'", word);
    if (str_eq(name, "screenshot")) {
        w->screenshot = equals[1] == '@' ? equals + 2 : equals + 1;
        return 0;
    }
    if (vm_set_value(name, equals + 1, !of_vm && !str_eq(name, "vm"), &member, fail))
        return -1;
    if (of_vm) {
        if (!json_object_get(into, "vm"))
            json_object_set_new(into, "vm", json_object());
        into = json_object_get(into, "vm");
    }
    if (!json_is_object(into)) {
        json_decref(member);
        return failure_set(fail, CLI_USAGE, "'%s' does not go together with vm=", word);
    }
    if (json_object_set_new(into, of_vm ? name + strlen("vm.") : name, member))
        return failure_set(fail, CLI_USAGE, "'%s' must be UTF-8", word);
    return 0;
}

static int send_screenshot(struct cli *cli, const char *id, const char *name, const char *condition,
                           struct answer *ret, struct failure *fail)
{
    auto_free char *path = xasprintf("/v1/images/%s/screenshot", id);
    const char *headers[] = {condition, NULL};
    auto_fclose FILE *file = *name ? fopen(name, "rbe") : NULL;
    struct client_request r = {.method = *name ? "PUT" : "DELETE",
                               .path = path,
                               .headers = condition ? headers : NULL,
                               .upload = file};
    struct stat st;

    if (*name && (!file || fstat(fileno(file), &st)))
        return failure_errno(fail, CLI_USAGE, errno, "cannot open %s", name);
    if (file)
        r.upload_size = st.st_size;
    return client_do(cli->client, &r, ret, fail);
}

static int run_set(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *id = url_escape(args->operand[0]), *path = xasprintf("/v1/images/%s", id);
    const char *match = args_text(args, "if-match", NULL);
    auto_free char *condition = match ? xasprintf("If-Match: \"%s\"", match) : NULL;
    const char *headers[] = {condition, NULL};
    auto_scope(wish_done) struct wish w = {.patch = json_object()};
    struct client_request r = {
        .method = "PATCH", .path = path, .headers = condition ? headers : NULL, .body = w.patch};
    auto_answer struct answer a = {0}, shot = {0};

    for (int i = 1; i < args->count; i++) {
        if (add_word(&w, args->operand[i], fail))
            return -1;
    }
    if (cli_connect(cli, fail))
        return -1;
    if (json_object_size(w.patch)) {
        if (client_do(cli->client, &r, &a, fail))
            return -1;
        /* The change made a new ETag, and nobody else's is in between. */
        free(condition);
        condition = match ? xasprintf("If-Match: \"%s\"", value_text(a.value, "etag", "")) : NULL;
    }
    if (w.screenshot && send_screenshot(cli, id, w.screenshot, condition, &shot, fail))
        return -1;
    return cli->json ? cli_print_json(shot.value ? &shot : &a) : 0;
}

static int run_run(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *id = url_escape(args->operand[0]), *path = xasprintf("/v1/images/%s/run", id);
    auto_value json_t *body = json_pack("{s:s*}", "name", args->count > 1 ? args->operand[1] : NULL), *op = NULL;
    struct client_request r = {.method = "POST", .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (!body)
        return failure_set(fail, CLI_USAGE, "the name must be UTF-8");
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail) ||
        cli_watch_operation(cli, value_text(value_at(a.value, "operation"), "id", ""), &op, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s runs; its console: drover console %s\n", value_text(a.value, "name", ""),
           value_text(a.value, "name", ""));
    return 0;
}

static const struct option_row set_options[] = {
    {"if-match", 0, "ETAG", "only if the image still is this one (image show: etag)"}, {0}};

const struct command image_card_commands[] = {
    {"image set", "IMAGE MEMBER=VALUE...", 2, ARGS_MAX, "change what is said of an image", set_options, run_set,
     "drover image set debian-12 title='Debian 12' notes=@notes.txt architecture=x86_64 "
     "expected_console='login:' vm.memory_mib=1024 screenshot=@debian.png. Members are those of `image show`; "
     "without a VALUE one becomes empty. `image run` and `image test` go by it, and `catalogue build` publishes it."},
    {"image run", "IMAGE [NAME]", 1, 2, "start a VM of an image, with what the image says it needs", NULL, run_run,
     NULL},
    {0}};
