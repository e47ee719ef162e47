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

void ring_begin(struct ring *r, uint64_t offset)
{
    r->start = r->next = offset;
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
    at = (size_t)(r->next % r->size);
    head = len < r->size - at ? len : r->size - at;
    memcpy(r->data + at, p, head);
    memcpy(r->data, p + head, len - head);
    r->next += len;
    if (r->next - r->start > r->size)
        r->start = r->next - r->size;
}

size_t ring_copy(const struct ring *r, uint64_t offset, void *buf, size_t max)
{
    size_t len, at, head;

    assert(offset >= r->start && offset <= r->next);
    len = (size_t)(r->next - offset);
    if (len > max)
        len = max;
    at = (size_t)(offset % r->size);
    head = len < r->size - at ? len : r->size - at;
    memcpy(buf, r->data + at, head);
    memcpy((char *)buf + head, r->data, len - head);
    return len;
}

void ring_clear(struct ring *r)
{
    r->start = r->next;
    /* Advice only: without it the pages stay, but no reader can reach what they hold. */
    (void)madvise(r->data, r->size, MADV_DONTNEED);
}
