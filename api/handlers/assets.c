/*
 * Files embedded in the daemon: the dashboard, the contract and its page.
 */
#include "web/assets.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/handlers/handlers.h"
#include "service/base/cleanup.h"
#include "service/base/str.h"

/* Nothing from elsewhere, nothing inline; the dashboard talks to this server only. */
#define CSP                                                                                        \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "              \
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "                   \
    "frame-ancestors 'none'"

struct kept {
    struct kept *next;
    const void *data; /* the file's, in the program */
    struct blob *blob;
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER; /* leaf: guards kept */
static struct kept *kept;

/* One for all who ask, made for the first: many who read slowly would hold a copy each. Kept for good. */
static struct blob *file_blob(const void *data, size_t len)
{
    LOCK_SCOPE(&kept_lock);
    struct kept *k = kept;

    while (k && k->data != data)
        k = k->next;
    if (!k) {
        k = xcalloc(1, sizeof(*k));
        *k = (struct kept){.next = kept, .data = data, .blob = blob_new(data, len)};
        kept = k;
    }
    return blob_ref(k->blob);
}

void answer_asset(const struct request *req, struct response *res, const struct web_asset *asset)
{
    bool gzip = asset->gzip && header_list_has(request_header(req, "Accept-Encoding"), "gzip");
    const char *seen = request_header(req, "If-None-Match");

    response_header(res, "ETag", "%s", asset->etag);
    response_header(res, "Vary", "Accept-Encoding");
    response_header(res, "Cache-Control", "%s",
                    asset->immutable ? "public, max-age=31536000, immutable" : "no-cache");
    if (str_starts(asset->content_type, "text/html"))
        response_header(res, "Content-Security-Policy", CSP);
    if (seen && (str_eq(seen, "*") || header_list_has(seen, asset->etag))) {
        res->status = 304;
        return;
    }
    if (gzip)
        response_header(res, "Content-Encoding", "gzip");
    response_blob(res, 200,
                  gzip ? file_blob(asset->gzip, asset->gzip_len) : file_blob(asset->data, asset->len));
    res->content_type = asset->content_type;
}

static int compare(const void *path, const void *asset)
{
    return strcmp(path, ((const struct web_asset *)asset)->path);
}

static int answer_path(struct request *req, struct response *res, const char *path,
                       struct error *err)
{
    const struct web_asset *asset =
        bsearch(path, web_assets, web_asset_count, sizeof(*web_assets), compare);

    if (!asset && str_eq(path, contract_docs_css.path))
        asset = &contract_docs_css;
    if (!asset)
        return error_set(err, ERROR_NOT_FOUND, "there is no such file");
    answer_asset(req, res, asset);
    return 0;
}

int handle_dashboard(struct request *req, struct response *res, struct error *err)
{
    return answer_path(req, res, "index.html", err);
}

int handle_asset(struct request *req, struct response *res, struct error *err)
{
    auto_free char *path = xasprintf("assets/%s", request_param(req, "file"));

    return answer_path(req, res, path, err);
}

static int answer_contract(struct request *req, struct response *res, const struct web_asset *asset)
{
    answer_asset(req, res, asset);
    return 0;
}

int handle_openapi_yaml(struct request *req, struct response *res, struct error *err)
{
    (void)err;
    return answer_contract(req, res, &contract_openapi_yaml);
}

int handle_openapi_json(struct request *req, struct response *res, struct error *err)
{
    (void)err;
    return answer_contract(req, res, &contract_openapi_json);
}

int handle_docs(struct request *req, struct response *res, struct error *err)
{
    (void)err;
    return answer_contract(req, res, &contract_docs);
}

int handle_problem(struct request *req, struct response *res, struct error *err)
{
    const char *slug = request_param(req, "slug");
    enum error_code code = error_from_slug(slug);

    if (code == ERROR_COUNT || code == ERROR_NONE)
        return error_set(err, ERROR_NOT_FOUND, "there is no problem called %s", slug);
    response_header(res, "Location", "/docs#problem-%s", error_slug(code));
    res->status = 302;
    return 0;
}
