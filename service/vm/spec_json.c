/*
 * The definition as JSON: strict in, complete out. The field table is the truth for what a
 * definition may contain; openapi.yaml describes the same.
 */
#include "service/vm/spec_internal.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/ipv4.h"

#define TEXT_MAX    1024
#define CMDLINE_MAX 2048

#define HOST_SHUTDOWN_SECONDS 120 /* a host that stops is not kept for much longer, a guest seldom needs more */

static const char *const firmwares[] = {"bios", "uefi", NULL};
static const char *const accelerations[] = {"auto", "kvm", "emulated", NULL};
static const char *const host_shutdowns[] = {"shutdown", "save", "leave", NULL};
static const char *const modes[] = {"user", "bridge", "network", NULL};

static bool chars_ok(const char *s, size_t max, const char *extra)
{
    size_t len = strlen(s);

    if (len < 1 || len > max || !isalnum((unsigned char)*s))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)s[i]) && !strchr(extra, s[i]))
            return false;
    }
    return true;
}

static bool machine_ok(const char *s)
{
    return str_eq(s, "q35") || str_eq(s, "pc") ||
           ((str_starts(s, "pc-q35-") || str_starts(s, "pc-i440fx-")) && chars_ok(s, 40, ".-"));
}

static bool source_ok(const char *s)
{
    return chars_ok(s, 64, "._-");
}

static bool channel_ok(const char *s)
{
    return chars_ok(s, 63, "._-") && !str_eq(s, "org.qemu.guest_agent.0");
}

static bool label_key_ok(const char *s)
{
    return chars_ok(s, 63, "._/-");
}

/* Unicast, lower case; QEMU refuses a multicast address. */
static bool mac_ok(const char *s)
{
    if (strlen(s) != 17)
        return false;
    for (int i = 0; i < 17; i++) {
        bool colon = i % 3 == 2;

        if (colon ? s[i] != ':' : !(isdigit((unsigned char)s[i]) || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    }
    return strchr("02468ace", s[1]) != NULL;
}

static int item_pointer(char ret[128], const char *base, size_t i)
{
    char index[24];

    snprintf(index, sizeof(index), "%zu", i);
    doc_pointer(ret, 128, base, index);
    return 0;
}

static int want_array(const json_t *value, const char *pointer, size_t max, struct error *err)
{
    if (!json_is_array(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be an array");
    if (json_array_size(value) > max)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "may have at most %zu items", max);
    return 0;
}

static int decode_labels(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct vm_spec *spec = out;
    const char *key;
    json_t *item;

    if (!json_is_object(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be an object");
    if (json_object_size(value) > VM_LABELS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "may have at most %d labels",
                            VM_LABELS_MAX);
    spec->labels = xcalloc(json_object_size(value), sizeof(*spec->labels));
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        char at[128];
        char *copy = NULL;
        const struct doc_field field = {
            .name = key, .kind = DOC_STRING, .max = 256};

        doc_pointer(at, sizeof(at), pointer, key);
        if (!label_key_ok(key))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "a label's key must have 1 to 63 letters, digits, '.', '_', '/' or "
                                "'-', and begin with a letter or digit");
        /* One member decoded by the same rules as every other string. */
        auto_json json_t *one = json_pack("{s:O}", key, item);
        if (doc_decode(one, pointer, &field, 1, &copy, err))
            return -1;
        spec->labels[spec->label_count++] = (struct vm_label){xstrdup(key), copy};
    }
    return 0;
}

static int decode_disks(const json_t *value, const char *pointer, void *out, struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "size_gib", .kind = DOC_INT, .required = true,
         .offset = offsetof(struct vm_disk, size_gib), .min = 1, .max = 65536},
    };
    struct vm_spec *spec = out;

    if (want_array(value, pointer, VM_DISKS_MAX, err))
        return -1;
    for (size_t i = 0; i < json_array_size(value); i++) {
        char at[128];

        item_pointer(at, pointer, i);
        if (doc_decode(json_array_get(value, i), at, fields, DOC_COUNT(fields), &spec->disks[i], err))
            return -1;
        spec->disk_count = i + 1;
    }
    return 0;
}

static int decode_nameservers(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct vm_network *n = out;

    if (want_array(value, pointer, VM_NAMESERVERS_MAX, err))
        return -1;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));
        char at[128];

        item_pointer(at, pointer, i);
        if (!text || !ipv4_address_ok(text))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at, "must be an IPv4 address");
        n->nameservers[n->nameserver_count++] = xstrdup(text);
    }
    return 0;
}

