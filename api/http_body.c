/*
 * JSON bodies: capped as bytes arrive, parsed once they are whole.
 */
#include <string.h>
#include <strings.h>

#include "api/http_internal.h"
#include "service/base/hash.h"
#include "service/base/str.h"
#include "service/json/doc.h"

static int too_large(struct exchange *x, struct error *err)
{
    error_set(err, ERROR_BODY_TOO_LARGE, "The body is larger than %zu bytes.", x->body_limit);
    return -1;
}

/* "application/json", "application/merge-patch+json", with parameters or without. */
static bool is_json(const char *type)
{
    size_t len = strcspn(type, "; \t");

    return (len == 16 && strncasecmp(type, "application/json", len) == 0) ||
           (len == 28 && strncasecmp(type, "application/merge-patch+json", len) == 0);
}

static int check_type(struct exchange *x, struct error *err)
{
    const char *type = x->gate.value[GATE_CONTENT_TYPE];

    /* A form can be sent by any page, without asking first; JSON cannot. */
    if (type ? is_json(type) : !x->req.principal.by_cookie)
        return 0;
    error_set(err, ERROR_UNSUPPORTED_MEDIA_TYPE, "The body is sent as \"%.80s\".",
              type ? type : "(no Content-Type)");
    error_remedy(err, "Send Content-Type: application/json.");
    return -1;
}

int body_expect(struct exchange *x, struct error *err)
{
    const struct http_limits *l = &x->http->limits;
    unsigned flags = x->req.route->flags;

    if (flags & ROUTE_UPLOAD)
        return 0;
    x->json_depth = (size_t)l->json_depth;
    x->json_tokens = (size_t)l->json_tokens;
    x->body_limit = (size_t)(l->body_limit + (flags & ROUTE_LARGE_BODY ? l->user_data_limit : 0));
    if (x->gate.content_length == 0)
        return 0;
    if (x->gate.content_length > (int64_t)x->body_limit)
        return too_large(x, err);
    return flags & (ROUTE_BODY | ROUTE_BODY_OPTIONAL) ? check_type(x, err) : 0;
}

int body_add(struct exchange *x, const char *data, size_t len, struct error *err)
{
    size_t want = x->body_len + len;

    if (want > x->body_limit)
        return too_large(x, err);
    if (want + 1 > x->body_cap) {
        size_t cap = x->gate.content_length > 0 ? (size_t)x->gate.content_length + 1 : 4096;

        while (cap < want + 1)
            cap *= 2;
        x->body = xrealloc_array(x->body, cap, 1);
        x->body_cap = cap;
    }
    memcpy(x->body + x->body_len, data, len);
    x->body_len = want;
    x->body[want] = '\0';
    return 0;
}

static void hash_request(struct exchange *x)
{
    struct hash *hash = hash_new(HASH_SHA256);

    hash_add(hash, x->req.method, strlen(x->req.method));
    hash_add(hash, "\n", 1);
    hash_add(hash, x->req.path, strlen(x->req.path));
    /* The same words said in another project are another request. */
    if (request_query(&x->req, "project"))
        hash_add(hash, x->req.principal.project_id, strlen(x->req.principal.project_id));
    hash_add(hash, "\n", 1);
    hash_add(hash, x->body ? x->body : "", x->body_len);
    hash_finish(hash, x->req.body_sha256);
    hash_free(hash);
}

static bool is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!strchr(" \t\r\n", text[i]) || !text[i])
            return false;
    }
    return true;
}

static int check_key(const char *key, struct error *err)
{
    size_t len = strlen(key);

    if (len >= 1 && len <= 128 && str_is_utf8(key, len))
        return 0;
    return error_set_at(err, ERROR_INVALID_ARGUMENT, "Idempotency-Key",
                        "The key has 1 to 128 characters.");
}

int body_parse(struct exchange *x, struct error *err)
{
    const struct doc_limits limits = {
        .bytes = x->body_limit, .depth = x->json_depth, .tokens = x->json_tokens};
    unsigned flags = x->req.route->flags;
    const char *key = x->gate.value[GATE_IDEMPOTENCY_KEY];

    if (key) {
        if (check_key(key, err) < 0)
            return -1;
        hash_request(x);
    }
    if (is_blank(x->body, x->body_len)) {
        if (flags & ROUTE_BODY)
            return error_set(err, ERROR_MALFORMED_BODY, "This address needs a JSON body.");
        return 0;
    }
    x->req.body = x->body;
    x->req.body_len = x->body_len;
    if (!(flags & (ROUTE_BODY | ROUTE_BODY_OPTIONAL))) {
        if (x->body_len == 2 && memcmp(x->body, "{}", 2) == 0)
            return 0; /* what some clients send for "nothing" */
        return error_set(err, ERROR_MALFORMED_BODY, "This address takes no body.");
    }
    return doc_parse(x->body, x->body_len, &limits, &x->req.json, err);
}
