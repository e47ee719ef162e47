/*
 * The request the handlers see, without a transport.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "service/base/str.h"
#include "tests/unit/handlers/fakes.h"

struct fake fake;

void fakes_reset(void)
{
    if (fake.kept_free)
        fake.kept_free(fake.kept);
    vm_unref(fake.vm);
    op_unref(fake.op);
    for (size_t i = 0; i < fake.list_count; i++)
        vm_unref(fake.list[i]);
    free(fake.list);
    fake = (struct fake){.granted = ~0u, .ticket_ok = true};
}

struct request fake_request(const char *method, const char *path)
{
    static struct route route;
    struct request req = {.method = method, .path = path, .has_principal = true, .route = &route};

    route = (struct route){.method = method, .path = path};
    strcpy(req.id, "r-1");
    strcpy(req.principal.id, "token:AbCdEf123456");
    strcpy(req.principal.token_id, "AbCdEf123456");
    strcpy(req.principal.project_id, "default");
    strcpy(req.peer, "127.0.0.1");
    return req;
}

void fake_query(const char *name, const char *value)
{
    size_t i = 0;

    while (fake.query[i].name)
        i++;
    fake.query[i].name = name;
    fake.query[i].value = value;
}

void fake_header(const char *name, const char *value)
{
    size_t i = 0;

    while (fake.headers[i].name)
        i++;
    fake.headers[i].name = name;
    fake.headers[i].value = value;
}

void fake_param(struct request *req, const char *name, const char *value)
{
    req->params[req->param_count].name = name;
    str_copy_utf8(req->params[req->param_count++].value, sizeof(req->params[0].value), value);
}

const char *request_param(const struct request *req, const char *name)
{
    for (size_t i = 0; i < req->param_count; i++) {
        if (str_eq(req->params[i].name, name))
            return req->params[i].value;
    }
    abort();
}

const char *request_query(const struct request *req, const char *name)
{
    for (size_t i = 0; fake.query[i].name; i++) {
        if (str_eq(fake.query[i].name, name))
            return fake.query[i].value;
    }
    return NULL;
}

int request_query_each(const struct request *req,
                       int (*fn)(void *, const char *name, const char *value), void *arg)
{
    int rc = 0;

    for (size_t i = 0; !rc && fake.query[i].name; i++)
        rc = fn(arg, fake.query[i].name, fake.query[i].value);
    return rc;
}

const char *request_header(const struct request *req, const char *name)
{
    for (size_t i = 0; fake.headers[i].name; i++) {
        if (strcasecmp(fake.headers[i].name, name) == 0)
            return fake.headers[i].value;
    }
    return NULL;
}

bool request_wants_upgrade(const struct request *req)
{
    return fake.wants_upgrade;
}

const char *request_offered_subprotocols(const struct request *req)
{
    const char *offered = request_header(req, "Sec-WebSocket-Protocol");

    return offered ? offered : "";
}

bool request_offers_subprotocol(const struct request *req, const char *name)
{
    return header_list_has(request_offered_subprotocols(req), name);
}

struct actor request_actor(const struct request *req)
{
    return (struct actor){req->principal.id, req->principal.project_id, req->id};
}

struct idem request_idem(const struct request *req)
{
    return (struct idem){request_header(req, "Idempotency-Key"), req->body_sha256};
}

int request_query_int(const struct request *req, const char *name, int64_t min, int64_t max,
                      int64_t *ret, struct error *err)
{
    const char *text = request_query(req, name);
    char *end;
    long long value = text ? strtoll(text, &end, 10) : 0;

    if (!text)
        return 0;
    if (!*text || *end || value < min || value > max)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, name, "out of range");
    *ret = value;
    return 0;
}

int request_query_bool(const struct request *req, const char *name, bool *ret, struct error *err)
{
    const char *text = request_query(req, name);

    if (text)
        *ret = str_eq(text, "true");
    return 0;
}

int request_if_match(const struct request *req, int64_t *ret, struct error *err)
{
    const char *text = request_header(req, "If-Match");

    *ret = text ? strtoll(text + 1, NULL, 10) : 0;
    return 0;
}

static int park(const char *id, bool op, int64_t timeout_ms, handler_fn *resume)
{
    fake.resume = resume;
    fake.parked_on_op = op;
    fake.parked_ms = timeout_ms;
    str_copy_utf8(fake.parked_on, sizeof(fake.parked_on), id);
    return HANDLER_PARKED;
}

int request_park_op(struct request *req, const char *op_id, int64_t timeout_ms, handler_fn *resume)
{
    return park(op_id, true, timeout_ms, resume);
}

int request_park_vm(struct request *req, const char *vm_id, enum wait_vm what, int64_t timeout_ms,
                    handler_fn *resume)
{
    return park(vm_id, false, timeout_ms, resume);
}

enum wait_result request_wait_result(const struct request *req)
{
    return fake.wait_result;
}

void request_keep(struct request *req, void *p, void (*free_fn)(void *))
{
    if (fake.kept_free)
        fake.kept_free(fake.kept);
    fake.kept = p;
    fake.kept_free = free_fn;
}

void *request_kept(const struct request *req)
{
    return fake.kept;
}

void response_header(struct response *res, const char *name, const char *fmt, ...)
{
    va_list ap;

    res->headers[res->header_count].name = name;
    va_start(ap, fmt);
    vsnprintf(res->headers[res->header_count++].value, sizeof(res->headers[0].value), fmt, ap);
    va_end(ap);
}

void response_blob(struct response *res, int status, struct blob *body)
{
    res->status = status;
    blob_unref(res->body);
    res->body = body;
}

void response_json(struct response *res, int status, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);

    if (!text)
        abort();
    response_blob(res, status, blob_new_text(text));
    json_decref(value);
    free(text);
}

const char *response_header_value(const struct response *res, const char *name)
{
    for (size_t i = 0; i < res->header_count; i++) {
        if (str_eq(res->headers[i].name, name))
            return res->headers[i].value;
    }
    return NULL;
}

json_t *response_value(const struct response *res)
{
    return res->body ? json_loadb(res->body->data, res->body->len, 0, NULL) : NULL;
}

void response_done(struct response *res)
{
    blob_unref(res->body);
    *res = (struct response){0};
}

int request_park_on(struct request *req, park_arm_fn *arm, void *arg, handler_fn *resume)
{
    (void)req;
    (void)arm;
    (void)arg;
    (void)resume;
    return HANDLER_PARKED;
}

void response_text(struct response *res, int status, const char *content_type, const char *text)
{
    res->content_type = content_type;
    response_blob(res, status, blob_new_text(text));
}
