/* Reads what a server has of a definition: the object, what it hides, what its image is called. */
#include "service/cli/manifest_server.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"

int definition_secret(struct cli *cli, const char *path, const json_t *object, char **ret,
                      struct failure *fail)
{
    auto_free char *below = xasprintf("%s/user-data", path);
    struct client_request r = {.path = below, .accept = "text/plain"};
    auto_answer struct answer a = {0};

    if (!value_true(object, "has_user_data"))
        return 0;
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    *ret = TAKE_PTR(a.text);
    return 0;
}

const char *definition_name(const struct kind *kind, const json_t *object)
{
    return kind->by_label ? value_text(object, "labels.name", value_text(object, "id", ""))
                          : value_text(object, "name", "");
}

static bool has_limit(const json_t *quota)
{
    const char *resource;
    json_t *limit;

    json_object_foreach((json_t *)(uintptr_t)quota, resource, limit) {
        if (!json_is_null(limit))
            return true;
    }
    return false;
}

bool definition_is_nobodys(const struct kind *kind, const json_t *object)
{
    const char *state = value_text(object, "state", "");

    if (str_eq(kind->name, "vm"))
        return value_text(object, "pool_id", NULL) || value_text(object, "lease_id", NULL) || value_at(object, "set");
    if (str_eq(kind->name, "image"))
        return str_eq(state, "retired") || str_eq(state, "failed") || str_eq(state, "empty");
    return str_eq(kind->name, "project") && str_eq(value_text(object, "name", NULL), "default") &&
           !has_limit(value_at(object, "quota")) && value_true(object, "memory_merge") &&
           !json_array_size(value_at(object, "merge_with"));
}

static bool wants_secret(const struct kind *kind, const json_t *want)
{
    for (const struct spec_member *m = kind->members; m->name; m++) {
        if ((m->flags & SPEC_SECRET) && json_object_get(value_at(want, strchr(m->name, '.') ? "vm" : ""), "user_data"))
            return true;
    }
    return false;
}

/* Another word for the image that the server has is no difference: use the file's. */
static int settle_image(struct cli *cli, const struct definition *d, const json_t *object, json_t *have,
                        struct failure *fail)
{
    for (const struct spec_member *m = d->kind->members; m->name; m++) {
        const char *own = value_text(have, m->name, NULL), *wanted = value_text(d->spec, m->name, NULL);
        auto_free char *id = wanted ? url_escape(wanted) : NULL;
        auto_free char *path = id ? xasprintf("/v1/images/%s", id) : NULL;
        auto_answer struct answer a = {0};

        if (!(m->flags & SPEC_IMAGE) || !own || !wanted || str_eq(own, wanted))
            continue;
        if (client_get(cli->client, path, &a, fail)) {
            if (fail->exit != CLI_NOT_FOUND)
                return -1;
        } else if (str_eq(value_text(a.value, "id", ""), value_text(object, "image_id", NULL))) {
            json_object_set_new(have, m->name, json_string(wanted));
        }
    }
    return 0;
}

/* ---- finding ---- */

void found_done(struct found *f)
{
    json_decref(f->have);
    free(f->etag);
    free(f->path);
    free(f->name_label);
    free(f->id);
    free(f->state);
}

/* By its id, or by its label `name`, of which there must be one. *ret borrows from all. */
static int find_labelled(const struct definition *d, const json_t *all, const json_t **ret, struct failure *fail)
{
    const json_t *object;
    size_t i;

    *ret = NULL;
    json_array_foreach(json_object_get(all, "items"), i, object) {
        if (!str_eq(value_text(object, "id", NULL), d->name) &&
            !str_eq(value_text(object, "labels.name", NULL), d->name))
            continue;
        if (*ret) {
            failure_set(fail, CLI_CONFLICT, "%s and %s both have the label name=%s", value_text(*ret, "id", ""),
                        value_text(object, "id", ""), d->name);
            failure_remedy(fail, "Delete one of them, or give the definition the id of the one that is meant.");
            return -1;
        }
        *ret = object;
    }
    return 0;
}

/* The object, borrowed from what `keep` and `answer` own; *ret stays NULL when there is none. */
static int find_object(struct cli *cli, const struct definition *d, struct answer *answer, json_t **keep,
                       struct found *f, const json_t **ret, struct failure *fail)
{
    auto_free char *id = url_escape(d->name), *list = NULL;

    *ret = NULL;
    if (!d->kind->by_label) {
        f->path = xasprintf("%s/%s", d->kind->path, id);
        if (client_get(cli->client, f->path, answer, fail) == 0)
            *ret = answer->value;
        else if (fail->exit != CLI_NOT_FOUND)
            return -1;
        else
            *fail = (struct failure){.exit = CLI_FAILED};
        return 0;
    }
    list = xasprintf("%s%s", d->kind->path, d->kind->list);
    if (cli_get_all(cli, list, keep, fail) || find_labelled(d, *keep, ret, fail))
        return -1;
    if (*ret)
        f->path = xasprintf("%s/%s", d->kind->path, value_text(*ret, "id", ""));
    return 0;
}

int definition_get(struct cli *cli, const struct definition *d, bool whole, struct found *ret,
                   struct failure *fail)
{
    auto_value json_t *all = NULL;
    auto_answer struct answer a = {0};
    auto_free char *secret = NULL;
    const json_t *object;

    if (find_object(cli, d, &a, &all, ret, &object, fail))
        return -1;
    if (!object)
        return 0;
    if ((whole || wants_secret(d->kind, d->spec)) && definition_secret(cli, ret->path, object, &secret, fail))
        return -1;
    ret->have = definition_spec(d->kind, object, secret);
    ret->etag = xstrdup_null(value_text(object, "etag", NULL));
    ret->name_label = d->kind->by_label ? xstrdup_null(value_text(object, "labels.name", NULL)) : NULL;
    ret->id = xstrdup_null(value_text(object, "id", NULL));
    ret->state = xstrdup_null(value_text(object, "state", NULL));
    return settle_image(cli, d, object, ret->have, fail);
}
