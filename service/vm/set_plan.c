/*
 * From a set's definition to the VMs it stands for: names, addresses of cards, IP addresses. Pure,
 * so that the same set always gives the same VMs, whenever one of them has to be made again.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/ipv4.h"
#include "service/vm/set.h"

#define PLAN_BYTES_MAX (64u << 20) /* definitions of one set, which are written at once */

struct maker {
    const struct set_spec *spec;
    const char *name, *salt;
    int64_t member;
    size_t machine;
};

/* ---- patterns ---- */

/* "{n}" or "{n:03}" at p: the number's width, and where it ends; NULL: neither. */
static const char *number_token(const char *p, int *ret_width)
{
    *ret_width = 0;
    if (!str_starts(p, "{n"))
        return NULL;
    p += 2;
    if (*p == ':') {
        for (p++; *p >= '0' && *p <= '9' && *ret_width < 10; p++)
            *ret_width = *ret_width * 10 + (*p - '0');
        if (*ret_width < 1 || *ret_width > 9)
            return NULL;
    }
    return *p == '}' ? p + 1 : NULL;
}

static int fill_in(const struct maker *m, const char *pattern, const char *pointer, char *ret,
                   size_t size, struct error *err)
{
    auto_strbuf struct strbuf b = {0};
    int width;

    for (const char *p = pattern; *p;) {
        const char *after = number_token(p, &width);

        if (after) {
            strbuf_addf(&b, "%0*lld", width, (long long)m->member);
            p = after;
        } else if (str_starts(p, "{set}")) {
            strbuf_adds(&b, m->name);
            p += strlen("{set}");
        } else if (str_starts(p, "{machine}")) {
            strbuf_adds(&b, set_machine_name(m->spec, m->machine));
            p += strlen("{machine}");
        } else if (*p == '{' || *p == '}') {
            error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "has a brace that opens nothing known");
            error_remedy(err, "Known are {set}, {machine}, {n} and, with leading zeros, {n:02}.");
            return -1;
        } else {
            strbuf_addc(&b, *p++);
        }
    }
    if (b.len >= size)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "makes a text of %zu bytes for member %lld, which is too long", b.len,
                            (long long)m->member);
    memcpy(ret, b.data ? b.data : "", b.len);
    ret[b.len] = '\0';
    return 0;
}

/* ---- cards ---- */

/*
 * The same set gives its machines the same cards each time it is made, so that a DHCP server's
 * table or a firewall's rules outlive it.
 */
static void card_mac(const struct maker *m, size_t card, char ret[18])
{
    auto_free char *text = xasprintf("%s/%s/%lld/%s/%zu", m->salt, m->name, (long long)m->member,
                                     set_machine_name(m->spec, m->machine), card);
    uint8_t hash[SECRET_SHA256_SIZE];

    secret_sha256(text, strlen(text), hash);
    snprintf(ret, 18, "02:%02x:%02x:%02x:%02x:%02x", hash[0], hash[1], hash[2], hash[3], hash[4]);
}

/* A subnet without a number in it is everybody's: its hosts are dealt out one after the other. */
static int64_t host_number(const struct maker *m)
{
    int64_t index = (int64_t)m->machine;

    if (!strchr(m->spec->subnet, '{'))
        index += (m->member - 1) * (int64_t)m->spec->machine_count;
    return m->spec->first_host + index;
}

static int add_address(const struct maker *m, json_t *network, struct error *err)
{
    const struct set_spec *s = m->spec;
    int64_t host = host_number(m);
    char text[64], address[IPV4_TEXT];
    uint32_t base, hosts;
    unsigned prefix;

    if (fill_in(m, s->subnet, "/addresses/subnet", text, sizeof(text), err))
        return -1;
    if (!ipv4_cidr_parse(text, &base, &prefix) || prefix < 8 || prefix > 30 ||
        (base & ipv4_host_mask(prefix)))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/addresses/subnet",
                            "gives member %lld \"%s\", which is not a network like 10.40.7.0/24 "
                            "(prefix 8 to 30, no host bits)",
                            (long long)m->member, text);
    hosts = ipv4_host_mask(prefix);
    if (host >= hosts) {
        error_set_at(err, ERROR_VALIDATION_FAILED, "/addresses/first_host",
                     "leaves no address for %s of member %lld: %s has hosts 1 to %u",
                     set_machine_name(s, m->machine), (long long)m->member, text, hosts - 1);
        error_remedy(err, "Take a larger network, or one for each member: 10.40.{n}.0/24.");
        return -1;
    }
    if (s->gateway_host >= hosts || s->gateway_host == host)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/addresses/gateway_host",
                            s->gateway_host == host ? "is the address of a machine (%s)"
                                                    : "is beyond the network (%s)",
                            text);
    ipv4_cidr_format(base + (uint32_t)host, prefix, address);
    json_object_set_new(network, "address", json_string(address));
    if (s->gateway_host) {
        ipv4_format(base + (uint32_t)s->gateway_host, address);
        json_object_set_new(network, "gateway", json_string(address));
    }
    if (json_array_size(s->nameservers))
        json_object_set(network, "nameservers", s->nameservers);
    return 0;
}

