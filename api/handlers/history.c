/*
 * What the figures were.
 */
#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/core.h"
#include "service/vm/history.h"

static int seconds_argument(const struct request *req, const char *name, int64_t *ret, struct error *err)
{
    int64_t ms = *ret * 1000;

    if (time_argument(req, name, &ms, err))
        return -1;
    *ret = ms / 1000;
    return 0;
}

static int answer(struct request *req, struct response *res, const char *series, const char *vm_id,
                  struct error *err)
{
    int64_t now = clock_wall_ms() / 1000;
    struct history_range q = {.series = series, .from = -1, .to = now + 1};
    auto_history_answer struct history_answer a = {0};

    if (seconds_argument(req, "from", &q.from, err) || seconds_argument(req, "to", &q.to, err) ||
        request_query_int(req, "step", 1, 31 * 86400, &q.step, err))
        return -1;
    if (!request_query(req, "from"))
        q.from = q.to > 3600 ? q.to - 3600 : 0;
    if (history_read(core_history(req->core), &q, &a, err))
        return -1;
    response_blob(res, 200, codec_history(vm_id, &a, codec_ksm_for(&req->principal)));
    return 0;
}

int handle_vm_history(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);

    return vm ? answer(req, res, vm->id, vm->id, err) : -1;
}

int handle_host_history(struct request *req, struct response *res, struct error *err)
{
    return answer(req, res, HISTORY_HOST, NULL, err);
}