/* Only the seed tells a guest its address, and only where there is one. */
static int check_address(const struct vm_network *n, const char *pointer, struct error *err)
{
    char at[128];

    if (n->address || (!n->gateway && !n->nameserver_count))
        return 0;
    doc_pointer(at, sizeof(at), pointer, n->gateway ? "gateway" : "nameservers");
    return error_set_at(err, ERROR_VALIDATION_FAILED, at, "goes with an address only");
}

static int decode_networks(const json_t *value, const char *pointer, void *out, struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "mode", .kind = DOC_ENUM, .required = true,
         .offset = offsetof(struct vm_network, mode), .choices = modes},
        {.name = "source", .kind = DOC_STRING, .nullable = true,
         .offset = offsetof(struct vm_network, source), .min = 1, .max = 64, .valid = source_ok,
         .form = "the name of a bridge or of a libvirt network"},
        {.name = "mac", .kind = DOC_STRING, .nullable = true,
         .offset = offsetof(struct vm_network, mac), .min = 17, .max = 17, .valid = mac_ok,
         .form = "a unicast MAC address in lower case, like 02:00:00:12:34:56"},
        {.name = "address", .kind = DOC_STRING, .nullable = true,
         .offset = offsetof(struct vm_network, address), .min = 9, .max = 18, .valid = ipv4_interface_ok,
         .form = "an IPv4 address that a machine can have, with its prefix, like 10.0.0.2/24"},
        {.name = "gateway", .kind = DOC_STRING, .nullable = true,
         .offset = offsetof(struct vm_network, gateway), .min = 7, .max = 15, .valid = ipv4_address_ok,
         .form = "an IPv4 address"},
        {.name = "nameservers", .kind = DOC_CUSTOM, .decode = decode_nameservers},
    };
    struct vm_spec *spec = out;

    if (want_array(value, pointer, VM_NETWORKS_MAX, err))
        return -1;
    spec->network_count = json_array_size(value);
    for (size_t i = 0; i < spec->network_count; i++) {
        struct vm_network *n = &spec->networks[i];
        char at[128];

        item_pointer(at, pointer, i);
        if (doc_decode(json_array_get(value, i), at, fields, DOC_COUNT(fields), n, err))
            return -1;
        if ((n->mode == VM_NETWORK_USER) != (n->source == NULL)) {
            doc_pointer(at, sizeof(at), at, "source");
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                n->source ? "does not go with mode user"
                                          : "is required with mode %s",
                                modes[n->mode]);
        }
        if (check_address(n, at, err))
            return -1;
    }
    return 0;
}

static int decode_channels(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct vm_spec *spec = out;

    if (want_array(value, pointer, VM_CHANNELS_MAX, err))
        return -1;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *name = json_string_value(json_array_get(value, i));
        char at[128];

        item_pointer(at, pointer, i);
        if (!name || !channel_ok(name))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "must be a port name of 1 to 63 letters, digits, '.', '_' or '-'; "
                                "org.qemu.guest_agent.0 belongs to guest_agent");
        for (size_t j = 0; j < i; j++) {
            if (strcmp(spec->channels[j], name) == 0)
                return error_set_at(err, ERROR_VALIDATION_FAILED, at, "is named twice");
        }
        spec->channels[spec->channel_count++] = xstrdup(name);
    }
    return 0;
}

#define AT(member) offsetof(struct vm_spec, member)

