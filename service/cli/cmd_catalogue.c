/*
 * `catalogue`: entries and sources on a server, and building a source of one's own: an index over a
 * folder of images, signed, for any web server. `image test` boots an entry or image and looks for
 * its pattern on the console.
 */
#include "service/cli/cmd_catalogue.h"

#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/hash.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/cli/print.h"

#define BOOK_MAX   ((size_t)4 << 20)
#define KEY_MAX    4096
#define SHOT_MAX   (190 * 1024)
#define POLL_MS    500

/* ---- on a server ---- */

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"ENTRY", "CATALOGUE", "KIND", ">REVISION", ">SIZE", "TITLE"};
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 6);
    const json_t *entry;
    size_t i;

    if (cli_get_all(cli, "/v1/catalogue", &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, entry) {
        double size = 0;

        value_number(entry, "size_bytes", &size);
        table_cell(t, value_text(entry, "name", NULL));
        table_cell(t, value_text(entry, "catalogue", NULL));
        table_cell(t, value_text(entry, "kind", NULL));
        table_cell_take(t, value_show("revision", value_at(entry, "revision")));
        table_cell_take(t, print_bytes(size));
        table_cell(t, value_text(entry, "title", NULL));
    }
    table_print(t, stdout, "The catalogue is empty. Add a source: drover catalogue create NAME URL --key FILE");
    return 0;
}

static int read_text(const char *path, size_t max, char **ret, struct failure *fail)
{
    struct error err = ERROR_INIT;
    size_t len;
    int rc = file_read(path, max, ret, &len, &err);

    if (rc == 1)
        return 0;
    return rc ? failure_from_error(fail, &err)
              : failure_set(fail, CLI_USAGE, "there is no file %s", path);
}

static int run_add(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *key = NULL;
    auto_value json_t *body = NULL;
    struct client_request r = {.method = "POST", .path = "/v1/catalogue-sources"};
    auto_answer struct answer a = {0};
    const char *kind = args_text(args, "kind", "drover"), *file = args_text(args, "key", NULL);

    if (!file)
        return failure_set(fail, CLI_USAGE, "name the public key that signed the index: --key FILE");
    if (read_text(file, 32768, &key, fail))
        return -1;
    if (str_eq(kind, "drover"))
        key[strcspn(key, "\r\n")] = '\0';
    body = json_pack("{s:s, s:s, s:s, s:s}", "name", args->operand[0], "kind", kind, "url",
                     args->operand[1], "key", key);
    r.body = body;
    if (!body)
        return failure_set(fail, CLI_USAGE, "the options must be UTF-8");
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    auto_free char *entries = value_show("entries", value_at(a.value, "entries"));
    printf("%s %s entries\n", args->operand[0], entries);
    return 0;
}

static int source_request(struct cli *cli, const char *method, const char *name, const char *tail,
                          struct failure *fail)
{
    auto_free char *id = url_escape(name);
    auto_free char *path = xasprintf("/v1/catalogue-sources/%s%s", id, tail);
    struct client_request r = {.method = method, .path = path};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    return cli->json ? cli_print_json(&a) : 0;
}

static int run_remove(struct cli *cli, const struct args *args, struct failure *fail)
{
    return source_request(cli, "DELETE", args->operand[0], "", fail);
}

static int run_refresh(struct cli *cli, const struct args *args, struct failure *fail)
{
    return source_request(cli, "POST", args->operand[0], "/refresh", fail);
}

/* The VM of an entry; *ret is the answer's value and the caller's. */
static int start_entry(struct cli *cli, const char *entry, const char *name, json_t **ret,
                       struct failure *fail)
{
    auto_free char *id = url_escape(entry);
    auto_free char *path = xasprintf("/v1/catalogue/%s/run", id);
    auto_value json_t *body = json_pack("{s:s*}", "name", name), *op = NULL;
    struct client_request r = {.method = "POST", .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (!body)
        return failure_set(fail, CLI_USAGE, "the name must be UTF-8");
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    *ret = json_incref(a.value);
    return cli_watch_operation(cli, value_text(value_at(a.value, "operation"), "id", ""), &op, fail);
}

static int run_run(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_value json_t *vm = NULL;

    if (cli_connect(cli, fail) ||
        start_entry(cli, args->operand[0], args->count > 1 ? args->operand[1] : NULL, &vm, fail))
        return -1;
    if (cli->json)
        return cli_print_value(vm), 0;
    printf("%s runs; its console: drover console %s\n", value_text(vm, "name", ""),
           value_text(vm, "name", ""));
    return 0;
}

/* ---- image test ---- */

/* 1 seen, 0 not yet. */
static int look_at_console(struct cli *cli, const char *path, const regex_t *pattern,
                           struct failure *fail)
{
    auto_answer struct answer a = {0};

