/*
 * The last bytes of an endless stream, addressed by their offset since the stream began. Not
 * locked: the stream that owns it is. Pages that were never written cost nothing.
 */
#ifndef DROVER_VM_CONSOLE_RING_H
#define DROVER_VM_CONSOLE_RING_H

#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"

struct ring {
    char *data;
    size_t size;
    uint64_t start, next; /* holds the bytes [start, next); next - start <= size */
};

int ring_init(struct ring *r, size_t size, struct error *err);
void ring_done(struct ring *r);
/* Offsets of an empty ring count from here on. */
void ring_begin(struct ring *r, uint64_t offset);
/* Never fails; the oldest bytes make room. */
void ring_append(struct ring *r, const void *data, size_t len);
/* Copies at most max bytes from offset on, which must lie in [start, next]. */
size_t ring_copy(const struct ring *r, uint64_t offset, void *buf, size_t max);
/* Forgets the content and gives its memory back; offsets go on. */
void ring_clear(struct ring *r);

#endif
