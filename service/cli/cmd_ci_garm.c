/*
 * An external provider for GARM: instances are leases, told apart by labels. What to do comes in the
 * environment; answers are JSON on stdout; 30 and 31 are the interface's exit codes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/base64.h"
#include "service/cli/cmd_ci.h"
#include "service/cli/garm_script.h"
#include "service/cli/interrupt.h"
#include "service/cli/job.h"
#include "service/cli/work.h"

#define NOT_FOUND     30
#define DUPLICATE     31
#define INPUT_MAX     (4u << 20)
#define LIFETIME_S    21600
#define BOOT_S        300
#define STARTING_S    120

#define LABEL_CONTROLLER "garm.controller"
#define LABEL_POOL       "garm.pool"
#define LABEL_NAME       "garm.name"

struct provider {
    struct cli *cli;
    json_t *config;
    const char *controller, *pool, *instance;
    char *url, *socket, *token; /* cli borrows them */
};

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static int exit_with(struct failure *fail, int code)
{
    fail->exit = (enum cli_exit)code;
    return -1;
}

/* ---- configuration ---- */

static const char config_schema[] =
    "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"type\": \"object\",\n"
    " \"additionalProperties\": false, \"properties\": {\n"
    "  \"url\": {\"type\": \"string\"}, \"socket\": {\"type\": \"string\"}, \"token_file\": {\"type\": \"string\"},\n"
    "  \"lifetime_seconds\": {\"type\": \"integer\", \"minimum\": 60},\n"
    "  \"boot_timeout_seconds\": {\"type\": \"integer\", \"minimum\": 1},\n"
    "  \"runner_folder\": {\"type\": \"string\"}, \"runner_user\": {\"type\": \"string\"},\n"
    "  \"flavors\": {\"type\": \"object\", \"additionalProperties\": {\"$ref\": \"#/$defs/machine\"}}},\n"
    " \"$defs\": {\"machine\": ";
static const char machine_schema[] =
    "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {\n"
    "  \"pool\": {\"type\": \"string\"}, \"cpus\": {\"type\": \"integer\"}, \"memory_mib\": {\"type\": \"integer\"},\n"
    "  \"root_disk_gib\": {\"type\": \"integer\"}, \"bootstrap\": {\"enum\": [\"cloud-init\", \"agent\"]}}}";

static int check_members(const json_t *object, const char *what, const char *allowed, struct failure *fail)
{
    const char *name;
    json_t *member;

    if (!json_is_object(object))
        return failure_set(fail, CLI_USAGE, "%s must be a JSON object", what);
    json_object_foreach((json_t *)(uintptr_t)object, name, member)
    {
        if (!str_has_word(allowed, name))
            return failure_set(fail, CLI_USAGE, "%s has no member '%s'; it may have %s", what, name, allowed);
    }
    return 0;
}

static int check_machine(const json_t *machine, const char *what, struct failure *fail)
{
    const char *bootstrap = value_text(machine, "bootstrap", "agent");

    if (check_members(machine, what, "pool cpus memory_mib root_disk_gib bootstrap", fail))
        return -1;
    if (!str_eq(bootstrap, "agent") && !str_eq(bootstrap, "cloud-init"))
        return failure_set(fail, CLI_USAGE, "%s: bootstrap must be cloud-init or agent", what);
    return 0;
}

static int check_config(const json_t *config, struct failure *fail)
{
    const char *name;
    json_t *flavor;

    if (check_members(config, "the provider's configuration",
                      "url socket token_file lifetime_seconds boot_timeout_seconds runner_folder "
                      "runner_user flavors", fail))
        return -1;
    json_object_foreach(json_object_get(config, "flavors"), name, flavor)
    {
        auto_free char *what = xasprintf("the flavor %s", name);

        if (check_machine(flavor, what, fail))
            return -1;
    }
    return 0;
}

