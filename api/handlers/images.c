/*
 * Images: list, create, read, delete, and the uploads that fill them.
 */
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/vm/image.h"

static json_t *with_users(struct request *req, const struct image *image)
{
    return codec_image(image, image_users(req->core, image->id));
}

int handle_image_list(struct request *req, struct response *res, struct error *err)
{
    char cursor[PAGE_CURSOR_SIZE];
    const char *next = NULL;
    struct image **images;
    struct page page;
    json_t *items;
    size_t count;
    bool more;

    if (page_read(req, &page, err))
        return -1;
    image_list(req->core, req->principal.project_id, page.after, (size_t)page.limit, &images,
               &count, &more);
    if (more && count)
        next = page_next(req, res, images[count - 1]->seq, cursor);
    items = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(items, with_users(req, images[i]));
        image_unref(images[i]);
    }
    free(images);
    response_json(res, 200, codec_list(items, next));
    return 0;
}

static int dry_run(struct request *req, struct response *res, const struct image_request *r,
                   struct error *err)
{
    struct actor actor = request_actor(req);
    struct image_checks checks;

    if (image_preflight(req->core, &actor, r, &checks, err))
        return -1;
    response_json(res, 200, codec_image_checks(&checks, req->id));
    return 0;
}

/* The first thing that is wrong is the answer; what was not asked for costs the source nothing. */
static int preflight(struct request *req, const struct image_request *r, struct error *err)
{
    struct actor actor = request_actor(req);
    struct image_checks checks;

    if (!r->source || image_source_is_upload(r->source))
        return 0;
    if (image_preflight(req->core, &actor, r, &checks, err))
        return -1;
    for (size_t i = 0; i < checks.count; i++) {
        if (!checks.checks[i].ok && checks.checks[i].error.code != ERROR_NAME_IN_USE) {
            *err = checks.checks[i].error;
            return -1;
        }
    }
    return 0;
}

int handle_image_create(struct request *req, struct response *res, struct error *err)
{
    auto_image_request struct codec_image_request body = {0};
    auto_image struct image *image = NULL;
    auto_op struct op *op = NULL;
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    bool replayed = false, dry = false;

    if (request_query_bool(req, "dry_run", &dry, err) || codec_decode_image(req->json, &body, err))
        return -1;
    const struct image_request request = {
        .name = body.name,
        .description = body.description ? body.description : "",
        .cmdline = body.cmdline,
        .kind = (enum image_kind)body.kind,
        .format = (enum image_format)body.format,
        .source = body.source,
    };
    if (dry && !body.source_vm)
        return dry_run(req, res, &request, err);
    if (!image_was_created(req->core, &actor, &idem) &&
        ((body.source_vm && image_source_bind(req->core, &actor, body.source_vm, body.source, err)) ||
         (!dry && preflight(req, &request, err))))
        return -1;
    if (dry)
        return dry_run(req, res, &request, err);
    if (image_create(req->core, &actor, &request, &idem, &image, &op, &replayed, err))
        return -1;
    response_header(res, "Location", "/v1/images/%s", image->id);
    answer_replayed(res, replayed);
    response_json(res, 201, codec_image_created(image, image_users(req->core, image->id), op));
    return 0;
}

int handle_image_get(struct request *req, struct response *res, struct error *err)
{
    auto_image struct image *image =
        image_find(req->core, req->principal.project_id, request_param(req, "image"), err);

    if (!image)
        return -1;
    answer_image_etag(res, image);
    response_json(res, 200, with_users(req, image));
    return 0;
}

int handle_image_delete(struct request *req, struct response *res, struct error *err)
{
    struct actor actor = request_actor(req);
    bool retire = false;

    if (request_query_bool(req, "retire", &retire, err) ||
        image_delete(req->core, &actor, request_param(req, "image"), retire, err))
        return -1;
    res->status = 204;
    return 0;
}

/* ---- uploads ---- */

static int begin(struct request *req, enum image_part part, void **ret, struct error *err)
{
    struct actor actor = request_actor(req);
    struct image_upload *upload = NULL;
    char sha256[SECRET_SHA256_TEXT];
    bool has_digest;

    if (codec_content_digest(request_header(req, "Content-Digest"), sha256, &has_digest, err) ||
        image_upload_begin(req->core, &actor, request_param(req, "image"), part,
                           req->content_length, has_digest ? sha256 : NULL, &upload, err))
        return -1;
    *ret = upload;
    return 0;
}

static int begin_content(struct request *req, void **ret, struct error *err)
{
    return begin(req, IMAGE_CONTENT, ret, err);
}

static int begin_kernel(struct request *req, void **ret, struct error *err)
{
    return begin(req, IMAGE_KERNEL_PART, ret, err);
}

static int begin_initrd(struct request *req, void **ret, struct error *err)
{
    return begin(req, IMAGE_INITRD_PART, ret, err);
}

static int upload_write(void *state, const void *data, size_t len, struct error *err)
{
    return image_upload_write(state, data, len, err);
}

static int upload_finish(struct request *req, void *state, struct response *res, struct error *err)
{
    auto_image struct image *image = NULL;
    auto_op struct op *op = NULL;

    if (image_upload_finish(state, &image, &op, err))
        return -1;
    if (op)
        response_json(res, 202, codec_image_created(image, image_users(req->core, image->id), op));
    else
        response_json(res, 200, with_users(req, image));
    return 0;
}

static void upload_abort(void *state)
{
    image_upload_abort(state);
}

const struct upload_ops image_content_upload = {begin_content, upload_write, upload_finish,
                                                upload_abort};
const struct upload_ops image_kernel_upload = {begin_kernel, upload_write, upload_finish,
                                               upload_abort};
const struct upload_ops image_initrd_upload = {begin_initrd, upload_write, upload_finish,
                                               upload_abort};
