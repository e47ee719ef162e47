/*
 * A request and its answer as handlers see them: plain values, no libmicrohttpd. One thread at a
 * time holds a request: the HTTP thread, then a worker, then the HTTP thread again.
 */
#ifndef DROVER_API_REQUEST_H
#define DROVER_API_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/blob.h"
#include "service/base/error.h"
#include "service/base/source.h"
#include "service/vm/access.h"
#include "service/vm/vm.h"
#include "service/vm/wait.h"

struct core;
struct request;
struct response;

#define HANDLER_PARKED 1
/* 0: *res is filled; -1: *err is; HANDLER_PARKED: request_park_* was called. */
typedef int handler_fn(struct request *req, struct response *res, struct error *err);

enum route_flags {
    ROUTE_INLINE = 1 << 0,  /* never blocks: runs on the HTTP thread */
    ROUTE_PUBLIC = 1 << 1,  /* no credential needed */
    ROUTE_UPGRADE = 1 << 2, /* WebSocket only; 426 without Upgrade */
    ROUTE_UPLOAD = 1 << 3,  /* raw body of any size, streamed through upload */
    ROUTE_BODY = 1 << 4,    /* a JSON body is required and parsed before the handler */
    ROUTE_BODY_OPTIONAL = 1 << 5,
    ROUTE_TICKET = 1 << 6,  /* ?ticket= is accepted instead of a credential */
    ROUTE_LARGE_BODY = 1 << 7, /* body limit + user_data limit */
    ROUTE_UPGRADE_OPTIONAL = 1 << 8, /* WebSocket when asked for, JSON or SSE otherwise */
};

/* For ROUTE_UPLOAD; called on workers, one at a time. begin may answer early by returning -1. */
struct upload_ops {
    int (*begin)(struct request *req, void **ret_state, struct error *err);
    int (*write)(void *state, const void *data, size_t len, struct error *err);
    /* May park, like a handler. */
    int (*finish)(struct request *req, void *state, struct response *res, struct error *err);
    void (*abort)(void *state); /* client gone or write failed; not after finish */
};

struct route {
    const char *method;
    const char *path;         /* template: /v1/vms/{vm} */
    const char *operation_id; /* as in openapi.yaml */
    unsigned scope;           /* enum access_scope; 0 with ROUTE_PUBLIC, or any credential */
    unsigned flags;
    handler_fn *handler;
    const struct upload_ops *upload;
};
/* In the order of openapi.yaml; ended by a NULL method. */
extern const struct route routes[];

#define REQUEST_PARAMS_MAX 3
struct request {
    char id[40]; /* X-Request-Id */
    struct core *core;
    const struct route *route;
    const char *method, *path;
    struct {
        const char *name;
        char value[256]; /* percent-decoded */
    } params[REQUEST_PARAMS_MAX];
    size_t param_count;
    const char *body; /* NULL without */
    size_t body_len;
    char body_sha256[SECRET_SHA256_TEXT]; /* of method, path and body; set when Idempotency-Key is sent */
    json_t *json; /* the parsed body, or NULL */
    struct principal principal;
    bool has_principal;
    bool tls; /* it came to us encrypted */
    char peer[64]; /* address, or "unix:UID" */
    int64_t content_length; /* -1 unknown */
    void *http; /* http.c's own */
};

const char *request_param(const struct request *req, const char *name);  /* never NULL for a template's own */
const char *request_query(const struct request *req, const char *name);  /* decoded; NULL: absent */
/* Calls fn for every query argument in order; stops when it returns non-zero, and returns that. */
int request_query_each(const struct request *req, int (*fn)(void *, const char *name, const char *value),
                       void *arg);
const char *request_header(const struct request *req, const char *name); /* NULL: absent */
/* The value of a cookie, valid until the next call; NULL: absent. */
const char *request_cookie(const struct request *req, const char *name);
/* A well-formed WebSocket handshake on a route that takes one: answer 101 with stream set. */
bool request_wants_upgrade(const struct request *req);
/* Sec-WebSocket-Protocol as sent ("a, b"); "" when none was offered. */
const char *request_offered_subprotocols(const struct request *req);
/* Whether name is one of them (exact). */
bool request_offers_subprotocol(const struct request *req, const char *name);
/* The actor and Idempotency-Key to pass down; they point into the request. */
struct actor request_actor(const struct request *req);
struct idem request_idem(const struct request *req);
/* ?name=N as a whole number in [min, max]; absent: *ret untouched. INVALID_ARGUMENT names the parameter. */
int request_query_int(const struct request *req, const char *name, int64_t min, int64_t max,
                      int64_t *ret, struct error *err);
int request_query_bool(const struct request *req, const char *name, bool *ret, struct error *err);
/* If-Match as a generation; *ret 0 when absent or "*". */
int request_if_match(const struct request *req, int64_t *ret, struct error *err);

/*
 * Park until the condition or the time-out, then run resume on a worker. The handler returns what
 * these return (HANDLER_PARKED). In resume, request_wait_result() tells how it ended.
 */
int request_park_op(struct request *req, const char *op_id, int64_t timeout_ms, handler_fn *resume);
int request_park_vm(struct request *req, const char *vm_id, enum wait_vm what, int64_t timeout_ms,
                    handler_fn *resume);
/* Until something else ends: arm(arg, done, opaque) sees to it that done is called exactly once. */
typedef void park_arm_fn(void *arg, wait_fn *done, void *opaque);
int request_park_on(struct request *req, park_arm_fn *arm, void *arg, handler_fn *resume);
int request_park_lease(struct request *req, const char *lease_id, int64_t timeout_ms,
                       handler_fn *resume);
enum wait_result request_wait_result(const struct request *req);
/* A place for the handler to keep something until resume; freed with the request. */
void request_keep(struct request *req, void *p, void (*free_fn)(void *));
void *request_kept(const struct request *req);

#define RESPONSE_HEADERS_MAX 8
struct response {
    int status; /* 0 means 200 */
    const char *content_type; /* static text; NULL with a body means application/json */
    struct blob *body;        /* owned; NULL: empty */
    struct {
        const char *name; /* static text */
        char value[256];
    } headers[RESPONSE_HEADERS_MAX];
    size_t header_count;
    /* A body that comes piece by piece (SSE without a content_type), or with status 101 the socket's
     * source; owned. */
    struct source *stream;
    int64_t stream_length; /* bytes that stream will have; 0: not known, or no stream */
    char subprotocol[32];  /* chosen WebSocket subprotocol, "" for none */
};

void response_header(struct response *res, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Steals the reference to value. */
void response_json(struct response *res, int status, json_t *value);
void response_blob(struct response *res, int status, struct blob *body); /* takes ownership */
void response_text(struct response *res, int status, const char *content_type, const char *text);

#endif
