/*
 * drover.console.v1 control frames, both directions. Knows JSON and nothing of streams.
 */
#include "service/vm/console_v1.h"

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

size_t console_v1_hello(char *buf, size_t max, uint64_t offset, uint64_t oldest, unsigned viewers,
                        enum console_mode mode)
{
    return dump(buf, max,
                json_pack("{s:s, s:I, s:I, s:i, s:s}", "type", "hello", "offset",
                          (json_int_t)offset, "oldest", (json_int_t)oldest, "viewers", (int)viewers,
                          "mode", mode == CONSOLE_CONTROL ? "control" : "view"));
}

size_t console_v1_gap(char *buf, size_t max, uint64_t from, uint64_t to)
{
    return dump(buf, max,
                json_pack("{s:s, s:I, s:I}", "type", "gap", "from", (json_int_t)from, "to",
                          (json_int_t)to));
}

size_t console_v1_viewers(char *buf, size_t max, unsigned count)
{
    return dump(buf, max, json_pack("{s:s, s:i}", "type", "viewers", "count", (int)count));
}

size_t console_v1_error(char *buf, size_t max, const char *code, const char *detail)
{
    return dump(buf, max,
                json_pack("{s:s, s:s, s:s}", "type", "error", "code", code, "detail", detail));
}

enum console_v1_control console_v1_parse(const void *data, size_t len, char *ret_type, size_t size)
{
    auto_frame json_t *frame = NULL;
    const char *type;

    ret_type[0] = '\0';
    if (len > CONSOLE_V1_FRAME_MAX)
        return CONSOLE_V1_TOO_LARGE;
    frame = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
    type = json_string_value(json_object_get(frame, "type"));
    if (!type)
        return CONSOLE_V1_MALFORMED;
    str_copy_utf8(ret_type, size, type);
    return CONSOLE_V1_UNKNOWN;
}
