/*
 * Tokens, tickets, sessions: as JSON, and their bodies.
 */
#include "api/codec/codec.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/stream.h"

#define EXPIRY_MAX_SECONDS 3153600000 /* a hundred years */
#define SECRET_MAX         128

static json_t *scope_list(unsigned scopes)
{
    json_t *list = json_array();

    for (int bit = 0; bit < ACCESS_SCOPE_COUNT; bit++) {
        if (scopes & (1u << bit))
            json_array_append_new(list, json_string(access_scope_name(bit)));
    }
    return list;
}

json_t *codec_principal(const struct principal *p, const char *project_name)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "id", p->id, "name", p->name, "role",
                     access_role_name(p->role), "scopes", scope_list(p->scopes), "project_id",
                     p->project_id, "project", project_name);
}

json_t *codec_token(const struct token_info *t, const char *secret)
{
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o}", "id", t->id, "name", t->name, "role",
                  access_role_name(t->role), "scopes",
                  scope_list(t->scopes ? t->scopes : access_role_scopes(t->role)), "created_by",
                  t->created_by, "created_at", codec_time(t->created_at), "expires_at",
                  codec_time(t->expires_at), "last_used_at", codec_time(t->last_used_at));

    json_object_set_new(object, "quota", codec_quota(&t->limits));
    if (secret)
        json_object_set_new(object, "token", json_string(secret));
    return object;
}

static json_t *ticket_target(const struct ticket_info *t, const char *vm_name)
{
    return json_pack("{s:{s:s, s:s}, s:s, s:s, s:b, s:o}", "vm", "id", t->to.vm_id, "name", vm_name,
                     "stream", t->to.stream, "mode", t->to.control ? "control" : "view",
                     "single_use", !t->to.multi_use, "expires_at", codec_time(t->expires_at));
}

json_t *codec_ticket(const struct ticket_info *t, const char *vm_name,
                     const struct codec_ticket_addresses *at)
{
    json_t *object = ticket_target(t, vm_name);
    auto_json json_t *more =
        json_pack("{s:s, s:o, s:s, s:o, s:o}", "id", t->id, "name", codec_text(t->to.name),
                  "created_by", t->created_by, "created_at", codec_time(t->created_at),
                  "last_used_at", codec_time(t->last_used_at));

    json_object_update(object, more);
    if (at) {
        json_object_set_new(object, "ticket", json_string(at->secret));
        json_object_set_new(object, "url", json_string(at->url));
        json_object_set_new(object, "link", json_string(at->link));
    }
    return object;
}

json_t *codec_ticket_lookup(const struct ticket_info *t, const char *vm_name)
{
    return ticket_target(t, vm_name);
}

json_t *codec_code(const char *code, const char *url, int64_t expires_at)
{
    return json_pack("{s:s, s:s, s:o}", "code", code, "url", url, "expires_at",
                     codec_time(expires_at));
}

static int decode_scopes(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_token_request *r = out;

    if (!json_is_array(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be an array");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *name = json_string_value(json_array_get(value, i));
        char at[128], index[24];
        int bit = 0;

        snprintf(index, sizeof(index), "%zu", i);
        doc_pointer(at, sizeof(at), pointer, index);
        while (bit < ACCESS_SCOPE_COUNT && !str_eq(name, access_scope_name(bit)))
            bit++;
        if (bit == ACCESS_SCOPE_COUNT)
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "must be a scope, like vm:read or console:control");
        if (r->scopes & (1u << bit))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at, "is named twice");
        r->scopes |= 1u << bit;
    }
    return 0;
}

static int decode_token_quota(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_token_request *r = out;

    r->has_quota = true;
    r->limits = quota_limits_parse("");
    return codec_decode_quota(value, pointer, &r->limits, err);
}

