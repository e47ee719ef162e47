/*
 * The ring. Mapped rather than allocated, so that an idle console costs address space only and a
 * cleared one really gives its pages (and what the guest printed) back.
 */
#include "service/vm/console_ring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int ring_init(struct ring *r, size_t size, struct error *err)
{
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (data == MAP_FAILED)
        return error_errno(err, errno, "no memory for a console of %zu bytes", size);
    *r = (struct ring){.data = data, .size = size};
    return 0;
}

void ring_done(struct ring *r)
{
    if (r->data)
        munmap(r->data, r->size);
    *r = (struct ring){0};
}

/* Where the byte at offset is, counted in bytes ever written. */
static uint64_t position(const struct ring *r, uint64_t offset)
{
    uint64_t skipped = r->skipped;

    for (unsigned i = r->hole_count; i-- > 0 && r->holes[i].to > offset;)
        skipped -= r->holes[i].to - r->holes[i].from;
    return offset - skipped;
}

/* The oldest hole and what is before it go. */
static void drop_hole(struct ring *r)
{
    r->start = r->holes[0].to;
    r->hole_count--;
    memmove(r->holes, r->holes + 1, r->hole_count * sizeof(r->holes[0]));
}

static void evict(struct ring *r)
{
    uint64_t end = r->next - r->skipped, at;

    while (r->hole_count && end - position(r, r->holes[0].to) >= r->size)
        drop_hole(r);
    at = position(r, r->start);
    if (end - at > r->size)
        r->start += end - at - r->size;
}

void ring_append(struct ring *r, const void *data, size_t len)
{
    const char *p = data;
    size_t at, head;

    if (len > r->size) { /* only the tail can stay */
        r->next += len - r->size;
        p += len - r->size;
        len = r->size;
    }
    at = (size_t)((r->next - r->skipped) % r->size);
    head = len < r->size - at ? len : r->size - at;
    memcpy(r->data + at, p, head);
    memcpy(r->data, p + head, len - head);
    r->next += len;
    evict(r);
}

void ring_skip(struct ring *r, uint64_t next)
{
    struct ring_hole *last = r->hole_count ? &r->holes[r->hole_count - 1] : NULL;

    assert(next >= r->next);
    if (next == r->next)
        return;
    r->skipped += next - r->next;
    if (r->start == r->next) { /* nothing is before it, so it is no hole */
        r->start = next;
        r->hole_count = 0;
    } else if (last && last->to == r->next) {
        last->to = next;
    } else {
        if (r->hole_count == RING_HOLES)
            drop_hole(r);
        r->holes[r->hole_count++] = (struct ring_hole){r->next, next};
    }
    r->next = next;
}

uint64_t ring_solid(const struct ring *r, uint64_t offset)
{
    for (unsigned i = 0; i < r->hole_count; i++) {
        if (offset >= r->holes[i].from && offset < r->holes[i].to)
            return r->holes[i].to;
    }
    return offset;
}

size_t ring_copy(const struct ring *r, uint64_t offset, void *buf, size_t max)
{
    uint64_t end = r->next;
    size_t len, at, head;

    assert(offset >= r->start && offset <= r->next);
    for (unsigned i = r->hole_count; i-- > 0 && r->holes[i].to > offset;)
        end = r->holes[i].from;
    if (end <= offset)
        return 0;
    len = (size_t)(end - offset);
    if (len > max)
        len = max;
    at = (size_t)(position(r, offset) % r->size);
    head = len < r->size - at ? len : r->size - at;
    memcpy(buf, r->data + at, head);
    memcpy((char *)buf + head, r->data, len - head);
    return len;
}

void ring_clear(struct ring *r)
{
    r->start = r->next;
    r->hole_count = 0;
    /* Advice only: without it the pages stay, but no reader can reach what they hold. */
    (void)madvise(r->data, r->size, MADV_DONTNEED);
}
