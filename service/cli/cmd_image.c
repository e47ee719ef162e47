/* `image`: list, show, create, upload, delete. Uploads stream from the file with its digest. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/hash.h"
#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"
#include "service/cli/progress.h"

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"NAME",  "KIND",  "FORMAT", "STATE",
                                         ">SIZE", ">USED", "REASON"};
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 7);
    const json_t *image;
    size_t i;

    if (cli_get_all(cli, "/v1/images?limit=200", &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, image) {
        json_t *files = json_object_get(image, "files"), *file;
        const char *part;
        double size = 0;

        json_object_foreach(files, part, file) {
            double own;

            size += value_number(file, "size_bytes", &own) ? own : 0;
        }
        table_cell(t, value_text(image, "name", NULL));
        table_cell(t, value_text(image, "kind", NULL));
        table_cell(t, value_text(image, "format", NULL));
        table_cell(t, value_text(image, "state", NULL));
        table_cell_take(t, print_bytes(size));
        table_cell_take(t, value_show("used_by", value_at(image, "used_by")));
        table_cell(t, value_text(image, "state_reason", NULL));
    }
    table_print(t, stdout, "No images. Make one: drover image create NAME --kind disk --file FILE");
    return 0;
}

static int run_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *id = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/images/%s", id);
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

/* "Content-Digest: sha-256=:…:" of a whole file, which is left at its beginning. */
static int digest_header(FILE *file, const char *name, char **ret, struct failure *fail)
{
    auto_free char *buf = xcalloc(1, 1 << 18), *base64 = NULL;
    struct hash *hash = hash_new(HASH_SHA256);
    uint8_t bytes[HASH_SIZE_MAX];
    size_t n;

    while ((n = fread(buf, 1, 1 << 18, file)) > 0)
        hash_add(hash, buf, n);
    n = hash_finish_bytes(hash, bytes);
    hash_free(hash);
    if (ferror(file) || fseeko(file, 0, SEEK_SET))
        return failure_errno(fail, CLI_FAILED, errno, "cannot read %s", name);
    base64 = secret_to_base64(bytes, n);
    *ret = xasprintf("Content-Digest: sha-256=:%s:", base64);
    return 0;
}

/* part: "content", "content/kernel", "content/initrd". name "-": standard input. */
static int upload(struct cli *cli, const char *image, const char *part, const char *name,
                  struct answer *ret, struct failure *fail)
{
    bool is_stdin = str_eq(name, "-");
    auto_fclose FILE *opened = is_stdin ? NULL : fopen(name, "rbe");
    auto_free char *id = url_escape(image), *digest = NULL;
    auto_free char *path = xasprintf("/v1/images/%s/%s", id, part);
    struct progress p = {.label = part};
    const char *headers[2] = {0};
    struct client_request r = {.method = "PUT",
                               .path = path,
                               .headers = headers,
                               .timeout_s = -1,
                               .upload = is_stdin ? stdin : opened,
                               .upload_size = -1,
                               .progress = progress_upload,
                               .opaque = &p};
    struct stat st;
    int rc;

    if (!r.upload)
        return failure_errno(fail, CLI_USAGE, errno, "cannot open %s", name);
    if (fstat(fileno(r.upload), &st) == 0 && S_ISDIR(st.st_mode))
        return failure_set(fail, CLI_USAGE, "%s is a directory", name);
    if (!is_stdin && S_ISREG(st.st_mode)) {
        r.upload_size = st.st_size;
        if (digest_header(r.upload, name, &digest, fail))
            return -1;
        headers[0] = digest;
    }
    rc = client_do(cli->client, &r, ret, fail);
    progress_end(&p);
    return rc;
}