static const struct doc_field spec_fields[] = {
    {.name = "name", .kind = DOC_STRING, .required = true, .offset = AT(name), .min = 1,
     .max = VM_NAME_MAX, .valid = vm_spec_name_ok,
     .form = "1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"},
    {.name = "description", .kind = DOC_STRING, .offset = AT(description), .max = TEXT_MAX},
    {.name = "cpus", .kind = DOC_INT, .offset = AT(cpus), .min = 1, .max = 255},
    {.name = "memory_mib", .kind = DOC_INT, .offset = AT(memory_mib), .min = 16, .max = 4194304},
    {.name = "machine", .kind = DOC_STRING, .offset = AT(machine), .min = 1, .max = 40,
     .valid = machine_ok, .form = "q35, pc, or a version of them like pc-q35-7.2"},
    {.name = "firmware", .kind = DOC_ENUM, .offset = AT(firmware), .choices = firmwares},
    {.name = "acceleration", .kind = DOC_ENUM, .offset = AT(acceleration), .choices = accelerations},
    {.name = "image", .kind = DOC_STRING, .nullable = true, .offset = AT(image), .min = 1, .max = 63},
    {.name = "cmdline", .kind = DOC_STRING, .nullable = true, .offset = AT(cmdline), .max = CMDLINE_MAX},
    {.name = "root_disk_gib", .kind = DOC_INT, .nullable = true, .offset = AT(root_disk_gib), .min = 1, .max = 65536},
    {.name = "serial_ports", .kind = DOC_INT, .offset = AT(serial_ports), .min = 1, .max = VM_SERIALS_MAX},
    {.name = "ready_pattern", .kind = DOC_STRING, .nullable = true, .offset = AT(ready_pattern), .min = 1,
     .max = VM_PATTERN_MAX},
    {.name = "guest_agent", .kind = DOC_BOOL, .offset = AT(guest_agent)},
    {.name = "vsock", .kind = DOC_BOOL, .offset = AT(vsock)},
    {.name = "display", .kind = DOC_BOOL, .offset = AT(display)},
    {.name = "memory_merge", .kind = DOC_BOOL, .offset = AT(memory_merge)},
    {.name = "autostart", .kind = DOC_BOOL, .offset = AT(autostart)},
    {.name = "on_host_shutdown", .kind = DOC_ENUM, .offset = AT(on_host_shutdown), .choices = host_shutdowns},
    {.name = "host_shutdown_seconds", .kind = DOC_INT, .offset = AT(host_shutdown_seconds), .min = 1, .max = 3600},
    {.name = "record_console", .kind = DOC_BOOL, .offset = AT(record_console)},
    /* Their decoders need the whole struct rather than one place in it. */
    {.name = "labels", .kind = DOC_CUSTOM, .decode = decode_labels},
    {.name = "disks", .kind = DOC_CUSTOM, .decode = decode_disks},
    {.name = "networks", .kind = DOC_CUSTOM, .decode = decode_networks},
    {.name = "channels", .kind = DOC_CUSTOM, .decode = decode_channels},
    {.name = "user_data", .kind = DOC_CUSTOM, .decode = vm_spec_decode_user_data},
    {.name = "ssh_keys", .kind = DOC_CUSTOM, .decode = vm_spec_decode_ssh_keys},
    {.name = "cloud_init", .kind = DOC_BOOL, .offset = AT(cloud_init)},
};

/* What is in a request only, beside the definition. */
struct request {
    bool start;
};

static const struct doc_field request_fields[] = {
    {.name = "start", .kind = DOC_BOOL, .offset = offsetof(struct request, start)},
};

static struct vm_spec *spec_new(void)
{
    struct vm_spec *spec = xcalloc(1, sizeof(*spec));

    atomic_init(&spec->refs, 1);
    spec->description = xstrdup("");
    spec->cpus = 1;
    spec->memory_mib = 512;
    spec->machine = xstrdup("q35");
    spec->serial_ports = 1;
    spec->host_shutdown_seconds = HOST_SHUTDOWN_SECONDS;
    spec->guest_agent = true;
    spec->vsock = true;
    spec->memory_merge = true;
    return spec;
}

/* What a request leaves out: one user-mode network, and MAC addresses. */
static void fill_networks(struct vm_spec *spec, bool given)
{
    if (!given)
        spec->network_count = 1;
    for (size_t i = 0; i < spec->network_count; i++) {
        if (!spec->networks[i].mac) {
            spec->networks[i].mac = xcalloc(1, 18);
            mac_new(spec->networks[i].mac);
        }
    }
}

/* Takes what is not the definition's out of a request; *ret_rest owns the copy without it. */
static int split_request(const json_t *object, struct request *request, json_t **ret_rest,
                         struct error *err)
{
    auto_json json_t *rest = json_copy((json_t *)(uintptr_t)object), *own = json_object();

    if (json_object_set(own, "start", json_object_get(object, "start")) ||
        json_object_del(rest, "start"))
        abort();
    *ret_rest = TAKE_PTR(rest);
    return doc_decode(own, "", request_fields, DOC_COUNT(request_fields), request, err);
}

int vm_spec_decode(const json_t *object, struct vm_spec **ret, bool *ret_start, struct error *err)
{
    auto_vm_spec struct vm_spec *spec = spec_new();
    auto_json json_t *rest = NULL;
    struct request request = {0};

    if (ret_start && json_object_get(object, "start")) {
        if (split_request(object, &request, &rest, err))
            return -1;
        object = rest;
    }
    if (doc_decode(object, "", spec_fields, DOC_COUNT(spec_fields), spec, err))
        return -1;
    fill_networks(spec, json_object_get(object, "networks") != NULL);
    if (ret_start)
        *ret_start = request.start;
    *ret = TAKE_PTR(spec);
    return 0;
}

/* ---- out ---- */

static void add_labels(struct strbuf *b, const struct vm_spec *spec)
{
    strbuf_adds(b, ",\"labels\":{");
    for (size_t i = 0; i < spec->label_count; i++) {
        if (i)
            strbuf_addc(b, ',');
        doc_add_string(b, spec->labels[i].key);
        strbuf_addc(b, ':');
        doc_add_string(b, spec->labels[i].value);
    }
    strbuf_addc(b, '}');
}

