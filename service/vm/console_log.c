/*
 * The ring on the disk. The log thread follows the rings like one more viewer: what it has not
 * written yet is in the ring, so it needs no buffer, and a slow disk costs bytes of the log and not
 * the guest's time. It writes after TICK_MS, or at once when a ring fills up, and bounds its own
 * writing: a guest that floods for long leaves the end of each burst, and gaps.
 *
 * Offsets must never repeat, also not after a crash, when the newest bytes never reached the file.
 * So the file always holds an offset below which all were given out ("reserved"), ahead of the
 * newest byte; the next daemon goes on from there.
 */
#include <string.h>

#include "service/base/cleanup.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/vm/console_internal.h"

#define TICK_MS     200
#define RETRY_MS    5000
#define RATE        (UINT64_C(8) << 20) /* bytes a second; at once, as much as the file holds */
#define RESERVE_MAX (UINT64_C(16) << 30)
#define RESERVE_MS  2000 /* used up faster than this: reserve twice as much next time */

/* ---- what is written ---- */

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct piece {
    struct console_state state;
    bool write_state;
    uint64_t offset;
    size_t len;
};

struct console_state log_state_locked(const struct stream *s)
{
    return (struct console_state){
        .boot = s->boot_offset,
        .next = s->ring.next,
        .reserved = s->reserved,
        .rows = s->rows,
        .cols = s->cols,
        .has_output = s->has_output,
        .ended = s->ended,
    };
}

static bool may_write_locked(const struct stream *s, int64_t now)
{
    return s->log_paid_ms - now < (int64_t)(s->file.bound * 1000 / RATE) && now >= s->log_retry_ms;
}

/* Then a full ring waits a moment for the file, as it does for a viewer that keeps up. */
static bool is_trusted_locked(const struct stream *s)
{
    int64_t now = clock_monotonic_ms();

    return may_write_locked(s, now) && now >= s->log_distrusted_until_ms;
}

/* closed: nobody feeds the stream, so no offset beyond the last byte was or will be given out. */
static struct console_state next_state_locked(const struct stream *s, bool closed, int64_t now,
                                              bool *ret_changed)
{
    struct console_state state = log_state_locked(s);
    uint64_t step = s->reserve_step;

    *ret_changed = s->state_changed;
    if (closed || s->ended) {
        state.reserved = state.next;
    } else if (state.next + step / 2 > s->reserved) {
        if (now - s->reserved_at_ms < RESERVE_MS && step < RESERVE_MAX)
            step *= 2;
        state.reserved = state.next + step;
    }
    *ret_changed |= state.reserved != s->reserved;
    return state;
}

static bool next_piece_locked(struct stream *s, bool closed, uint64_t until, char *buf,
                              struct piece *ret)
{
    int64_t now = clock_monotonic_ms();

    ret->state = next_state_locked(s, closed, now, &ret->write_state);
    ret->len = 0;
    if (s->logged < s->ring.start) {
        count(&s->hub->log_skipped, s->ring.start - s->logged);
        s->logged = s->ring.start;
    }
    s->logged = ring_solid(&s->ring, s->logged);
    ret->offset = s->logged;
    if (s->logged < until && (closed || may_write_locked(s, now)))
        ret->len = ring_copy(&s->ring, s->logged, buf, CONSOLE_CHUNK);
    return ret->write_state || ret->len;
}

static void written_locked(struct stream *s, const struct piece *p)
{
    int64_t now = clock_monotonic_ms();

    if (p->state.reserved > s->reserved) {
        s->reserve_step = p->state.reserved - p->state.next;
        s->reserved_at_ms = now;
    }
    if (p->write_state) {
        s->reserved = p->state.reserved;
        /* Changed again meanwhile? Then it differs from what was written. */
        s->state_changed = s->boot_offset != p->state.boot || s->rows != p->state.rows ||
                           s->cols != p->state.cols || s->has_output != p->state.has_output ||
                           s->ended != p->state.ended;
    }
    s->logged = max_of(s->logged, p->offset + p->len);
    s->log_paid_ms =
        (s->log_paid_ms > now ? s->log_paid_ms : now) + (int64_t)(p->len * UINT64_C(1000) / RATE);
    count(&s->hub->log_bytes, p->len);
}

int log_dir_ensure(const struct stream *s, struct error *err)
{
    auto_free char *dir = xasprintf("%s/%s", s->hub->log_dir, s->vm_id);

    return dir_ensure(dir, 0700, err);
}

static int write_piece(struct stream *s, const struct piece *p, const char *buf)
{
    struct error err;

    if (!s->file.len && log_dir_ensure(s, &err))
        return -1;
    return console_file_append(&s->file, &p->state, p->write_state, p->offset, buf, p->len, &err);
}

/* Puts it in the queue, which holds a reference. */
static void queue_locked(struct stream *s, bool hurry)
{
    struct console_hub *hub = s->hub;

    LOCK_SCOPE(&hub->log_lock);
    if (!s->log_queued) {
        s->log_queued = true;
        stream_ref(s);
        STAILQ_INSERT_TAIL(&hub->log_queue, s, log_link);
    }
    hub->log_hurry |= hurry;
    pthread_cond_signal(&hub->log_news);
}

