/*
 * Recordings of consoles: start, stop, list, download, delete.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/core.h"
#include "service/vm/recording.h"
#include "service/vm/stream.h"

int handle_recording_start(struct request *req, struct response *res, struct error *err)
{
    auto_recording_request struct codec_recording_request body = {0};
    const struct actor actor = request_actor(req);
    struct recording rec;
    const char *stream;

    if (req->json && codec_decode_recording(req->json, &body, err))
        return -1;
    stream = body.stream ? body.stream : "console";
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);
    if (!vm || stream_require(vm, stream, err) ||
        recording_start(req->core, &actor, vm, stream, &rec, err))
        return -1;
    response_header(res, "Location", "/v1/recordings/%s", rec.id);
    response_json(res, 201, codec_recording(&rec));
    return 0;
}

int handle_recording_stop(struct request *req, struct response *res, struct error *err)
{
    const struct actor actor = request_actor(req);
    struct recording rec;

    if (recording_stop(req->core, &actor, request_param(req, "recording"), &rec, err))
        return -1;
    response_json(res, 200, codec_recording(&rec));
    return 0;
}

int handle_recording_list(struct request *req, struct response *res, struct error *err)
{
    char vm_id[UUID_TEXT] = "", cursor[PAGE_CURSOR_SIZE];
    auto_free struct recording *recs = NULL;
    const char *next = NULL;
    struct page page;
    size_t count = 0;
    json_t *items;

    if (page_read(req, &page, err) || vm_argument(req, vm_id, err) ||
        recording_list(req->core, req->principal.project_id, *vm_id ? vm_id : NULL, page.after,
                       (size_t)page.limit + 1, &recs, &count, err))
        return -1;
    if (count > (size_t)page.limit) {
        count = (size_t)page.limit;
        next = page_next(req, res, recs[count - 1].seq, cursor);
    }
    items = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(items, codec_recording(&recs[i]));
    response_json(res, 200, codec_list(items, next));
    return 0;
}

int handle_recording_get(struct request *req, struct response *res, struct error *err)
{
    struct recording rec;

    if (recording_get(req->core, req->principal.project_id, request_param(req, "recording"), &rec,
                      err))
        return -1;
    response_json(res, 200, codec_recording(&rec));
    return 0;
}

int handle_recording_delete(struct request *req, struct response *res, struct error *err)
{
    const struct actor actor = request_actor(req);

    if (recording_delete(req->core, &actor, request_param(req, "recording"), err))
        return -1;
    res->status = 204;
    return 0;
}

int handle_recording_content(struct request *req, struct response *res, struct error *err)
{
    const char *id = request_param(req, "recording");
    struct recording rec;

    if (recording_get(req->core, req->principal.project_id, id, &rec, err) ||
        recording_read(req->core, req->principal.project_id, id, &res->stream, err))
        return -1;
    response_header(res, "Content-Disposition", "attachment; filename=\"%s-%.8s.cast\"",
                    rec.vm_name, rec.id);
    res->status = 200;
    res->content_type = "application/x-asciicast";
    return 0;
}
