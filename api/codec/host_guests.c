/* What the last shutdown of the host's guests did, as JSON. */
#include "api/codec/codec.h"
#include "service/vm/host_stop.h"

static json_t *shut_down_vm(const struct host_stop_vm *v)
{
    bool ended = v->outcome != HOST_STOP_PENDING;

    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:s, s:o, s:o, s:o}", "vm_id", v->vm_id, "project_id",
                     v->project_id, "name", v->name, "action", host_stop_action_name(v->action), "seconds",
                     (json_int_t)v->seconds, "outcome", codec_text(host_stop_outcome_name(v->outcome)), "detail",
                     v->detail, "started_at", codec_time(v->started_at), "finished_at",
                     codec_time(v->finished_at), "took_ms",
                     ended ? json_integer(v->finished_at - v->started_at) : json_null());
}

json_t *codec_guest_shutdown(const struct host_stop_status *status)
{
    json_t *vms = json_array();

    for (size_t i = 0; i < status->count; i++)
        json_array_append_new(vms, shut_down_vm(&status->vms[i]));
    return json_pack("{s:b, s:o, s:o}", "refuses_starts", status->refuses_starts, "operation_id",
                     codec_text(status->op_id), "vms", vms);
}
