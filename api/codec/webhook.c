/*
 * Webhooks: as JSON, and the bodies that make and change them.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/spec.h"
#include "service/vm/webhook.h"

static json_t *pattern_list(const char *patterns)
{
    json_t *list = json_array();

    while (*patterns) {
        size_t len = strcspn(patterns, " ");

        json_array_append_new(list, json_stringn(patterns, len));
        patterns += len + (patterns[len] == ' ');
    }
    return list;
}

static const char *state_of(const struct webhook *w)
{
    return !w->enabled ? "disabled" : w->failures ? "failing" : "ok";
}

json_t *codec_webhook(const struct webhook *w, const char *secret)
{
    json_t *delivery = json_pack(
        "{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "last_seq", (json_int_t)w->last_seq, "failures",
        (json_int_t)w->failures, "failing_since", codec_time(w->failing_since), "next_attempt_at",
        codec_time(w->next_attempt_at), "last_attempt_at", codec_time(w->last_attempt_at),
        "last_success_at", codec_time(w->last_success_at), "last_status",
        w->last_status ? json_integer(w->last_status) : json_null(), "last_error",
        codec_text(w->last_error));
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:b, s:s, s:o, s:s, s:o, s:o, s:o}", "id", w->id,
                  "project_id", w->project_id, "url", w->url, "events", pattern_list(w->events),
                  "labels", json_loads(w->labels, 0, NULL), "enabled", w->enabled, "state", state_of(w),
                  "disabled_reason", codec_text(w->disabled_reason), "created_by", w->created_by,
                  "created_at", codec_time(w->created_at), "updated_at", codec_time(w->updated_at),
                  "delivery", delivery);

    if (secret)
        json_object_set_new(object, "secret", json_string(secret));
    return object;
}

json_t *codec_webhook_delivery(const struct webhook_delivery *d)
{
    return json_pack("{s:s, s:s, s:I, s:o, s:I, s:b, s:o, s:o, s:I}", "message_id", d->message_id,
                     "type", d->type, "seq", (json_int_t)d->seq, "at", codec_time(d->at), "attempt",
                     (json_int_t)d->attempt, "delivered", webhook_status_ok(d->status), "status",
                     d->status ? json_integer(d->status) : json_null(), "error",
                     codec_text(d->error), "took_ms", (json_int_t)d->took_ms);
}

/* ---- bodies ---- */

static int decode_events(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_webhook_request *r = out;
    auto_strbuf struct strbuf b = {0};

    if (!json_is_array(value) || !json_array_size(value) ||
        json_array_size(value) > WEBHOOK_PATTERNS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an array of 1 to %d patterns", WEBHOOK_PATTERNS_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *pattern = json_string_value(json_array_get(value, i));
        char at[128], index[24];

        snprintf(index, sizeof(index), "%zu", i);
        doc_pointer(at, sizeof(at), pointer, index);
        if (!pattern || !webhook_pattern_ok(pattern))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "must be an event's type, or a pattern like vm.* or *");
        strbuf_addf(&b, "%s%s", i ? " " : "", pattern);
    }
    free(r->events);
    r->events = strbuf_take(&b);
    return 0;
}

static int decode_labels(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_webhook_request *r = out;
    const char *key;
    json_t *item;

    if (!json_is_object(value) || json_object_size(value) > VM_LABELS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an object of at most %d members", VM_LABELS_MAX);
    json_object_foreach((json_t *)(uintptr_t)value, key, item) {
        char at[128];

        doc_pointer(at, sizeof(at), pointer, key);
        if (!*key || strlen(key) > 63 || !json_is_string(item) || json_string_length(item) > 256)
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "a label has a key of at most 63 bytes and a text of at most 256");
    }
    free(r->labels);
    r->labels = doc_text(value);
    return 0;
}

static int decode_enabled(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_webhook_request *r = out;

    if (!json_is_boolean(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be true or false");
    r->enabled = json_is_true(value);
    return 0;
}

static int decode(const json_t *body, bool url_required, struct codec_webhook_request *ret,
                  struct error *err)
{
#define AT(member) offsetof(struct codec_webhook_request, member)
    const struct doc_field fields[] = {
        {.name = "url",
         .kind = DOC_STRING,
         .required = url_required,
         .offset = AT(url),
         .min = 1,
         .max = WEBHOOK_URL_MAX},
        {.name = "events", .kind = DOC_CUSTOM, .decode = decode_events},
        {.name = "labels", .kind = DOC_CUSTOM, .decode = decode_labels},
        {.name = "secret",
         .kind = DOC_STRING,
         .offset = AT(secret),
         .min = 1,
         .max = WEBHOOK_SECRET_MAX - 1,
         .valid = webhook_secret_ok,
         .form = "whsec_ and base64 of 24 to 64 bytes"},
        {.name = "enabled", .kind = DOC_CUSTOM, .decode = decode_enabled},
    };
#undef AT

    ret->enabled = -1;
    return doc_decode(body, "", fields, DOC_COUNT(fields), ret, err);
}

int codec_decode_webhook(const json_t *body, struct codec_webhook_request *ret, struct error *err)
{
    return decode(body, true, ret, err);
}

int codec_decode_webhook_patch(const json_t *body, struct codec_webhook_request *ret,
                               struct error *err)
{
    return decode(body, false, ret, err);
}

void codec_webhook_request_done(struct codec_webhook_request *r)
{
    free(r->url);
    free(r->events);
    free(r->labels);
    if (r->secret)
        explicit_bzero(r->secret, strlen(r->secret));
    free(r->secret);
}

int codec_decode_redelivery(const json_t *body, int64_t *ret_from_seq, struct error *err)
{
    static const struct doc_field field = {
        .name = "from_seq", .kind = DOC_INT, .required = true, .min = 1, .max = INT64_MAX};

    return doc_decode(body, "", &field, 1, ret_from_seq, err);
}
