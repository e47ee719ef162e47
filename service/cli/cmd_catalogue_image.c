/*
 * An entry of a catalogue that is an image of this server: what is said of it is fetched, its files
 * lie in the folder.
 */
#include "service/cli/cmd_catalogue.h"

#include <string.h>

#include "service/base/secret.h"
#include "service/base/str.h"

/* NAME.qcow2, NAME.kernel … unless the entry says where. */
static void name_files(json_t *entry, const json_t *image, const char *name)
{
    const char *kind = value_text(image, "kind", ""), *format = value_text(image, "format", "iso"), *part;
    json_t *files = json_object_get(entry, "files"), *file;

    if (!files) {
        files = json_object();
        json_object_set_new(entry, "files", files);
    }
    json_object_foreach(json_object_get(image, "files"), part, file) {
        auto_free char *path = xasprintf("%s.%s", name, str_eq(kind, "kernel") ? part : format);

        if (!json_object_get(files, part))
            json_object_set_new(files, part, json_pack("{s:s}", "path", path));
    }
}

static int fetch_screenshot(struct cli *cli, const char *id, json_t *entry, struct failure *fail)
{
    auto_free char *path = xasprintf("/v1/images/%s/screenshot", id), *text = NULL;
    struct client_request r = {.path = path, .accept = "image/png"};
    auto_answer struct answer a = {0};

    if (client_do(cli->client, &r, &a, fail))
        return -1;
    text = secret_to_base64(a.text, a.len);
    json_object_set_new(entry, "screenshot", json_string(text));
    return 0;
}

int catalogue_fill(struct cli *cli, json_t *entry, json_t **ret_image, struct failure *fail)
{
    static const char *const members[] = {"kind",  "format",       "cmdline",          "title", "description",
                                          "notes", "architecture", "expected_console", "vm"};
    const char *name = value_text(entry, "image", NULL);
    auto_free char *id = url_escape(name), *path = xasprintf("/v1/images/%s", id);
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (!str_eq(value_text(a.value, "state", ""), "ready"))
        return failure_set(fail, CLI_CONFLICT, "the image %s is %s", name, value_text(a.value, "state", ""));
    if (!json_object_get(entry, "name"))
        json_object_set_new(entry, "name", json_string(name));
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
        json_t *value = json_object_get(a.value, members[i]);

        if (!json_object_get(entry, members[i]) && value && !json_is_null(value))
            json_object_set(entry, members[i], value);
    }
    name_files(entry, a.value, name);
    *ret_image = json_incref(a.value);
    json_object_del(entry, "image");
    return value_true(a.value, "has_screenshot") && !json_object_get(entry, "screenshot")
               ? fetch_screenshot(cli, id, entry, fail)
               : 0;
}

int catalogue_check(const json_t *image, const json_t *entry, struct failure *fail)
{
    json_t *file;
    const char *part;

    json_object_foreach(json_object_get(image, "files"), part, file) {
        const json_t *ours = json_object_get(json_object_get(entry, "files"), part);

        if (!str_eq(value_text(ours, "sha256", ""), value_text(file, "sha256", "-")))
            return failure_set(fail, CLI_CONFLICT, "%s does not hold the %s of the image %s",
                               value_text(ours, "path", "nothing"), part, value_text(image, "name", ""));
    }
    return 0;
}
