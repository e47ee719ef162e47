/* A parser of server-sent events: bytes in, the data of each event out. Pure. */
#ifndef DROVER_CLI_SSE_H
#define DROVER_CLI_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "service/base/str.h"

#define SSE_EVENT_MAX (1u << 20) /* a longer line or event is dropped */

struct sse {
    struct strbuf line, data;
    bool after_cr, overlong, has_data;
    bool (*on_event)(void *opaque, const char *data, size_t len); /* false: stop */
    void *opaque;
};

void sse_init(struct sse *s, bool (*on_event)(void *opaque, const char *data, size_t len),
              void *opaque);
void sse_done(struct sse *s);
/* False when on_event asked to stop. */
bool sse_feed(struct sse *s, const char *bytes, size_t len);

#endif
