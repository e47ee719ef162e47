/*
 * The catalogue: sources, entries, and running one.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/blob.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/catalogue.h"
#include "service/vm/image.h"

/* As it is shown: without its entries, which have an address of their own. */
static json_t *source(const json_t *stored)
{
    return json_pack("{s:O, s:O, s:O, s:O, s:o, s:I}", "name", json_object_get(stored, "name"), "kind",
                     json_object_get(stored, "kind"), "url", json_object_get(stored, "url"), "key",
                     json_object_get(stored, "key"), "refreshed_at",
                     codec_time(json_integer_value(json_object_get(stored, "refreshed_at"))), "entries",
                     (json_int_t)json_array_size(json_object_get(stored, "entries")));
}

int handle_catalogue_sources(struct request *req, struct response *res, struct error *err)
{
    auto_json json_t *all = catalogue_sources(req->core);
    json_t *items = json_array(), *one;
    const char *name;

    (void)err;
    json_object_foreach(all, name, one)
        json_array_append_new(items, source(one));
    response_json(res, 200, codec_list(items, NULL));
    return 0;
}

/* Sources are the installation's, not a project's: whoever trusts one trusts it for everybody. */
static int require_host(const struct request *req, struct error *err)
{
    if (access_is_of_host(&req->principal))
        return 0;
    error_set(err, ERROR_FORBIDDEN, "the catalogue's sources are those of the whole installation");
    error_remedy(err, "Ask an administrator of the project default.");
    return -1;
}

struct source_request {
    char *name, *url, *key;
    int kind;
};

static void source_request_done(struct source_request *r)
{
    free(r->name);
    free(r->url);
    free(r->key);
}

int handle_catalogue_source_create(struct request *req, struct response *res, struct error *err)
{
    static const char *const kinds[] = {"drover", "virt-builder", NULL};
    static const struct doc_field fields[] = {
        {.name = "name", .kind = DOC_STRING, .required = true, .min = 1, .max = VM_NAME_MAX,
         .offset = offsetof(struct source_request, name), .valid = vm_spec_name_ok,
         .form = "1 to 63 lower-case letters, digits and inner hyphens"},
        {.name = "kind", .kind = DOC_ENUM, .offset = offsetof(struct source_request, kind), .choices = kinds},
        {.name = "url", .kind = DOC_STRING, .required = true, .min = 1, .max = 2048,
         .offset = offsetof(struct source_request, url)},
        {.name = "key", .kind = DOC_STRING, .required = true, .min = 1, .max = 65536,
         .offset = offsetof(struct source_request, key)},
    };
    auto_scope(source_request_done) struct source_request r = {0};
    auto_json json_t *made = NULL;

    if (require_host(req, err) || doc_decode(req->json, "", fields, DOC_COUNT(fields), &r, err) ||
        catalogue_source_put(req->core, r.name, (enum catalogue_kind)r.kind, r.url, r.key, &made, err))
        return -1;
    response_header(res, "Location", "/v1/catalogue-sources/%s", r.name);
    response_json(res, 201, source(made));
    return 0;
}

int handle_catalogue_source_refresh(struct request *req, struct response *res, struct error *err)
{
    auto_json json_t *made = NULL;

    if (require_host(req, err) || catalogue_source_refresh(req->core, request_param(req, "source"), &made, err))
        return -1;
    response_json(res, 200, source(made));
    return 0;
}

int handle_catalogue_source_delete(struct request *req, struct response *res, struct error *err)
{
    if (require_host(req, err) || catalogue_source_delete(req->core, request_param(req, "source"), err))
        return -1;
    res->status = 204;
    return 0;
}

/* ---- entries ---- */

/* A screenshot is large: a list says only that there is one. */
static json_t *shorten(json_t *entry)
{
    bool has = json_is_string(json_object_get(entry, "screenshot"));

    json_object_del(entry, "screenshot");
    json_object_set_new(entry, "has_screenshot", json_boolean(has));
    return entry;
}

int handle_catalogue_list(struct request *req, struct response *res, struct error *err)
{
    json_t *items = catalogue_entries(req->core), *entry;
    size_t i;

    (void)err;
    json_array_foreach(items, i, entry)
        shorten(entry);
    response_json(res, 200, codec_list(items, NULL));
    return 0;
}

int handle_catalogue_get(struct request *req, struct response *res, struct error *err)
{
    json_t *entry = catalogue_find(req->core, request_param(req, "entry"), err);

    if (!entry)
        return -1;
    response_json(res, 200, shorten(entry));
    return 0;
}

/* Only what really is a PNG leaves as one. */
int handle_catalogue_screenshot(struct request *req, struct response *res, struct error *err)
{
    auto_json json_t *entry = catalogue_find(req->core, request_param(req, "entry"), err);
    const char *text = json_string_value(json_object_get(entry, "screenshot"));
    auto_free unsigned char *png = NULL;
    size_t len = 0;

    if (!entry)
        return -1;
    png = text ? secret_from_base64(text, &len) : NULL;
    if (!png || len < 8 || memcmp(png, "\x89PNG\r\n\x1a\n", 8) != 0)
        return error_set(err, ERROR_CATALOGUE_NOT_FOUND, "the entry has no screenshot");
    response_blob(res, 200, blob_new(png, len));
    res->content_type = "image/png";
    return 0;
}

struct run_request {
    char *name;
    const json_t *vm; /* borrowed */
};

static int keep_vm(const json_t *value, const char *pointer, void *out, struct error *err)
{
    if (!json_is_object(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be an object");
    ((struct run_request *)out)->vm = value;
    return 0;
}

static void run_request_done(struct run_request *r)
{
    free(r->name);
}

static int read_run(struct request *req, struct run_request *ret, struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "name", .kind = DOC_STRING, .min = 1, .max = VM_NAME_MAX,
         .offset = offsetof(struct run_request, name), .valid = vm_spec_name_ok,
         .form = "1 to 63 lower-case letters, digits and inner hyphens"},
        {.name = "vm", .kind = DOC_CUSTOM, .decode = keep_vm},
    };

    return req->json ? doc_decode(req->json, "", fields, DOC_COUNT(fields), ret, err) : 0;
}

static int answer_run(struct response *res, struct vm *vm, const struct op *op, bool replayed)
{
    response_header(res, "Location", "/v1/vms/%s", vm->id);
    answer_etag(res, vm);
    answer_replayed(res, replayed);
    response_blob(res, 201, codec_vm_created(vm, op));
    return 0;
}

int handle_catalogue_run(struct request *req, struct response *res, struct error *err)
{
    auto_scope(run_request_done) struct run_request r = {0};
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    auto_vm struct vm *vm = NULL;
    auto_op struct op *op = NULL;
    bool replayed = false;

    /* Its image may have to be imported. */
    if (access_require(&req->principal, ACCESS_IMAGE_WRITE, err) || read_run(req, &r, err) ||
        catalogue_run(req->core, &actor, request_param(req, "entry"), r.name, r.vm, &idem, &vm, &op,
                      &replayed, err))
        return -1;
    return answer_run(res, vm, op, replayed);
}

int handle_image_run(struct request *req, struct response *res, struct error *err)
{
    auto_scope(run_request_done) struct run_request r = {0};
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    auto_vm struct vm *vm = NULL;
    auto_op struct op *op = NULL;
    bool replayed = false;

    if (read_run(req, &r, err) ||
        image_run(req->core, &actor, request_param(req, "image"), r.name, r.vm, &idem, &vm, &op, &replayed, err))
        return -1;
    return answer_run(res, vm, op, replayed);
}
