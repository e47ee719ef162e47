/*
 * Who looks at what: attaching, counting, revoking; and the figures.
 */
#include <string.h>

#include "service/base/cleanup.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/console_internal.h"

DEFINE_CLEANUP(stream, struct stream *, stream_unref);
#define auto_stream auto_scope(cleanup_stream)

enum console_kind console_kind_of(const char *stream)
{
    if (str_starts(stream, "channels/"))
        return CONSOLE_KIND_CHANNEL;
    if (str_starts(stream, "vsock/"))
        return CONSOLE_KIND_VSOCK;
    return strcmp(stream, "display") == 0 ? CONSOLE_KIND_DISPLAY : CONSOLE_KIND_CONSOLE;
}

const char *console_kind_name(enum console_kind kind)
{
    static const char *const names[CONSOLE_KIND_COUNT] = {
        [CONSOLE_KIND_CONSOLE] = "console",
        [CONSOLE_KIND_CHANNEL] = "channel",
        [CONSOLE_KIND_VSOCK] = "vsock",
        [CONSOLE_KIND_DISPLAY] = "display",
    };

    return names[kind];
}

void hub_seen_locked(struct console_hub *hub, const char *vm_id)
{
    struct seen *seen;

    LIST_FOREACH(seen, &hub->seen[hub_bucket(vm_id)], link)
    {
        if (strcmp(seen->vm_id, vm_id) == 0)
            break;
    }
    if (!seen) {
        seen = xcalloc(1, sizeof(*seen));
        seen->vm_id = xstrdup(vm_id);
        LIST_INSERT_HEAD(&hub->seen[hub_bucket(vm_id)], seen, link);
    }
    seen->at = clock_wall_ms();
}

int console_attach(struct console_hub *hub, const struct console_attach *attach,
                   struct source **ret, struct error *err)
{
    auto_stream struct stream *s = NULL;
    unsigned max = atomic_load_explicit(&hub->viewers_max, memory_order_relaxed);

    if (hub_open(hub, attach->vm_id, attach->stream, HUB_OPEN_KNOWN, &s, err))
        return -1;
    lock_scope_enter(&s->lock);
    if (s->forgotten) {
        pthread_mutex_unlock(&s->lock);
        return error_set(err, ERROR_STREAM_UNAVAILABLE, "the VM was deleted");
    }
    if (s->viewer_count >= max && !attach->recorder) {
        pthread_mutex_unlock(&s->lock);
        error_set(err, ERROR_TOO_MANY_VIEWERS, "%u viewers watch this console already", max);
        error_remedy(err, "close one of them, or raise the setting console_viewers");
        return -1;
    }
    *ret = viewer_attach_locked(s, attach);
    stream_unlock_and_notify(s);
    if (attach->recorder)
        return 0;
    LOCK_SCOPE(&hub->lock);
    hub_seen_locked(hub, attach->vm_id);
    return 0;
}

void console_size(struct console_hub *hub, const char *vm_id, const char *stream, unsigned *ret_rows,
                  unsigned *ret_cols)
{
    auto_stream struct stream *s = hub_find(hub, vm_id, stream);

    *ret_rows = *ret_cols = 0;
    if (!s)
        return;
    LOCK_SCOPE(&s->lock);
    *ret_rows = s->rows;
    *ret_cols = s->cols;
}

unsigned console_viewers(struct console_hub *hub, const char *vm_id, const char *stream)
{
    auto_stream struct stream *s = hub_find(hub, vm_id, stream);

    if (!s) {
        LOCK_SCOPE(&hub->lock);
        return pipes_count_locked(hub, vm_id, stream);
    }
    LOCK_SCOPE(&s->lock);
    return s->viewer_count;
}

bool console_in_use(struct console_hub *hub, const char *vm_id)
{
    size_t count;
    auto_free struct stream **streams = hub_pick(hub, vm_id, PICK_ONLY, &count);
    bool used = false;

    for (size_t i = 0; i < count; i++) {
        {
            LOCK_SCOPE(&streams[i]->lock);
            used = used || streams[i]->viewer_count > 0;
        }
        stream_unref(streams[i]);
    }
    LOCK_SCOPE(&hub->lock);
    return used || pipes_count_locked(hub, vm_id, NULL) > 0;
}

void console_revoke(struct console_hub *hub, const char *right)
{
    size_t count;
    auto_free struct stream **streams = hub_pick(hub, NULL, PICK_ONLY, &count);

    for (size_t i = 0; i < count; i++) {
        struct stream *s = streams[i];

        lock_scope_enter(&s->lock);
        stream_end_viewers_locked(s, right, 1008, "the right to watch was revoked or has expired");
        stream_unlock_and_notify(s);
        stream_unref(s);
    }
    pipes_end(hub, NULL, right, false, 1008, "the right to watch was revoked or has expired");
}

void console_set_viewers_max(struct console_hub *hub, unsigned viewers_max)
{
    atomic_store_explicit(&hub->viewers_max, viewers_max, memory_order_relaxed);
}

/* ---- figures ---- */

static uint64_t get(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void console_stats_read(struct console_hub *hub, struct console_stats *ret)
{
    *ret = (struct console_stats){
        .dropped_viewers = get(&hub->dropped_viewers),
        .gaps = get(&hub->gaps),
        .log_bytes = get(&hub->log_bytes),
        .log_skipped = get(&hub->log_skipped),
        .log_errors = get(&hub->log_errors),
    };
    for (size_t i = 0; i < CONSOLE_KIND_COUNT; i++) {
        struct kind_counters *c = &hub->kinds[i];

        ret->kinds[i] = (struct console_kind_stats){
            .viewers = get(&c->viewers),
            .connections = get(&c->connections),
            .bytes_out = get(&c->bytes_out),
            .bytes_in = get(&c->bytes_in),
        };
        ret->viewers += ret->kinds[i].viewers;
        ret->bytes_out += ret->kinds[i].bytes_out;
        ret->bytes_in += ret->kinds[i].bytes_in;
    }
    LOCK_SCOPE(&hub->lock);
    ret->streams = hub->stream_count;
}

int64_t console_last_attached(struct console_hub *hub, const char *vm_id)
{
    const struct seen *seen;

    LOCK_SCOPE(&hub->lock);
    LIST_FOREACH(seen, &hub->seen[hub_bucket(vm_id)], link)
    {
        if (strcmp(seen->vm_id, vm_id) == 0)
            return seen->at;
    }
    return 0;
}
