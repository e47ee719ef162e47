/*
 * Webhooks: list, make, read, change, delete; deliver again, ping, and what came of it.
 */
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/webhook.h"

int handle_webhook_list(struct request *req, struct response *res, struct error *err)
{
    char cursor[PAGE_CURSOR_SIZE];
    const char *next = NULL;
    struct webhook **all;
    size_t count, shown = 0;
    struct page page;
    json_t *items;

    if (page_read(req, &page, err))
        return -1;
    webhook_list(req->core, req->principal.project_id, &all, &count);
    items = json_array();
    for (size_t i = 0; i < count; i++) {
        if (all[i]->seq > page.after && shown < (size_t)page.limit) {
            json_array_append_new(items, codec_webhook(all[i], NULL));
            if (++shown == (size_t)page.limit && i + 1 < count)
                next = page_next(req, res, all[i]->seq, cursor);
        }
        webhook_free(all[i]);
    }
    free(all);
    response_json(res, 200, codec_list(items, next));
    return 0;
}

static struct webhook_request wanted(const struct codec_webhook_request *body)
{
    return (struct webhook_request){.url = body->url,
                                    .events = body->events,
                                    .labels = body->labels,
                                    .secret = body->secret,
                                    .enabled = body->enabled};
}

int handle_webhook_create(struct request *req, struct response *res, struct error *err)
{
    auto_webhook_request struct codec_webhook_request body = {0};
    auto_webhook struct webhook *w = NULL;
    struct actor actor = request_actor(req);
    struct webhook_request request;

    if (codec_decode_webhook(req->json, &body, err))
        return -1;
    request = wanted(&body);
    if (webhook_create(req->core, &actor, &request, &w, err))
        return -1;
    response_header(res, "Location", "/v1/webhooks/%s", w->id);
    response_json(res, 201, codec_webhook(w, body.secret ? NULL : w->secret));
    return 0;
}

int handle_webhook_get(struct request *req, struct response *res, struct error *err)
{
    auto_webhook struct webhook *w = NULL;

    if (webhook_find(req->core, req->principal.project_id, request_param(req, "webhook"), &w, err))
        return -1;
    response_json(res, 200, codec_webhook(w, NULL));
    return 0;
}

int handle_webhook_patch(struct request *req, struct response *res, struct error *err)
{
    auto_webhook_request struct codec_webhook_request body = {0};
    auto_webhook struct webhook *w = NULL;
    struct actor actor = request_actor(req);
    struct webhook_request request;

    if (codec_decode_webhook_patch(req->json, &body, err))
        return -1;
    request = wanted(&body);
    if (webhook_change(req->core, &actor, request_param(req, "webhook"), &request, &w, err))
        return -1;
    response_json(res, 200, codec_webhook(w, NULL));
    return 0;
}

int handle_webhook_delete(struct request *req, struct response *res, struct error *err)
{
    struct actor actor = request_actor(req);

    if (webhook_delete(req->core, &actor, request_param(req, "webhook"), err))
        return -1;
    res->status = 204;
    return 0;
}

int handle_webhook_redeliver(struct request *req, struct response *res, struct error *err)
{
    auto_webhook struct webhook *w = NULL;
    struct actor actor = request_actor(req);
    int64_t from_seq;

    if (codec_decode_redelivery(req->json, &from_seq, err) ||
        webhook_redeliver(req->core, &actor, request_param(req, "webhook"), from_seq, &w, err))
        return -1;
    response_json(res, 200, codec_webhook(w, NULL));
    return 0;
}

int handle_webhook_deliveries(struct request *req, struct response *res, struct error *err)
{
    auto_webhook struct webhook *w = NULL;
    auto_free struct webhook_delivery *all = NULL;
    char cursor[PAGE_CURSOR_SIZE];
    const char *next = NULL;
    struct page page;
    json_t *items;
    size_t count;

    if (page_read(req, &page, err) ||
        webhook_find(req->core, req->principal.project_id, request_param(req, "webhook"), &w, err) ||
        webhook_deliveries(req->core, w->id, page.after, (size_t)page.limit, &all, &count, err))
        return -1;
    if (count == (size_t)page.limit)
        next = page_next(req, res, all[count - 1].id, cursor);
    items = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(items, codec_webhook_delivery(&all[i]));
    response_json(res, 200, codec_list(items, next));
    return 0;
}

/* ---- a ping ---- */

static int ping_resume(struct request *req, struct response *res, struct error *err)
{
    if (request_wait_result(req) == WAIT_STOPPING)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    response_json(res, 200, codec_webhook_delivery(webhook_ping_result(request_kept(req))));
    return 0;
}

int handle_webhook_test(struct request *req, struct response *res, struct error *err)
{
    struct webhook_ping *ping = NULL;

    (void)res;
    if (webhook_ping_start(req->core, req->principal.project_id, request_param(req, "webhook"), &ping,
                           err))
        return -1;
    request_keep(req, ping, webhook_ping_drop);
    return request_park_on(req, webhook_ping_park, ping, ping_resume);
}
