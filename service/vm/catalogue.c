/*
 * Sources of the catalogue: fetched, checked, kept; entries looked up and run.
 */
#include "service/vm/catalogue.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/exec.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/net/fetch.h"
#include "service/vm/core_internal.h"
#include "service/vm/image_internal.h"

#define SOURCES_MAX        32
#define FETCH_TIMEOUT_MS   15000
#define CONNECT_TIMEOUT_MS 5000
#define FILE_MAX           (4 * CATALOGUE_INDEX_MAX)
#define KEY_MAX            32768
#define LONGER_NAME_MAX    (VM_NAME_MAX - 17) /* -rNNNNN-XXXXXXXX follows */
#define GPGV               "/usr/bin/gpgv"

struct catalogue {
    pthread_mutex_t change; /* one source changes at a time; held while it is fetched */
    pthread_mutex_t lock;   /* leaf; of sources */
    json_t *sources;        /* by name */
    char *dir;
};

static const char *const kind_names[] = {"drover", "virt-builder"};

/* ---- kept on the disk ---- */

static void load_one(struct catalogue *c, const char *file)
{
    static const struct doc_limits limits = {.bytes = FILE_MAX, .depth = 10, .tokens = 1000000};
    auto_free char *path = xasprintf("%s/%s", c->dir, file), *text = NULL;
    auto_json json_t *value = NULL;
    struct error err = ERROR_INIT;
    const char *name;
    size_t len;

    if (file_read(path, FILE_MAX, &text, &len, &err) != 1 || doc_parse(text, len, &limits, &value, &err)) {
        log_failure(LOG_LEVEL_WARNING, &err, "the catalogue %s cannot be read", file);
        return;
    }
    name = json_string_value(json_object_get(value, "name"));
    if (name && json_is_array(json_object_get(value, "entries")))
        json_object_set(c->sources, name, value);
}

int catalogue_open(struct core *core, struct catalogue **ret, struct error *err)
{
    struct catalogue *c = xcalloc(1, sizeof(*c));
    const struct dirent *entry;

    mutex_init(&c->change);
    mutex_init(&c->lock);
    c->sources = json_object();
    c->dir = xasprintf("%s/catalogues", core->state_dir);
    *ret = c;
    if (dir_ensure(c->dir, 0700, err))
        return -1;
    auto_closedir DIR *dir = opendir(c->dir);
    if (!dir)
        return error_errno(err, errno, "cannot read %s", c->dir);
    while ((entry = readdir(dir))) {
        const char *dot = strrchr(entry->d_name, '.');

        if (dot && str_eq(dot, ".json") && entry->d_name[0] != '.')
            load_one(c, entry->d_name);
    }
    return 0;
}

