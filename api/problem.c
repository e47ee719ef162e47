/*
 * RFC 9457 documents. Deliberately leaves out err->cause: that is for the log alone.
 */
#include "api/problem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"

/* Whatever detail holds, the document stays valid: jansson refuses what is not UTF-8. */
static void put(json_t *o, const char *name, const char *text)
{
    json_t *value = json_string(text);

    json_object_set_new(o, name, value ? value : json_string("(not UTF-8)"));
}

struct blob *problem_render(const struct error *err, const char *request_id)
{
    auto_json json_t *o = json_object();
    auto_free char *type = xasprintf("/problems/%s", error_slug(err->code));
    auto_free char *text = NULL;

    put(o, "type", type);
    put(o, "title", error_title(err->code));
    json_object_set_new(o, "status", json_integer(error_status(err->code)));
    if (*err->detail)
        put(o, "detail", err->detail);
    if (request_id && *request_id) {
        auto_free char *instance = xasprintf("urn:drover:request:%s", request_id);

        put(o, "instance", instance);
    }
    put(o, "code", error_slug(err->code));
    if (*err->pointer)
        put(o, "pointer", err->pointer);
    if (*err->remedy)
        put(o, "remedy", err->remedy);
    if (err->quota.resource) {
        put(o, "resource", err->quota.resource);
        put(o, "scope", err->quota.scope);
        json_object_set_new(o, "limit", json_integer(err->quota.limit));
        json_object_set_new(o, "used", json_integer(err->quota.used));
        json_object_set_new(o, "requested", json_integer(err->quota.requested));
    }
    if (error_retry(err->code))
        json_object_set_new(o, "retry", json_true());
    text = json_dumps(o, JSON_COMPACT);
    if (!text)
        abort(); /* out of memory: nothing else can fail here */
    return blob_new_text(text);
}
