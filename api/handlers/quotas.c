/*
 * What the caller's project and token may use, and do.
 */
#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/core.h"
#include "service/vm/project.h"
#include "service/vm/quota.h"

int handle_quotas(struct request *req, struct response *res, struct error *err)
{
    const struct principal *by = &req->principal;
    struct token_info token;
    struct error elsewhere; /* a token of another project has no quota in this one */
    struct project project;
    struct quota_use use;
    json_t *own = json_null();

    if (project_find(req->core, by->project_id, &project, err))
        return -1;
    if (*by->token_id && !access_token_get(core_access(req->core), by->project_id, by->token_id,
                                           &token, &elsewhere)) {
        quota_use_read(req->core, by->project_id, by->token_id, &use);
        own = json_pack("{s:s, s:s, s:o, s:o}", "id", token.id, "name", token.name, "quota",
                        codec_quota(&token.limits), "usage", codec_usage(&use));
    }
    response_json(res, 200, json_pack("{s:o, s:o}", "project", project_json(req, &project), "token",
                                      own));
    return 0;
}
