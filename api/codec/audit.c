/*
 * An entry of the audit log.
 */
#include "api/codec/codec.h"

json_t *codec_audit_entry(const struct audit_entry *e)
{
    return json_pack("{s:I, s:o, s:s, s:o, s:s, s:s, s:s, s:s, s:O, s:i, s:o, s:s, s:f}", "seq",
                     (json_int_t)e->seq, "at", codec_time(e->at), "project_id", e->project_id,
                     "principal", codec_text(e->principal), "name", e->name, "address", e->address,
                     "method", e->method, "operation", e->operation, "params", e->params, "status",
                     e->status, "code", codec_text(e->code), "request_id", e->request_id,
                     "duration_ms", (double)e->duration_us / 1000);
}