static int add_cards(const struct maker *m, json_t *vm, struct error *err)
{
    json_t *networks = json_object_get(vm, "networks"), *network;
    char pointer[128], mac[18], source[VM_NAME_MAX + 2];
    size_t i;

    if (!networks) {
        networks = json_pack("[{s:s}]", "mode", "user");
        json_object_set_new(vm, "networks", networks);
    }
    json_array_foreach(networks, i, network)
    {
        const char *pattern = json_string_value(json_object_get(network, "source"));

        if (!json_is_object(network))
            break; /* decoding says what is wrong */
        if (pattern) {
            snprintf(pointer, sizeof(pointer), "/machines/%zu/networks/%zu/source", m->machine, i);
            if (fill_in(m, pattern, pointer, source, sizeof(source), err))
                return -1;
            json_object_set_new(network, "source", json_string(source));
        }
        card_mac(m, i, mac);
        json_object_set_new(network, "mac", json_string(mac));
        if (i == 0 && m->spec->subnet && add_address(m, network, err))
            return -1;
    }
    return 0;
}

/* ---- one VM ---- */

/* The set's labels are everybody's; a machine's own of the same key win. */
static void add_labels(const struct maker *m, json_t *vm)
{
    json_t *labels = json_copy(m->spec->labels);
    json_t *own = json_object_get(vm, "labels");

    if (json_is_object(own))
        json_object_update(labels, own);
    if (!own || json_is_object(own))
        json_object_set(vm, "labels", labels);
    json_decref(labels);
}

static int name_vm(const struct maker *m, json_t *vm, struct error *err)
{
    char name[2 * VM_NAME_MAX];

    if (fill_in(m, m->spec->name_pattern, "/name_pattern", name, sizeof(name), err))
        return -1;
    if (!vm_spec_name_ok(name)) {
        error_set_at(err, ERROR_VALIDATION_FAILED, "/name_pattern", "makes the name \"%s\"", name);
        error_remedy(err, "A name has 1 to 63 lower-case letters, digits and '-', and begins and "
                          "ends with a letter or digit.");
        return -1;
    }
    json_object_set_new(vm, "name", json_string(name));
    return 0;
}

int set_slot_make(const struct set_spec *spec, const char *name, const char *salt,
                  struct set_slot *slot, struct error *err)
{
    const struct maker m = {spec, name, salt, slot->member, slot->machine};
    auto_json json_t *vm = json_deep_copy(json_array_get(spec->machines, slot->machine));
    char at[160];

    if (name_vm(&m, vm, err) || add_cards(&m, vm, err))
        return -1;
    add_labels(&m, vm);
    if (vm_spec_decode(vm, &slot->spec, NULL, err) == 0)
        return 0;
    snprintf(at, sizeof(at), "/machines/%zu%s", slot->machine, err->pointer);
    str_copy_utf8(err->pointer, sizeof(err->pointer), at);
    return -1;
}

/* ---- all of them ---- */

void set_plan_done(struct set_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        vm_spec_unref(plan->slots[i].spec);
    free(plan->slots);
    *plan = (struct set_plan){0};
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *slot_name(const struct set_slot *slot)
{
    return slot->spec->name;
}

static const char *slot_address(const struct set_slot *slot)
{
    return slot->spec->network_count ? slot->spec->networks[0].address : NULL;
}

static const char *slot_mac(const struct set_slot *slot)
{
    return slot->spec->network_count ? slot->spec->networks[0].mac : NULL;
}

/* What two of them have in common, or NULL. */
static const char *twice(const struct set_plan *plan, const char *(*get)(const struct set_slot *))
{
    auto_free const char **texts = xcalloc(plan->count + 1, sizeof(*texts));
    size_t n = 0;

    for (size_t i = 0; i < plan->count; i++) {
        const char *text = get(&plan->slots[i]);

        if (text)
            texts[n++] = text;
    }
    qsort(texts, n, sizeof(*texts), compare);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(texts[i - 1], texts[i]) == 0)
            return texts[i];
    }
    return NULL;
}

static int check_apart(const struct set_plan *plan, struct error *err)
{
    const char *text = twice(plan, slot_name);

    if (text) {
        error_set_at(err, ERROR_VALIDATION_FAILED, "/name_pattern", "gives two VMs the name %s", text);
        error_remedy(err, "Put {n} and, with several machines, {machine} into it.");
        return -1;
    }
    text = twice(plan, slot_address);
    if (text)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/addresses/subnet",
                            "gives two VMs the address %s", text);
    text = twice(plan, slot_mac);
    if (text)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/name",
                            "gives two cards the address %s; choose another name", text);
    return 0;
}

int set_plan_make(const struct set_spec *spec, const char *name, const char *salt,
                  struct set_plan *ret, struct error *err)
{
    size_t total = (size_t)spec->count * spec->machine_count, bytes = 0;
    auto_set_plan struct set_plan plan = {.slots = xcalloc(total, sizeof(*plan.slots))};

    for (int64_t member = 1; member <= spec->count; member++) {
        for (size_t machine = 0; machine < spec->machine_count; machine++) {
            struct set_slot slot = {.member = member, .machine = machine};

            if (set_slot_make(spec, name, salt, &slot, err))
                return -1;
            plan.slots[plan.count++] = slot;
            bytes += slot.spec->user_data ? strlen(slot.spec->user_data) : 0;
            if (bytes > PLAN_BYTES_MAX) {
                error_set_at(err, ERROR_VALIDATION_FAILED, "/machines",
                             "have more than %u MiB of user data altogether", PLAN_BYTES_MAX >> 20);
                error_remedy(err, "Have the guests fetch what is large, or make several sets.");
                return -1;
            }
        }
    }
    if (check_apart(&plan, err))
        return -1;
    *ret = plan;
    plan = (struct set_plan){0};
    return 0;
}
