/*
 * The guest's end, as the rest of the daemon sees it: a VM starts, goes on, stops, is deleted.
 */
#include "service/base/cleanup.h"
#include "service/base/clock.h"
#include "service/vm/console_internal.h"

/* 2 MB/s: more than a serial line prints, and below 2^53 (what JSON readers keep) until 2109. */
#define CONSOLE_BYTES_PER_MS 2048

DEFINE_CLEANUP(stream, struct stream *, stream_unref);
#define auto_stream auto_scope(cleanup_stream)

/*
 * Where the ring of a boot begins that is older than this hub and has no log: nobody knows how much
 * was printed. The clock runs ahead of any serial line, so no offset is given twice, and who
 * resumes at one from before the restart is told of the gap.
 */
static void begin_by_clock(struct stream *s)
{
    LOCK_SCOPE(&s->lock);
    if (s->ring.next || s->up || s->ended || !TAILQ_EMPTY(&s->viewers))
        return;
    ring_skip(&s->ring, (uint64_t)clock_wall_ms() * CONSOLE_BYTES_PER_MS);
    s->boot_offset = s->logged = s->ring.next;
}

int console_feed(struct console_hub *hub, const char *vm_id, const char *stream, int fd, bool fresh,
                 struct error *err)
{
    auto_close int owned = fd;
    auto_stream struct stream *s = NULL;
    int rc;

    if (hub_open(hub, vm_id, stream, HUB_OPEN_NEW, &s, err))
        return -1;
    if (!fresh)
        begin_by_clock(s);
    log_reserve(s);
    lock_scope_enter(&s->lock);
    if (s->forgotten) {
        pthread_mutex_unlock(&s->lock);
        return error_set(err, ERROR_STREAM_UNAVAILABLE, "the VM was deleted");
    }
    if (s->up) {
        bool ending = s->up->state == UPSTREAM_ENDING;

        upstream_detach_locked(s);
        if (ending)
            stream_finish_locked(s);
    }
    /* It ran while we were away, and nobody knows what it said: at least that can be seen. */
    if (s->restored && !fresh)
        ring_skip(&s->ring, s->ring.next + 1);
    s->ended = s->restored = false;
    s->state_changed = true;
    if (fresh) {
        s->boot_offset = s->ring.next;
        s->has_output = false;
        s->input_len = 0; /* typed at the boot before this one */
    }
    rc = upstream_attach_locked(s, TAKE_FD(owned), err);
    stream_flush_input_locked(s);
    log_note_locked(s);
    stream_unlock_and_notify(s);
    return rc;
}

int console_scan(struct console_hub *hub, const char *vm_id, const char *stream, unsigned wanted,
                 const char *ready, struct error *err)
{
    auto_stream struct stream *s = NULL;

    if (hub_open(hub, vm_id, stream, HUB_OPEN_NEW, &s, err))
        return -1;
    LOCK_SCOPE(&s->lock);
    console_scan_begin(&s->scan, wanted, ready);
    return 0;
}

bool console_is_fed(struct console_hub *hub, const char *vm_id, const char *stream)
{
    auto_stream struct stream *s = hub_find(hub, vm_id, stream);

    if (!s)
        return false;
    LOCK_SCOPE(&s->lock);
    return s->up && s->up->state == UPSTREAM_LIVE;
}

bool console_has_output(struct console_hub *hub, const char *vm_id, const char *stream)
{
    auto_stream struct stream *s = hub_find(hub, vm_id, stream);

    if (!s)
        return false;
    LOCK_SCOPE(&s->lock);
    return s->has_output;
}

void console_end(struct console_hub *hub, const char *vm_id)
{
    size_t count;
    auto_free struct stream **streams = hub_pick(hub, vm_id, PICK_ONLY, &count);

    for (size_t i = 0; i < count; i++) {
        struct stream *s = streams[i];

        lock_scope_enter(&s->lock);
        if (s->up && s->up->state == UPSTREAM_LIVE) {
            s->up->state = UPSTREAM_ENDING; /* its last words may still be on the way */
            upstream_post(s->up);
        } else if (!s->up && !s->ended) {
            stream_finish_locked(s);
        }
        stream_unlock_and_notify(s);
        stream_unref(s);
    }
    pipes_end(hub, vm_id, NULL, true, 1000, "the VM stopped");
}

void console_forget(struct console_hub *hub, const char *vm_id)
{
    size_t count;
    auto_free struct stream **streams = hub_pick(hub, vm_id, PICK_AND_REMOVE, &count);

    for (size_t i = 0; i < count; i++)
        hub_forget_stream(streams[i], 1000, "the VM was deleted");
    pipes_end(hub, vm_id, NULL, false, 1000, "the VM was deleted");
}