static int read_config(struct provider *p, struct failure *fail)
{
    const char *name = variable("GARM_PROVIDER_CONFIG_FILE"), *token;
    auto_free char *text = NULL;
    struct error err;
    size_t len;
    int rc;

    if (!name)
        return failure_set(fail, CLI_USAGE, "GARM_PROVIDER_CONFIG_FILE is not set");
    rc = file_read(name, INPUT_MAX, &text, &len, &err);
    if (rc <= 0)
        return rc < 0 ? failure_from_error(fail, &err) : failure_set(fail, CLI_USAGE, "there is no file %s", name);
    p->config = value_parse(text, len);
    if (check_config(p->config, fail))
        return -1;
    p->url = xstrdup_null(value_text(p->config, "url", NULL));
    p->socket = p->url ? NULL : xstrdup_null(value_text(p->config, "socket", NULL));
    token = value_text(p->config, "token_file", NULL);
    if (token) {
        rc = file_read(token, 4096, &p->token, &len, &err);
        if (rc <= 0)
            return rc < 0 ? failure_from_error(fail, &err)
                          : failure_set(fail, CLI_USAGE, "there is no file %s", token);
        p->token[strcspn(p->token, "\r\n")] = '\0';
    }
    if (!p->cli->url && !p->cli->socket) {
        p->cli->url = p->url;
        p->cli->socket = p->socket;
    }
    p->cli->token = p->cli->token ? p->cli->token : p->token;
    return 0;
}

static int64_t number_of(const json_t *object, const char *name, int64_t fallback)
{
    double number;

    return value_number(object, name, &number) ? (int64_t)number : fallback;
}

/* ---- instances ---- */

static const char *label_of(const json_t *lease, const char *name)
{
    return value_text(json_object_get(json_object_get(lease, "labels"), name), "", "");
}

static const char *state_of(const char *vm)
{
    static const struct {
        const char *vm, *instance;
    } states[] = {{"running", "running"}, {"starting", "running"}, {"paused", "running"},
                  {"stopping", "stopped"}, {"stopped", "stopped"}, {"saved", "stopped"},
                  {"crashed", "error"},    {"failed", "error"},    {"deleting", "deleted"}};

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (str_eq(vm, states[i].vm))
            return states[i].instance;
    }
    return "unknown";
}

static json_t *addresses_of(struct provider *p, const char *vm)
{
    auto_free char *path = xasprintf("/v1/vms/%s/addresses", vm);
    auto_answer struct answer a = {0};
    json_t *list = json_array();
    struct failure ignored;
    const json_t *item;
    size_t i;

    if (client_get(p->cli->client, path, &a, &ignored))
        return list;
    json_array_foreach(value_at(a.value, "items"), i, item)
        json_array_append_new(list, json_pack("{s:s, s:s}", "address", value_text(item, "address", ""),
                                              "type", "private"));
    return list;
}

static json_t *instance_of(struct provider *p, const json_t *lease, bool addresses)
{
    const char *vm = value_text(lease, "vm.id", "");
    auto_free char *path = xasprintf("/v1/vms/%s", vm);
    auto_answer struct answer a = {0};
    struct failure fail = {0};
    const char *state = "unknown", *why = "";
    json_t *instance;

    if (client_get(p->cli->client, path, &a, &fail) == 0) {
        state = state_of(value_text(a.value, "state", ""));
        why = value_text(a.value, "state_reason", "");
    } else if (fail.exit == CLI_NOT_FOUND) {
        state = "deleted";
    }
    instance = json_pack("{s:s, s:s, s:s, s:s, s:s}", "provider_id", value_text(lease, "id", ""), "name",
                         label_of(lease, LABEL_NAME), "os_type", "linux", "os_arch", "amd64", "status", state);
    if (str_eq(state, "error")) { /* Go writes bytes as base64 */
        auto_free char *fault = base64_encode(why, strlen(why));

        json_object_set_new(instance, "provider_fault", json_string(fault));
    }
    if (addresses && str_eq(state, "running"))
        json_object_set_new(instance, "addresses", addresses_of(p, vm));
    return instance;
}

static char *list_path(const struct provider *p, const char *label, const char *value)
{
    auto_free char *mine = xasprintf(LABEL_CONTROLLER "=%s", p->controller);
    auto_free char *other = label ? xasprintf("%s=%s", label, value) : NULL;
    auto_free char *a = url_escape(mine), *b = other ? url_escape(other) : NULL;

    return xasprintf("/v1/leases?limit=200&state=active&label=%s%s%s", a, b ? "&label=" : "", b ? b : "");
}

/* By provider_id (the lease's) or, when none was ever told, by name. 1 found (caller's), 0, -1. */
static int find(struct provider *p, json_t **ret, struct failure *fail)
{
    auto_free char *id = url_escape(p->instance), *path = xasprintf("/v1/leases/%s", id), *list = NULL;
    auto_answer struct answer a = {0}, b = {0};
    const json_t *lease;

    if (client_get(p->cli->client, path, &a, fail) == 0) {
        /* never what another installation of GARM has made, or what has ended */
        if (!str_eq(label_of(a.value, LABEL_CONTROLLER), p->controller) ||
            !str_eq(value_text(a.value, "state", ""), "active"))
            return 0;
        *ret = json_incref(a.value);
        return 1;
    }
    if (fail->exit != CLI_NOT_FOUND)
        return -1;
    list = list_path(p, LABEL_NAME, p->instance);
    if (client_get(p->cli->client, list, &b, fail))
        return -1;
    lease = json_array_get(value_at(b.value, "items"), 0);
    *ret = json_incref((json_t *)(uintptr_t)lease);
    return lease != NULL;
}

