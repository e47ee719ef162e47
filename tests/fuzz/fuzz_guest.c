/* What a guest agent sends, any bytes: gathered into a line, parsed, and read as every kind of answer. */
#include <stdint.h>
#include <stdlib.h>

#include "service/json/doc.h"
#include "service/vm/guest_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_as_everything(const json_t *value, bool cut)
{
    auto_free struct guest_info *info = calloc(1, sizeof(*info));
    struct guest_status status = {0};
    struct error err;
    char *bytes = NULL;
    double load[3];
    size_t len = 0;
    int64_t number;

    guest_reply_os(value, info);
    guest_reply_users(value, info);
    guest_reply_filesystems(value, info);
    guest_reply_interfaces(value, info->interfaces, GUEST_INTERFACES_MAX, &info->interface_count);
    (void)guest_reply_int(value, "pid", 1, INT64_MAX, &number, &err);
    (void)guest_reply_status(value, cut, &status, &err);
    guest_output_done(&status.out);
    guest_output_done(&status.err);
    if (guest_reply_bytes(json_object_get(value, "buf-b64"), 4096, &bytes, &len, &err) == 0)
        free(bytes);
    if (json_is_string(value) && guest_load_parse(json_string_value(value), load) &&
        !(load[0] >= 0 && load[1] >= 0 && load[2] >= 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct guest_line line = {0};
    size_t at = 0;

    while (at < size) {
        size_t used = 0;
        enum guest_line_state state =
            guest_line_feed(&line, (const char *)data + at, size - at, &used);
        auto_json json_t *value = NULL;
        bool nonsense;
        struct error err;

        at += used;
        if (state == GUEST_LINE_MORE && at < size)
            continue;
        if (line.len && guest_reply_parse(line.data, line.len, &value, &nonsense, &err) == 0)
            read_as_everything(value, line.cut);
        guest_line_reset(&line);
    }
    guest_line_done(&line);
    return 0;
}
