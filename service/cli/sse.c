/* Server-sent events (WHATWG HTML, section 9.2), as far as a client without a DOM needs them. */
#include "service/cli/sse.h"

#include <string.h>

void sse_init(struct sse *s, bool (*on_event)(void *opaque, const char *data, size_t len),
              void *opaque)
{
    *s = (struct sse){.on_event = on_event, .opaque = opaque};
}

void sse_done(struct sse *s)
{
    strbuf_done(&s->line);
    strbuf_done(&s->data);
}

static bool end_event(struct sse *s)
{
    bool go_on = true;

    if (s->has_data && !s->overlong)
        go_on = s->on_event(s->opaque, s->data.data ? s->data.data : "", s->data.len);
    s->data.len = 0;
    s->has_data = false;
    s->overlong = false;
    return go_on;
}

static bool end_line(struct sse *s)
{
    const char *value;

    if (s->line.len == 0)
        return end_event(s);
    /* Only data matters here: id is in the data, too, and ":" begins a comment. */
    if (s->line.len >= 5 && memcmp(s->line.data, "data:", 5) == 0) {
        value = s->line.data + 5;
        value += *value == ' ';
        if (s->data.len + s->line.len > SSE_EVENT_MAX) {
            s->overlong = true;
        } else {
            if (s->has_data)
                strbuf_addc(&s->data, '\n');
            strbuf_add(&s->data, value, s->line.len - (size_t)(value - s->line.data));
        }
        s->has_data = true;
    }
    s->line.len = 0;
    return true;
}

bool sse_feed(struct sse *s, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool lf_of_crlf = s->after_cr && bytes[i] == '\n';

        s->after_cr = bytes[i] == '\r';
        if (lf_of_crlf)
            continue;
        if (bytes[i] == '\r' || bytes[i] == '\n') {
            if (!end_line(s))
                return false;
        } else if (s->line.len < SSE_EVENT_MAX) {
            strbuf_addc(&s->line, bytes[i]);
        } else {
            s->overlong = true;
        }
    }
    return true;
}
