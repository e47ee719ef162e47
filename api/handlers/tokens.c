/*
 * API tokens: list, create, read, change what they may use, revoke.
 */
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/vm/access.h"
#include "service/vm/core.h"
#include "service/vm/quota.h"

int handle_token_list(struct request *req, struct response *res, struct error *err)
{
    json_t *items = json_array();
    struct token_info *tokens = NULL;
    size_t count = 0;

    (void)err;
    access_token_list(core_access(req->core), req->principal.project_id, &tokens, &count);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(items, codec_token(&tokens[i], NULL));
    free(tokens);
    response_json(res, 200, codec_list(items, NULL));
    return 0;
}

int handle_token_create(struct request *req, struct response *res, struct error *err)
{
    auto_token_request struct codec_token_request body = {0};
    char secret[SECRET_TOKEN_TEXT];
    struct token_info token;

    if (codec_decode_token(req->json, &body, err))
        return -1;
    const struct token_request request = {
        .name = body.name,
        .role = (enum access_role)body.role,
        .scopes = body.scopes,
        .expires_in_seconds = body.expires_in_seconds,
        .limits = body.has_quota ? &body.limits : NULL,
    };
    if (access_token_create(core_access(req->core), &req->principal, &request, secret, &token, err))
        return -1;
    response_header(res, "Location", "/v1/tokens/%s", token.id);
    response_json(res, 201, codec_token(&token, secret));
    return 0;
}

/* One token, with what it uses. */
static void answer_token(struct request *req, struct response *res, const struct token_info *token)
{
    json_t *object = codec_token(token, NULL);
    struct quota_use use;

    quota_use_read(req->core, req->principal.project_id, token->id, &use);
    json_object_set_new(object, "usage", codec_usage(&use));
    response_json(res, 200, object);
}

int handle_token_get(struct request *req, struct response *res, struct error *err)
{
    struct token_info token;

    if (access_token_get(core_access(req->core), req->principal.project_id,
                         request_param(req, "token"), &token, err))
        return -1;
    answer_token(req, res, &token);
    return 0;
}

int handle_token_patch(struct request *req, struct response *res, struct error *err)
{
    struct access *access = core_access(req->core);
    const char *id = request_param(req, "token");
    struct token_info token;

    if (access_token_get(access, req->principal.project_id, id, &token, err) ||
        codec_decode_quota_patch(req->json, &token.limits, err) ||
        access_token_set_limits(access, &req->principal, id, &token.limits, &token, err))
        return -1;
    quota_changed(req->core);
    answer_token(req, res, &token);
    return 0;
}

int handle_token_revoke(struct request *req, struct response *res, struct error *err)
{
    if (access_token_revoke(core_access(req->core), &req->principal, request_param(req, "token"),
                            err))
        return -1;
    res->status = 204;
    return 0;
}