void catalogue_close(struct catalogue *c)
{
    if (!c)
        return;
    json_decref(c->sources);
    free(c->dir);
    pthread_mutex_destroy(&c->change);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- reading ---- */

json_t *catalogue_sources(struct core *core)
{
    struct catalogue *c = core->catalogue;
    LOCK_SCOPE(&c->lock);

    return json_deep_copy(c->sources);
}

static json_t *with_source(const json_t *entry, const char *source)
{
    json_t *copy = json_deep_copy(entry);

    json_object_set_new(copy, "catalogue", json_string(source));
    return copy;
}

json_t *catalogue_entries(struct core *core)
{
    auto_json json_t *sources = catalogue_sources(core);
    json_t *list = json_array(), *source, *entry;
    const char *name;
    size_t i;

    json_object_foreach(sources, name, source) {
        json_array_foreach(json_object_get(source, "entries"), i, entry)
            json_array_append_new(list, with_source(entry, name));
    }
    return list;
}

json_t *catalogue_find(struct core *core, const char *ref, struct error *err)
{
    auto_json json_t *list = catalogue_entries(core);
    const char *colon = strchr(ref, ':'), *name = colon ? colon + 1 : ref;
    json_t *entry, *found = NULL;
    size_t i;

    json_array_foreach(list, i, entry) {
        const char *source = json_string_value(json_object_get(entry, "catalogue"));

        if (!str_eq(json_string_value(json_object_get(entry, "name")), name) ||
            (colon && (strlen(source) != (size_t)(colon - ref) || !str_starts(ref, source))))
            continue;
        if (!found || json_integer_value(json_object_get(entry, "revision")) >
                          json_integer_value(json_object_get(found, "revision")))
            found = entry;
    }
    if (found)
        return json_incref(found);
    error_set(err, ERROR_CATALOGUE_NOT_FOUND, "the catalogue has no entry %s", ref);
    error_remedy(err, "GET /v1/catalogue lists the entries.");
    return NULL;
}

/* ---- fetching ---- */

static int on_data(void *opaque, const void *data, size_t len, struct error *err)
{
    (void)err;
    strbuf_add(opaque, data, len); /* fetch_run keeps the bound */
    return 0;
}

static int get(struct core *core, const char *url, struct strbuf *ret, struct error *err)
{
    const struct fetch_options o = {.url = url,
                                    .allow_private = core->settings->fetch_private,
                                    .origin = url,
                                    .validator = "",
                                    .max_bytes = CATALOGUE_INDEX_MAX,
                                    .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                    .stall_seconds = FETCH_TIMEOUT_MS / 1000,
                                    .timeout_ms = FETCH_TIMEOUT_MS,
                                    .on_data = on_data,
                                    .opaque = ret};

    if (fetch_run(&o, err) == FETCH_DONE)
        return ret->len ? 0 : error_set(err, ERROR_CATALOGUE_REFUSED, "the index is empty");
    if (err->code == ERROR_SOURCE_REFUSED)
        str_copy_utf8(err->pointer, sizeof(err->pointer), "/url");
    return -1;
}

static int not_signed(struct error *err)
{
    error_set(err, ERROR_CATALOGUE_REFUSED, "the index is not signed with this key");
    error_remedy(err, "Ask whoever offers the catalogue for their public key.");
    return -1;
}

static int read_drover(struct core *core, const char *url, const char *key, json_t **ret,
                       struct error *err)
{
    auto_free char *signature_url = xasprintf("%s.sig", url);
    auto_strbuf struct strbuf index = {0}, signature = {0};

    if (!secret_sign_key_ok(key))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/key", "is not a public key of `drover catalogue key`");
    if (get(core, url, &index, err) || get(core, signature_url, &signature, err))
        return -1;
    if (!secret_sign_check(key, signature.data, index.data, index.len))
        return not_signed(err);
    return catalogue_parse_drover(index.data, index.len, url, ret, err);
}

/* gpgv knows no key but ours and writes out only what is under the signature. */
static int check_openpgp(const char *dir, const struct strbuf *index, const char *key, char **ret,
                         size_t *ret_len, struct error *err)
{
    auto_free char *ring = xasprintf("%s/.ring.gpg", dir), *in = xasprintf("%s/.index.asc", dir),
                   *out = xasprintf("%s/.index", dir);
    const char *argv[] = {GPGV, "-q", "--homedir", dir, "--keyring", ring, "--output", out, "--", in, NULL};
    struct exec_options options = {.argv = argv,
                                   .timeout_ms = 20000,
                                   .output_max = 1024,
                                   .address_space_bytes = (uint64_t)512 << 20,
                                   .cpu_seconds = 10,
                                   .file_bytes = CATALOGUE_INDEX_MAX,
                                   .open_files = 32};
    auto_exec_result struct exec_result result = {0};
    auto_free unsigned char *binary = NULL;
    struct error ignored;
    size_t len;
    int rc = -1;

    if (catalogue_dearmour(key, &binary, &len, err) || file_remove(out, err) ||
        file_write_atomic(ring, binary, len, 0600, err) ||
        file_write_atomic(in, index->data, index->len, 0600, err))
        return -1;
    if (!file_exists(GPGV))
        error_set(err, ERROR_NOT_SUPPORTED_BY_HOST, "gpgv is not installed");
    else if (exec_run(&options, &result, err) ||
             file_read(out, CATALOGUE_INDEX_MAX, ret, ret_len, err) != 1)
        not_signed(err);
    else
        rc = 0;
    (void)file_remove(ring, &ignored);
    (void)file_remove(in, &ignored);
    (void)file_remove(out, &ignored);
    return rc;
}

static int read_virt_builder(struct core *core, const char *url, const char *key, json_t **ret,
                             struct error *err)
{
    auto_strbuf struct strbuf index = {0};
    auto_free char *text = NULL;
    size_t len;

    if (get(core, url, &index, err) ||
        check_openpgp(core->catalogue->dir, &index, key, &text, &len, err))
        return -1;
    return catalogue_parse_virt_builder(text, len, url, ret, err);
}

/* ---- changing; under `change` ---- */

static int keep(struct catalogue *c, const char *name, json_t *source, struct error *err)
{
    auto_free char *path = xasprintf("%s/%s.json", c->dir, name), *text = doc_text(source);

    if (file_write_atomic(path, text, strlen(text), 0600, err))
        return -1;
    LOCK_SCOPE(&c->lock);
    json_object_set(c->sources, name, source);
    return 0;
}

static int bring(struct core *core, const char *name, enum catalogue_kind kind, const char *url,
                 const char *key, json_t **ret, struct error *err)
{
    auto_json json_t *entries = NULL;
    json_t *source;

    if (kind == CATALOGUE_DROVER ? read_drover(core, url, key, &entries, err)
                                 : read_virt_builder(core, url, key, &entries, err))
        return -1;
    source = json_pack("{s:s, s:s, s:s, s:s, s:I, s:O}", "name", name, "kind", kind_names[kind], "url",
                       url, "key", key, "refreshed_at", (json_int_t)clock_wall_ms(), "entries", entries);
    if (!source || keep(core->catalogue, name, source, err)) {
        json_decref(source);
        return source ? -1 : error_set_at(err, ERROR_VALIDATION_FAILED, "/key", "is not UTF-8");
    }
    *ret = json_deep_copy(source);
    json_decref(source);
    return 0;
}

int catalogue_source_put(struct core *core, const char *name, enum catalogue_kind kind, const char *url,
                         const char *key, json_t **ret, struct error *err)
{
    struct catalogue *c = core->catalogue;
    LOCK_SCOPE(&c->change);

    if (!vm_spec_name_ok(name))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/name",
                            "is not 1 to 63 lower-case letters, digits and inner hyphens");
    if (strlen(key) > KEY_MAX || fetch_check_url(url, err)) {
        if (strlen(key) > KEY_MAX)
            return error_set_at(err, ERROR_VALIDATION_FAILED, "/key", "is too long");
        str_copy_utf8(err->pointer, sizeof(err->pointer), "/url");
        return -1;
    }
    if (!json_object_get(c->sources, name) && json_object_size(c->sources) >= SOURCES_MAX)
        return error_set(err, ERROR_VALIDATION_FAILED, "there are %d catalogues already", SOURCES_MAX);
    return bring(core, name, kind, url, key, ret, err);
}