static int run_upload(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const parts[] = {"content", "kernel", "initrd"};
    auto_answer struct answer a = {0};
    const char *part = args_text(args, "part", "content");
    auto_free char *path = NULL;

    for (size_t i = 0; i < 3; i++) {
        if (str_eq(part, parts[i]))
            path = i ? xasprintf("content/%s", part) : xstrdup(part);
    }
    if (!path)
        return failure_set(fail, CLI_USAGE, "--part must be content, kernel or initrd, not '%s'", part);
    if (cli_connect(cli, fail) ||
        upload(cli, args->operand[0], path, args->operand[1], &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s %s\n", value_text(a.value, "name", args->operand[0]), value_text(a.value, "state", ""));
    return 0;
}

/* What is sent is converted by an operation: its end is the command's. */
static int await_conversion(struct cli *cli, const struct answer *last, struct failure *fail)
{
    const char *id = value_text(value_at(last->value, "operation"), "id", NULL);
    auto_value json_t *op = NULL;

    return id ? cli_watch_operation(cli, id, &op, fail) : 0;
}

static int add_source(json_t *body, const struct args *args, struct failure *fail)
{
    const char *from = args_text(args, "from", NULL);
    auto_value json_t *source = json_pack("{s:s*}", "format", from);

    if (!from && !args_flag(args, "xz"))
        return 0;
    if (args_flag(args, "xz"))
        json_object_set_new(source, "compression", json_string("xz"));
    if (!source || json_object_set(body, "source", source))
        return failure_set(fail, CLI_USAGE, "the options must be UTF-8");
    return 0;
}

static int run_create(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const struct {
        const char *option, *part;
    } files[] = {{"file", "content"}, {"initrd", "content/initrd"}, {"kernel", "content/kernel"}};
    /* The kernel last: with it the image is ready, initrd or not. */
    const char *kind = args_text(args, "kind", args_flag(args, "kernel") ? "kernel" : "disk");
    const char *format = args_text(args, "format", str_eq(kind, "disk") ? "qcow2" : NULL);
    auto_value json_t *body =
        json_pack("{s:s, s:s, s:s*, s:s*, s:s*}", "name", args->operand[0], "kind", kind, "format",
                  format, "cmdline", args_text(args, "cmdline", NULL), "description",
                  args_text(args, "description", NULL));
    struct client_request r = {.method = "POST", .path = "/v1/images", .body = body};
    auto_answer struct answer last = {0};

    if (!body)
        return failure_set(fail, CLI_USAGE, "the options must be UTF-8");
    if (add_source(body, args, fail) || cli_connect(cli, fail) || client_do(cli->client, &r, &last, fail))
        return -1;
    for (size_t i = 0; i < 3; i++) {
        const char *file = args_text(args, files[i].option, NULL);
        auto_answer struct answer a = {0};

        if (!file)
            continue;
        if (upload(cli, args->operand[0], files[i].part, file, &a, fail)) {
            fprintf(stderr, "drover: the image exists; repeat the upload or delete it: "
                            "drover image delete %s\n", args->operand[0]);
            return -1;
        }
        answer_done(&last);
        last = a;
        a = (struct answer){0};
    }
    if (await_conversion(cli, &last, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&last);
    printf("%s %s\n", value_text(last.value, "name", args->operand[0]),
           value_at(last.value, "operation") && args_text(args, "file", NULL) ? "ready"
                                                                              : value_text(last.value, "state", ""));
    return 0;
}

static int run_delete(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *id = url_escape(args->operand[0]);
    auto_free char *path =
        xasprintf("/v1/images/%s%s", id, args_flag(args, "retire") ? "?retire=true" : "");
    struct client_request r = {.method = "DELETE", .path = path};
    auto_answer struct answer a = {0};

    return cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail) ? -1 : 0;
}

static const struct option_row create_options[] = {
    {"kind", 'k', "KIND", "disk, kernel or iso (default disk; kernel with --kernel)"},
    {"format", 0, "FORMAT", "of a disk: qcow2 or raw (default qcow2)"},
    {"from", 0, "FORMAT", "what --file holds, to be converted: qcow2, raw, vmdk, vdi or vhdx"},
    {"xz", 0, NULL, "--file is packed with xz"},
    {"file", 0, "FILE", "content to upload for a disk or iso; - is standard input"},
    {"kernel", 0, "FILE", "kernel to upload"},
    {"initrd", 0, "FILE", "initrd to upload"},
    {"cmdline", 0, "TEXT", "kernel command line VMs get unless they have their own"},
    {"description", 0, "TEXT", "a line for people"},
    {0}};
static const struct option_row upload_options[] = {
    {"part", 'p', "PART", "content (default), kernel or initrd"}, {0}};

static const struct option_row delete_options[] = {
    {"retire", 0, NULL, "if VMs use it: free its name now, and let it go with the last of them"}, {0}};

const struct command image_commands[] = {
    {"image list", "", 0, 0, "list images", NULL, run_list, NULL},
    {"image show", "IMAGE", 1, 1, "show one image", NULL, run_show, NULL},
    {"image create", "NAME", 1, 1, "make an image, and upload its files if given", create_options,
     run_create, NULL},
    {"image upload", "IMAGE FILE", 2, 2, "send the bytes of an image; - is standard input",
     upload_options, run_upload,
     "The file is read twice: once for its SHA-256, which the server checks, once to send it."},
    {"image delete", "IMAGE", 1, 1, "delete an image that no VM uses", delete_options, run_delete, NULL},
    {0}};
