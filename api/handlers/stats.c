/*
 * Figures from the latest sample, and KSM's knobs.
 */
#include <stdio.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/host/host.h"
#include "service/vm/core.h"
#include "service/vm/sampler.h"

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

    (void)err;
    response_json(res, 200, codec_stats_list(snapshot, req->principal.project_id,
                                             codec_ksm_for(&req->principal)));
    return 0;
}

int handle_ksm(struct request *req, struct response *res, struct error *err)
{
    auto_snapshot struct snapshot *snapshot = sampler_latest(core_sampler(req->core));

    (void)err;
    response_json(res, 200, codec_ksm(&snapshot->ksm, codec_ksm_for(&req->principal)));
    return 0;
}

int handle_ksm_patch(struct request *req, struct response *res, struct error *err)
{
    struct host *host = core_host(req->core);
    struct codec_knobs knobs = {0};
    struct host_ksm now;

    if (codec_decode_knobs(req->json, &knobs, err))
        return -1;
    host_ksm_read(host, &now);
    if (!now.available) {
        error_set(err, ERROR_NOT_SUPPORTED_BY_HOST, "this kernel has no KSM");
        error_remedy(err, "Use a kernel with CONFIG_KSM.");
        return -1;
    }
    /* Every knob is looked at before one is written. */
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (knobs.has[i] && !now.has[i]) {
            char pointer[128];

            snprintf(pointer, sizeof(pointer), "/knobs/%s", host_ksm_name((enum host_ksm_key)i));
            return error_set_at(err, ERROR_NOT_SUPPORTED_BY_HOST, pointer,
                                "this kernel does not have it");
        }
    }
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (knobs.has[i] && host_ksm_write(host, (enum host_ksm_key)i, knobs.value[i], err))
            return -1;
    }
    host_ksm_read(host, &now);
    response_json(res, 200, codec_ksm(&now, codec_ksm_for(&req->principal)));
    return 0;
}