static int not_found(const char *name, struct error *err)
{
    error_set(err, ERROR_CATALOGUE_NOT_FOUND, "there is no catalogue %s", name);
    error_remedy(err, "GET /v1/catalogue-sources lists them.");
    return -1;
}

int catalogue_source_refresh(struct core *core, const char *name, json_t **ret, struct error *err)
{
    struct catalogue *c = core->catalogue;
    LOCK_SCOPE(&c->change);
    auto_json json_t *old = NULL;

    {
        LOCK_SCOPE(&c->lock);
        old = json_deep_copy(json_object_get(c->sources, name));
    }
    if (!old)
        return not_found(name, err);
    return bring(core, name,
                 str_eq(json_string_value(json_object_get(old, "kind")), kind_names[1])
                     ? CATALOGUE_VIRT_BUILDER
                     : CATALOGUE_DROVER,
                 json_string_value(json_object_get(old, "url")),
                 json_string_value(json_object_get(old, "key")), ret, err);
}

int catalogue_source_delete(struct core *core, const char *name, struct error *err)
{
    struct catalogue *c = core->catalogue;
    auto_free char *path = xasprintf("%s/%s.json", c->dir, name);
    LOCK_SCOPE(&c->change);

    {
        LOCK_SCOPE(&c->lock);
        if (!json_object_get(c->sources, name))
            return not_found(name, err);
    }
    if (file_remove(path, err) || dir_sync(path, err))
        return -1;
    LOCK_SCOPE(&c->lock);
    json_object_del(c->sources, name);
    return 0;
}

