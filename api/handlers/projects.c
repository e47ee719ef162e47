/*
 * Projects. Who may not look after them sees his own and nothing that tells of others.
 */
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/core.h"
#include "service/vm/project.h"
#include "service/vm/quota.h"

static bool sees_all(const struct request *req)
{
    return req->principal.scopes & ACCESS_PROJECT_WRITE;
}

json_t *project_json(struct request *req, const struct project *p)
{
    json_t *friends = sees_all(req) ? json_array() : NULL;
    struct quota_use use;

    for (size_t i = 0; friends && i < p->trust.friend_count; i++) {
        char name[PROJECT_NAME_SIZE];

        project_name(req->core, p->trust.friends[i], name);
        if (*name) /* else it was deleted */
            json_array_append_new(friends, json_string(name));
    }
    quota_use_read(req->core, p->id, NULL, &use);
    return codec_project(p, &use, friends);
}

int handle_project_list(struct request *req, struct response *res, struct error *err)
{
    json_t *items = json_array();
    struct project *all;
    size_t count;

    (void)err;
    project_list(req->core, &all, &count);
    for (size_t i = 0; i < count; i++) {
        if (sees_all(req) || str_eq(all[i].id, req->principal.project_id))
            json_array_append_new(items, project_json(req, &all[i]));
    }
    free(all);
    response_json(res, 200, codec_list(items, NULL));
    return 0;
}

static struct project_request wanted(const struct codec_project_request *body)
{
    return (struct project_request){.name = body->name,
                                    .limits = &body->limits,
                                    .memory_merge = body->memory_merge,
                                    .merge_with = body->merge_with,
                                    .merge_with_count = body->merge_with_count};
}

int handle_project_create(struct request *req, struct response *res, struct error *err)
{
    auto_project_request struct codec_project_request body = {.limits = quota_limits_parse("")};
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    struct project_request request;
    struct project project;
    bool replayed;

    if (codec_decode_project(req->json, &body, err))
        return -1;
    request = wanted(&body);
    if (project_create(req->core, &actor, &request, &idem, &project, &replayed, err))
        return -1;
    response_header(res, "Location", "/v1/projects/%s", project.name);
    answer_replayed(res, replayed);
    response_json(res, 201, project_json(req, &project));
    return 0;
}

/* There is nothing to be learnt about projects of others. */
static int visible(struct request *req, struct project *ret, struct error *err)
{
    const char *ref = request_param(req, "project");

    if (project_find(req->core, ref, ret, err))
        return -1;
    if (sees_all(req) || str_eq(ret->id, req->principal.project_id))
        return 0;
    return error_set(err, ERROR_PROJECT_NOT_FOUND, "there is no project %s", ref);
}

int handle_project_get(struct request *req, struct response *res, struct error *err)
{
    struct project project;

    if (visible(req, &project, err))
        return -1;
    response_json(res, 200, project_json(req, &project));
    return 0;
}

int handle_project_patch(struct request *req, struct response *res, struct error *err)
{
    auto_project_request struct codec_project_request body = {0};
    struct actor actor = request_actor(req);
    struct project_request request;
    struct project project;

    if (visible(req, &project, err))
        return -1;
    body.limits = project.limits;
    if (codec_decode_project_patch(req->json, &body, err))
        return -1;
    request = wanted(&body);
    if (project_change(req->core, &actor, project.id, &request, &project, err))
        return -1;
    response_json(res, 200, project_json(req, &project));
    return 0;
}

int handle_project_delete(struct request *req, struct response *res, struct error *err)
{
    struct actor actor = request_actor(req);
    struct project project;

    if (visible(req, &project, err) || project_delete(req->core, &actor, project.id, err))
        return -1;
    res->status = 204;
    return 0;
}
