/*
 * A set's definition as JSON: strict in, complete out. What its machines become is set_plan.c.
 */
#include <stddef.h>
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/ipv4.h"
#include "service/vm/set.h"
#include "service/vm/wait.h"

#define PATTERN_MAX 128

static const char *const points[] = {"running", "console", "ready", NULL}; /* as enum wait_vm */
static const char *const expiries[] = {"delete", "stop", NULL};            /* as enum set_expiry */

struct set_spec *set_spec_ref(struct set_spec *spec)
{
    atomic_fetch_add_explicit(&spec->refs, 1, memory_order_relaxed);
    return spec;
}

void set_spec_unref(struct set_spec *spec)
{
    if (!spec || atomic_fetch_sub_explicit(&spec->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(spec->name_pattern);
    free(spec->subnet);
    json_decref(spec->machines);
    json_decref(spec->labels);
    json_decref(spec->nameservers);
    free(spec);
}

const char *set_machine_name(const struct set_spec *spec, size_t machine)
{
    return json_string_value(json_object_get(json_array_get(spec->machines, machine), "name"));
}

/* ---- machines ---- */

/* What must differ from VM to VM, or is the set's own business. */
static int check_own(const json_t *machine, const char *pointer, struct error *err)
{
    static const char *const cards[] = {"mac", "address", "gateway", "nameservers"};
    const json_t *network;
    char at[192];
    size_t i;

    if (json_object_get(machine, "start")) {
        doc_pointer(at, sizeof(at), pointer, "start");
        return error_set_at(err, ERROR_VALIDATION_FAILED, at, "is the set's own business");
    }
    json_array_foreach(json_object_get(machine, "networks"), i, network)
    {
        for (size_t c = 0; c < DOC_COUNT(cards); c++) {
            if (!json_object_get(network, cards[c]))
                continue;
            snprintf(at, sizeof(at), "%s/networks/%zu/%s", pointer, i, cards[c]);
            error_set_at(err, ERROR_VALIDATION_FAILED, at, "must differ from VM to VM");
            error_remedy(err, "Leave it out; the set's own member `addresses` is a plan for them.");
            return -1;
        }
    }
    return 0;
}

static int decode_machines(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct set_spec *spec = out;
    char at[128], index[24];
    const json_t *machine;
    size_t i;

    if (!json_is_array(value) || json_array_size(value) < 1 ||
        json_array_size(value) > SET_MACHINES_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an array of 1 to %d machines", SET_MACHINES_MAX);
    json_array_foreach(value, i, machine)
    {
        const char *name = json_string_value(json_object_get(machine, "name"));

        snprintf(index, sizeof(index), "%zu", i);
        doc_pointer(at, sizeof(at), pointer, index);
        if (!json_is_object(machine))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at, "must be an object");
        if (check_own(machine, at, err))
            return -1;
        doc_pointer(at, sizeof(at), at, "name");
        if (!name || !vm_spec_name_ok(name))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "must be 1 to 63 lower-case letters, digits and '-'");
        for (size_t j = 0; j < i; j++) {
            if (str_eq(json_string_value(json_object_get(json_array_get(value, j), "name")), name))
                return error_set_at(err, ERROR_VALIDATION_FAILED, at, "is the name of two machines");
        }
    }
    spec->machines = json_deep_copy(value);
    spec->machine_count = json_array_size(value);
    return 0;
}

/* By a VM's own rules: every VM will have them. */
static int decode_labels(const json_t *value, const char *pointer, void *out, struct error *err)
{
    auto_json json_t *probe = json_pack("{s:s, s:O}", "name", "a", "labels", value);
    auto_vm_spec struct vm_spec *decoded = NULL;
    struct set_spec *spec = out;

    (void)pointer;
    if (vm_spec_decode(probe, &decoded, NULL, err))
        return -1;
    json_decref(spec->labels);
    spec->labels = json_deep_copy(value);
    return 0;
}

/* ---- the address plan ---- */

static int decode_nameservers(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct set_spec *spec = out;
    char at[128], index[24];

    if (!json_is_array(value) || json_array_size(value) > VM_NAMESERVERS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an array of at most %d addresses", VM_NAMESERVERS_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));

        snprintf(index, sizeof(index), "%zu", i);
        doc_pointer(at, sizeof(at), pointer, index);
        if (!text || !ipv4_address_ok(text))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at, "must be an IPv4 address");
    }
    json_decref(spec->nameservers);
    spec->nameservers = json_deep_copy(value);
    return 0;
}

#define AT(member) offsetof(struct set_spec, member)

static int decode_addresses(const json_t *value, const char *pointer, void *out, struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "subnet", .kind = DOC_STRING, .required = true, .offset = AT(subnet), .min = 9,
         .max = 64},
        {.name = "first_host", .kind = DOC_INT, .offset = AT(first_host), .min = 1, .max = 16777214},
        {.name = "gateway_host", .kind = DOC_INT, .nullable = true, .offset = AT(gateway_host), .min = 1,
         .max = 16777214},
        {.name = "nameservers", .kind = DOC_CUSTOM, .decode = decode_nameservers},
    };

    if (json_is_null(value))
        return 0;
    return doc_decode(value, pointer, fields, DOC_COUNT(fields), out, err);
}

