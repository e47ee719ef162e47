/* `webhook`: have events posted to a server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

#define SECRET_FILE_MAX 256

static char *hook_path(const struct args *args, const char *rest)
{
    auto_free char *id = url_escape(args->operand[0]);

    return xasprintf("/v1/webhooks/%s%s", id, rest);
}

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"ID", "URL", "EVENTS", "STATE", ">LAST SEQ", "LAST ERROR"};
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 6);
    const json_t *hook;
    size_t i;

    if (cli_get_all(cli, "/v1/webhooks?limit=200", &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, hook) {
        table_cell(t, value_text(hook, "id", NULL));
        table_cell(t, value_text(hook, "url", NULL));
        table_cell_take(t, value_show("events", value_at(hook, "events")));
        table_cell(t, value_text(hook, "state", NULL));
        table_cell_take(t, value_show("last_seq", value_at(hook, "delivery.last_seq")));
        table_cell(t, value_text(hook, "delivery.last_error", NULL));
    }
    table_print(t, stdout, "No webhooks.");
    return 0;
}

/* The first line of a file: a secret has no place on a command line. */
static int read_secret(const char *path, json_t *body, struct failure *fail)
{
    auto_free char *text = NULL;
    struct error err;
    size_t len;

    if (file_read(path, SECRET_FILE_MAX, &text, &len, &err) != 1)
        return failure_set(fail, CLI_USAGE, "%s cannot be read", path);
    text[strcspn(text, "\r\n")] = '\0';
    json_object_set_new(body, "secret", json_string(text));
    return 0;
}

static int add_options(const struct args *args, json_t *body, struct failure *fail)
{
    const char *text;
    int state = 0;

    while ((text = args_next(args, "event", &state))) {
        if (!json_object_get(body, "events"))
            json_object_set_new(body, "events", json_array());
        json_array_append_new(json_object_get(body, "events"), json_string(text));
    }
    state = 0;
    while ((text = args_next(args, "label", &state))) {
        const char *equals = strchr(text, '=');
        auto_free char *key = equals ? xstrndup(text, (size_t)(equals - text)) : NULL;

        if (!key)
            return failure_set(fail, CLI_USAGE, "--label %s is not like key=value", text);
        if (!json_object_get(body, "labels"))
            json_object_set_new(body, "labels", json_object());
        json_object_set_new(json_object_get(body, "labels"), key, json_string(equals + 1));
    }
    text = args_text(args, "secret-file", NULL);
    return text ? read_secret(text, body, fail) : 0;
}

static int run_add(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *body = json_pack("{s:s}", "url", args->operand[0]);
    struct client_request r = {.method = "POST", .path = "/v1/webhooks", .body = body};
    auto_answer struct answer a = {0};

    if (!body)
        return failure_set(fail, CLI_USAGE, "URL must be UTF-8");
    if (args_flag(args, "disabled"))
        json_object_set_new(body, "enabled", json_false());
    if (add_options(args, body, fail) || cli_connect(cli, fail) ||
        client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s\n", value_text(a.value, "id", ""));
    if (value_text(a.value, "secret", NULL))
        fprintf(stderr, "Its secret, shown this once: %s\n", value_text(a.value, "secret", ""));
    return 0;
}

static int run_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"AT", "TYPE", ">SEQ", ">TRY", ">STATUS", ">MS", "ERROR"};
    auto_free char *path = hook_path(args, ""), *list = hook_path(args, "/deliveries?limit=20");
    auto_answer struct answer hook = {0}, deliveries = {0};
    auto_table struct table *t = table_new(titles, 7);
    const json_t *d;
    size_t i;

    if (cli_connect(cli, fail) || client_get(cli->client, path, &hook, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&hook);
    if (client_get(cli->client, list, &deliveries, fail))
        return -1;
    value_print_rows(hook.value);
    json_array_foreach(json_object_get(deliveries.value, "items"), i, d) {
        table_cell(t, value_text(d, "at", NULL));
        table_cell(t, value_text(d, "type", NULL));
        table_cell_take(t, value_show("seq", value_at(d, "seq")));
        table_cell_take(t, value_show("attempt", value_at(d, "attempt")));
        table_cell_take(t, value_show("status", value_at(d, "status")));
        table_cell_take(t, value_show("took", value_at(d, "took_ms")));
        table_cell(t, value_text(d, "error", NULL));
    }
    putchar('\n');
    table_print(t, stdout, "Nothing was delivered yet.");
    return 0;
}

