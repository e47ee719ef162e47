/*
 * The daemon about itself: alive, ready, what it offers.
 */
#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/vm/core.h"

#define PARTS_MAX 16

int handle_livez(struct request *req, struct response *res, struct error *err)
{
    (void)req;
    (void)err;
    response_json(res, 200, codec_liveness());
    return 0;
}

int handle_readyz(struct request *req, struct response *res, struct error *err)
{
    struct core_part parts[PARTS_MAX];
    size_t count = core_readiness(req->core, parts, PARTS_MAX);
    bool ready = true;

    (void)err;
    for (size_t i = 0; i < count; i++)
        ready = ready && parts[i].ok;
    response_json(res, ready ? 200 : 503, codec_readiness(parts, count, ready));
    return 0;
}

int handle_api(struct request *req, struct response *res, struct error *err)
{
    (void)req;
    (void)err;
    response_json(res, 200, codec_api());
    return 0;
}