static int must_find(struct provider *p, json_t **ret, struct failure *fail)
{
    int rc = find(p, ret, fail);

    if (rc == 0) {
        failure_set(fail, CLI_NOT_FOUND, "there is no instance %s", p->instance);
        return exit_with(fail, NOT_FOUND);
    }
    return rc < 0 ? -1 : 0;
}

/* ---- CreateInstance ---- */

static int read_bootstrap(json_t **ret, struct failure *fail)
{
    auto_free char *text = xcalloc(1, INPUT_MAX + 1);
    size_t len = fread(text, 1, INPUT_MAX, stdin);

    if (ferror(stdin))
        return failure_errno(fail, CLI_FAILED, errno, "cannot read standard input");
    *ret = value_parse(text, len);
    if (!json_is_object(*ret) || !*value_text(*ret, "name", ""))
        return failure_set(fail, CLI_USAGE, "standard input is not GARM's bootstrap document");
    if (!str_eq(value_text(*ret, "os_type", "linux"), "linux"))
        return failure_set(fail, CLI_USAGE, "only Linux runners are made here, not %s",
                           value_text(*ret, "os_type", ""));
    return 0;
}

/* The flavor, and over it what the pool's extra_specs say. */
static int machine_of(const struct provider *p, const json_t *bootstrap, json_t **ret, struct failure *fail)
{
    const char *name = value_text(bootstrap, "flavor", "");
    const json_t *flavors = json_object_get(p->config, "flavors"), *flavor = json_object_get(flavors, name);
    json_t *extra = json_object_get(bootstrap, "extra_specs");

    if (!flavor && !str_eq(name, "default") && *name)
        return failure_set(fail, CLI_USAGE, "the provider's configuration has no flavor %s", name);
    *ret = flavor ? json_deep_copy(flavor) : json_object();
    if (!json_is_object(extra) || json_object_size(extra) == 0)
        return 0;
    if (check_machine(extra, "extra_specs", fail))
        return -1;
    json_object_update(*ret, extra);
    return 0;
}

static int start_by_agent(struct job *job, int64_t boot_s, const char *script, struct failure *fail)
{
    static const char *const by_shell[] = {"/bin/sh", "-c", "exec /bin/sh /run/drover-runner", NULL};
    const struct work w = {.argv = by_shell};
    auto_fclose FILE *file = tmpfile();
    struct client_request r = {.method = "PUT", .upload = file, .upload_size = (int64_t)strlen(script),
                               .timeout_s = -1};
    auto_answer struct answer a = {0};

    if (!file || fputs(script, file) < 0 || fflush(file))
        return failure_errno(fail, CLI_FAILED, errno, "cannot make a temporary file");
    rewind(file);
    return job_ready(job, boot_s, fail) ||
                   job_request(job, &r, "files?path=/run/drover-runner&mode=0700", &a, fail) ||
                   work_start(job, &w, fail)
               ? -1
               : 0;
}

static int make(struct provider *p, const json_t *bootstrap, const json_t *machine, struct job *job,
                struct failure *fail)
{
    int64_t boot_s = number_of(p->config, "boot_timeout_seconds", BOOT_S);
    int64_t lifetime_s = number_of(p->config, "lifetime_seconds", LIFETIME_S);
    const char *name = value_text(bootstrap, "name", "");
    auto_free char *key = xasprintf("garm/%s/%s", p->controller, name), *script = NULL;
    auto_value json_t *labels = json_pack("{s:s, s:s, s:s}", LABEL_CONTROLLER, p->controller, LABEL_POOL,
                                          p->pool, LABEL_NAME, name), *vm = NULL;
    struct job_ask ask = {.pool = value_text(machine, "pool", NULL),
                          .image = value_text(bootstrap, "image", NULL),
                          .prefix = name,
                          .cpus = number_of(machine, "cpus", 0),
                          .memory_mib = number_of(machine, "memory_mib", 0),
                          .disk_gib = number_of(machine, "root_disk_gib", 0),
                          .ttl_s = boot_s + STARTING_S, /* until it is known to have begun */
                          .queue_s = STARTING_S,
                          .holder = p->pool,
                          .labels = labels,
                          .key = key};
    bool agent = ask.pool || str_eq(value_text(machine, "bootstrap", ""), "agent");

