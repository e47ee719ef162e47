/* What a guest agent is asked to do to the guest: `vm freeze`, `vm password`, `vm add-keys`. */
#include <stdio.h>
#include <string.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/secret_file.h"

#define KEYS_MAX ((size_t)256 << 10)

/* Takes body, which may be NULL when it could not be made. */
static int ask(struct cli *cli, const struct args *args, const char *what, json_t *taken, bool rows,
               struct failure *fail)
{
    auto_value json_t *body = taken;
    auto_free char *vm = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s/agent/%s", vm, what);
    struct client_request r = {.method = "POST", .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (!body)
        return failure_set(fail, CLI_USAGE, "names, passwords and keys must be UTF-8");
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (!rows || !a.value)
        return 0;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

static int run_freeze(struct cli *cli, const struct args *args, struct failure *fail)
{
    json_int_t seconds;

    if (args_lifetime(args, "for", 30, &seconds, fail))
        return -1;
    return ask(cli, args, "freeze", json_pack("{s:I}", "seconds", seconds), true, fail);
}

static int run_password(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *password = NULL;
    int rc;

    if (secret_file_read(args_text(args, "file", "-"), &password, fail))
        return -1;
    rc = ask(cli, args, "password",
             json_pack("{s:s, s:s, s:b}", "user", args->operand[1], "password", password, "crypted",
                       args_flag(args, "crypted") ? 1 : 0),
             false, fail);
    explicit_bzero(password, strlen(password));
    return rc;
}

/* The keys of a file in the form of authorized_keys, one on a line, added to keys. */
static int add_keys(const char *name, json_t *keys, struct failure *fail)
{
    auto_free char *text = NULL;
    struct error err;
    size_t len;
    int rc = file_read(name, KEYS_MAX, &text, &len, &err);

    if (rc == 0)
        return failure_set(fail, CLI_USAGE, "there is no file %s", name);
    if (rc < 0)
        return failure_from_error(fail, &err);
    for (char *save = NULL, *line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
        if (*line != '#' && json_array_append_new(keys, json_string(line)))
            return failure_set(fail, CLI_USAGE, "%s must be UTF-8", name);
    }
    return 0;
}

static int run_add_keys(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *keys = json_array();

    for (int i = 2; i < args->count; i++) {
        if (add_keys(args->operand[i], keys, fail))
            return -1;
    }
    return ask(cli, args, "ssh-keys",
               json_pack("{s:s, s:O, s:b}", "user", args->operand[1], "keys", keys, "replace",
                         args_flag(args, "replace") ? 1 : 0),
               false, fail);
}

static const struct option_row freeze_options[] = {
    {"for", 'f', "TIME", "thaw by itself after this time (default 30, at most 10m)"}, {0}};
static const struct option_row password_options[] = {
    {"file", 'f', "FILE", "read it from a file (default: standard input, unseen on a terminal)"},
    {"crypted", 0, NULL, "it is a hash already, as crypt(3) gives it"},
    {0}};
static const struct option_row key_options[] = {
    {"replace", 0, NULL, "instead of all that the user has"}, {0}};

const struct command agent_commands[] = {
    {"vm freeze", "VM", 1, 1, "stop a guest's writes, for a copy of its disks that is whole", freeze_options,
     run_freeze, "Through the guest agent. `vm thaw` ends it, and so does the time."},
    {"vm password", "VM USER", 2, 2, "set a user's password in the guest", password_options, run_password,
     NULL},
    {"vm add-keys", "VM USER FILE...", 3, ARGS_MAX, "let public SSH keys in as a user of the guest",
     key_options, run_add_keys, NULL},
    {0}};
