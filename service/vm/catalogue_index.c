/*
 * Indexes to entries. What an index says is believed only in its form: files lie below the index's
 * own address, a definition has harmless members only, an unknown one is refused.
 */
#include "service/vm/catalogue.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/image.h"

#define ENTRIES_MAX    2000
#define TEXT_MAX       4096
#define PATH_MAX_      512
#define PATTERN_MAX    512
#define SCREENSHOT_MAX (256 * 1024) /* base64 */

static int refuse(struct error *err, const char *what)
{
    return error_set(err, ERROR_CATALOGUE_REFUSED, "%s", what);
}

/* ---- pieces ---- */

/* A relative path without tricks, below the directory of base; caller frees, NULL when it is not. */
static char *resolve(const char *base, const char *path)
{
    const char *slash = strrchr(base, '/');

    if (!slash || !*path || *path == '/' || strlen(path) > PATH_MAX_ || strstr(path, "..") ||
        path[strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~+/-")])
        return NULL;
    return xasprintf("%.*s/%s", (int)(slash - base), base, path);
}

/* "CentOS-7.0" to "centos-7-0"; false when nothing good comes out. */
static bool make_name(const char *text, char ret[VM_NAME_MAX + 1])
{
    size_t n = 0;

    for (; *text && n < VM_NAME_MAX - 8; text++) /* room for -r and a revision */
        ret[n++] = isalnum((unsigned char)*text) ? (char)tolower((unsigned char)*text) : '-';
    ret[n] = '\0';
    return vm_spec_name_ok(ret);
}

static bool string_ok(const json_t *value, size_t max)
{
    return !value || (json_is_string(value) && json_string_length(value) <= max);
}

/* Takes the source's parts apart as a request's would be. */
static int check_source(const json_t *source, const char *kind, struct error *err)
{
    auto_image_source struct image_source *s = NULL;
    auto_free char *vm = NULL;
    enum image_kind k = str_eq(kind, "kernel") ? IMAGE_KERNEL : str_eq(kind, "iso") ? IMAGE_ISO : IMAGE_DISK;

    if (image_source_decode(source, k, &s, &vm, err) == 0 && !vm)
        return 0;
    return refuse(err, "an entry names files that cannot be fetched");
}

/* ---- our own ---- */

static const char *const vm_members[] = {"cpus",    "memory_mib",  "machine",       "firmware", "acceleration",
                                         "display", "guest_agent", "root_disk_gib", "vsock",    "channels",
                                         "serial_ports", "cmdline", NULL};

const char *catalogue_vm_foreign(const json_t *vm)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)vm, key, value) {
        bool known = false;

        for (size_t i = 0; vm_members[i]; i++)
            known |= str_eq(vm_members[i], key);
        if (!known)
            return key;
    }
    return NULL;
}

static int check_vm(const json_t *vm, struct error *err)
{
    if (vm && !json_is_object(vm))
        return refuse(err, "an entry's `vm` is not an object");
    if (vm && catalogue_vm_foreign(vm))
        return refuse(err, "an entry's `vm` has a member that an index may not set");
    return 0;
}

/* {path, sha256|sha512, size_bytes} to {url, sha256|sha512}. */
static json_t *make_link(const json_t *file, const char *base, json_int_t *size)
{
    const char *path = json_string_value(json_object_get(file, "path"));
    auto_free char *url = path ? resolve(base, path) : NULL;
    json_int_t own = json_integer_value(json_object_get(file, "size_bytes"));
    json_t *link;

    if (!url || own < 0 || own > (json_int_t)1 << 46)
        return NULL;
    *size += own;
    link = json_pack("{s:s}", "url", url);
    for (int i = 0; i < 2; i++) {
        const char *member = i ? "sha512" : "sha256";

        if (json_object_get(file, member))
            json_object_set(link, member, json_object_get(file, member));
    }
    return link;
}

static json_t *make_source(const json_t *entry, const char *kind, const char *base, json_int_t *size)
{
    const json_t *files = json_object_get(entry, "files");
    json_t *source, *link;

    if (!str_eq(kind, "kernel")) {
        static const char *const passed_on[] = {"from", "format", "compression", "compression"};

        source = make_link(json_object_get(files, "content"), base, size);
        for (size_t i = 0; source && i < 4; i += 2) {
            if (json_is_string(json_object_get(entry, passed_on[i])))
                json_object_set(source, passed_on[i + 1], json_object_get(entry, passed_on[i]));
        }
        return source;
    }
    link = make_link(json_object_get(files, "kernel"), base, size);
    if (!link)
        return NULL;
    source = json_pack("{s:o}", "kernel", link);
    if (json_object_get(files, "initrd")) {
        link = make_link(json_object_get(files, "initrd"), base, size);
        if (!link) {
            json_decref(source);
            return NULL;
        }
        json_object_set_new(source, "initrd", link);
    }
    return source;
}

