/*
 * drover.exec.v1 frames, both directions. Knows JSON and nothing of programs.
 */
#include "service/vm/exec_v1.h"

#include <assert.h>
#include <jansson.h>
#include <string.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"

DEFINE_CLEANUP(frame, json_t *, json_decref);
#define auto_frame auto_scope(cleanup_frame)

/* Takes frame. */
static size_t dump(char *buf, size_t max, json_t *frame_)
{
    auto_frame json_t *frame = frame_;
    size_t len;

    assert(frame);
    len = json_dumpb(frame, buf, max, JSON_COMPACT);
    assert(len && len <= max);
    return len;
}

/* ---- to a client ---- */

size_t exec_v1_hello(char *buf, size_t max, const struct exec_v1_hello *h)
{
    return dump(buf, max,
                json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "type", "hello", "id", h->id, "state",
                          h->state, "stdout", (json_int_t)h->next[EXEC_STDOUT], "stderr",
                          (json_int_t)h->next[EXEC_STDERR], "stdin", (json_int_t)h->input));
}

size_t exec_v1_gap(char *buf, size_t max, enum exec_v1_output which, uint64_t from, uint64_t to)
{
    return dump(buf, max,
                json_pack("{s:s, s:s, s:I, s:I}", "type", "gap", "stream",
                          which == EXEC_STDOUT ? "stdout" : "stderr", "from", (json_int_t)from,
                          "to", (json_int_t)to));
}

size_t exec_v1_stdin(char *buf, size_t max, uint64_t taken)
{
    return dump(buf, max, json_pack("{s:s, s:I}", "type", "stdin", "taken", (json_int_t)taken));
}

size_t exec_v1_exit(char *buf, size_t max, const struct exec_v1_exit *e)
{
    bool exited = strcmp(e->state, "ended") == 0 && !e->signal && e->exit_code >= 0;
    json_t *problem = e->code ? json_pack("{s:s, s:s}", "code", e->code, "detail", e->detail)
                              : json_null();

    return dump(buf, max,
                json_pack("{s:s, s:s, s:o, s:o, s:b, s:b, s:I, s:I, s:I, s:o}", "type", "exit",
                          "state", e->state, "exit_code",
                          exited ? json_integer(e->exit_code) : json_null(), "signal",
                          e->signal ? json_integer(e->signal) : json_null(), "timed_out",
                          (int)e->timed_out, "cut", (int)e->cut, "duration_ms",
                          (json_int_t)e->duration_ms, "stdout", (json_int_t)e->total[EXEC_STDOUT],
                          "stderr", (json_int_t)e->total[EXEC_STDERR], "problem", problem));
}

size_t exec_v1_error(char *buf, size_t max, const char *code, const char *detail)
{
    return dump(buf, max,
                json_pack("{s:s, s:s, s:s}", "type", "error", "code", code, "detail", detail));
}

/* ---- from a client ---- */

static bool get_offset(const json_t *frame, const char *name, uint64_t *ret)
{
    const json_t *value = json_object_get(frame, name);

    *ret = value ? (uint64_t)json_integer_value(value) : 0;
    return !value || (json_is_integer(value) && json_integer_value(value) >= 0);
}

void exec_v1_parse(const void *data, size_t len, struct exec_v1_frame *ret)
{
    auto_frame json_t *frame = NULL;
    const char *type;

    *ret = (struct exec_v1_frame){.type = EXEC_V1_BAD};
    if (len > EXEC_V1_FRAME_MAX) {
        ret->problem = "a text frame has at most 4096 bytes";
        return;
    }
    frame = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
    type = json_string_value(json_object_get(frame, "type"));
    if (!type) {
        ret->problem = "a text frame is a JSON object with a string \"type\"; "
                       "bytes for stdin go in binary frames";
        return;
    }
    if (str_eq(type, "eof")) {
        ret->type = EXEC_V1_EOF;
    } else if (str_eq(type, "kill")) {
        ret->type = EXEC_V1_KILL;
    } else if (!str_eq(type, "ack")) {
        ret->problem = "the frames of this stream are ack, eof and kill";
    } else if (get_offset(frame, "stdout", &ret->ack[EXEC_STDOUT]) &&
               get_offset(frame, "stderr", &ret->ack[EXEC_STDERR])) {
        ret->type = EXEC_V1_ACK;
    } else {
        ret->problem = "stdout and stderr of an ack are offsets";
    }
}

bool exec_v1_from(const char *text, uint64_t ret[EXEC_OUTPUTS])
{
    const char *comma = strchr(text, ',');
    auto_free char *first = comma ? xstrndup(text, (size_t)(comma - text)) : NULL;

    return comma && str_to_u64(first, INT64_MAX, &ret[EXEC_STDOUT]) &&
           str_to_u64(comma + 1, INT64_MAX, &ret[EXEC_STDERR]);
}
