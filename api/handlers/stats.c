/*
 * Figures from the latest sample, and KSM's knobs.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/host/host.h"
#include "service/vm/core.h"
#include "service/vm/sampler.h"
#include "service/vm/stats_topic.h"

int handle_vm_stats(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);
    const struct vm_sample *sample;
    char reason[64];

    if (!vm)
        return -1;
    auto_snapshot struct snapshot *snapshot = sampler_latest(core_sampler(req->core));
    sample = snapshot_find(snapshot, vm->id);
    if (vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_PAUSED)
        snprintf(reason, sizeof(reason), "no sample has been taken yet");
    else
        snprintf(reason, sizeof(reason), "the VM is %s", vm_state_name(vm->state));
    response_json(res, 200, codec_stats(vm->id, sample, &snapshot->ksm,
                                        codec_ksm_for(&req->principal), reason));
    return 0;
}

int handle_stats(struct request *req, struct response *res, struct error *err)
{
    auto_snapshot struct snapshot *snapshot = sampler_latest(core_sampler(req->core));
    bool exact = codec_ksm_for(&req->principal) == CODEC_KSM_EXACT;

    (void)err;
    if (request_wants_upgrade(req)) {
        res->stream = stats_subscribe(req->core, req->principal.project_id, exact, STATS_FORMAT_JSON);
        res->status = 101;
        return 0;
    }
    if (header_list_has(request_header(req, "Accept"), "text/event-stream")) {
        res->stream = stats_subscribe(req->core, req->principal.project_id, exact, STATS_FORMAT_SSE);
        res->content_type = "text/event-stream";
        response_header(res, "X-Accel-Buffering", "no"); /* nginx would hold it back */
        return 0;
    }
    response_json(res, 200, codec_stats_list(snapshot, req->principal.project_id,
                                             codec_ksm_for(&req->principal)));
    return 0;
}

int handle_ksm(struct request *req, struct response *res, struct error *err)
{
    auto_snapshot struct snapshot *snapshot = sampler_latest(core_sampler(req->core));
    struct ksm_tuner_status tuner;

    (void)err;
    ksm_tuner_read(core_ksm_tuner(req->core), &tuner);
    response_json(res, 200, codec_ksm(&snapshot->ksm, &tuner, codec_ksm_for(&req->principal)));
    return 0;
}

int handle_ksm_patch(struct request *req, struct response *res, struct error *err)
{
    struct ksm_tuner_patch patch = {0};
    struct ksm_tuner_status tuner;
    struct actor actor = request_actor(req);
    struct host_ksm now;

    if (codec_decode_ksm(req->json, &patch, err))
        return -1;
    host_ksm_read(core_host(req->core), &now);
    if (!now.available) {
        error_set(err, ERROR_NOT_SUPPORTED_BY_HOST, "this kernel has no KSM");
        error_remedy(err, "Use a kernel with CONFIG_KSM.");
        return -1;
    }
    if (ksm_tuner_change(core_ksm_tuner(req->core), &actor, &patch, err))
        return -1;
    host_ksm_read(core_host(req->core), &now);
    ksm_tuner_read(core_ksm_tuner(req->core), &tuner);
    response_json(res, 200, codec_ksm(&now, &tuner, codec_ksm_for(&req->principal)));
    return 0;
}

int handle_density(struct request *req, struct response *res, struct error *err)
{
    struct vm_filter filter = {
        .project_id = req->principal.project_id, .state = -1, .limit = SIZE_MAX};
    auto_snapshot struct snapshot *snapshot = sampler_latest(core_sampler(req->core));
    const char *by = request_query(req, "by");
    struct admission_sum admission;
    struct codec_density d = {.snapshot = snapshot,
                              .admission = &admission,
                              .detail = codec_ksm_for(&req->principal)};
    struct vm **vms;
    bool more;

    if (by && str_starts(by, "label.") && by[6])
        d.label = by + 6;
    else if (str_eq(by, "set"))
        d.by_set = true;
    else if (by && !str_eq(by, "image"))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "by", "by is image, set or label.KEY");
    admission_look(req->core, NULL, &admission);
    vm_list(req->core, &filter, &vms, &d.count, &more);
    d.vms = vms;
    response_json(res, 200, codec_density(&d));
    for (size_t i = 0; i < d.count; i++)
        vm_unref(vms[i]);
    free(vms);
    return 0;
}