/* ---- running ---- */

/* What the entry says, for its image to say, too; what an image would not say is left out. */
static json_t *card_of(const json_t *entry)
{
    static const char *const members[] = {"title", "notes", "architecture", "expected_console", "vm"};
    json_t *card = image_card_empty();

    for (size_t i = 0; i < DOC_COUNT(members); i++) {
        auto_json json_t *one = json_pack("{s:O*}", members[i], json_object_get(entry, members[i]));
        json_t *decoded = NULL;
        struct error ignored;

        if (one && image_card_decode(one, &decoded, &ignored) == 0)
            json_object_set(card, members[i], json_object_get(decoded, members[i]));
        json_decref(decoded);
    }
    return card;
}

/* What it is made of; two catalogues, or one that did not count on, may call different things the same. */
static void fingerprint(const struct image_source *s, enum image_kind kind, enum image_format format,
                        const char *cmdline, char ret[SECRET_SHA256_TEXT])
{
    auto_strbuf struct strbuf text = {0};

    strbuf_addf(&text, "%d %d %d %d\n", (int)kind, (int)format, (int)s->format, s->xz);
    for (int p = 0; p < IMAGE_PART_COUNT; p++)
        strbuf_addf(&text, "%s\n", s->links[p].url ? s->links[p].hash : "");
    strbuf_adds(&text, cmdline ? cmdline : "");
    secret_sha256_text(text.data, text.len, ret);
}

/* The image of that name if it is what r describes, and there or on its way; else NULL. */
static struct image *image_as(struct core *core, const struct actor *actor, const struct image_request *r,
                              const char *print)
{
    auto_image struct image *image = image_registry_find(core->images, actor->project_id, r->name);
    char its[SECRET_SHA256_TEXT];

    if (!image || !str_eq(image->name, r->name) || !image->source ||
        (image->state != IMAGE_READY && image->state != IMAGE_IMPORTING))
        return NULL;
    fingerprint(image->source, image->kind, image->format, image->cmdline, its);
    return str_eq(its, print) ? TAKE_PTR(image) : NULL;
}

/* There, on its way, or begun now. */
static struct image *bring_as(struct core *core, const struct actor *actor, const struct image_request *r,
                              const char *print, struct error *err)
{
    struct image *image = image_as(core, actor, r, print);
    struct op *op = NULL;
    bool replayed;

    if (image)
        return image;
    if (image_create(core, actor, r, NULL, &image, &op, &replayed, err))
        /* Somebody else began it at the same moment. */
        return err->code == ERROR_NAME_IN_USE ? image_as(core, actor, r, print) : NULL;
    op_unref(op);
    return image;
}

/* The image of this revision. When something else has its name, it has a longer one. */
static struct image *bring_image(struct core *core, const struct actor *actor, const json_t *entry,
                                 struct error *err)
{
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    const char *format = json_string_value(json_object_get(entry, "format"));
    const char *entry_name = json_string_value(json_object_get(entry, "name"));
    long long revision = json_integer_value(json_object_get(entry, "revision"));
    auto_free char *name = xasprintf("%s-r%lld", entry_name, revision), *longer = NULL;
    auto_image_source struct image_source *source = NULL;
    auto_free char *vm = NULL;
    auto_json json_t *card = card_of(entry);
    struct image_request r = {.name = name,
                              .description = json_string_value(json_object_get(entry, "description")),
                              .cmdline = json_string_value(json_object_get(entry, "cmdline")),
                              .card = card,
                              .screenshot = json_string_value(json_object_get(entry, "screenshot"))};
    char print[SECRET_SHA256_TEXT];
    struct image *image;