static int parse_entry(const json_t *entry, const char *base, json_t *list, struct error *err)
{
    static const char *const texts[] = {"title", "description", "notes", "architecture", "cmdline",
                                        "expected_console", "screenshot"};
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    const char *format = json_string_value(json_object_get(entry, "format"));
    json_int_t revision = json_integer_value(json_object_get(entry, "revision")), size = 0;
    auto_json json_t *source = NULL;
    json_t *made;
    char clean[VM_NAME_MAX + 1];

    if (!name || !make_name(name, clean) || strcmp(clean, name) != 0)
        return refuse(err, "an entry has no usable name");
    if (!kind || (!str_eq(kind, "disk") && !str_eq(kind, "kernel") && !str_eq(kind, "iso")) ||
        (str_eq(kind, "disk") ? !format || (!str_eq(format, "qcow2") && !str_eq(format, "raw")) : !!format))
        return refuse(err, "an entry's kind or format is not known");
    for (size_t i = 0; i < DOC_COUNT(texts); i++) {
        size_t max = i == 6 ? SCREENSHOT_MAX : i == 5 ? PATTERN_MAX : TEXT_MAX;

        if (!string_ok(json_object_get(entry, texts[i]), max))
            return refuse(err, "an entry has a text that is none, or too long");
    }
    if (revision < 0 || revision > 99999 || check_vm(json_object_get(entry, "vm"), err))
        return err->code == ERROR_CATALOGUE_REFUSED ? -1 : refuse(err, "an entry has no usable revision");
    source = make_source(entry, kind, base, &size);
    if (!source)
        return refuse(err, "an entry names a file that is not below its index");
    if (check_source(source, kind, err))
        return -1;
    made = json_pack("{s:s, s:s, s:o, s:I, s:I, s:O}", "name", name, "kind", kind, "format",
                     format ? json_string(format) : json_null(), "revision", revision, "size_bytes",
                     size, "source", source);
    for (size_t i = 0; i < DOC_COUNT(texts); i++) {
        const json_t *text = json_object_get(entry, texts[i]);

        json_object_set_new(made, texts[i], text ? json_copy((json_t *)(uintptr_t)text)
                                                 : i < 4 ? json_string("") : json_null());
    }
    json_object_set_new(made, "vm", json_object_get(entry, "vm")
                                        ? json_deep_copy(json_object_get(entry, "vm"))
                                        : json_object());
    json_array_append_new(list, made);
    return 0;
}

int catalogue_parse_drover(const char *text, size_t len, const char *base, json_t **ret,
                           struct error *err)
{
    static const struct doc_limits limits = {.bytes = CATALOGUE_INDEX_MAX, .depth = 8, .tokens = 200000};
    auto_json json_t *index = NULL;
    auto_json json_t *list = json_array();
    const json_t *entries;
    struct error why;

    *err = ERROR_INIT;
    if (doc_parse(text, len, &limits, &index, &why))
        return refuse(err, "the index is not JSON");
    entries = json_object_get(index, "entries");
    if (json_integer_value(json_object_get(index, "drover_catalogue")) != 1 || !json_is_array(entries))
        return refuse(err, "the index is not a Drover catalogue of version 1");
    if (json_array_size(entries) > ENTRIES_MAX)
        return refuse(err, "the index has too many entries");
    for (size_t i = 0; i < json_array_size(entries); i++) {
        if (parse_entry(json_array_get(entries, i), base, list, err))
            return -1;
    }
    *ret = TAKE_PTR(list);
    return 0;
}

/* ---- virt-builder's ---- */

struct section {
    char name[VM_NAME_MAX + 1];
    char *title, *arch, *file, *format, *notes, *sha512, *sha256, *expand;
    json_int_t revision, size;
    bool hidden, begun;
};

static void section_done(struct section *s)
{
    free(s->title);
    free(s->arch);
    free(s->file);
    free(s->format);
    free(s->notes);
    free(s->sha512);
    free(s->sha256);
    free(s->expand);
    *s = (struct section){0};
}

/* What is not a disk that we could use is left out, not an error: the index serves others, too. */
static int section_end(struct section *s, const char *base, json_t *list, struct error *err)
{
    auto_free char *url = s->begun && s->file ? resolve(base, s->file) : NULL;
    auto_json json_t *source = NULL;
    bool xz = s->file && strlen(s->file) > 3 && str_eq(s->file + strlen(s->file) - 3, ".xz");
    const char *format = str_eq(s->format, "qcow2") ? "qcow2" : "raw";
    bool usable = s->begun && *s->name && s->file && !s->hidden && (s->sha512 || s->sha256) &&
                  (!s->arch || str_eq(s->arch, "x86_64"));
    int rc = 0;

    if (usable && !url)
        rc = refuse(err, "an entry names a file that is not below its index");
    if (usable && url && json_array_size(list) < ENTRIES_MAX) {
        source = json_pack("{s:s, s:s, s:s*, s:s}", "url", url, s->sha512 ? "sha512" : "sha256",
                           s->sha512 ? s->sha512 : s->sha256, "compression", xz ? "xz" : NULL, "format",
                           format);
        rc = source ? check_source(source, "disk", err) : refuse(err, "an entry's text is not UTF-8");
        if (rc == 0) {
            json_t *made = json_pack(
                "{s:s, s:s, s:s, s:I, s:I, s:O, s:s, s:s, s:s, s:s, s:n, s:n, s:n, s:{}}", "name", s->name,
                "kind", "disk", "format", "qcow2", "revision", s->revision, "size_bytes", s->size,
                "source", source, "title", s->title ? s->title : s->name, "description", "", "notes",
                s->notes ? s->notes : "", "architecture", s->arch ? s->arch : "x86_64", "cmdline",
                "expected_console", "screenshot", "vm");

            rc = made ? json_array_append_new(list, made)
                      : refuse(err, "an entry's text is not UTF-8");
        }
    }
    section_done(s);
    return rc;
}

