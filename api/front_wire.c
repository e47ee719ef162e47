/*
 * Frames: into bytes and out of them; the socket between a front and its core.
 */
#include "api/front_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define IN_SIZE    (4 * FRONT_FRAME_MAX)
#define READS_MOST 16          /* at once, before the others have their turn */
#define OUT_IDLE   (64 * 1024) /* kept for the next when it is empty */

/* ---- frames ---- */

static void append(char **data, size_t *len, size_t *cap, const void *more, size_t n)
{
    if (*len + n > *cap) {
        size_t want = *cap ? *cap : 512;

        while (want < *len + n)
            want *= 2;
        *data = xrealloc_array(*data, want, 1);
        *cap = want;
    }
    if (n)
        memcpy(*data + *len, more, n);
    *len += n;
}

void wire_bytes(struct wire_out *w, const void *data, size_t len)
{
    wire_u32(w, (uint32_t)len);
    append(&w->data, &w->len, &w->cap, data, len);
}

void wire_raw(struct wire_out *w, const void *data, size_t len)
{
    append(&w->data, &w->len, &w->cap, data, len);
}

void wire_u32(struct wire_out *w, uint32_t n)
{
    append(&w->data, &w->len, &w->cap, &n, sizeof(n));
}

void wire_u64(struct wire_out *w, uint64_t n)
{
    append(&w->data, &w->len, &w->cap, &n, sizeof(n));
}

/* With its NUL, so that it can be used where it lies. */
void wire_text(struct wire_out *w, const char *text)
{
    if (!text)
        text = "";
    wire_bytes(w, text, strlen(text) + 1);
}

static const char *take(struct wire_in *w, size_t n)
{
    const char *at = w->at;

    if (w->bad || (size_t)(w->end - w->at) < n) {
        w->bad = true;
        return NULL;
    }
    w->at += n;
    return at;
}

uint32_t wire_take_u32(struct wire_in *w)
{
    const char *at = take(w, sizeof(uint32_t));
    uint32_t n = 0;

    if (at)
        memcpy(&n, at, sizeof(n));
    return n;
}

uint64_t wire_take_u64(struct wire_in *w)
{
    const char *at = take(w, sizeof(uint64_t));
    uint64_t n = 0;

    if (at)
        memcpy(&n, at, sizeof(n));
    return n;
}

const char *wire_take_bytes(struct wire_in *w, size_t *ret_len)
{
    const char *at;

    *ret_len = wire_take_u32(w);
    at = take(w, *ret_len);
    if (!at)
        *ret_len = 0;
    return at;
}

const char *wire_take_text(struct wire_in *w)
{
    size_t len;
    const char *at = wire_take_bytes(w, &len);

    if (at && len && !memchr(at, '\0', len - 1) && !at[len - 1])
        return at;
    w->bad = true;
    return "";
}

/* ---- the socket ---- */

void front_link_init(struct front_link *l, int fd)
{
    *l = (struct front_link){.fd = fd};
    mutex_init(&l->lock);
    l->in = xrealloc_array(NULL, IN_SIZE, 1);
}

void front_link_done(struct front_link *l)
{
    if (!l->in)
        return;
    close(l->fd);
    free(l->out);
    free(l->in);
    pthread_mutex_destroy(&l->lock);
    *l = (struct front_link){.fd = -1};
}

/* Under the lock. */
static void flush(struct front_link *l)
{
    while (l->out_at < l->out_len && !l->broken) {
        ssize_t n = send(l->fd, l->out + l->out_at, l->out_len - l->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            l->broken = true; /* the reader finds out, too */
        else
            l->out_at += (size_t)n;
    }
    l->out_at = l->out_len = 0;
    if (l->out_cap > OUT_IDLE) {
        free(l->out);
        l->out = NULL;
        l->out_cap = 0;
    }
}

void front_send(struct front_link *l, enum front_type type, unsigned flags, uint64_t id, const void *data, size_t len,
                bool now)
{
    struct front_head head = {
        .len = (uint32_t)len, .type = (uint8_t)type, .flags = (uint8_t)flags, .id = id};
    LOCK_SCOPE(&l->lock);

    if (len > FRONT_FRAME_MAX)
        abort(); /* a mistake of ours, and the same each time */
    if (l->broken)
        return;
    append(&l->out, &l->out_len, &l->out_cap, &head, sizeof(head));
    append(&l->out, &l->out_len, &l->out_cap, data, len);
    if (now)
        flush(l);
}

void front_send_u32(struct front_link *l, enum front_type type, uint64_t id, uint32_t n, bool now)
{
    front_send(l, type, 0, id, &n, sizeof(n), now);
}

void front_flush(struct front_link *l)
{
    LOCK_SCOPE(&l->lock);

    if (l->out_at < l->out_len)
        flush(l);
}

bool front_link_waits(struct front_link *l)
{
    LOCK_SCOPE(&l->lock);

    return l->out_at < l->out_len;
}

/* How many whole frames there were, or -1. */
static int frames(struct front_link *l, int (*fn)(void *, const struct front_head *, const char *), void *opaque)
{
    size_t at = 0;
    int count = 0;

    for (;;) {
        struct front_head head;

        if (l->in_len - at < sizeof(head))
            break;
        memcpy(&head, l->in + at, sizeof(head));
        if (head.len > FRONT_FRAME_MAX || head.zero)
            return -1;
        if (l->in_len - at - sizeof(head) < head.len)
            break;
        if (fn(opaque, &head, l->in + at + sizeof(head)) < 0)
            return -1;
        at += sizeof(head) + head.len;
        count++;
    }
    memmove(l->in, l->in + at, l->in_len - at);
    l->in_len -= at;
    return count;
}

/* -1: the end. */
static int read_some(struct front_link *l, int (*fn)(void *, const struct front_head *, const char *), void *opaque)
{
    int count = 0;

    for (int i = 0; i < READS_MOST; i++) {
        ssize_t n = recv(l->fd, l->in + l->in_len, IN_SIZE - l->in_len, MSG_DONTWAIT);
        bool full;
        int got;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0)
            return -1;
        full = l->in_len + (size_t)n == IN_SIZE;
        l->in_len += (size_t)n;
        got = frames(l, fn, opaque);
        if (got < 0)
            return -1;
        count += got;
        if (!full)
            break;
    }
    return count;
}

int front_read(struct front_link *l, int (*fn)(void *opaque, const struct front_head *head, const char *data),
               void *opaque)
{
    int count = l->broken ? -1 : read_some(l, fn, opaque);

    /* Whoever asks next hears of it, too. */
    if (count < 0)
        l->broken = true;
    return count;
}
