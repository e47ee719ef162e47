/*
 * What handlers ask of a request and put into an answer. Headers that libmicrohttpd keeps are read
 * where they are: its memory does not move while the connection is suspended.
 */
#include "api/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/front.h"
#include "api/http_internal.h"
#include "service/base/str.h"

const char *request_param(const struct request *req, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < req->param_count; i++) {
        const char *have = req->params[i].name;

        if (strncmp(have, name, len) == 0 && (have[len] == '}' || have[len] == '\0'))
            return req->params[i].value;
    }
    abort(); /* the route's template has no such parameter */
}

const char *request_query(const struct request *req, const char *name)
{
    const struct query *q = exchange_of(req)->query;

    for (size_t i = 0; q && i < q->count; i++) {
        if (strcmp(q->args[i].name, name) == 0)
            return q->args[i].value;
    }
    return NULL;
}

int request_query_each(const struct request *req,
                       int (*fn)(void *, const char *name, const char *value), void *arg)
{
    const struct query *q = exchange_of(req)->query;

    for (size_t i = 0; q && i < q->count; i++) {
        int rc = fn(arg, q->args[i].name, q->args[i].value);

        if (rc)
            return rc;
    }
    return 0;
}

const char *request_header(const struct request *req, const char *name)
{
    const struct exchange *x = exchange_of(req);

    return x->call ? call_header(x->call, name) : MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, name);
}

const char *request_cookie(const struct request *req, const char *name)
{
    struct exchange *x = exchange_of(req);
    const char *p = x->gate.value[GATE_COOKIE];
    size_t len = strlen(name);

    while (p && *p) {
        p += strspn(p, " \t;");
        if (strncmp(p, name, len) == 0 && p[len] == '=') {
            size_t n = strcspn(p += len + 1, "; \t");

            if (n >= sizeof(x->cookie))
                return NULL;
            memcpy(x->cookie, p, n);
            x->cookie[n] = '\0';
            return x->cookie;
        }
        p += strcspn(p, ";");
    }
    return NULL;
}

bool request_wants_upgrade(const struct request *req)
{
    const struct gate *g = &exchange_of(req)->gate;

    return req->route && req->route->flags & (ROUTE_UPGRADE | ROUTE_UPGRADE_OPTIONAL) &&
           g->connection_upgrade && g->value[GATE_UPGRADE] &&
           gate_list_has(g->value[GATE_UPGRADE], "websocket", true) &&
           strcmp(req->method, "GET") == 0;
}

const char *request_offered_subprotocols(const struct request *req)
{
    const char *offered = exchange_of(req)->gate.value[GATE_WS_PROTOCOL];

    return offered ? offered : "";
}

bool request_offers_subprotocol(const struct request *req, const char *name)
{
    return gate_list_has(request_offered_subprotocols(req), name, false);
}

struct actor request_actor(const struct request *req)
{
    return (struct actor){.id = req->has_principal ? req->principal.id : "anonymous",
                          .project_id = req->principal.project_id,
                          .request_id = req->id,
                          .token_id = req->principal.token_id};
}

struct idem request_idem(const struct request *req)
{
    const char *key = exchange_of(req)->gate.value[GATE_IDEMPOTENCY_KEY];

    return (struct idem){.key = key, .request_sha256 = key ? req->body_sha256 : NULL};
}

static bool parse_int(const char *text, int64_t *ret)
{
    char *end;

    if (!*text || strspn(text, "-0123456789") != strlen(text))
        return false;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return !errno && !*end;
}

int request_query_int(const struct request *req, const char *name, int64_t min, int64_t max,
                      int64_t *ret, struct error *err)
{
    const char *text = request_query(req, name);
    int64_t value;

    if (!text)
        return 0;
    if (!parse_int(text, &value) || value < min || value > max)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, name,
                            "%s is a whole number from %lld to %lld.", name, (long long)min,
                            (long long)max);
    *ret = value;
    return 0;
}

int request_query_bool(const struct request *req, const char *name, bool *ret, struct error *err)
{
    const char *text = request_query(req, name);

    if (!text)
        return 0;
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, name, "%s is true or false.", name);
    *ret = text[0] == 't';
    return 0;
}

int request_if_match(const struct request *req, int64_t *ret, struct error *err)
{
    const char *text = exchange_of(req)->gate.value[GATE_IF_MATCH];
    size_t len = text ? strlen(text) : 0;
    char number[24];

    if (!text || strcmp(text, "*") == 0) {
        *ret = 0;
        return 0;
    }
    if (len < 2 || text[0] != '"' || text[len - 1] != '"' || memchr(text + 1, '"', len - 2))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "If-Match",
                            "If-Match is one ETag in double quotes, or *.");
    snprintf(number, sizeof(number), "%.*s", (int)(len - 2 < 22 ? len - 2 : 22), text + 1);
    if (parse_int(number, ret) && *ret > 0)
        return 0;
    /* Well-formed, but not one that was ever given out. */
    return error_set(err, ERROR_PRECONDITION_FAILED, "The ETag is not this object's.");
}

void request_keep(struct request *req, void *p, void (*free_fn)(void *))
{
    struct exchange *x = exchange_of(req);

    if (x->kept_free)
        x->kept_free(x->kept);
    x->kept = p;
    x->kept_free = free_fn;
}

void *request_kept(const struct request *req)
{
    return exchange_of(req)->kept;
}

void response_header(struct response *res, const char *name, const char *fmt, ...)
{
    va_list ap;

    if (res->header_count == RESPONSE_HEADERS_MAX)
        abort(); /* a handler's mistake, and the same each time */
    res->headers[res->header_count].name = name;
    va_start(ap, fmt);
    vsnprintf(res->headers[res->header_count].value, sizeof(res->headers[0].value), fmt, ap);
    va_end(ap);
    /* A value may hold a client's text: it must not start another header. */
    for (char *c = res->headers[res->header_count].value; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    }
    res->header_count++;
}

void response_json(struct response *res, int status, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);

    if (!text)
        abort(); /* out of memory, or a value that cannot be JSON: a handler's mistake */
    json_decref(value);
    response_blob(res, status, blob_new_text(text));
    free(text);
}

void response_blob(struct response *res, int status, struct blob *body)
{
    res->status = status;
    blob_unref(res->body);
    res->body = body;
}

void response_text(struct response *res, int status, const char *content_type, const char *text)
{
    res->content_type = content_type;
    response_blob(res, status, blob_new_text(text));
}
