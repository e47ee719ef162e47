/* Definitions compared and merged. See manifest.h for what a member that is not named means. */
#include "service/cli/manifest.h"

#include <string.h>

#include "service/base/str.h"

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

/* What the server would take, but never show as it was sent. */
static int check_form(const struct definition *d, const char *where, struct failure *fail)
{
    if (str_eq(d->kind->name, "image") && value_at(d->spec, "source.vm")) {
        failure_set(fail, CLI_USAGE, "%s: an image of a file comes by its url, or by those of its kernel and initrd",
                    where);
        failure_remedy(fail, "An image of a VM's disk is made with drover image publish.");
        return -1;
    }
    if (d->kind->by_label && value_at(d->spec, "labels.name"))
        return failure_set(fail, CLI_USAGE, "%s: the label `name` of a %s is the definition's name: leave it out",
                           where, d->kind->name);
    return 0;
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
    return check_form(ret, where, fail);
}

/* Stable: all are few. */
void definitions_sort(struct definition *all, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct definition moved = all[i];
        size_t at = i;

        for (; at > 0 && all[at - 1].kind > moved.kind; at--)
            all[at] = all[at - 1];
        all[at] = moved;
    }
}

/* ---- what a server shows ---- */

static void put_secret(json_t *spec, const char *path, const char *secret)
{
    const char *dot = strchr(path, '.');
    auto_free char *outer = dot ? xstrndup(path, (size_t)(dot - path)) : NULL;
    json_t *into = outer ? json_object_get(spec, outer) : spec;

    json_object_set_new(into, dot ? dot + 1 : path, json_string(secret));
}

/* Uploaded, or made of a VM: nobody can fetch it again. */
static bool is_local_source(const char *name, const json_t *value)
{
    return str_eq(name, "source") && !value_at(value, "url") && !value_at(value, "kernel");
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
        } else if (value && !(m->flags & SPEC_ONCE) && !is_local_source(m->name, value)) {
            json_object_set_new(spec, m->name, json_deep_copy(value));
        }
    }
    if (kind->by_label)
        json_object_del(json_object_get(spec, "labels"), "name");
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

/* Is there something to compare? What is fixed keeps its default. */
static bool speaks_of(const struct spec_member *m, const json_t *wanted)
{
    return wanted && !(m->flags & SPEC_ONCE) && !((m->flags & SPEC_FIXED) && json_is_null(wanted));
}

/* The user data of a set's machines is never shown. */
static json_t *without_hidden(const char *name, json_t *wanted)
{
    json_t *machines, *machine;
    size_t i;

    if (!str_eq(name, "machines"))
        return json_incref(wanted);
    machines = json_deep_copy(wanted);
    json_array_foreach(machines, i, machine)
        json_object_del(machine, "user_data");
    return machines;
}

json_t *definition_seen(const struct kind *kind, const json_t *have, const json_t *want)
{
    json_t *result = json_object();

    for (const struct spec_member *m = kind->members; m->name; m++) {
        const json_t *wanted = json_object_get(want, m->name), *own = json_object_get(have, m->name);

        if (!speaks_of(m, wanted))
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

        if (speaks_of(m, wanted))
            json_object_set_new(result, m->name, without_hidden(m->name, wanted));
    }
    return result;
}

const char *definition_fixed(const struct kind *kind, const json_t *have, const json_t *want)
{
    auto_value json_t *before = definition_seen(kind, have, want);
    auto_value json_t *after = definition_wanted(kind, want);

    for (const struct spec_member *m = kind->members; m->name; m++) {
        json_t *wanted = json_object_get(after, m->name);

        if ((m->flags & SPEC_FIXED) && wanted && !json_equal(wanted, json_object_get(before, m->name)))
            return m->name;
    }
    return NULL;
}

json_t *definition_part(const struct kind *kind, const json_t *want, bool later)
{
    json_t *part = json_object();

    for (const struct spec_member *m = kind->members; m->name; m++) {
        json_t *wanted = json_object_get(want, m->name);

        if (wanted && !(m->flags & SPEC_LATER) == !later)
            json_object_set(part, m->name, wanted);
    }
    return part;
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
        if (is_whole(member) && json_is_object(value) && !kind->by_label) {
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
