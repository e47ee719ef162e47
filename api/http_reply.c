/*
 * A struct response to libmicrohttpd, with the headers every answer has; and an answer past it.
 */
#include <string.h>

#include "api/http_internal.h"
#include "api/problem.h"
#include "service/base/str.h"

#define ANSWER_MS           60000
#define ANSWER_BYTES_PER_MS 16 /* the slowest reader that is waited for: 16 kB/s */

static void free_blob(void *cls)
{
    blob_unref(cls);
}

/* Takes the reference. */
static struct MHD_Response *blob_response(struct blob *body)
{
    struct MHD_Response *r;

    if (!body)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    r = MHD_create_response_from_buffer_with_free_callback_cls(body->len, body->data, free_blob,
                                                               body);
    if (!r)
        blob_unref(body);
    return r;
}

static bool has_header(const struct response *res, const char *name)
{
    for (size_t i = 0; i < res->header_count; i++) {
        if (strcmp(res->headers[i].name, name) == 0)
            return true;
    }
    return false;
}

static void add_headers(struct exchange *x, struct MHD_Response *r)
{
    const struct response *res = &x->res;
    const char *type = res->content_type;

    if (!type && x->stream)
        type = "text/event-stream";
    if (type)
        MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "X-Request-Id", x->req.id);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    /* Only the dashboard's files may be kept, and their handler says so. */
    if (!has_header(res, "Cache-Control"))
        MHD_add_response_header(r, "Cache-Control", "no-store");
    for (size_t i = 0; i < res->header_count; i++)
        MHD_add_response_header(r, res->headers[i].name, res->headers[i].value);
    /* libmicrohttpd writes "Connection: Upgrade" only when asked; RFC 9110 wants it beside Upgrade.
     */
    if (x->close_after || res->status == 426)
        MHD_add_response_header(r, "Connection", x->close_after ? "close" : "Upgrade");
}

/* Never called: an answer to HEAD has no body. */
static ssize_t nothing(void *cls, uint64_t pos, char *buf, size_t max)
{
    (void)cls, (void)pos, (void)buf, (void)max;
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *make_response(struct exchange *x)
{
    if (x->res.stream && strcmp(x->req.method, "HEAD") != 0)
        return stream_response(x);
    /* The bytes themselves stayed where they are: only how many there would be is asked for. */
    if (x->res.stream_length && !x->res.body)
        return MHD_create_response_from_callback((uint64_t)x->res.stream_length, 1, nothing, NULL, NULL);
    return blob_response(TAKE_PTR(x->res.body));
}

enum MHD_Result reply_send(struct exchange *x)
{
    size_t len = x->res.body ? x->res.body->len : 0;
    struct MHD_Response *r;
    enum MHD_Result rc;

    x->phase = PHASE_ANSWERED;
    r = make_response(x);
    if (!r)
        return MHD_NO;
    add_headers(x, r);
    if (x->stream)
        stream_tick(x);
    else
        conn_expect(x->http, x->conn, CONN_ANSWER, ANSWER_MS + (int64_t)len / ANSWER_BYTES_PER_MS);
    rc = MHD_queue_response(x->mhd, (unsigned)x->res.status, r);
    MHD_destroy_response(r);
    return rc;
}

static void send_raw(int fd, int status, const char *reason, const char *body, size_t len)
{
    auto_free char *text =
        xasprintf("HTTP/1.1 %d %s\r\nContent-Type: " PROBLEM_CONTENT_TYPE
                  "\r\nContent-Length: %zu\r\nConnection: close\r\nCache-Control: no-store\r\n"
                  "X-Content-Type-Options: nosniff\r\n%s\r\n%.*s",
                  status, reason, len,
                  status == 429 || status == 503 ? "Retry-After: " RETRY_AFTER_SECONDS "\r\n" : "",
                  (int)len, body);

    /* Best effort: whoever does not read it is being cut off anyway. */
    (void)!send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void answer_raw(int fd, const struct error *err, const char *request_id)
{
    auto_blob struct blob *body = problem_render(err, request_id);

    send_raw(fd, error_status(err->code), error_title(err->code), body->data, body->len);
}

void reply_raw(struct exchange *x)
{
    const struct blob *body = x->res.body;

    send_raw(x->conn->fd, x->res.status, MHD_get_reason_phrase_for((unsigned)x->res.status), body ? body->data : "",
             body ? body->len : 0);
}
