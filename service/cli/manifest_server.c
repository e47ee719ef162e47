/* Reads what a server has of a definition: the object, what it hides, what its image is called. */
#include "service/cli/manifest_server.h"

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

int definition_get(struct cli *cli, const struct definition *d, bool whole, json_t **ret_have,
                   char **ret_etag, struct failure *fail)
{
    auto_free char *id = url_escape(d->name), *secret = NULL;
    auto_free char *path = xasprintf("%s/%s", d->kind->path, id);
    auto_answer struct answer a = {0};
    auto_value json_t *have = NULL;

    if (client_get(cli->client, path, &a, fail)) {
        if (fail->exit != CLI_NOT_FOUND)
            return -1;
        *fail = (struct failure){.exit = CLI_FAILED};
        return 0;
    }
    if ((whole || wants_secret(d->kind, d->spec)) && definition_secret(cli, path, a.value, &secret, fail))
        return -1;
    have = definition_spec(d->kind, a.value, secret);
    if (settle_image(cli, d, a.value, have, fail))
        return -1;
    *ret_etag = xstrdup_null(value_text(a.value, "etag", NULL));
    *ret_have = TAKE_PTR(have);
    return 0;
}
