/*
 * The event log: a page of JSON, a stream of server-sent events, or a WebSocket.
 */
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/access.h"
#include "service/vm/core.h"
#include "service/vm/event.h"

/* since, else the cursor, else Last-Event-ID; *ret untouched without any. */
static int since_read(const struct request *req, const struct page *page, int64_t *ret,
                      struct error *err)
{
    const char *last = request_header(req, "Last-Event-ID");
    uint64_t seq;

    if (request_query(req, "cursor")) {
        *ret = page->after;
        return 0;
    }
    if (request_query_int(req, "since", 0, INT64_MAX, ret, err))
        return -1;
    if (!last || !*last || request_query(req, "since"))
        return 0;
    if (!str_to_u64(last, INT64_MAX, &seq))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "Last-Event-ID",
                            "Last-Event-ID must be the seq of an event");
    *ret = (int64_t)seq;
    return 0;
}

static int stream(struct request *req, struct response *res, int64_t since,
                  enum event_format format, struct error *err)
{
    char rights[ACCESS_RIGHTS_SIZE];

    access_rights(&req->principal, rights);
    if (event_subscribe(req->core, req->principal.project_id, rights, since, format, &res->stream,
                        err))
        return -1;
    if (!access_is_alive(core_access(req->core), &req->principal)) { /* revoked this moment */
        res->stream->close(res->stream);
        res->stream = NULL;
        return error_set(err, ERROR_UNAUTHENTICATED, "the credential was revoked");
    }
    if (format == EVENT_FORMAT_JSON) {
        res->status = 101;
        return 0;
    }
    res->status = 200;
    res->content_type = "text/event-stream";
    response_header(res, "X-Accel-Buffering", "no"); /* nginx would hold events back */
    return 0;
}

static int page_answer(struct request *req, struct response *res, const struct page *page,
                       int64_t since, struct error *err)
{
    char cursor[PAGE_CURSOR_SIZE];
    const char *next = NULL;
    struct event **events;
    size_t count;
    /* Read before the page: a client that streams from here on misses nothing. */
    int64_t last = event_last_seq(req->core);

    if (event_page(req->core, req->principal.project_id, since, (size_t)page->limit, &events,
                   &count, err))
        return -1;
    if (count && events[count - 1]->seq > last)
        last = events[count - 1]->seq;
    if (count == (size_t)page->limit)
        next = page_next(req, res, events[count - 1]->seq, cursor);
    response_blob(res, 200, codec_event_list(events, count, next, last));
    for (size_t i = 0; i < count; i++)
        event_unref(events[i]);
    free(events);
    return 0;
}

int handle_events(struct request *req, struct response *res, struct error *err)
{
    bool socket = request_wants_upgrade(req);
    bool sse = !socket && header_list_has(request_header(req, "Accept"), "text/event-stream");
    int64_t since = socket || sse ? -1 : 0;
    struct page page;

    if (page_read(req, &page, err) || since_read(req, &page, &since, err))
        return -1;
    if (socket)
        return stream(req, res, since, EVENT_FORMAT_JSON, err);
    if (sse)
        return stream(req, res, since, EVENT_FORMAT_SSE, err);
    return page_answer(req, res, &page, since, err);
}