    r.kind = str_eq(kind, "kernel") ? IMAGE_KERNEL : str_eq(kind, "iso") ? IMAGE_ISO : IMAGE_DISK;
    r.format = !format ? IMAGE_FORMAT_NONE : str_eq(format, "raw") ? IMAGE_FORMAT_RAW : IMAGE_FORMAT_QCOW2;
    if (image_source_decode(json_object_get(entry, "source"), r.kind, &source, &vm, err))
        return NULL;
    r.source = source;
    fingerprint(source, r.kind, r.format, r.cmdline, print);
    image = bring_as(core, actor, &r, print, err);
    if (image || err->code != ERROR_NAME_IN_USE)
        return image;
    longer = xasprintf("%.*s-r%lld-%.8s", LONGER_NAME_MAX, entry_name, revision, print);
    r.name = longer;
    return bring_as(core, actor, &r, print, err);
}

/* A definition with overrides and a name; its image is named when it is known. */
static json_t *define(const json_t *base, const json_t *overrides, const char *name)
{
    json_t *definition = json_deep_copy(base);

    if (overrides)
        json_object_update(definition, (json_t *)(uintptr_t)overrides);
    json_object_set_new(definition, "name", json_string(name));
    json_object_set_new(definition, "image", json_string("to-be-known"));
    return definition;
}

static int run(struct core *core, const struct actor *actor, json_t *definition, const char *image,
               const struct idem *idem, struct vm **ret, struct op **ret_op, bool *ret_replayed,
               struct error *err)
{
    auto_vm_spec struct vm_spec *spec = NULL;
    bool start = true;

    json_object_set_new(definition, "image", json_string(image));
    if (vm_spec_decode(definition, &spec, &start, err))
        return -1;
    return vm_create(core, actor, spec, json_object_get(definition, "start") ? start : true, idem, ret,
                     ret_op, ret_replayed, err);
}

int catalogue_run(struct core *core, const struct actor *actor, const char *ref, const char *vm_name,
                  const json_t *overrides, const struct idem *idem, struct vm **ret,
                  struct op **ret_op, bool *ret_replayed, struct error *err)
{
    auto_json json_t *entry = catalogue_find(core, ref, err);
    auto_json json_t *definition = NULL;
    auto_image struct image *image = NULL;
    auto_vm_spec struct vm_spec *spec = NULL;
    bool start = true;

    if (!entry)
        return -1;
    definition = define(json_object_get(entry, "vm"), overrides,
                        vm_name ? vm_name : json_string_value(json_object_get(entry, "name")));
    /* What is wrong with the definition is said before anything is fetched. */
    if (vm_spec_decode(definition, &spec, &start, err))
        return -1;
    image = bring_image(core, actor, entry, err);
    if (!image)
        return -1;
    return run(core, actor, definition, image->name, idem, ret, ret_op, ret_replayed, err);
}

int image_run(struct core *core, const struct actor *actor, const char *ref, const char *vm_name,
              const json_t *overrides, const struct idem *idem, struct vm **ret, struct op **ret_op,
              bool *ret_replayed, struct error *err)
{
    auto_image struct image *image = image_find(core, actor->project_id, ref, err);
    auto_json json_t *definition = NULL;

    if (!image)
        return -1;
    definition = define(json_object_get(image->card, "vm"), overrides, vm_name ? vm_name : image->name);
    /* A label stays one; an id says nothing to who reads the definition. */
    return run(core, actor, definition, str_eq(ref, image->id) ? image->name : ref, idem, ret, ret_op,
               ret_replayed, err);
}
