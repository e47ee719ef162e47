/*
 * What is said of an image beside its bytes: words by merge-patch, a screenshot as it is.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/blob.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/vm/image.h"

static int answer(struct request *req, struct response *res, const struct image *image)
{
    answer_image_etag(res, image);
    response_json(res, 200, codec_image(image, image_users(req->core, image->id)));
    return 0;
}

int handle_image_patch(struct request *req, struct response *res, struct error *err)
{
    auto_image struct image *image = NULL;
    struct actor actor = request_actor(req);
    int64_t revision = 0;

    if (request_if_match(req, &revision, err) ||
        image_patch(req->core, &actor, request_param(req, "image"), req->json, revision, &image, err))
        return -1;
    return answer(req, res, image);
}

int handle_image_screenshot(struct request *req, struct response *res, struct error *err)
{
    auto_image struct image *image =
        image_find(req->core, req->principal.project_id, request_param(req, "image"), err);
    auto_free unsigned char *png = NULL;
    size_t len = 0;

    if (!image)
        return -1;
    png = image->screenshot ? secret_from_base64(image->screenshot->data, &len) : NULL;
    /* What an index brought is checked here: only a PNG leaves as one. */
    if (!png || len < 8 || memcmp(png, "\x89PNG\r\n\x1a\n", 8) != 0)
        return error_set(err, ERROR_IMAGE_NOT_FOUND, "the image %s has no screenshot", image->name);
    response_blob(res, 200, blob_new(png, len));
    res->content_type = "image/png";
    return 0;
}

int handle_image_screenshot_delete(struct request *req, struct response *res, struct error *err)
{
    auto_image struct image *image = NULL;
    struct actor actor = request_actor(req);
    int64_t revision = 0;

    if (request_if_match(req, &revision, err) ||
        image_screenshot_set(req->core, &actor, request_param(req, "image"), NULL, 0, revision, &image, err))
        return -1;
    res->status = 204;
    return 0;
}

/* ---- it is small, and gathered here ---- */

struct shot {
    int64_t revision;
    size_t len;
    char data[IMAGE_SCREENSHOT_MAX];
};

static int too_large(struct error *err)
{
    error_set(err, ERROR_BODY_TOO_LARGE, "a screenshot has at most %zu KiB", IMAGE_SCREENSHOT_MAX >> 10);
    error_remedy(err, "Make the picture smaller.");
    return -1;
}

static int shot_begin(struct request *req, void **ret, struct error *err)
{
    auto_image struct image *image =
        image_find(req->core, req->principal.project_id, request_param(req, "image"), err);
    int64_t revision = 0;
    struct shot *s;

    if (!image || request_if_match(req, &revision, err))
        return -1;
    if (req->content_length > (int64_t)IMAGE_SCREENSHOT_MAX)
        return too_large(err);
    s = xcalloc(1, sizeof(*s));
    s->revision = revision;
    *ret = s;
    return 0;
}

static int shot_write(void *state, const void *data, size_t len, struct error *err)
{
    struct shot *s = state;

    if (len > sizeof(s->data) - s->len)
        return too_large(err);
    memcpy(s->data + s->len, data, len);
    s->len += len;
    return 0;
}

static int shot_finish(struct request *req, void *state, struct response *res, struct error *err)
{
    auto_free struct shot *s = state;
    auto_image struct image *image = NULL;
    struct actor actor = request_actor(req);

    if (image_screenshot_set(req->core, &actor, request_param(req, "image"), s->data, s->len, s->revision, &image,
                             err))
        return -1;
    return answer(req, res, image);
}

const struct upload_ops image_screenshot_upload = {shot_begin, shot_write, shot_finish, free};