static void write_log(struct stream *s, bool closed)
{
    auto_free char *buf = xcalloc(1, CONSOLE_CHUNK);
    struct error ignored;
    struct piece p;
    uint64_t until = 0;
    bool more, failed = false;

    LOCK_SCOPE(&s->file_lock);
    for (bool first = true;; first = false) {
        lock_scope_enter(&s->lock);
        if (first)
            until = s->ring.next; /* what comes meanwhile is for the next time */
        more = next_piece_locked(s, closed, until, buf, &p);
        pthread_mutex_unlock(&s->lock);
        if (!more)
            break;
        failed = write_piece(s, &p, buf) != 0;
        if (!failed && p.write_state) /* rare; the log thread may wait for the disk, nobody else */
            (void)console_file_sync(&s->file, &ignored);
        lock_scope_enter(&s->lock);
        if (!failed)
            written_locked(s, &p);
        pthread_mutex_unlock(&s->lock);
        if (failed)
            break;
    }
    lock_scope_enter(&s->lock);
    s->log_hurried = false;
        if (failed) {
        count(&s->hub->log_errors, 1);
        s->log_retry_ms = clock_monotonic_ms() + RETRY_MS;
    }
    s->log_trusted = is_trusted_locked(s);
    if (!closed && !s->forgotten && (failed || s->logged < s->ring.next || s->state_changed))
        queue_locked(s, false);
    pace_moved_locked(s);
    stream_unlock_and_notify(s);
}

void log_flush(struct stream *s)
{
    bool used;

    if (!s->file.path)
        return;
    {
        LOCK_SCOPE(&s->lock);
        used = s->reserved > 0;
    }
    if (used)
        write_log(s, true);
}

void log_reserve(struct stream *s)
{
    struct piece p = {.write_state = true};

    if (!s->file.path)
        return;
    LOCK_SCOPE(&s->file_lock);
    {
        LOCK_SCOPE(&s->lock);
        if (!s->ended && s->reserved > s->ring.next + s->reserve_step / 2)
            return;
        p.state = log_state_locked(s);
        p.state.ended = false;
        /* The byte more is a gap: see console_feed(). */
        p.state.reserved = s->ring.next + 1 + s->reserve_step;
    }
    if (write_piece(s, &p, NULL)) {
        count(&s->hub->log_errors, 1);
        return;
    }
    LOCK_SCOPE(&s->lock);
    written_locked(s, &p);
    s->state_changed = true; /* once more, synced, by the log thread */
    log_note_locked(s);
}

void log_note_locked(struct stream *s)
{
    bool hurry;

    if (!s->file.path || s->forgotten)
        return;
    if (!s->log_queued)
        s->log_trusted = is_trusted_locked(s);
    hurry = !s->log_hurried &&
            ((s->log_trusted && s->ring.next - s->logged > s->ring.size / 4) ||
             (s->up && s->ring.next + s->reserve_step / 2 > s->reserved));
    if (s->log_queued && !hurry)
        return;
    s->log_hurried |= hurry;
    queue_locked(s, hurry);
}

/* ---- the log thread ---- */

static void *log_loop(void *opaque)
{
    struct console_hub *hub = opaque;

    for (;;) {
        struct stream_queue queue = STAILQ_HEAD_INITIALIZER(queue);
        struct stream *s;
        bool stop;

        {
            LOCK_SCOPE(&hub->log_lock);
            while (!hub->log_stop && STAILQ_EMPTY(&hub->log_queue))
                pthread_cond_wait(&hub->log_news, &hub->log_lock);
            int64_t until = clock_monotonic_ms() + TICK_MS;
            while (!hub->log_stop && !hub->log_hurry && clock_monotonic_ms() < until)
                cond_wait_until(&hub->log_news, &hub->log_lock, until);
            hub->log_hurry = false;
            stop = hub->log_stop;
            STAILQ_CONCAT(&queue, &hub->log_queue);
        }
        while ((s = STAILQ_FIRST(&queue))) {
            STAILQ_REMOVE_HEAD(&queue, log_link);
            {
                LOCK_SCOPE(&s->lock);
                s->log_queued = false;
            }
            if (!stop)
                write_log(s, false);
            stream_unref(s);
        }
        if (stop)
            return NULL;
    }
}

int log_start(struct console_hub *hub, struct error *err)
{
    if (!hub->log_dir)
        return 0;
    if (thread_start(&hub->log_thread, "console-log", log_loop, hub, err))
        return -1;
    hub->has_log_thread = true;
    return 0;
}

void log_stop(struct console_hub *hub)
{
    if (!hub->has_log_thread)
        return;
    {
        LOCK_SCOPE(&hub->log_lock);
        hub->log_stop = true;
        pthread_cond_signal(&hub->log_news);
    }
    pthread_join(hub->log_thread, NULL);
}
