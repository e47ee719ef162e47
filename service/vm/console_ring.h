/*
 * The last bytes of an endless stream, addressed by their offset since the stream began. An offset
 * may be one nobody has a byte for: such holes are remembered between the bytes. Not locked: the
 * stream that owns it is. Pages that were never written cost nothing.
 */
#ifndef DROVER_VM_CONSOLE_RING_H
#define DROVER_VM_CONSOLE_RING_H

#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"

#define RING_HOLES 8 /* kept; with one more, what is before the oldest goes */

struct ring_hole {
    uint64_t from, to;
};

struct ring {
    char *data;
    size_t size;
    uint64_t start, next; /* holds the bytes [start, next) but for the holes; at most size of them */
    uint64_t skipped;     /* by all holes there ever were: next - skipped is where next is written */
    struct ring_hole holes[RING_HOLES]; /* ascending, start <= from < to <= next */
    unsigned hole_count;
};

int ring_init(struct ring *r, size_t size, struct error *err);
void ring_done(struct ring *r);
/* Never fails; the oldest bytes make room. */
void ring_append(struct ring *r, const void *data, size_t len);
/* The next byte will have this offset, which is not below next. */
void ring_skip(struct ring *r, uint64_t next);
/* Where the first byte at or after offset is: offset, or the end of the hole it lies in. */
uint64_t ring_solid(const struct ring *r, uint64_t offset);
/* Copies at most max bytes from offset on, which must lie in [start, next]; ends at a hole. */
size_t ring_copy(const struct ring *r, uint64_t offset, void *buf, size_t max);
/* Forgets the content and gives its memory back; offsets go on. */
void ring_clear(struct ring *r);

#endif