    if (client_get(cli->client, path, &a, fail))
        return -1;
    return a.text && regexec(pattern, a.text, 0, NULL, 0) == 0;
}

static int wait_for_pattern(struct cli *cli, const char *vm, const regex_t *pattern, int64_t seconds,
                            struct failure *fail)
{
    auto_free char *path = xasprintf("/v1/vms/%s/console/log", vm);
    int64_t until = clock_monotonic_ms() + seconds * 1000;
    int seen;

    while ((seen = look_at_console(cli, path, pattern, fail)) == 0) {
        struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};

        if (clock_monotonic_ms() >= until)
            return failure_set(fail, CLI_FAILED, "the pattern did not come within %lld s", (long long)seconds);
        nanosleep(&pause, NULL);
    }
    return seen < 0 ? -1 : 0;
}

static int start_image(struct cli *cli, const char *image, const char *name, int64_t memory_mib, json_t **ret,
                       struct failure *fail)
{
    auto_free char *id = url_escape(image);
    auto_free char *path = xasprintf("/v1/images/%s/run", id);
    auto_value json_t *body = json_pack("{s:s, s:{}}", "name", name, "vm");
    struct client_request r = {.method = "POST", .path = path, .body = body};
    auto_value json_t *op = NULL;
    auto_answer struct answer a = {0};

    if (memory_mib)
        json_object_set_new(json_object_get(body, "vm"), "memory_mib", json_integer(memory_mib));
    if (client_do(cli->client, &r, &a, fail))
        return -1;
    *ret = json_incref(a.value);
    return cli_watch_operation(cli, value_text(value_at(a.value, "operation"), "id", ""), &op, fail);
}

struct trial {
    const char *what;   /* an entry's or an image's name */
    bool is_image;
    int64_t memory_mib; /* of an image's, instead of what it says itself; 0 */
    int64_t seconds;
};

