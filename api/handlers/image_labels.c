/*
 * Labels of images, and operations on what VMs stand on.
 */
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/vm/image.h"
#include "service/vm/vm.h"

static json_t *version(struct core *core, const char *project, const struct image_label_version *v)
{
    struct error ignored;
    auto_image struct image *image = image_find(core, project, v->image_id, &ignored);

    return json_pack("{s:I, s:s, s:o, s:o}", "version", (json_int_t)v->version, "image_id", v->image_id,
                     "image_name", image ? json_string(image->name) : json_null(), "created_at",
                     codec_time(v->created_at));
}

static json_t *encode(const struct request *req, const struct image_label *l)
{
    json_t *versions = json_array(), *object;

    for (size_t i = l->count; i-- > 0;)
        json_array_append_new(versions, version(req->core, req->principal.project_id, &l->versions[i]));
    object = json_copy(json_array_get(versions, 0));
    json_object_set_new(object, "name", json_string(l->name));
    json_object_set_new(object, "keep", json_integer(l->keep));
    json_object_set_new(object, "versions", versions);
    return object;
}

int handle_label_list(struct request *req, struct response *res, struct error *err)
{
    struct image_label *labels;
    json_t *items = json_array();
    size_t count;

    (void)err;
    image_label_list(req->core, req->principal.project_id, &labels, &count);
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(items, encode(req, &labels[i]));
        image_label_done(&labels[i]);
    }
    free(labels);
    response_json(res, 200, codec_list(items, NULL));
    return 0;
}

int handle_label_get(struct request *req, struct response *res, struct error *err)
{
    auto_image_label struct image_label label = {0};

    if (image_label_get(req->core, req->principal.project_id, request_param(req, "label"), &label, err))
        return -1;
    response_json(res, 200, encode(req, &label));
    return 0;
}

int handle_label_put(struct request *req, struct response *res, struct error *err)
{
    auto_image_label struct image_label label = {0};
    struct actor actor = request_actor(req);
    auto_label_request struct codec_label_request body = {.keep = -1};

    if (codec_decode_label(req->json, &body, err) ||
        image_label_set(req->core, &actor, request_param(req, "label"), body.image, body.keep, &label,
                        err))
        return -1;
    response_json(res, 200, encode(req, &label));
    return 0;
}

int handle_label_delete(struct request *req, struct response *res, struct error *err)
{
    struct actor actor = request_actor(req);

    if (image_label_delete(req->core, &actor, request_param(req, "label"), err))
        return -1;
    res->status = 204;
    return 0;
}

int handle_image_verify(struct request *req, struct response *res, struct error *err)
{
    struct actor actor = request_actor(req);
    struct op *op = NULL;
    int64_t wait_ms;

    if (wait_read(req, &wait_ms, err) ||
        image_verify(req->core, &actor, request_param(req, "image"), &op, err))
        return -1;
    return answer_op(req, res, op, false, err);
}

static int rebase(struct request *req, struct response *res, const char *image, struct error *err)
{
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    struct op *op = NULL;
    bool replayed = false;
    int64_t wait_ms;

    if (wait_read(req, &wait_ms, err) || vm_rebase(req->core, &actor, request_param(req, "vm"), image,
                                                   &idem, &op, &replayed, err))
        return -1;
    return answer_op(req, res, op, replayed, err);
}

int handle_vm_flatten(struct request *req, struct response *res, struct error *err)
{
    return rebase(req, res, NULL, err);
}

int handle_vm_rebase(struct request *req, struct response *res, struct error *err)
{
    auto_label_request struct codec_label_request body = {.keep = -1};

    if (codec_decode_rebase(req->json, &body, err))
        return -1;
    return rebase(req, res, body.image, err);
}