/* ---- the whole ---- */

static const struct doc_field fields[] = {
    {.name = "count", .kind = DOC_INT, .required = true, .offset = AT(count), .min = 1,
     .max = SET_MEMBERS_MAX},
    {.name = "name_pattern", .kind = DOC_STRING, .nullable = true, .offset = AT(name_pattern), .min = 1,
     .max = PATTERN_MAX},
    {.name = "machines", .kind = DOC_CUSTOM, .required = true, .decode = decode_machines},
    {.name = "labels", .kind = DOC_CUSTOM, .decode = decode_labels},
    {.name = "start", .kind = DOC_BOOL, .offset = AT(start)},
    {.name = "ready_when", .kind = DOC_ENUM, .offset = AT(ready_when), .choices = points},
    {.name = "boot_seconds", .kind = DOC_INT, .offset = AT(boot_seconds), .min = 1, .max = 3600},
    {.name = "wave", .kind = DOC_INT, .nullable = true, .offset = AT(wave), .min = 1, .max = 64},
    {.name = "addresses", .kind = DOC_CUSTOM, .decode = decode_addresses},
    {.name = "ttl_seconds", .kind = DOC_INT, .nullable = true, .offset = AT(ttl_seconds), .min = 1,
     .max = SET_SECONDS_MAX},
    {.name = "on_expiry", .kind = DOC_ENUM, .offset = AT(on_expiry), .choices = expiries},
};
#undef AT

static struct set_spec *spec_new(void)
{
    struct set_spec *spec = xcalloc(1, sizeof(*spec));

    atomic_init(&spec->refs, 1);
    spec->start = true;
    spec->ready_when = WAIT_VM_RUNNING;
    spec->boot_seconds = 300;
    spec->first_host = 10;
    spec->labels = json_object();
    spec->nameservers = json_array();
    return spec;
}

/* As many digits as the last member has, so that names sort as the numbers do. */
static void default_pattern(struct set_spec *spec)
{
    int digits = 2;

    for (int64_t n = spec->count; n >= 100; n /= 10)
        digits++;
    spec->name_pattern = xasprintf("{set}-{n:0%d}%s", digits,
                                   spec->machine_count > 1 ? "-{machine}" : "");
}

/* The set's name is a member of the request only. */
static int take_name(const json_t *object, json_t **ret_rest, char **ret_name, struct error *err)
{
    auto_json json_t *rest = json_copy((json_t *)(uintptr_t)object);
    const json_t *name = json_object_get(object, "name");

    if (!name)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/name", "is required");
    if (!json_is_string(name) || !vm_spec_name_ok(json_string_value(name)))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/name",
                            "must be 1 to 63 lower-case letters, digits and '-', beginning and "
                            "ending with a letter or digit");
    *ret_name = xstrdup(json_string_value(name));
    json_object_del(rest, "name");
    *ret_rest = TAKE_PTR(rest);
    return 0;
}

int set_spec_decode(const json_t *object, struct set_spec **ret, char **ret_name, struct error *err)
{
    auto_set_spec struct set_spec *spec = spec_new();
    auto_json json_t *rest = NULL;
    auto_free char *name = NULL;

    if (ret_name && json_is_object(object)) {
        if (take_name(object, &rest, &name, err))
            return -1;
        object = rest;
    }
    if (doc_decode(object, "", fields, DOC_COUNT(fields), spec, err))
        return -1;
    if (!spec->name_pattern)
        default_pattern(spec);
    if (ret_name)
        *ret_name = TAKE_PTR(name);
    *ret = TAKE_PTR(spec);
    return 0;
}

static json_t *encode_machines(const struct set_spec *spec, bool whole)
{
    json_t *machines = json_deep_copy(spec->machines);
    json_t *machine;
    size_t i;

    /* User data may hold secrets; who made the set knows them. */
    json_array_foreach(machines, i, machine)
    {
        if (!whole)
            json_object_del(machine, "user_data");
    }
    return machines;
}

json_t *set_spec_encode(const struct set_spec *s, bool whole)
{
    json_t *addresses = json_null();

    if (s->subnet)
        addresses = json_pack("{s:s, s:I, s:o, s:O}", "subnet", s->subnet, "first_host",
                              (json_int_t)s->first_host, "gateway_host",
                              s->gateway_host ? json_integer(s->gateway_host) : json_null(),
                              "nameservers", s->nameservers);
    return json_pack("{s:I, s:s, s:o, s:O, s:b, s:s, s:I, s:o, s:o, s:o, s:s}", "count",
                     (json_int_t)s->count, "name_pattern", s->name_pattern, "machines",
                     encode_machines(s, whole), "labels", s->labels, "start", s->start, "ready_when",
                     points[s->ready_when], "boot_seconds", (json_int_t)s->boot_seconds, "wave",
                     s->wave ? json_integer(s->wave) : json_null(), "addresses", addresses,
                     "ttl_seconds", s->ttl_seconds ? json_integer(s->ttl_seconds) : json_null(),
                     "on_expiry", expiries[s->on_expiry]);
}
