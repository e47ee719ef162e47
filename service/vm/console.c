/*
 * The console hub's public face: the registry of streams, and the operations that are not a
 * viewer's (console_viewer.c) or the thread's (console_loop.c).
 */
#include "service/vm/console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "service/base/clock.h"
#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/vm/console_internal.h"

/* 2 MB/s: more than a serial line prints, and below 2^53 (what JSON readers keep) until 2109. */
#define CONSOLE_BYTES_PER_MS 2048

DEFINE_CLEANUP(stream, struct stream *, stream_unref);
#define auto_stream auto_scope(cleanup_stream)

/* ---- the hub ---- */

void hub_unref(struct console_hub *hub)
{
    if (atomic_fetch_sub_explicit(&hub->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (hub->epoll >= 0)
        close(hub->epoll);
    if (hub->wake >= 0)
        close(hub->wake);
    pthread_mutex_destroy(&hub->lock);
    pthread_mutex_destroy(&hub->inbox_lock);
    free(hub->scratch);
    free(hub);
}

static int start_thread(struct console_hub *hub, struct error *err)
{
    struct epoll_event ev = {.events = EPOLLIN};

    hub->epoll = epoll_create1(EPOLL_CLOEXEC);
    hub->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (hub->epoll < 0 || hub->wake < 0 || epoll_ctl(hub->epoll, EPOLL_CTL_ADD, hub->wake, &ev))
        return error_errno(err, errno, "cannot make the console loop");
    return thread_start(&hub->thread, "console", console_loop, hub, err);
}

int console_hub_new(const struct console_options *options, struct console_hub **ret,
                    struct error *err)
{
    struct console_hub *hub = xcalloc(1, sizeof(*hub));

    atomic_init(&hub->refs, 1);
    hub->options = *options;
    atomic_init(&hub->viewers_max, options->viewers_max);
    mutex_init(&hub->lock);
    mutex_init(&hub->inbox_lock);
    for (size_t i = 0; i < CONSOLE_BUCKETS; i++)
        LIST_INIT(&hub->buckets[i]);
    STAILQ_INIT(&hub->inbox);
    TAILQ_INIT(&hub->timed);
    hub->scratch = xcalloc(1, CONSOLE_CHUNK);
    if (start_thread(hub, err)) {
        hub_unref(hub);
        return -1;
    }
    *ret = hub;
    return 0;
}

/* ---- the registry ---- */

static struct stream_list *bucket_of(struct console_hub *hub, const char *vm_id)
{
    uint32_t hash = 2166136261u; /* FNV-1a; ids are ours, nobody can aim at a bucket */

    for (; *vm_id; vm_id++)
        hash = (hash ^ (unsigned char)*vm_id) * 16777619u;
    return &hub->buckets[hash % CONSOLE_BUCKETS];
}

/* By VM, so that all streams of one are in one bucket. Caller holds hub->lock. */
static struct stream *find_in_hub(struct console_hub *hub, const char *vm_id, const char *name)
{
    struct stream *s;

    LIST_FOREACH(s, bucket_of(hub, vm_id), link)
    {
        if (strcmp(s->vm_id, vm_id) == 0 && strcmp(s->name, name) == 0)
            return s;
    }
    return NULL;
}

/* A reference, or NULL. */
static struct stream *find(struct console_hub *hub, const char *vm_id, const char *name)
{
    struct stream *s;

    LOCK_SCOPE(&hub->lock);
    s = find_in_hub(hub, vm_id, name);
    return s ? stream_ref(s) : NULL;
}

static int require(struct console_hub *hub, const char *vm_id, const char *name,
                   struct stream **ret, struct error *err)
{
    *ret = find(hub, vm_id, name);
    if (*ret)
        return 0;
    error_set(err, ERROR_STREAM_UNAVAILABLE, "the VM has no open stream \"%s\"", name);
    error_remedy(err, "start the VM; a stream opens when it runs");
    return -1;
}

enum pick { PICK_ONLY, PICK_AND_REMOVE };

/* References to one VM's streams, or to all of them (vm_id NULL); the caller frees the array. */
static struct stream **pick_streams(struct console_hub *hub, const char *vm_id, enum pick pick,
                                    size_t *ret_count)
{
    struct stream **picked;
    size_t n = 0;

    LOCK_SCOPE(&hub->lock);
    picked = xcalloc(hub->stream_count + 1, sizeof(struct stream *));
    for (size_t i = 0; i < CONSOLE_BUCKETS; i++) {
        struct stream_list *bucket = vm_id ? bucket_of(hub, vm_id) : &hub->buckets[i];
        struct stream *s, *following;

        for (s = LIST_FIRST(bucket); s; s = following) {
            following = LIST_NEXT(s, link);
            if (vm_id && strcmp(s->vm_id, vm_id) != 0)
                continue;
            if (pick == PICK_AND_REMOVE) { /* the registry's reference becomes the caller's */
                LIST_REMOVE(s, link);
                hub->stream_count--;
                picked[n++] = s;
            } else {
                picked[n++] = stream_ref(s);
            }
        }
        if (vm_id)
            break;
    }
    *ret_count = n;
    return picked;
}

static void forget_stream(struct stream *s, int code, const char *reason)
{
    lock_scope_enter(&s->lock);
    s->forgotten = true;
    if (s->up)
        upstream_detach_locked(s);
    stream_end_viewers_locked(s, NULL, code, reason);
    stream_unlock_and_notify(s);
    stream_unref(s);
}

void console_hub_free(struct console_hub *hub)
{
    struct stream **streams;
    size_t count;

    if (!hub)
        return;
    {
        LOCK_SCOPE(&hub->lock);
        hub->stopping = true;
    }
    streams = pick_streams(hub, NULL, PICK_AND_REMOVE, &count);
    for (size_t i = 0; i < count; i++)
        forget_stream(streams[i], 1001, "the daemon is stopping");
    free(streams);
    {
        LOCK_SCOPE(&hub->inbox_lock);
        hub->stop = true;
    }
    loop_wake(hub);
    pthread_join(hub->thread, NULL);
    hub_unref(hub);
}

/* ---- the guest's end ---- */

/* The stream, made if need be, with its lock held and a reference; NULL with *err. */
static struct stream *open_stream(struct console_hub *hub, const char *vm_id, const char *name,
                                  struct error *err)
{
    struct stream *s;

    LOCK_SCOPE(&hub->lock);
    if (hub->stopping) {
        error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
        return NULL;
    }
    s = find_in_hub(hub, vm_id, name);
    if (!s) {
        if (stream_new(hub, vm_id, name, &s, err))
            return NULL;
        LIST_INSERT_HEAD(bucket_of(hub, vm_id), s, link);
        hub->stream_count++;
    }
    lock_scope_enter(&s->lock);
    return stream_ref(s);
}

/*
 * Where the ring of a boot begins that is older than this hub: after a restart of the daemon nobody
 * knows how much was printed. The clock runs ahead of any serial line, so no offset is given twice,
 * and who resumes at one from before the restart is told of the gap.
 */
static uint64_t offset_from_clock(void)
{
    return (uint64_t)clock_wall_ms() * CONSOLE_BYTES_PER_MS;
}

int console_feed(struct console_hub *hub, const char *vm_id, const char *stream, int fd, bool fresh,
                 struct error *err)
{
    auto_close int owned = fd;
    auto_stream struct stream *s = open_stream(hub, vm_id, stream, err);
    int rc;

    if (!s)
        return -1;
    if (s->up) {
        bool ending = s->up->state == UPSTREAM_ENDING;

        upstream_detach_locked(s);
        if (ending)
            stream_finish_locked(s);
    }
    s->ended = false;
    if (!fresh && !s->ring.next && TAILQ_EMPTY(&s->viewers)) {
        s->boot_offset = offset_from_clock();
        ring_begin(&s->ring, s->boot_offset);
    }
    if (fresh) {
        s->boot_offset = s->ring.next;
        s->has_output = false;
        s->input_len = 0; /* typed at the boot before this one */
    }
    rc = upstream_attach_locked(s, TAKE_FD(owned), err);
    stream_flush_input_locked(s);
    stream_unlock_and_notify(s);
    return rc;
}

bool console_is_fed(struct console_hub *hub, const char *vm_id, const char *stream)
{
    auto_stream struct stream *s = find(hub, vm_id, stream);

    if (!s)
        return false;
    LOCK_SCOPE(&s->lock);
    return s->up && s->up->state == UPSTREAM_LIVE;
}

bool console_has_output(struct console_hub *hub, const char *vm_id, const char *stream)
{
    auto_stream struct stream *s = find(hub, vm_id, stream);

    if (!s)
        return false;
    LOCK_SCOPE(&s->lock);
    return s->has_output;
}

void console_end(struct console_hub *hub, const char *vm_id)
{
    size_t count;
    auto_free struct stream **streams = pick_streams(hub, vm_id, PICK_ONLY, &count);

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
}

void console_forget(struct console_hub *hub, const char *vm_id)
{
    size_t count;
    auto_free struct stream **streams = pick_streams(hub, vm_id, PICK_AND_REMOVE, &count);

    for (size_t i = 0; i < count; i++)
        forget_stream(streams[i], 1000, "the VM was deleted");
}

/* ---- viewers ---- */

int console_attach(struct console_hub *hub, const struct console_attach *attach,
                   struct source **ret, struct error *err)
{
    auto_stream struct stream *s = NULL;
    unsigned max = atomic_load_explicit(&hub->viewers_max, memory_order_relaxed);

    if (require(hub, attach->vm_id, attach->stream, &s, err))
        return -1;
    lock_scope_enter(&s->lock);
    if (s->forgotten) {
        pthread_mutex_unlock(&s->lock);
        return error_set(err, ERROR_STREAM_UNAVAILABLE, "the VM was deleted");
    }
    if (s->viewer_count >= max) {
        pthread_mutex_unlock(&s->lock);
        error_set(err, ERROR_TOO_MANY_VIEWERS, "%u viewers watch this console already", max);
        error_remedy(err, "close one of them, or raise the setting console_viewers");
        return -1;
    }
    *ret = viewer_attach_locked(s, attach);
    stream_unlock_and_notify(s);
    return 0;
}

unsigned console_viewers(struct console_hub *hub, const char *vm_id, const char *stream)
{
    auto_stream struct stream *s = find(hub, vm_id, stream);

    if (!s)
        return 0;
    LOCK_SCOPE(&s->lock);
    return s->viewer_count;
}

void console_revoke(struct console_hub *hub, const char *viewer_prefix)
{
    size_t count;
    auto_free struct stream **streams = pick_streams(hub, NULL, PICK_ONLY, &count);

    for (size_t i = 0; i < count; i++) {
        struct stream *s = streams[i];

        lock_scope_enter(&s->lock);
        stream_end_viewers_locked(s, viewer_prefix, 1008, "the right to watch was revoked");
        stream_unlock_and_notify(s);
        stream_unref(s);
    }
}

void console_set_viewers_max(struct console_hub *hub, unsigned viewers_max)
{
    atomic_store_explicit(&hub->viewers_max, viewers_max, memory_order_relaxed);
}

/* ---- the log ---- */

int console_log_read(struct console_hub *hub, const char *vm_id, const char *stream, uint64_t from,
                     size_t max, struct console_log *ret, struct error *err)
{
    auto_stream struct stream *s = NULL;
    auto_free char *data = NULL;
    size_t size = max < hub->options.ring_bytes ? max : hub->options.ring_bytes;

    if (require(hub, vm_id, stream, &s, err))
        return -1;
    data = malloc(size + 1); /* outside the lock, which the guest's output waits for */
    if (!data)
        return error_set(err, ERROR_UNAVAILABLE, "no memory for %zu bytes of log", size);
    LOCK_SCOPE(&s->lock);
    *ret = (struct console_log){.oldest = stream_oldest_locked(s), .next = s->ring.next};
    ret->offset = from < ret->oldest ? ret->oldest : from > ret->next ? ret->next : from;
    ret->len = ring_copy(&s->ring, ret->offset, data, size);
    ret->data = TAKE_PTR(data);
    return 0;
}

int console_log_clear(struct console_hub *hub, const char *vm_id, const char *stream,
                      struct error *err)
{
    auto_stream struct stream *s = NULL;
    struct viewer *v;

    if (require(hub, vm_id, stream, &s, err))
        return -1;
    lock_scope_enter(&s->lock);
    TAILQ_FOREACH(v, &s->viewers, link)
    {
        /* The bytes go at a user's wish: a raw viewer skips them, but was not too slow. */
        if (v->protocol == CONSOLE_RAW && v->offset < s->ring.next)
            v->offset = v->end == VIEWER_DRAINS ? v->end_offset : s->ring.next;
        stream_wake_locked(v);
    }
    ring_clear(&s->ring);
    pace_moved_locked(s);
    stream_unlock_and_notify(s);
    return 0;
}

void console_stats_read(struct console_hub *hub, struct console_stats *ret)
{
    *ret = (struct console_stats){
        .viewers = atomic_load_explicit(&hub->viewers, memory_order_relaxed),
        .bytes_out = atomic_load_explicit(&hub->bytes_out, memory_order_relaxed),
        .bytes_in = atomic_load_explicit(&hub->bytes_in, memory_order_relaxed),
        .dropped_viewers = atomic_load_explicit(&hub->dropped_viewers, memory_order_relaxed),
        .gaps = atomic_load_explicit(&hub->gaps, memory_order_relaxed),
    };
    LOCK_SCOPE(&hub->lock);
    ret->streams = hub->stream_count;
}
