/*
 * The dirty rate, on demand: how fast a guest writes to its memory, which says how long it would
 * take to move or snapshot it, and what KSM has no chance with. QEMU looks for some seconds; the
 * request that asked is parked meanwhile.
 */
#include "service/vm/guest_internal.h"

#include "service/base/clock.h"

#define POLL_MS  100
#define GRACE_MS 10000 /* beyond the time asked for */

int guest_dirty_rate(struct core *core, void *arg, struct error *err)
{
    struct guest_dirty *d = arg;
    int64_t end = clock_monotonic_ms() + d->seconds * 1000 + GRACE_MS;
    struct virt_dirty_rate rate;

    if (virt_dirty_rate_start(core->virt, d->vm_id, (int)d->seconds, err))
        return -1;
    do {
        if (guest_pause(core->guests, POLL_MS, err) ||
            virt_dirty_rate_read(core->virt, d->vm_id, &rate, err))
            return -1;
    } while ((rate.measuring || !rate.has_rate) && clock_monotonic_ms() < end);
    if (rate.measuring || !rate.has_rate)
        return error_set(err, ERROR_TIMEOUT, "QEMU has not finished measuring");
    d->measured_at = clock_wall_ms();
    d->bytes_per_second = rate.bytes_per_second;
    return 0;
}
