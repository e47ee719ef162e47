/* Definitions compared and merged. See manifest.h for what a member that is not named means. */
#include "service/cli/manifest.h"

#include <string.h>

#include "service/base/str.h"

static const struct spec_member label_members[] = {
    {"image", SPEC_IMAGE, "image_name"},
    {"keep", 0, NULL},
    {0}};

static const struct spec_member pool_members[] = {
    {"vm", 0, NULL},
    {"vm.user_data", SPEC_SECRET, NULL},
    {"depth", 0, NULL},
    {"ready_when", 0, NULL},
    {"ready", 0, NULL},
    {"max", 0, NULL},
    {"per_holder", 0, NULL},
    {"boot_seconds", 0, NULL},
    {"recycle_seconds", 0, NULL},
    {"ttl_seconds", 0, NULL},
    {"max_seconds", 0, NULL},
    {0}};

static const struct spec_member vm_members[] = {
    {"description", SPEC_SPARSE, NULL},
    {"labels", SPEC_SPARSE, NULL},
    {"cpus", 0, NULL},
    {"memory_mib", 0, NULL},
    {"machine", 0, NULL},
    {"firmware", 0, NULL},
    {"acceleration", 0, NULL},
    {"image", SPEC_IMAGE, NULL},
    {"cmdline", 0, NULL},
    {"root_disk_gib", 0, NULL},
    {"disks", SPEC_SPARSE, NULL},
    {"networks", 0, NULL},
    {"channels", SPEC_SPARSE, NULL},
    {"serial_ports", 0, NULL},
    {"ready_pattern", 0, NULL},
    {"guest_agent", 0, NULL},
    {"vsock", 0, NULL},
    {"display", 0, NULL},
    {"memory_merge", 0, NULL},
    {"autostart", 0, NULL},
    {"record_console", 0, NULL},
    {"cloud_init", 0, NULL},
    {"ssh_keys", SPEC_SPARSE, NULL},
    {"user_data", SPEC_SECRET, NULL},
    {"start", SPEC_ONCE, NULL},
    {0}};

/* In the order of an export without kinds, which is one in which they can be applied. */
const struct kind kinds[] = {
    {"label", "/v1/image-labels", "putImageLabel", true, false, "", label_members},
    {"pool", "/v1/pools", "PoolPut", true, true, "?limit=200", pool_members},
    {"vm", "/v1/vms", "VmCreate", false, true, "?limit=1000", vm_members},
    {0}};

const struct kind *kind_find(const char *name)
{
    for (const struct kind *k = kinds; name && k->name; k++) {
        size_t len = strlen(k->name);

        if (str_starts(name, k->name) && (!name[len] || str_eq(name + len, "s")))
            return k;
    }
    return NULL;
}

/* ---- reading ---- */

static char *kind_names(void)
{
    auto_strbuf struct strbuf b = {0};

    for (const struct kind *k = kinds; k->name; k++)
        strbuf_addf(&b, "%s%s", k == kinds ? "" : k[1].name ? ", " : " or ", k->name);
    return strbuf_take(&b);
}

static bool has_member(const struct kind *kind, const char *name)
{
    for (const struct spec_member *m = kind->members; m->name; m++) {
        if (str_eq(m->name, name))
            return true;
    }
    return false;
}

int definition_read(const json_t *document, const char *where, struct definition *ret,
                    struct failure *fail)
{
    const char *kind = value_text(document, "kind", NULL), *name = value_text(document, "name", NULL);
    const json_t *spec = value_at(document, "spec");
    const char *member;
    json_t *value;

    if (!json_is_object(document) || !kind || !name || !json_is_object(spec))
        return failure_set(fail, CLI_USAGE, "%s: a definition has the members kind, name and spec", where);
    ret->kind = kind_find(kind);
    if (!ret->kind || !str_eq(ret->kind->name, kind)) {
        auto_free char *names = kind_names();

        return failure_set(fail, CLI_USAGE, "%s: kind must be %s, not '%s'", where, names, kind);
    }
    json_object_foreach((json_t *)(uintptr_t)document, member, value) {
        if (!str_eq(member, "kind") && !str_eq(member, "name") && !str_eq(member, "spec"))
            return failure_set(fail, CLI_USAGE, "%s: a definition has no member '%s' beside kind, name and spec",
                               where, member);
    }
    /* A newer server may know more; what this command cannot compare it must not pretend to. */
    json_object_foreach((json_t *)(uintptr_t)spec, member, value) {
        if (!has_member(ret->kind, member))
            return failure_set(fail, CLI_USAGE, "%s: the spec of a %s has no member '%s'", where, kind, member);
    }
    ret->name = name;
    ret->spec = spec;
    return 0;
}

/* ---- what a server shows ---- */

static void put_secret(json_t *spec, const char *path, const char *secret)
{
    const char *dot = strchr(path, '.');
    auto_free char *outer = dot ? xstrndup(path, (size_t)(dot - path)) : NULL;
    json_t *into = outer ? json_object_get(spec, outer) : spec;

    json_object_set_new(into, dot ? dot + 1 : path, json_string(secret));
}