static int test_vm(struct cli *cli, const struct trial *t, const regex_t *pattern, struct failure *fail)
{
    auto_value json_t *vm = NULL;
    auto_free char *name = NULL, *path = NULL;
    auto_answer struct answer a = {0};
    struct client_request gone = {.method = "DELETE"};
    struct failure ignored;
    char random[SECRET_RANDOM_TEXT];
    int rc;

    secret_random_text(random);
    for (char *p = random; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    name = xasprintf("test-%.12s", random);
    rc = t->is_image ? start_image(cli, t->what, name, t->memory_mib, &vm, fail)
                     : start_entry(cli, t->what, name, &vm, fail);
    if (rc == 0)
        rc = wait_for_pattern(cli, name, pattern, t->seconds, fail);
    path = xasprintf("/v1/vms/%s?force=true&wait=60", name);
    gone.path = path;
    if (vm)
        (void)client_do(cli->client, &gone, &a, &ignored);
    return rc;
}

/* An entry of a catalogue, or else an image that is here. */
static int find_trial(struct cli *cli, struct trial *t, struct answer *ret, struct failure *fail)
{
    auto_free char *id = url_escape(t->what);
    auto_free char *entry = xasprintf("/v1/catalogue/%s", id), *image = xasprintf("/v1/images/%s", id);

    if (client_get(cli->client, entry, ret, fail) == 0)
        return 0;
    if (fail->exit != CLI_NOT_FOUND)
        return -1;
    t->is_image = true;
    answer_done(ret);
    *ret = (struct answer){0};
    *fail = (struct failure){0};
    return client_get(cli->client, image, ret, fail);
}

static int run_test(struct cli *cli, const struct args *args, struct failure *fail)
{
    struct trial t = {.what = args->operand[0]};
    auto_answer struct answer a = {0};
    const char *text;
    regex_t pattern;
    int rc;

    if (args_number(args, "timeout", 1, 3600, 120, &t.seconds, fail) ||
        args_number(args, "memory", 16, 1048576, 0, &t.memory_mib, fail) || cli_connect(cli, fail) ||
        find_trial(cli, &t, &a, fail))
        return -1;
    text = args_text(args, "pattern", value_text(a.value, "expected_console", NULL));
    if (!text || regcomp(&pattern, text, REG_EXTENDED | REG_NOSUB | REG_NEWLINE))
        return failure_set(fail, CLI_USAGE, "%s", text ? "the pattern is not a regular expression"
                                                       : "nothing says what it should print: --pattern REGEX");
    rc = test_vm(cli, &t, &pattern, fail);
    regfree(&pattern);
    if (rc == 0 && !cli->json)
        printf("%s boots: the console shows /%s/\n", t.what, text);
    return rc;
}

/* ---- building a source ---- */

static int run_key(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *public_path = xasprintf("%s.pub", args->operand[0]);
    char public_key[SECRET_SIGN_PUBLIC], secret[SECRET_SIGN_SECRET];
    auto_free char *secret_line = NULL;
    struct error err = ERROR_INIT;

    (void)cli;
    if (file_exists(args->operand[0]))
        return failure_set(fail, CLI_CONFLICT, "%s exists already", args->operand[0]);
    secret_sign_keys(public_key, secret);
    secret_line = xasprintf("%s\n", secret);
    auto_free char *public_line = xasprintf("%s\n", public_key);
    if (file_write_atomic(args->operand[0], secret_line, strlen(secret_line), 0600, &err) ||
        file_write_atomic(public_path, public_line, strlen(public_line), 0644, &err))
        return failure_from_error(fail, &err);
    printf("%s\n", public_key);
    return 0;
}

/* Adds size_bytes and sha256 to {"path": …}, from the file below dir. */
static int measure(const char *dir, json_t *file, struct failure *fail)
{
    const char *name = value_text(file, "path", NULL);
    auto_free char *path = name ? xasprintf("%s/%s", dir, name) : NULL, *buf = xcalloc(1, 1 << 18);
    auto_fclose FILE *f = path ? fopen(path, "rbe") : NULL;
    char sha256[SECRET_SHA256_TEXT];
    struct hash *hash;
    json_int_t size = 0;
    size_t n;

    if (!f)
        return failure_errno(fail, CLI_USAGE, errno, "cannot open %s", name ? name : "a file without a path");
    hash = hash_new(HASH_SHA256);
    while ((n = fread(buf, 1, 1 << 18, f)) > 0) {
        hash_add(hash, buf, n);
        size += (json_int_t)n;
    }
    hash_finish(hash, sha256);
    hash_free(hash);
    if (ferror(f))
        return failure_errno(fail, CLI_FAILED, errno, "cannot read %s", path);
    json_object_set_new(file, "size_bytes", json_integer(size));
    json_object_set_new(file, "sha256", json_string(sha256));
    return 0;
}

/* "screenshot": "a.png" becomes the file's own bytes. */
static int embed_screenshot(const char *dir, json_t *entry, struct failure *fail)
{
    const char *name = value_text(entry, "screenshot", NULL);
    auto_free char *path = name ? xasprintf("%s/%s", dir, name) : NULL, *data = NULL, *text = NULL;
    struct error err = ERROR_INIT;
    size_t len;

    if (!name)
        return 0;
    if (file_read(path, SHOT_MAX, &data, &len, &err) != 1)
        return failure_set(fail, CLI_USAGE, "%s is no file of at most %d KiB", path, SHOT_MAX / 1024);
    text = secret_to_base64(data, len);
    json_object_set_new(entry, "screenshot", json_string(text));
    return 0;
}

static int complete_entry(struct cli *cli, const char *dir, json_t *entry, struct failure *fail)
{
    bool of_image = json_is_string(json_object_get(entry, "image"));
    auto_value json_t *image = NULL;
    const char *part;
    json_t *file;

    /* Before the image's own is put there, which is no file's name. */
    if (embed_screenshot(dir, entry, fail) || (of_image && catalogue_fill(cli, entry, &image, fail)))
        return -1;
    json_object_foreach(json_object_get(entry, "files"), part, file) {
        if (measure(dir, file, fail))
            return -1;
    }
    return image ? catalogue_check(image, entry, fail) : 0;
}

static int complete(struct cli *cli, const char *dir, json_t *index, struct failure *fail)
{
    json_t *entries = json_object_get(index, "entries"), *entry;
    size_t i;

    if (!json_is_array(entries))
        return failure_set(fail, CLI_USAGE, "catalogue.json has no array `entries`");
    json_array_foreach(entries, i, entry) {
        if (complete_entry(cli, dir, entry, fail))
            return -1;
    }
    json_object_set_new(index, "drover_catalogue", json_integer(1));
    return 0;
}

static int run_build(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *dir = args->operand[0], *key_file = args_text(args, "key", NULL);
    auto_free char *book = xasprintf("%s/catalogue.json", dir), *out = xasprintf("%s/index.json", dir),
                   *sig = xasprintf("%s/index.json.sig", dir), *key = NULL, *text = NULL, *line = NULL;
    auto_value json_t *index = NULL;
    char signature[SECRET_SIGNATURE];
    struct error err = ERROR_INIT;

    if (!key_file)
        return failure_set(fail, CLI_USAGE, "name the secret key of `drover catalogue key`: --key FILE");
    if (read_text(key_file, KEY_MAX, &key, fail) || read_text(book, BOOK_MAX, &text, fail))
        return -1;
    index = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(index))
        return failure_set(fail, CLI_USAGE, "%s is not a JSON object", book);
    if (complete(cli, dir, index, fail))
        return -1;
    free(text);
    text = json_dumps(index, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    if (!secret_sign(key, text, strlen(text), signature))
        return failure_set(fail, CLI_USAGE, "%s is not a secret key of `drover catalogue key`", key_file);
    line = xasprintf("%s\n", signature);
    /* The signature last: a reader in between finds an index that does not fit, and says so. */
    if (file_write_atomic(out, text, strlen(text), 0644, &err) ||
        file_write_atomic(sig, line, strlen(line), 0644, &err))
        return failure_from_error(fail, &err);
    printf("%s %zu entries\n", out, json_array_size(json_object_get(index, "entries")));
    return 0;
}

static const struct option_row add_options[] = {
    {"key", 0, "FILE", "the public key that signed the index"},
    {"kind", 'k', "KIND", "drover (default) or virt-builder (an OpenPGP key)"},
    {0}};
static const struct option_row build_options[] = {{"key", 0, "FILE", "the secret key to sign with"}, {0}};
static const struct option_row test_options[] = {
    {"memory", 0, "MIB", "of the VM, when NAME is an image (default: what the image says)"},
    {"pattern", 0, "REGEX", "instead of its own"},
    {"timeout", 0, "SECONDS", "for the pattern to come (default 120)"},
    {0}};

const struct command catalogue_commands[] = {
    {"catalogue list", "", 0, 0, "list what can be run with one call", NULL, run_list, NULL},
    {"catalogue run", "ENTRY [NAME]", 1, 2, "fetch an entry's image if need be, and start a VM of it", NULL,
     run_run, NULL},
    {"catalogue create", "NAME URL", 2, 2, "add a source: a signed index", add_options, run_add, NULL},
    {"catalogue refresh", "NAME", 1, 1, "read a source's index again", NULL, run_refresh, NULL},
    {"catalogue delete", "NAME", 1, 1, "forget a source; images stay", NULL, run_remove, NULL},
    {"catalogue key", "FILE", 1, 1, "make a key pair: FILE and FILE.pub", NULL, run_key, NULL},
    {"catalogue build", "DIR", 1, 1, "write a signed index for a folder of images", build_options,
     run_build,
     "Reads DIR/catalogue.json, {\"entries\": [{\"name\", \"kind\", \"format\", \"files\": {\"content\": "
     "{\"path\"}}, \"title\", …}]}, adds sizes and hashes, and writes DIR/index.json and its "
     "signature. Any web server can serve the folder. {\"image\": \"debian-12\"} instead takes what the server's "
     "image says of itself, picture included; its bytes are DIR/debian-12.qcow2, and are compared."},
    {"image test", "NAME", 1, 1, "boot a catalogue entry or an image and look for its pattern on the console",
     test_options, run_test,
     "A VM of its own, which is deleted afterwards. The exit status says whether the pattern came in time."},
    {0}};