int codec_decode_token(const json_t *body, struct codec_token_request *ret, struct error *err)
{
    static const char *const roles[] = {"viewer", "operator", "admin", NULL};
#define AT(member) offsetof(struct codec_token_request, member)
    static const struct doc_field fields[] = {
        {.name = "name",
         .kind = DOC_STRING,
         .required = true,
         .offset = AT(name),
         .min = 1,
         .max = 63},
        {.name = "role", .kind = DOC_ENUM, .required = true, .offset = AT(role), .choices = roles},
        {.name = "scopes", .kind = DOC_CUSTOM, .decode = decode_scopes},
        {.name = "expires_in_seconds",
         .kind = DOC_INT,
         .nullable = true,
         .offset = AT(expires_in_seconds),
         .min = 1,
         .max = EXPIRY_MAX_SECONDS},
        {.name = "quota", .kind = DOC_CUSTOM, .decode = decode_token_quota},
    };
#undef AT

    return doc_decode(body, "", fields, DOC_COUNT(fields), ret, err);
}

void codec_token_request_done(struct codec_token_request *r)
{
    free(r->name);
}

int codec_decode_ticket(const json_t *body, struct codec_ticket_request *ret, struct error *err)
{
    static const char *const modes[] = {"control", "view", NULL};
#define AT(member) offsetof(struct codec_ticket_request, member)
    static const struct doc_field fields[] = {
        {.name = "vm",
         .kind = DOC_STRING,
         .required = true,
         .offset = AT(vm),
         .min = 1,
         .max = VM_NAME_MAX},
        {.name = "stream",
         .kind = DOC_STRING,
         .required = true,
         .offset = AT(stream),
         .min = 1,
         .max = STREAM_NAME_MAX,
         .valid = stream_name_ok,
         .form = "console, serial/N, channels/NAME, vsock/PORT, display or exec/ID/stream"},
        {.name = "mode", .kind = DOC_ENUM, .offset = AT(mode), .choices = modes},
        {.name = "single_use", .kind = DOC_BOOL, .offset = AT(single_use)},
        {.name = "expires_in_seconds",
         .kind = DOC_INT,
         .nullable = true,
         .offset = AT(expires_in_seconds),
         .min = 1,
         .max = EXPIRY_MAX_SECONDS},
        {.name = "name",
         .kind = DOC_STRING,
         .nullable = true,
         .offset = AT(name),
         .min = 1,
         .max = 63},
    };
#undef AT

    return doc_decode(body, "", fields, DOC_COUNT(fields), ret, err);
}

void codec_ticket_request_done(struct codec_ticket_request *r)
{
    free(r->vm);
    free(r->stream);
    free(r->name);
}

int codec_decode_ticket_lookup(const json_t *body, struct codec_ticket_lookup *ret,
                               struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "ticket",
         .kind = DOC_STRING,
         .required = true,
         .offset = offsetof(struct codec_ticket_lookup, ticket),
         .min = 1,
         .max = SECRET_MAX},
    };

    return doc_decode(body, "", fields, DOC_COUNT(fields), ret, err);
}

void codec_ticket_lookup_done(struct codec_ticket_lookup *r)
{
    free(r->ticket);
}

int codec_decode_sign_in(const json_t *body, struct codec_sign_in *ret, struct error *err)
{
#define AT(member) offsetof(struct codec_sign_in, member)
    static const struct doc_field fields[] = {
        {.name = "code", .kind = DOC_STRING, .offset = AT(code), .min = 1, .max = SECRET_MAX},
        {.name = "token", .kind = DOC_STRING, .offset = AT(token), .min = 1, .max = SECRET_MAX},
    };
#undef AT

    if (doc_decode(body, "", fields, DOC_COUNT(fields), ret, err))
        return -1;
    if ((ret->code != NULL) == (ret->token != NULL))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "",
                            "must have exactly one of code and token");
    return 0;
}

void codec_sign_in_done(struct codec_sign_in *r)
{
    free(r->code);
    free(r->token);
}
