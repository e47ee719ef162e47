/*
 * drover.console.v1 control frames, both directions. Knows JSON and nothing of streams.
 */
#include "service/vm/console_v1.h"

#include <assert.h>
#include <inttypes.h>
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

static json_t *id_value(uint64_t id)
{
    return id ? json_sprintf("v%" PRIu64, id) : json_null();
}

static json_t *size_value(unsigned n)
{
    return n ? json_integer(n) : json_null();
}

static const char *mode_name(enum console_mode mode)
{
    return mode == CONSOLE_CONTROL ? "control" : "view";
}

/* ---- to a client ---- */

size_t console_v1_hello(char *buf, size_t max, const struct console_v1_hello *h)
{
    return dump(buf, max,
                json_pack("{s:s, s:o, s:I, s:I, s:I, s:i, s:s, s:o, s:b, s:o, s:o, s:b}", "type",
                          "hello", "id", id_value(h->id), "offset", (json_int_t)h->offset, "oldest",
                          (json_int_t)h->oldest, "next", (json_int_t)h->next, "viewers",
                          (int)h->viewers, "mode", mode_name(h->mode), "holder",
                          id_value(h->holder), "exclusive", (int)h->exclusive, "rows",
                          size_value(h->rows), "cols", size_value(h->cols), "recording",
                          (int)h->recording));
}

size_t console_v1_pipe_hello(char *buf, size_t max, uint64_t id, enum console_mode mode)
{
    return dump(buf, max,
                json_pack("{s:s, s:o, s:s}", "type", "hello", "id", id_value(id), "mode",
                          mode_name(mode)));
}

size_t console_v1_gap(char *buf, size_t max, uint64_t from, uint64_t to, const char *reason)
{
    return dump(buf, max,
                json_pack("{s:s, s:I, s:I, s:s}", "type", "gap", "from", (json_int_t)from, "to",
                          (json_int_t)to, "reason", reason));
}

size_t console_v1_control(char *buf, size_t max, uint64_t holder, bool exclusive,
                          const uint64_t *requests, size_t request_count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < request_count; i++)
        json_array_append_new(list, id_value(requests[i]));
    return dump(buf, max,
                json_pack("{s:s, s:o, s:b, s:o}", "type", "control", "holder", id_value(holder),
                          "exclusive", (int)exclusive, "requests", list));
}

size_t console_v1_size(char *buf, size_t max, unsigned rows, unsigned cols)
{
    return dump(buf, max,
                json_pack("{s:s, s:i, s:i}", "type", "size", "rows", (int)rows, "cols", (int)cols));
}

size_t console_v1_eof(char *buf, size_t max)
{
    return dump(buf, max, json_pack("{s:s}", "type", "eof"));
}

size_t console_v1_error(char *buf, size_t max, const char *code, const char *detail)
{
    return dump(buf, max,
                json_pack("{s:s, s:s, s:s}", "type", "error", "code", code, "detail", detail));
}

size_t console_v1_viewers(char *buf, size_t max, unsigned count, bool recording,
                          const struct console_v1_viewer *listed, size_t listed_count)
{
    json_t *list = json_array();
    size_t used = 96; /* what is around the list */

    for (size_t i = 0; i < listed_count; i++) {
        const struct console_v1_viewer *v = &listed[i];
        json_t *one =
            json_pack("{s:o, s:s, s:s, s:s, s:b}", "id", id_value(v->id), "name",
                      str_is_utf8(v->name, strlen(v->name)) ? v->name : "", "mode",
                      mode_name(v->mode), "protocol", v->protocol == CONSOLE_V1 ? "v1" : "raw",
                      "holder", (int)v->holder);

        used += json_dumpb(one, NULL, 0, JSON_COMPACT) + 1;
        if (used > max) {
            json_decref(one);
            break;
        }
        json_array_append_new(list, one);
    }
    return dump(buf, max,
                json_pack("{s:s, s:i, s:b, s:o}", "type", "viewers", "count", (int)count,
                          "recording", (int)recording, "viewers", list));
}

/* ---- from a client ---- */

static bool get_id(const json_t *frame, const char *key, uint64_t *ret)
{
    const char *text = json_string_value(json_object_get(frame, key));

    return text && text[0] == 'v' && str_to_u64(text + 1, INT64_MAX, ret) && *ret;
}

static bool get_size(const json_t *frame, const char *key, unsigned *ret)
{
    const json_t *value = json_object_get(frame, key);
    json_int_t n = json_integer_value(value);

    *ret = (unsigned)n;
    return json_is_integer(value) && n >= 1 && n <= CONSOLE_V1_SIZE_MAX;
}

static bool no_members(const json_t *frame, struct console_v1_frame *ret)
{
    return true;
}

static bool grant_members(const json_t *frame, struct console_v1_frame *ret)
{
    return get_id(frame, "to", &ret->to);
}

static bool take_members(const json_t *frame, struct console_v1_frame *ret)
{
    const json_t *value = json_object_get(frame, "exclusive");

    ret->exclusive = json_is_true(value);
    return !value || json_is_boolean(value);
}

static bool size_members(const json_t *frame, struct console_v1_frame *ret)
{
    return get_size(frame, "rows", &ret->rows) && get_size(frame, "cols", &ret->cols);
}

static const struct {
    const char *name;
    bool (*members)(const json_t *frame, struct console_v1_frame *ret);
} types[] = {
    [CONSOLE_V1_REQUEST_CONTROL] = {"request-control", no_members},
    [CONSOLE_V1_GRANT_CONTROL] = {"grant-control", grant_members},
    [CONSOLE_V1_RELEASE_CONTROL] = {"release-control", no_members},
    [CONSOLE_V1_TAKE_CONTROL] = {"take-control", take_members},
    [CONSOLE_V1_SIZE] = {"size", size_members},
    [CONSOLE_V1_EOF] = {"eof", no_members},
};

void console_v1_parse(const void *data, size_t len, struct console_v1_frame *ret)
{
    auto_frame json_t *frame = NULL;
    const char *type;

    *ret = (struct console_v1_frame){.type = CONSOLE_V1_TOO_LARGE};
    if (len > CONSOLE_V1_FRAME_MAX)
        return;
    frame = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
    type = json_string_value(json_object_get(frame, "type"));
    ret->type = type ? CONSOLE_V1_UNKNOWN : CONSOLE_V1_MALFORMED;
    if (!type)
        return;
    str_copy_utf8(ret->name, sizeof(ret->name), type);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i].name, type) == 0)
            ret->type = types[i].members(frame, ret) ? (enum console_v1_type)i : CONSOLE_V1_INVALID;
    }
}

size_t console_v1_refusal(char *buf, size_t max, const struct console_v1_frame *frame)
{
    char detail[192];

    switch (frame->type) {
    case CONSOLE_V1_MALFORMED:
        return console_v1_error(buf, max, "malformed-control",
                                "a text frame is a JSON object with a string \"type\"; "
                                "typed bytes go in binary frames");
    case CONSOLE_V1_TOO_LARGE:
        return console_v1_error(buf, max, "control-too-large",
                                "a control frame has at most 4096 bytes");
    case CONSOLE_V1_INVALID:
        snprintf(detail, sizeof(detail), "a member of the control \"%s\" is missing or wrong",
                 frame->name);
        return console_v1_error(buf, max, "invalid-control", detail);
    default:
        snprintf(detail, sizeof(detail), "this stream knows no control \"%s\"", frame->name);
        return console_v1_error(buf, max, "unknown-control", detail);
    }
}