    script = garm_script(bootstrap, value_text(p->config, "runner_folder", "/home/runner/actions-runner"),
                         value_text(p->config, "runner_user", "runner"), fail);
    if (!script)
        return -1;
    if (!agent)
        vm = json_pack("{s:s}", "user_data", script);
    ask.vm = vm;
    if (!ask.pool)
        ask.max_s = lifetime_s + ask.ttl_s;
    if (job_claim(p->cli, &ask, job, fail))
        return str_eq(fail->code, "idempotency-key-reused") ? exit_with(fail, DUPLICATE) : -1;
    if (agent && start_by_agent(job, boot_s, script, fail))
        return -1;
    return job_renew(job, lifetime_s, fail);
}

static int create(struct provider *p, struct failure *fail)
{
    auto_value json_t *bootstrap = NULL, *machine = NULL, *instance = NULL, *lease = NULL;
    auto_job struct job job = {0};
    struct failure ignored;

    if (read_bootstrap(&bootstrap, fail) || machine_of(p, bootstrap, &machine, fail))
        return -1;
    p->pool = p->pool ? p->pool : value_text(bootstrap, "pool_id", "");
    interrupt_watch();
    client_interruptible(p->cli->client, true);
    /* GARM asks again after a failure it did not see the end of: what is there is answered. */
    p->instance = value_text(bootstrap, "name", "");
    if (find(p, &lease, fail) < 0)
        return -1;
    if (!lease && make(p, bootstrap, machine, &job, fail)) {
        (void)job_release(&job, &ignored);
        return -1;
    }
    if (!lease && find(p, &lease, fail) <= 0)
        return fail->exit ? -1 : failure_set(fail, CLI_FAILED, "the instance ended while it was made");
    instance = instance_of(p, lease, false);
    cli_print_value(instance);
    return 0;
}

/* ---- the other operations ---- */

static int release(struct provider *p, const json_t *lease, struct failure *fail)
{
    auto_free char *path = xasprintf("/v1/leases/%s", value_text(lease, "id", ""));
    struct client_request r = {.method = "DELETE", .path = path};
    auto_answer struct answer a = {0};

    if (client_do(p->cli->client, &r, &a, fail) && fail->exit != CLI_NOT_FOUND)
        return -1;
    return 0;
}

static int delete(struct provider *p, struct failure *fail)
{
    auto_value json_t *lease = NULL;
    int rc = find(p, &lease, fail);

    return rc > 0 ? release(p, lease, fail) : rc; /* deleting what is not there is done */
}

static int get(struct provider *p, struct failure *fail)
{
    auto_value json_t *lease = NULL, *instance = NULL;

    if (must_find(p, &lease, fail))
        return -1;
    instance = instance_of(p, lease, true);
    cli_print_value(instance);
    return 0;
}

static int list(struct provider *p, struct failure *fail)
{
    auto_free char *path = list_path(p, LABEL_POOL, p->pool);
    auto_value json_t *all = NULL, *instances = json_array();
    const json_t *lease;
    size_t i;

    if (cli_get_all(p->cli, path, &all, fail))
        return -1;
    json_array_foreach(json_object_get(all, "items"), i, lease)
        json_array_append_new(instances, instance_of(p, lease, false));
    cli_print_value(instances);
    return 0;
}

static int remove_all(struct provider *p, struct failure *fail)
{
    auto_free char *path = list_path(p, NULL, NULL);
    auto_value json_t *all = NULL;
    const json_t *lease;
    size_t i;

    if (cli_get_all(p->cli, path, &all, fail))
        return -1;
    json_array_foreach(json_object_get(all, "items"), i, lease)
    {
        if (release(p, lease, fail))
            return -1;
    }
    return 0;
}

static int act(struct provider *p, const char *verb, const char *done, struct failure *fail)
{
    auto_value json_t *lease = NULL, *op = NULL;
    auto_answer struct answer a = {0};
    auto_free char *path = NULL;
    struct client_request r = {.method = "POST"};

    if (must_find(p, &lease, fail))
        return -1;
    path = xasprintf("/v1/vms/%s/%s", value_text(lease, "vm.id", ""), verb);
    r.path = path;
    if (client_do(p->cli->client, &r, &a, fail)) {
        auto_value json_t *now = fail->exit == CLI_CONFLICT ? instance_of(p, lease, false) : NULL;

        return str_eq(value_text(now, "status", ""), done) ? 0 : -1; /* it is so already */
    }
    return cli_wait_operation(p->cli, value_text(a.value, "id", ""), STARTING_S, &op, fail);
}