static int run_delete(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = hook_path(args, "");
    struct client_request r = {.method = "DELETE", .path = path};
    auto_answer struct answer a = {0};

    return cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail) ? -1 : 0;
}

static int run_test(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = hook_path(args, "/test");
    struct client_request r = {.method = "POST", .path = path, .timeout_s = 150};
    auto_answer struct answer a = {0};
    double status = 0, took = 0;

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    if (!value_true(a.value, "delivered"))
        return failure_set(fail, CLI_FAILED, "%s", value_text(a.value, "error", "it was not delivered"));
    (void)value_number(a.value, "status", &status);
    (void)value_number(a.value, "took_ms", &took);
    printf("delivered: status %.0f after %.0f ms\n", status, took);
    return 0;
}

static int change(struct cli *cli, const struct args *args, const char *method, const char *rest,
                  json_t *taken, struct failure *fail)
{
    auto_value json_t *body = taken;
    auto_free char *path = hook_path(args, rest);
    struct client_request r = {.method = method, .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    return cli->json ? cli_print_json(&a) : 0;
}

static int run_enable(struct cli *cli, const struct args *args, struct failure *fail)
{
    return change(cli, args, "PATCH", "", json_pack("{s:b}", "enabled", 1), fail);
}

static int run_disable(struct cli *cli, const struct args *args, struct failure *fail)
{
    return change(cli, args, "PATCH", "", json_pack("{s:b}", "enabled", 0), fail);
}

static int run_redeliver(struct cli *cli, const struct args *args, struct failure *fail)
{
    uint64_t seq;

    if (!str_to_u64(args->operand[1], INT64_MAX, &seq))
        return failure_set(fail, CLI_USAGE, "SEQ must be the number of an event");
    return change(cli, args, "POST", "/redeliver",
                  json_pack("{s:I}", "from_seq", (json_int_t)seq), fail);
}

static const struct option_row add_rows[] = {
    {"event", 'e', "PATTERN", "a type like vm.state, or vm.*; may be repeated (default: all)"},
    {"secret-file", 0, "FILE", "sign with the secret in this file (default: one is drawn and shown)"},
    {"label", 'l', "KEY=VALUE", "for people and scripts; may be repeated"},
    {"disabled", 0, NULL, "send nothing yet"},
    {0}};

const struct command webhook_commands[] = {
    {"webhook create", "URL", 1, 1, "post events to a server from now on", add_rows, run_add,
     "Deliveries are signed as standardwebhooks.com describes, in order, and repeated until the "
     "server answers 2xx."},
    {"webhook list", "", 0, 0, "list webhooks and how their deliveries go", NULL, run_list, NULL},
    {"webhook show", "ID", 1, 1, "show a webhook and its last deliveries", NULL, run_show, NULL},
    {"webhook test", "ID", 1, 1, "send a ping and say what came of it", NULL, run_test, NULL},
    {"webhook enable", "ID", 1, 1, "go on where it stopped", NULL, run_enable, NULL},
    {"webhook disable", "ID", 1, 1, "send nothing until it is enabled", NULL, run_disable, NULL},
    {"webhook redeliver", "ID SEQ", 2, 2, "deliver again what follows from an event", NULL,
     run_redeliver, NULL},
    {"webhook delete", "ID", 1, 1, "delete a webhook", NULL, run_delete, NULL},
    {0}};
