/*
 * When to let a flooding guest wait a moment.
 *
 * A guest can print faster than the scheduler hands the CPU to a viewer's thread, and a ring of
 * 256 KiB is then overwritten in less than a time slice: even the fastest viewer would lose bytes.
 * So reading pauses, at most CONSOLE_PATIENCE_MS at a time, while the next bytes would overwrite
 * what a viewer that keeps up has not read. Who does not catch up in that time loses that trust for
 * a while and is overtaken from then on. Waits in vain are rationed for each stream, so viewers
 * that stall on purpose cost the guest less than a twentieth of its time, however many they are.
 */
#include "service/base/clock.h"
#include "service/vm/console_internal.h"

#define DISTRUST_MS 5000                       /* for a viewer that was waited for in vain */
#define PENALTY_MS  (20 * CONSOLE_PATIENCE_MS) /* of time that buys one wait in vain */
#define BURST_MS    (8 * PENALTY_MS)

static uint64_t room_above(const struct stream *s, uint64_t floor)
{
    uint64_t behind = s->ring.next > floor ? s->ring.next - floor : 0;

    return behind < s->ring.size ? s->ring.size - behind : 0;
}

static uint64_t floor_locked(const struct stream *s)
{
    uint64_t floor = s->ring.next;
    const struct viewer *v;

    TAILQ_FOREACH(v, &s->viewers, link)
    {
        if (v->trusted && v->end == VIEWER_STAYS && v->offset < floor)
            floor = v->offset;
    }
    return floor;
}

size_t pace_room_locked(struct stream *s, int64_t now_ms)
{
    size_t least = s->ring.size / 8;
    uint64_t room = room_above(s, s->pace_floor);

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

    if (!up || !up->paused)
        return;
    s->pace_floor = floor_locked(s);
    if (room_above(s, s->pace_floor) < s->ring.size / 2)
        return;
    up->paused = false;
    upstream_watch_locked(up, s->input_len > 0);
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
    s->pace_allowed_ms = (s->pace_allowed_ms > now_ms ? s->pace_allowed_ms : now_ms) + PENALTY_MS;
    s->pace_floor = floor_locked(s);
}