static void add_disks(struct strbuf *b, const struct vm_spec *spec)
{
    strbuf_adds(b, ",\"disks\":[");
    for (size_t i = 0; i < spec->disk_count; i++)
        strbuf_addf(b, "%s{\"size_gib\":%lld}", i ? "," : "", (long long)spec->disks[i].size_gib);
    strbuf_addc(b, ']');
}

static void add_address(struct strbuf *b, const struct vm_network *n)
{
    doc_add_text(b, "address", n->address);
    if (n->gateway)
        doc_add_text(b, "gateway", n->gateway);
    if (!n->nameserver_count)
        return;
    strbuf_adds(b, ",\"nameservers\":[");
    for (size_t i = 0; i < n->nameserver_count; i++)
        strbuf_addf(b, "%s\"%s\"", i ? "," : "", n->nameservers[i]);
    strbuf_addc(b, ']');
}

static void add_networks(struct strbuf *b, const struct vm_spec *spec)
{
    strbuf_adds(b, ",\"networks\":[");
    for (size_t i = 0; i < spec->network_count; i++) {
        const struct vm_network *n = &spec->networks[i];

        strbuf_addf(b, "%s{\"mode\":\"%s\"", i ? "," : "", modes[n->mode]);
        if (n->source)
            doc_add_text(b, "source", n->source);
        doc_add_text(b, "mac", n->mac);
        if (n->address)
            add_address(b, n);
        strbuf_addc(b, '}');
    }
    strbuf_addc(b, ']');
}

static void add_channels(struct strbuf *b, const struct vm_spec *spec)
{
    strbuf_adds(b, ",\"channels\":[");
    for (size_t i = 0; i < spec->channel_count; i++) {
        if (i)
            strbuf_addc(b, ',');
        doc_add_string(b, spec->channels[i]);
    }
    strbuf_addc(b, ']');
}

/*
 * Text without a tree in between: a list of a thousand VMs is a thousand of these, at a fifth of
 * the time.
 */
static char *text_of(const struct vm_spec *spec, bool whole)
{
    struct strbuf b = {0};

    strbuf_adds(&b, "{\"name\":");
    doc_add_string(&b, spec->name);
    doc_add_text(&b, "description", spec->description);
    add_labels(&b, spec);
    doc_add_int(&b, "cpus", spec->cpus);
    doc_add_int(&b, "memory_mib", spec->memory_mib);
    doc_add_text(&b, "machine", spec->machine);
    doc_add_text(&b, "firmware", firmwares[spec->firmware]);
    doc_add_text(&b, "acceleration", accelerations[spec->acceleration]);
    doc_add_text(&b, "image", spec->image);
    doc_add_text(&b, "cmdline", spec->cmdline);
    if (spec->root_disk_gib)
        doc_add_int(&b, "root_disk_gib", spec->root_disk_gib);
    else
        doc_add_text(&b, "root_disk_gib", NULL);
    add_disks(&b, spec);
    add_networks(&b, spec);
    add_channels(&b, spec);
    doc_add_int(&b, "serial_ports", spec->serial_ports);
    doc_add_text(&b, "ready_pattern", spec->ready_pattern);
    doc_add_bool(&b, "guest_agent", spec->guest_agent);
    doc_add_bool(&b, "vsock", spec->vsock);
    doc_add_bool(&b, "display", spec->display);
    doc_add_bool(&b, "memory_merge", spec->memory_merge);
    doc_add_bool(&b, "autostart", spec->autostart);
    doc_add_text(&b, "on_host_shutdown", host_shutdowns[spec->on_host_shutdown]);
    doc_add_int(&b, "host_shutdown_seconds", spec->host_shutdown_seconds);
    vm_spec_add_seed(&b, spec, whole);
    doc_add_bool(&b, "record_console", spec->record_console);
    strbuf_addc(&b, '}');
    return strbuf_take(&b);
}

char *vm_spec_text(const struct vm_spec *spec)
{
    return text_of(spec, false);
}

char *vm_spec_stored_text(const struct vm_spec *spec)
{
    return text_of(spec, true);
}

json_t *vm_spec_encode(const struct vm_spec *spec)
{
    auto_free char *text = vm_spec_stored_text(spec);
    json_t *object = json_loads(text, 0, NULL);

    if (!object)
        abort(); /* what we wrote ourselves is JSON */
    return object;
}

int vm_spec_from_text(const char *text, struct vm_spec **ret, struct error *err)
{
    auto_json json_t *object = json_loads(text, 0, NULL);

    if (!object)
        return error_set(err, ERROR_INTERNAL, "a stored definition is damaged");
    return vm_spec_decode(object, ret, NULL, err);
}