static int start(struct provider *p, struct failure *fail)
{
    return act(p, "start", "running", fail);
}

static int stop(struct provider *p, struct failure *fail)
{
    return act(p, "stop", "stopped", fail);
}

/* ---- what it says of itself ---- */

static int version(struct provider *p, struct failure *fail)
{
    return puts("v" DROVER_VERSION) < 0 ? failure_set(fail, CLI_FAILED, "the output cannot be written") : 0;
}

static int versions(struct provider *p, struct failure *fail)
{
    puts("[\"v0.1.0\",\"v0.1.1\"]");
    return 0;
}

static int schema(struct provider *p, struct failure *fail)
{
    printf("%s%s}}\n", config_schema, machine_schema);
    return 0;
}

static int extra_schema(struct provider *p, struct failure *fail)
{
    puts(machine_schema);
    return 0;
}

/* GARM_POOL_EXTRASPECS is base64 of a JSON object; the configuration has been read, and so is fine. */
static int validate(struct provider *p, struct failure *fail)
{
    const char *text = variable("GARM_POOL_EXTRASPECS");
    auto_value json_t *extra = NULL;
    auto_free char *decoded = NULL;
    size_t len;

    if (!text)
        return 0;
    if (base64_decode(text, &decoded, &len))
        extra = value_parse(decoded, len);
    else
        extra = value_parse(text, strlen(text));
    return json_is_null(extra) ? 0 : check_machine(extra, "extra_specs", fail);
}

static const struct {
    const char *name;
    bool needs_server, needs_pool, needs_instance;
    int (*run)(struct provider *p, struct failure *fail);
} operations[] = {
    {"CreateInstance", true, false, false, create},
    {"DeleteInstance", true, false, true, delete},
    {"GetInstance", true, false, true, get},
    {"ListInstances", true, true, false, list},
    {"RemoveAllInstances", true, false, false, remove_all},
    {"StartInstance", true, false, true, start},
    {"StopInstance", true, false, true, stop},
    {"Start", true, false, true, start}, /* as the interface's description has it */
    {"Stop", true, false, true, stop},
    {"GetVersion", false, false, false, version},
    {"GetSupportedInterfaceVersions", false, false, false, versions},
    {"ValidatePoolInfo", false, false, false, validate},
    {"GetConfigJSONSchema", false, false, false, schema},
    {"GetExtraSpecsJSONSchema", false, false, false, extra_schema},
};

static int run(struct provider *p, const char *name, struct failure *fail)
{
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (!str_eq(name, operations[i].name))
            continue;
        if (operations[i].needs_server && !p->controller)
            return failure_set(fail, CLI_USAGE, "GARM_CONTROLLER_ID is not set");
        if (operations[i].needs_pool && !p->pool)
            return failure_set(fail, CLI_USAGE, "GARM_POOL_ID is not set");
        if (operations[i].needs_instance && !p->instance)
            return failure_set(fail, CLI_USAGE, "GARM_INSTANCE_ID is not set");
        if ((operations[i].needs_server || operations[i].run == validate) && read_config(p, fail))
            return -1;
        if (operations[i].needs_server && cli_connect(p->cli, fail))
            return -1;
        return operations[i].run(p, fail);
    }
    return failure_set(fail, CLI_USAGE, "GARM_COMMAND is not an operation: '%s'", name);
}

int garm_run(struct cli *cli, const struct args *args, struct failure *fail)
{
    struct provider p = {.cli = cli,
                         .controller = variable("GARM_CONTROLLER_ID"),
                         .pool = variable("GARM_POOL_ID"),
                         .instance = variable("GARM_INSTANCE_ID")};
    const char *command = variable("GARM_COMMAND");
    int rc = run(&p, command ? command : "", fail);

    /* the exit codes of this program would read as the interface's */
    if (rc && fail->exit != NOT_FOUND && fail->exit != DUPLICATE)
        fail->exit = CLI_FAILED;
    (void)args;
    cli->url = cli->socket = cli->token = NULL; /* borrowed from what goes now */
    json_decref(p.config);
    free(p.url);
    free(p.socket);
    free(p.token);
    return rc;
}
