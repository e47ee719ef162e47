/*
 * The guests of the host, all at once: shutting them down, what came of it, and starting them again.
 */
#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/vm/host_stop.h"

int handle_guest_shutdown(struct request *req, struct response *res, struct error *err)
{
    auto_host_stop_status struct host_stop_status status = {0};

    (void)err;
    host_stop_read(req->core, &status);
    response_json(res, 200, codec_guest_shutdown(&status));
    return 0;
}

int handle_guests_shut_down(struct request *req, struct response *res, struct error *err)
{
    struct actor actor = request_actor(req);
    struct idem idem = request_idem(req);
    struct op *op = NULL;
    bool replayed;
    int64_t wait_ms;

    /* Looked at before the work: a bad parameter must not leave an operation behind. */
    if (wait_read(req, &wait_ms, err) || host_stop_begin(req->core, &actor, &idem, &op, &replayed, err))
        return -1;
    return answer_op(req, res, op, replayed, err);
}

int handle_guests_start(struct request *req, struct response *res, struct error *err)
{
    if (host_stop_end(req->core, err))
        return -1;
    return handle_guest_shutdown(req, res, err);
}
