/* `vm create`: options to a definition. Only what was given is sent; the server has the defaults. */
#include <stdio.h>
#include <string.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/cmd_vm.h"

/* Strings that go into the definition as they are. */
static const struct {
    const char *option, *member;
} texts[] = {
    {"description", "description"}, {"machine", "machine"}, {"firmware", "firmware"},
    {"acceleration", "acceleration"}, {"image", "image"}, {"cmdline", "cmdline"},
    {"ready-pattern", "ready_pattern"}, {"on-host-shutdown", "on_host_shutdown"},
};

static const struct {
    const char *option, *member;
    bool value;
} flags[] = {
    {"autostart", "autostart", true}, {"guest-agent", "guest_agent", true},
    {"display", "display", true}, {"no-vsock", "vsock", false}, {"no-merge", "memory_merge", false},
    {"record-console", "record_console", true},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* "512", "512M", "2G", "2GiB": a size in `unit` (1 MiB or 1 GiB steps); bare numbers are units. */
static int parse_size(const char *option, const char *text, uint64_t unit_mib, json_int_t *ret,
                      struct failure *fail)
{
    size_t digits = strspn(text, "0123456789");
    auto_free char *number = xstrndup(text, digits);
    const char *suffix = text + digits;
    uint64_t v, factor = unit_mib;

    if (*suffix && strchr("mM", *suffix))
        factor = 1;
    else if (*suffix && strchr("gG", *suffix))
        factor = 1024;
    else if (*suffix && strchr("tT", *suffix))
        factor = 1024 * 1024;
    else if (*suffix)
        factor = 0;
    if (*suffix && strcmp(suffix + 1, "") != 0 && strcmp(suffix + 1, "iB") != 0)
        factor = 0;
    if (!factor || !str_to_u64(number, 1u << 30, &v) || v == 0)
        return failure_set(fail, CLI_USAGE, "--%s must be a size such as 512M or 2G, not '%s'",
                           option, text);
    if (v * factor % unit_mib != 0)
        return failure_set(fail, CLI_USAGE, "--%s must be a whole number of %s", option,
                           unit_mib == 1 ? "MiB" : "GiB");
    *ret = (json_int_t)(v * factor / unit_mib);
    return 0;
}

/* "user", "bridge=br0", "network=default", each with an optional ",mac=02:…". */
static json_t *parse_network(const char *text, struct failure *fail)
{
    size_t len = strcspn(text, ",");
    auto_free char *head = xstrndup(text, len);
    const char *mac = text[len] ? text + len + 1 : NULL;
    char *source = strchr(head, '=');
    json_t *network;

    if (source)
        *source++ = '\0';
    if (!*head || (source && !*source) || (mac && !str_starts(mac, "mac="))) {
        failure_set(fail, CLI_USAGE, "--network must read user, bridge=NAME or network=NAME, "
                                     "and may end with ,mac=ADDRESS; not '%s'", text);
        return NULL;
    }
    network = json_pack("{s:s, s:s*, s:s*}", "mode", head, "source", source, "mac",
                        mac ? mac + 4 : NULL);
    if (!network)
        failure_set(fail, CLI_USAGE, "--network must be UTF-8");
    return network;
}

static int read_file(const char *name, size_t max, char **ret, struct failure *fail)
{
    struct error err;
    size_t len;
    int rc = file_read(str_eq(name, "-") ? "/dev/stdin" : name, max, ret, &len, &err);

    if (rc == 0)
        return failure_set(fail, CLI_USAGE, "there is no file %s", name);
    return rc < 0 ? failure_from_error(fail, &err) : 0;
}

static bool is_key(const char *text)
{
    return strchr(text, ' ') && (str_starts(text, "ssh-") || str_starts(text, "ecdsa-") ||
                                 str_starts(text, "sk-"));
}

static int add_lists(const struct args *args, json_t *body, struct failure *fail)
{
    const char *text;
    int state = 0;

    while ((text = args_next(args, "label", &state))) {
        const char *eq = strchr(text, '=');
        auto_free char *key = eq ? xstrndup(text, (size_t)(eq - text)) : NULL;
        json_t *labels = json_object_get(body, "labels");

        if (!eq)
            return failure_set(fail, CLI_USAGE, "--label must read KEY=VALUE, not '%s'", text);
        if (!labels)
            json_object_set_new(body, "labels", labels = json_object());
        json_object_set_new(labels, key, json_string(eq + 1));
    }
    if (args_flag(args, "network"))
        json_object_set_new(body, "networks", json_array());
    for (state = 0; (text = args_next(args, "network", &state));) {
        json_t *network = str_eq(text, "none") ? NULL : parse_network(text, fail);

        if (!network && !str_eq(text, "none"))
            return -1;
        if (network)
            json_array_append_new(json_object_get(body, "networks"), network);
    }
    if (args_flag(args, "channel"))
        json_object_set_new(body, "channels", json_array());
    for (state = 0; (text = args_next(args, "channel", &state));)
        json_array_append_new(json_object_get(body, "channels"), json_string(text));
    if (args_flag(args, "ssh-key"))
        json_object_set_new(body, "ssh_keys", json_array());
    for (state = 0; (text = args_next(args, "ssh-key", &state));) {
        auto_free char *key = NULL;

        /* A file that is called like a key can be given with its path. */
        if (is_key(text))
            key = xstrdup(text);
        else if (read_file(text, 8192, &key, fail))
            return -1;
        key[strcspn(key, "\n")] = '\0';
        json_array_append_new(json_object_get(body, "ssh_keys"), json_string(key));
    }
    if ((text = args_text(args, "user-data", NULL))) {
        auto_free char *data = NULL;

        if (read_file(text, 1 << 20, &data, fail))
            return -1;
        if (json_object_set_new(body, "user_data", json_string(data)))
            return failure_set(fail, CLI_USAGE, "%s must be UTF-8", text);
    }
    if (args_flag(args, "add-disk"))
        json_object_set_new(body, "disks", json_array());
    for (state = 0; (text = args_next(args, "add-disk", &state));) {
        json_int_t gib;

        if (parse_size("add-disk", text, 1024, &gib, fail))
            return -1;
        json_array_append_new(json_object_get(body, "disks"), json_pack("{s:I}", "size_gib", gib));
    }
    return 0;
}

int vm_create_body(const struct args *args, json_t **ret, struct failure *fail)
{
    auto_value json_t *body = json_object();
    const char *text, *wait = args_text(args, "wait", NULL);
    int64_t cpus, serials, shutdown_seconds;
    json_int_t size;

    if (wait && !str_eq(wait, "running") && !str_eq(wait, "console") && !str_eq(wait, "ready") &&
        !str_eq(wait, "ip") && !str_eq(wait, "agent"))
        return failure_set(fail, CLI_USAGE,
                           "--wait must be running, console, ready, ip or agent, not '%s'", wait);
    json_object_set_new(body, "name", json_string(args->operand[0]));
    for (size_t i = 0; i < COUNT(texts); i++) {
        if ((text = args_text(args, texts[i].option, NULL)))
            json_object_set_new(body, texts[i].member, json_string(text));
    }
    if (args_number(args, "cpus", 1, 1024, 0, &cpus, fail) ||
        args_number(args, "serial-ports", 1, 4, 0, &serials, fail) ||
        args_number(args, "host-shutdown-seconds", 1, 3600, 0, &shutdown_seconds, fail))
        return -1;
    if (shutdown_seconds)
        json_object_set_new(body, "host_shutdown_seconds", json_integer(shutdown_seconds));
    if (serials)
        json_object_set_new(body, "serial_ports", json_integer(serials));
    if (cpus)
        json_object_set_new(body, "cpus", json_integer(cpus));
    if ((text = args_text(args, "memory", NULL))) {
        if (parse_size("memory", text, 1, &size, fail))
            return -1;
        json_object_set_new(body, "memory_mib", json_integer(size));
    }
    if ((text = args_text(args, "disk", NULL))) {
        if (parse_size("disk", text, 1024, &size, fail))
            return -1;
        json_object_set_new(body, "root_disk_gib", json_integer(size));
    }
    if (add_lists(args, body, fail))
        return -1;
    for (size_t i = 0; i < COUNT(flags); i++) {
        if (args_flag(args, flags[i].option))
            json_object_set_new(body, flags[i].member, json_boolean(flags[i].value));
    }
    if (args_flag(args, "start") || wait)
        json_object_set_new(body, "start", json_true());
    *ret = TAKE_PTR(body);
    return 0;
}

int vm_create_run(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *body = NULL;
    auto_answer struct answer a = {0};
    const char *wait = args_text(args, "wait", NULL), *key = args_text(args, "idempotency-key", NULL);
    auto_free char *path = NULL, *header = key ? xasprintf("Idempotency-Key: %s", key) : NULL;
    const char *headers[] = {header, NULL};
    struct client_request r = {.method = "POST", .headers = header ? headers : NULL};
    int64_t timeout;

    if (vm_create_body(args, &body, fail) ||
        args_number(args, "timeout", 1, 600, 120, &timeout, fail) || cli_connect(cli, fail))
        return -1;
    path = wait ? xasprintf("/v1/vms?wait=%s&timeout=%lld", wait, (long long)timeout)
                : xstrdup("/v1/vms");
    r.path = path;
    r.body = body;
    r.timeout_s = wait ? (long)timeout + 30 : 0;
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s\n", value_text(a.value, "id", ""));
    return 0;
}

const struct option_row vm_create_options[] = {
    {"image", 'i', "IMAGE", "image to boot from (drover image list)"},
    {"cpus", 'c', "N", "virtual CPUs"},
    {"memory", 'm', "SIZE", "memory: 512, 512M or 2G"},
    {"disk", 'd', "SIZE", "size of the root disk in GiB"},
    {"add-disk", 0, "SIZE", "a further empty disk in GiB; may be repeated"},
    {"network", 'n', "NETWORK", "user, bridge=br0, network=default or none; may be repeated"},
    {"label", 'l', "KEY=VALUE", "a label; may be repeated"},
    {"ssh-key", 0, "KEY|FILE", "a public key to let in (cloud-init); may be repeated"},
    {"user-data", 0, "FILE", "user data for cloud-init; - is standard input"},
    {"description", 0, "TEXT", "a line for people"},
    {"acceleration", 0, "HOW", "auto, kvm or emulated"},
    {"machine", 0, "TYPE", "machine type, such as q35"},
    {"firmware", 0, "KIND", "bios or uefi"},
    {"cmdline", 0, "TEXT", "kernel command line, for an image of kind kernel"},
    {"channel", 0, "NAME", "a virtio-serial port; may be repeated"},
    {"serial-ports", 0, "N", "serial ports, the console included (1 to 4)"},
    {"ready-pattern", 0, "TEXT", "what the console prints when the guest is ready"},
    {"guest-agent", 0, NULL, "a port for the QEMU guest agent"},
    {"display", 0, NULL, "a graphical display"},
    {"no-vsock", 0, NULL, "no vsock device"},
    {"no-merge", 0, NULL, "keep the memory out of KSM"},
    {"record-console", 0, NULL, "record the console of each boot (drover recording list)"},
    {"autostart", 0, NULL, "start after each boot of the host"},
    {"on-host-shutdown", 0, "WHAT", "when the host shuts down: shutdown (default), save or leave"},
    {"host-shutdown-seconds", 0, "N", "how long that may take before its plug is pulled (default 120)"},
    {"start", 0, NULL, "start it at once"},
    {"wait", 'w', "WHAT", "start it and wait: running, console, ready, ip or agent"},
    {"timeout", 0, "SECONDS", "how long --wait waits (default 120, at most 600), exit status 7"},
    {"idempotency-key", 0, "KEY", "repeating the command with the same key creates nothing twice"},
    {0}};
