/*
 * Recordings as JSON, and what is asked for at the start of one.
 */
#include <stdlib.h>

#include "api/codec/codec.h"
#include "service/json/doc.h"
#include "service/vm/stream.h"

json_t *codec_recording(const struct recording *r)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:f, s:I, s:i, s:i, s:s}", "id",
                     r->id, "vm_id", r->vm_id, "vm_name", r->vm_name, "stream", r->stream, "state",
                     recording_state_name(r->state), "state_reason", r->state_reason, "started_at",
                     codec_time(r->started_at), "finished_at", codec_time(r->finished_at),
                     "duration_seconds", (double)r->duration_ms / 1000, "size_bytes",
                     (json_int_t)r->size_bytes, "rows", (int)r->rows, "cols", (int)r->cols, "actor",
                     r->actor);
}

/* One client's own stream cannot be read beside it. */
static bool is_remembered(const char *stream)
{
    return stream_name_ok(stream) && !stream_is_pipe(stream);
}

int codec_decode_recording(const json_t *body, struct codec_recording_request *ret,
                           struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "stream",
         .kind = DOC_STRING,
         .nullable = true,
         .offset = offsetof(struct codec_recording_request, stream),
         .min = 1,
         .max = STREAM_NAME_MAX,
         .valid = is_remembered,
         .form = "console, serial/N or channels/NAME"},
    };

    return doc_decode(body, "", fields, DOC_COUNT(fields), ret, err);
}

void codec_recording_request_done(struct codec_recording_request *r)
{
    free(r->stream);
}
