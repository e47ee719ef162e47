/* `vm set`: members of a definition, by the names that the API and `-o yaml` give them. */
#include <stdio.h>
#include <string.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/cmd_vm.h"
#include "service/cli/yamldoc.h"

#define FILE_MAX ((size_t)1 << 20)

/* Text whatever it looks like; every other value is read as YAML. */
static const char *const texts = "name description machine firmware acceleration image cmdline ready_pattern user_data";

/* "@FILE" is the file's text. */
static int text_value(const char *text, json_t **ret, struct failure *fail)
{
    auto_free char *content = NULL;
    struct error err;
    size_t len;
    int rc;

    if (*text != '@') {
        *ret = json_string(text);
        return *ret ? 0 : failure_set(fail, CLI_USAGE, "values must be UTF-8");
    }
    rc = file_read(text + 1, FILE_MAX, &content, &len, &err);
    if (rc < 0)
        return failure_from_error(fail, &err);
    if (rc == 0)
        return failure_set(fail, CLI_USAGE, "there is no file %s", text + 1);
    *ret = json_stringn(content, len);
    return *ret ? 0 : failure_set(fail, CLI_USAGE, "%s must be UTF-8", text + 1);
}

static int yaml_value(const char *name, const char *text, json_t **ret, struct failure *fail)
{
    auto_value json_t *documents = NULL;

    if (yamldoc_read(name, text, strlen(text), &documents, fail))
        return -1;
    *ret = json_array_size(documents) ? json_incref(json_array_get(documents, 0)) : json_null();
    return 0;
}

int vm_set_value(const char *name, const char *text, bool is_text, json_t **ret, struct failure *fail)
{
    if (*text)
        return is_text ? text_value(text, ret, fail) : yaml_value(name, text, ret, fail);
    *ret = json_null();
    return 0;
}

int vm_set_body(const struct args *args, json_t **ret, struct failure *fail)
{
    auto_value json_t *body = json_object();

    for (int i = 1; i < args->count; i++) {
        const char *word = args->operand[i], *equals = strchr(word, '='), *value;
        auto_free char *name = equals ? xstrndup(word, (size_t)(equals - word)) : NULL;
        bool label = equals && str_starts(name, "labels.");
        json_t *into = body, *member = NULL;

        if (!equals || equals == word)
            return failure_set(fail, CLI_USAGE, "say MEMBER=VALUE, such as memory_mib=2048, not '%s'", word);
        value = equals + 1;
        if (label) {
            if (!json_object_get(body, "labels"))
                json_object_set_new(body, "labels", json_object());
            into = json_object_get(body, "labels");
        }
        if (vm_set_value(name, value, label || str_has_word(texts, name), &member, fail))
            return -1;
        if (!json_is_object(into)) {
            json_decref(member);
            member = NULL;
        }
        if (!member || json_object_set_new(into, label ? name + strlen("labels.") : name, member))
            return failure_set(fail, CLI_USAGE, "'%s' cannot be set like this", word);
    }
    *ret = TAKE_PTR(body);
    return 0;
}

static int run_set(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]), *path = xasprintf("/v1/vms/%s", vm);
    const char *match = args_text(args, "if-match", NULL);
    auto_free char *condition = match ? xasprintf("If-Match: \"%s\"", match) : NULL;
    const char *headers[] = {condition, NULL};
    auto_value json_t *body = NULL;
    struct client_request r = {.method = "PATCH", .path = path, .headers = condition ? headers : NULL};
    auto_answer struct answer a = {0};

    if (vm_set_body(args, &body, fail) || cli_connect(cli, fail))
        return -1;
    r.body = body;
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    if (value_true(a.value, "pending_changes"))
        fputs("The running guest takes it over when it is stopped and started.\n", stderr);
    return 0;
}

static const struct option_row set_options[] = {
    {"if-match", 0, "ETAG", "only if the definition still is this one (vm show: etag)"}, {0}};

const struct command vm_set_commands[] = {
    {"vm set", "VM MEMBER=VALUE...", 2, ARGS_MAX, "change a VM's definition", set_options, run_set,
     "drover vm set web-1 cpus=4 memory_mib=2048 labels.tier=db labels.old= user_data=@init.yaml "
     "networks='[{mode: user}]'. Members are those of `vm show -o yaml`; without a VALUE the default "
     "comes back, and a label goes. A definition in a file is changed with `apply`."},
    {0}};