json_t *definition_spec(const struct kind *kind, const json_t *object, const char *secret)
{
    json_t *spec = json_object();

    for (const struct spec_member *m = kind->members; m->name; m++) {
        const json_t *value = value_at(object, m->from ? m->from : m->name);

        if (!value && (m->flags & SPEC_IMAGE)) /* an image that has lost its name */
            value = value_at(object, "image_id");
        if (m->flags & SPEC_SECRET) {
            if (secret)
                put_secret(spec, m->name, secret);
        } else if (value && !(m->flags & SPEC_ONCE)) {
            json_object_set_new(spec, m->name, json_deep_copy(value));
        }
    }
    return spec;
}

static bool is_empty(const json_t *value)
{
    return (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

json_t *definition_sparse(const struct kind *kind, const json_t *spec)
{
    json_t *sparse = json_copy((json_t *)(uintptr_t)spec);

    for (const struct spec_member *m = kind->members; m->name; m++) {
        if ((m->flags & SPEC_SPARSE) && is_empty(json_object_get(sparse, m->name)))
            json_object_del(sparse, m->name);
    }
    return sparse;
}

/* ---- comparing ---- */

/* Labels are one value: who names them names all of them. */
static bool is_whole(const char *name)
{
    return str_eq(name, "labels");
}

static json_t *seen(const char *name, const json_t *have, const json_t *want)
{
    json_t *result;
    const char *member;
    json_t *wanted;
    size_t i;

    if (json_is_object(have) && json_is_object(want) && !is_whole(name)) {
        result = json_object();
        json_object_foreach((json_t *)(uintptr_t)want, member, wanted) {
            json_t *own = json_object_get(have, member);

            if (own || json_is_null(wanted))
                json_object_set_new(result, member, own ? seen(member, own, wanted) : json_null());
        }
        return result;
    }
    if (json_is_array(have) && json_is_array(want)) {
        result = json_array();
        json_array_foreach((json_t *)(uintptr_t)have, i, wanted)
            json_array_append_new(result, i < json_array_size(want)
                                              ? seen("", wanted, json_array_get(want, i))
                                              : json_deep_copy(wanted));
        return result;
    }
    return json_deep_copy(have);
}

json_t *definition_seen(const struct kind *kind, const json_t *have, const json_t *want)
{
    json_t *result = json_object();

    for (const struct spec_member *m = kind->members; m->name; m++) {
        const json_t *wanted = json_object_get(want, m->name), *own = json_object_get(have, m->name);

        if (!wanted || (m->flags & SPEC_ONCE))
            continue;
        if (own)
            json_object_set_new(result, m->name, seen(m->name, own, wanted));
        else if (json_is_null(wanted))
            json_object_set_new(result, m->name, json_null());
    }
    return result;
}

json_t *definition_wanted(const struct kind *kind, const json_t *want)
{
    json_t *result = json_object();

    for (const struct spec_member *m = kind->members; m->name; m++) {
        json_t *wanted = json_object_get(want, m->name);

        if (wanted && !(m->flags & SPEC_ONCE))
            json_object_set(result, m->name, wanted);
    }
    return result;
}

/* ---- what to send ---- */

/* want laid over have: what the server filled in stays. */
static json_t *over(const char *name, const json_t *have, const json_t *want)
{
    json_t *result, *value;
    const char *member;
    size_t i;

    if (json_is_object(have) && json_is_object(want) && !is_whole(name)) {
        result = json_copy((json_t *)(uintptr_t)have);
        json_object_foreach((json_t *)(uintptr_t)want, member, value)
            json_object_set_new(result, member, over(member, json_object_get(have, member), value));
        return result;
    }
    if (json_is_array(have) && json_is_array(want)) {
        result = json_array();
        json_array_foreach((json_t *)(uintptr_t)want, i, value)
            json_array_append_new(result, over("", json_array_get(have, i), value));
        return result;
    }
    return json_incref((json_t *)(uintptr_t)want);
}

json_t *definition_patch(const struct kind *kind, const json_t *have, const json_t *want)
{
    auto_value json_t *before = definition_seen(kind, have, want);
    auto_value json_t *after = definition_wanted(kind, want);
    json_t *patch = json_object(), *value;
    const char *member;

    json_object_foreach(after, member, value) {
        const json_t *own = json_object_get(have, member);
        json_t *change;
        const char *label;
        json_t *ignored;

        if (json_equal(json_object_get(before, member), value))
            continue;
        change = over(member, own, value);
        if (is_whole(member) && json_is_object(value)) {
            json_t *all = json_copy(change);

            json_decref(change);
            change = all;
            json_object_foreach((json_t *)(uintptr_t)own, label, ignored) {
                if (!json_object_get(change, label))
                    json_object_set_new(change, label, json_null());
            }
        }
        json_object_set_new(patch, member, change);
    }
    return patch;
}

json_t *definition_whole(const struct kind *kind, const json_t *have, const json_t *want)
{
    auto_value json_t *wanted = definition_wanted(kind, want);

    return over("", have, wanted);
}

/* ---- the table for programs ---- */

json_t *kinds_value(void)
{
    json_t *all = json_array();

    for (const struct kind *k = kinds; k->name; k++) {
        json_t *members = json_array();

        for (const struct spec_member *m = k->members; m->name; m++)
            json_array_append_new(members, json_string(m->name));
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:o}", "kind", k->name, "path", k->path,
                                             "schema", k->schema, "members", members));
    }
    return all;
}