static json_int_t number(const char *text)
{
    uint64_t value;

    return str_to_u64(text, (uint64_t)1 << 46, &value) ? (json_int_t)value : 0;
}

static void take(struct section *s, const char *key, const char *value)
{
    if (str_eq(key, "name"))
        str_replace(&s->title, value);
    else if (str_eq(key, "arch"))
        str_replace(&s->arch, value);
    else if (str_eq(key, "file"))
        str_replace(&s->file, value);
    else if (str_eq(key, "format"))
        str_replace(&s->format, value);
    else if (str_eq(key, "notes"))
        str_replace(&s->notes, value);
    else if (str_eq(key, "checksum[sha512]") || str_eq(key, "checksum"))
        str_replace(&s->sha512, value);
    else if (str_eq(key, "checksum[sha256]"))
        str_replace(&s->sha256, value);
    else if (str_eq(key, "revision"))
        s->revision = number(value) > 99999 ? 99999 : number(value);
    else if (str_eq(key, "compressed_size"))
        s->size = number(value);
    else if (str_eq(key, "hidden"))
        s->hidden = str_eq(value, "true") || str_eq(value, "yes");
}

/* A line that begins with a blank goes on with the value before; only notes have such. */
static void go_on(struct section *s, const char *line)
{
    char *longer;

    if (!s->notes || strlen(s->notes) + strlen(line) > TEXT_MAX)
        return;
    longer = xasprintf("%s\n%s", s->notes, line);
    free(s->notes);
    s->notes = longer;
}

int catalogue_parse_virt_builder(const char *text, size_t len, const char *base, json_t **ret,
                                 struct error *err)
{
    auto_free char *copy = len <= CATALOGUE_INDEX_MAX ? xstrndup(text, len) : NULL;
    auto_scope(section_done) struct section s = {0};
    auto_json json_t *list = json_array();
    char *rest = copy, *line;

    *err = ERROR_INIT;
    if (!copy || strlen(copy) != len)
        return refuse(err, "the index is too long, or has NUL bytes in it");
    while ((line = strsep(&rest, "\n"))) {
        char *equals = strchr(line, '='), *end;

        line[strcspn(line, "\r")] = '\0';
        if (*line == '#' || !*line)
            continue;
        if (*line == '[') {
            end = strchr(line, ']');
            if (section_end(&s, base, list, err))
                return -1;
            s.begun = true;
            if (!end)
                return refuse(err, "the index has a heading without an end");
            *end = '\0';
            if (!make_name(line + 1, s.name))
                s.name[0] = '\0';
        } else if (isspace((unsigned char)*line)) {
            go_on(&s, line + 1);
        } else if (s.begun && equals && strlen(equals) <= TEXT_MAX) {
            *equals = '\0';
            /* notes[de] and the like are for other readers */
            take(&s, line, equals + 1);
        }
    }
    if (section_end(&s, base, list, err))
        return -1;
    *ret = TAKE_PTR(list);
    return 0;
}

/* ---- OpenPGP armour ---- */

int catalogue_dearmour(const char *text, unsigned char **ret, size_t *ret_len, struct error *err)
{
    const char *begin = strstr(text, "-----BEGIN PGP PUBLIC KEY BLOCK-----");
    const char *end = begin ? strstr(begin, "\n-----END PGP PUBLIC KEY BLOCK-----") : NULL;
    const char *body = begin ? strstr(begin, "\n\n") : NULL;
    auto_strbuf struct strbuf b = {0};

    if (!body) /* made on another system */
        body = begin ? strstr(begin, "\r\n\r\n") : NULL;
    if (!body || !end || body > end)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/key", "is not an armoured OpenPGP public key");
    for (const char *p = body; p < end; p++) {
        if (*p == '\n' && p[1] == '=') /* the checksum */
            break;
        if (!isspace((unsigned char)*p))
            strbuf_addc(&b, *p);
    }
    *ret = b.len ? secret_from_base64(b.data, ret_len) : NULL;
    return *ret ? 0
                : error_set_at(err, ERROR_VALIDATION_FAILED, "/key",
                               "is not an armoured OpenPGP public key");
}
