/*
 * What several encoders share: times, empty text, lists. Joining items that are rendered already
 * happens here and nowhere else.
 */
#include "api/codec/codec.h"

#include <stdlib.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"

json_t *codec_time(int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];

    return wall_ms ? json_string(clock_format(wall_ms, text)) : json_null();
}

json_t *codec_text(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

json_t *codec_list(json_t *items, const char *next_cursor)
{
    return json_pack("{s:o, s:s?}", "items", items, "next_cursor", next_cursor);
}

/* {"items":[ITEMS],MEMBERS}; members is an object whose braces are taken off. */
static struct blob *join(struct blob *const *items, size_t count, json_t *members)
{
    auto_json json_t *owned = members;
    auto_free char *tail = doc_text(owned);
    auto_strbuf struct strbuf b = {0};

    strbuf_adds(&b, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            strbuf_addc(&b, ',');
        strbuf_add(&b, items[i]->data, items[i]->len);
    }
    strbuf_adds(&b, "],");
    strbuf_adds(&b, tail + 1);
    return blob_new(b.data, b.len);
}

struct blob *codec_list_rendered(struct blob *const *items, size_t count, const char *next_cursor)
{
    return join(items, count, json_pack("{s:s?}", "next_cursor", next_cursor));
}

struct blob *codec_event_list(struct event *const *events, size_t count, const char *next_cursor,
                              int64_t last_seq)
{
    auto_free struct blob **items = xcalloc(count + 1, sizeof(struct blob *));

    for (size_t i = 0; i < count; i++)
        items[i] = events[i]->json;
    return join(
        items, count,
        json_pack("{s:s?, s:I}", "next_cursor", next_cursor, "last_seq", (json_int_t)last_seq));
}
