/*
 * Quotas: what a project and a token may use, and do.
 */
#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/core.h"
#include "service/vm/quota.h"

static json_t *shown_project(struct request *req, const struct project *p)
{
    struct quota_use use;

    quota_use_read(req->core, p->id, NULL, &use);
    return codec_project(p, &use);
}

int handle_quotas(struct request *req, struct response *res, struct error *err)
{
    const struct principal *by = &req->principal;
    struct token_info token;
    struct project project;
    struct quota_use use;
    json_t *own = json_null();

    if (project_find(req->core, by->project_id, &project, err))
        return -1;
    if (*by->token_id) {
        if (access_token_get(core_access(req->core), by->project_id, by->token_id, &token, err))
            return -1;
        quota_use_read(req->core, by->project_id, by->token_id, &use);
        own = json_pack("{s:s, s:s, s:o, s:o}", "id", token.id, "name", token.name, "quota",
                        codec_quota(&token.limits), "usage", codec_usage(&use));
    }
    response_json(res, 200, json_pack("{s:o, s:o}", "project", shown_project(req, &project), "token",
                                      own));
    return 0;
}

/* There is nothing to be learnt about projects of others. */
static int own_project(struct request *req, struct project *ret, struct error *err)
{
    const char *ref = request_param(req, "project");

    if (project_find(req->core, ref, ret, err))
        return -1;
    if (str_eq(ret->id, req->principal.project_id))
        return 0;
    return error_set(err, ERROR_PROJECT_NOT_FOUND, "there is no project %s", ref);
}

int handle_project_get(struct request *req, struct response *res, struct error *err)
{
    struct project project;

    if (own_project(req, &project, err))
        return -1;
    response_json(res, 200, shown_project(req, &project));
    return 0;
}

int handle_project_patch(struct request *req, struct response *res, struct error *err)
{
    struct actor actor = request_actor(req);
    struct project project;

    if (own_project(req, &project, err) ||
        codec_decode_quota_patch(req->json, &project.limits, err) ||
        project_set_quota(req->core, &actor, project.id, &project.limits, &project, err))
        return -1;
    response_json(res, 200, shown_project(req, &project));
    return 0;
}
