/*
 * When to let a flooding guest, or its viewers, wait a moment.
 *
 * A guest can print faster than the scheduler hands the CPU to a viewer's thread, and a ring of
 * 256 KiB is then overwritten in less than a time slice: even the fastest viewer would lose bytes.
 * So reading pauses, at most CONSOLE_PATIENCE_MS at a time, while the next bytes would overwrite
 * what a viewer that keeps up has not read (long enough for a busy host's scheduler). Who does not
 * catch up in that time loses that trust for a while and is overtaken from then on. Waits in vain
 * are rationed for each stream, so viewers that stall on purpose cost the guest less than a
 * twentieth of its time, however many they are. The log file is waited for like such a viewer.
 *
 * A guest that floods while nobody keeps up with it costs CPU for nothing. Above rate_bytes a second
 * it is not read for a while, and its own device makes it wait: the rate is a token bucket that
 * holds what it yields in a second. It is not applied while somebody keeps up: then every byte is
 * for somebody, and the viewers' own pace is the bound.
 *
 * A serial port gives away one byte at a time. While a guest prints on, each few bytes would wake every thread from
 * here to the client; what comes soon after a read waits for CONSOLE_GATHER_NS, together with what follows: not longer,
 * since to the kernel a byte that was written by itself is a packet, and some 270 of them fill the socket. The first
 * bytes after a silence, and what answers a key, wait for nothing.
 */
#include "service/base/clock.h"
#include "service/vm/console_internal.h"

#define DISTRUST_MS 5000                       /* for a viewer that was waited for in vain */
#define PENALTY_MS  (20 * CONSOLE_PATIENCE_MS) /* of time that buys one wait in vain */
#define BURST_MS    (8 * PENALTY_MS)

#define GATHER_SOON_NS (4 * CONSOLE_GATHER_NS) /* a stream that goes on is read once in each */
#define GATHER_ENOUGH  4096    /* bytes of one read: worth a turn */

#define RATE_BURST_MS 1000 /* of its rate a guest may print at once */
#define RATE_STEP_MS  10   /* of its rate it gets at least after a wait */

static uint64_t room_above(const struct stream *s, uint64_t floor)
{
    uint64_t behind = s->ring.next > floor ? s->ring.next - floor : 0;

    return behind < s->ring.size ? s->ring.size - behind : 0;
}

static uint64_t floor_locked(const struct stream *s)
{
    uint64_t floor = s->log_trusted ? s->logged : s->ring.next;
    const struct viewer *v;

    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->trusted && v->end == VIEWER_STAYS && v->offset < floor)
            floor = v->offset;
    }
    return floor;
}

static bool is_watched_locked(const struct stream *s)
{
    const struct viewer *v;

    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->trusted && v->end == VIEWER_STAYS && !v->recorder)
            return true;
    }
    return false;
}

/* How long the guest has to wait for its rate; 0: it need not. */
static int64_t rate_wait_locked(const struct stream *s, int64_t now_ms)
{
    int64_t ahead_ms = s->rate_paid_us / 1000 - now_ms;

    if (ahead_ms < RATE_BURST_MS || is_watched_locked(s))
        return 0;
    return ahead_ms - RATE_BURST_MS + RATE_STEP_MS;
}

void pace_read_locked(struct stream *s, size_t len)
{
    uint64_t rate = s->hub->options.rate_bytes;
    int64_t now_us;

    if (!rate)
        return;
    now_us = clock_monotonic_ms() * 1000;
    if (s->rate_paid_us < now_us)
        s->rate_paid_us = now_us;
    if (s->rate_paid_us - now_us < 2 * RATE_BURST_MS * 1000) /* the rest was for viewers */
        s->rate_paid_us += (int64_t)(len * UINT64_C(1000000) / rate);
}

size_t pace_room_locked(struct stream *s, int64_t now_ms, int64_t *ret_wait_ms)
{
    size_t least = s->ring.size / 8;
    uint64_t room = room_above(s, s->pace_floor);

    *ret_wait_ms = rate_wait_locked(s, now_ms);
    if (*ret_wait_ms) {
        s->up->over_rate = true;
        return 0;
    }
    *ret_wait_ms = CONSOLE_PATIENCE_MS;
    /* Offsets only grow, so the remembered floor is a safe one: most reads look at no viewer. */
    if (room < CONSOLE_CHUNK && room < s->ring.size) {
        s->pace_floor = floor_locked(s);
        room = room_above(s, s->pace_floor);
    }
    if (room < least && s->pace_allowed_ms - now_ms < BURST_MS)
        return 0;
    return room < CONSOLE_CHUNK && room >= least ? (size_t)room : CONSOLE_CHUNK;
}

void pace_moved_locked(struct stream *s)
{
    struct upstream *up = s->up;

    if (!up || !up->paused || up->gathering)
        return;
    s->pace_floor = floor_locked(s);
    if (room_above(s, s->pace_floor) < s->ring.size / 2)
        return;
    up->paused = up->over_rate = false;
    upstream_watch_locked(up, s->input_len > 0);
}

bool pace_gather_locked(struct stream *s, size_t len)
{
    struct upstream *up = s->up;
    int64_t now = clock_monotonic_ns();
    bool alone = up->typed || now - up->read_ns > GATHER_SOON_NS;

    up->read_ns = now;
    up->typed = false;
    if (alone || len >= GATHER_ENOUGH || up->state != UPSTREAM_LIVE)
        return false;
    up->paused = up->gathering = true;
    upstream_watch_locked(up, false);
    return true;
}

void pace_gathered_locked(struct upstream *up)
{
    if (!up->gathering)
        return;
    up->paused = up->gathering = false;
    upstream_watch_locked(up, up->stream->input_len > 0);
}

void pace_caught_up_locked(struct viewer *v)
{
    if (!v->trusted && clock_monotonic_ms() >= v->distrusted_until_ms)
        v->trusted = true;
}

void pace_give_up_locked(struct stream *s, int64_t now_ms)
{
    struct viewer *v;

    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->trusted && room_above(s, v->offset) < s->ring.size / 2) {
            v->trusted = false;
            v->distrusted_until_ms = now_ms + DISTRUST_MS;
        }
    }
    if (s->log_trusted && room_above(s, s->logged) < s->ring.size / 2) {
        s->log_trusted = false;
        s->log_distrusted_until_ms = now_ms + DISTRUST_MS;
    }
    s->pace_allowed_ms = (s->pace_allowed_ms > now_ms ? s->pace_allowed_ms : now_ms) + PENALTY_MS;
    s->pace_floor = floor_locked(s);
}
