/*
 * What a guest prints as asciicast lines, cut anywhere into two reads, and the search for the last
 * whole line in what a killed daemon left.
 */
#include <stdlib.h>
#include <string.h>

#include "service/json/doc.h"
#include "service/vm/cast.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The text of all lines together; each must be [time, "o", text] as a JSON reader sees it. */
static void collect(const struct strbuf *lines, struct strbuf *text)
{
    const char *p = lines->data, *end;

    for (; p && *p; p = end + 1) {
        const char *piece;

        end = strchr(p, '\n');
        if (!end || end - p > CAST_LINE_MAX)
            abort();
        auto_json json_t *line = json_loadb(p, (size_t)(end - p), JSON_ALLOW_NUL, NULL);
        if (json_array_size(line) != 3 || !json_is_real(json_array_get(line, 0)) ||
            strcmp(json_string_value(json_array_get(line, 1)), "o") != 0)
            abort();
        piece = json_string_value(json_array_get(line, 2));
        if (!piece || !json_string_length(json_array_get(line, 2)))
            abort();
        strbuf_add(text, piece, json_string_length(json_array_get(line, 2)));
    }
}

static void write_in_two(const uint8_t *data, size_t size, size_t cut, struct strbuf *text)
{
    auto_strbuf struct strbuf lines = {0};
    struct cast_text t = {0};

    cast_output(&t, &lines, 1, data, cut);
    cast_output(&t, &lines, 2000000, data + cut, size - cut);
    cast_break(&t, &lines, 3000000);
    collect(&lines, text);
}

static void find_end(const uint8_t *data, size_t size)
{
    int64_t last_us;
    size_t whole = cast_whole((const char *)data, size, &last_us);

    if (whole > size || (whole && data[whole - 1] != '\n') ||
        memchr(data + whole, '\n', size - whole) || last_us < -1 || (!whole && last_us >= 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_strbuf struct strbuf once = {0}, twice = {0};

    if (size < 1 || size > 65536)
        return 0;
    write_in_two(data + 1, size - 1, 0, &once);
    write_in_two(data + 1, size - 1, data[0] % size, &twice);
    if (once.len != twice.len || (once.len && memcmp(once.data, twice.data, once.len) != 0))
        abort();
    find_end(data + 1, size - 1);
    return 0;
}
