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

#include "service/base/cleanup.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/vm/console_internal.h"

/* 2 MB/s: more than a serial line prints, and below 2^53 (what JSON readers keep) until 2109. */
#define CONSOLE_BYTES_PER_MS 2048

DEFINE_CLEANUP(stream, struct stream *, stream_unref);
#define auto_stream auto_scope(cleanup_stream)

enum console_kind console_kind_of(const char *stream)
{
    if (str_starts(stream, "channels/"))
        return CONSOLE_KIND_CHANNEL;
    if (str_starts(stream, "vsock/"))
        return CONSOLE_KIND_VSOCK;
    return strcmp(stream, "display") == 0 ? CONSOLE_KIND_DISPLAY : CONSOLE_KIND_CONSOLE;
}

const char *console_kind_name(enum console_kind kind)
{
    static const char *const names[CONSOLE_KIND_COUNT] = {
        [CONSOLE_KIND_CONSOLE] = "console",
        [CONSOLE_KIND_CHANNEL] = "channel",
        [CONSOLE_KIND_VSOCK] = "vsock",
        [CONSOLE_KIND_DISPLAY] = "display",
    };

    return names[kind];
}

/* ---- the hub ---- */

struct console_hub *hub_ref(struct console_hub *hub)
{
    atomic_fetch_add_explicit(&hub->refs, 1, memory_order_relaxed);
    return hub;
}

static void free_seen(struct console_hub *hub)
{
    struct seen *seen;

    for (size_t i = 0; i < CONSOLE_BUCKETS; i++) {
        while ((seen = LIST_FIRST(&hub->seen[i]))) {
            LIST_REMOVE(seen, link);
            free(seen->vm_id);
            free(seen);
        }
    }
}

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
    pthread_mutex_destroy(&hub->log_lock);
    pthread_cond_destroy(&hub->log_news);
    free_seen(hub);
    free(hub->log_dir);
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
    if (log_start(hub, err))
        return -1;
    if (thread_start(&hub->thread, "console", console_loop, hub, err) == 0)
        return 0;
    log_stop(hub);
    return -1;
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
    mutex_init(&hub->log_lock);
    cond_init(&hub->log_news);
    hub->log_dir = xstrdup_null(options->log_dir);
    STAILQ_INIT(&hub->inbox);
    STAILQ_INIT(&hub->dead_pipes);
    STAILQ_INIT(&hub->log_queue);
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

static size_t bucket_of(const char *vm_id)
{
    uint32_t hash = 2166136261u; /* FNV-1a; ids are ours, nobody can aim at a bucket */

    for (; *vm_id; vm_id++)
        hash = (hash ^ (unsigned char)*vm_id) * 16777619u;
    return hash % CONSOLE_BUCKETS;
}

/* By VM, so that all streams of one are in one bucket. Caller holds hub->lock. */
static struct stream *find_in_hub(struct console_hub *hub, const char *vm_id, const char *name)
{
    struct stream *s;

    LIST_FOREACH(s, &hub->buckets[bucket_of(vm_id)], link)
    {
        if (strcmp(s->vm_id, vm_id) == 0 && strcmp(s->name, name) == 0)
            return s;
    }
    return NULL;
}

struct stream *hub_find(struct console_hub *hub, const char *vm_id, const char *name)
{
    struct stream *s;

    LOCK_SCOPE(&hub->lock);
    s = find_in_hub(hub, vm_id, name);
    return s ? stream_ref(s) : NULL;
}

enum open_how { OPEN_NEW, OPEN_KNOWN };

/*
 * A reference. A new stream reads its log from the disk, so it is made before the lock is taken;
 * of two that are made at once, one is dropped. OPEN_KNOWN: only one that has a log.
 */
static int open_stream(struct console_hub *hub, const char *vm_id, const char *name,
                       enum open_how how, struct stream **ret, struct error *err)
{
    auto_stream struct stream *made = NULL;
    struct stream *s = hub_find(hub, vm_id, name);

    if (s) {
        *ret = s;
        return 0;
    }
    if (stream_new(hub, vm_id, name, &made, err))
        return -1;
    if (!log_restore(made) && how == OPEN_KNOWN) {
        error_set(err, ERROR_STREAM_UNAVAILABLE, "the VM has no open stream \"%s\"", name);
        error_remedy(err, "start the VM; a stream opens when it runs");
        return -1;
    }
    LOCK_SCOPE(&hub->lock);
    if (hub->stopping)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    s = find_in_hub(hub, vm_id, name);
    if (!s) {
        s = TAKE_PTR(made);
        LIST_INSERT_HEAD(&hub->buckets[bucket_of(vm_id)], s, link);
        hub->stream_count++;
    }
    *ret = stream_ref(s);
    return 0;
}

int hub_require(struct console_hub *hub, const char *vm_id, const char *name, struct stream **ret,
                struct error *err)
{
    return open_stream(hub, vm_id, name, OPEN_KNOWN, ret, err);
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
        struct stream_list *bucket = &hub->buckets[vm_id ? bucket_of(vm_id) : i];
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
    log_flush(s);
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
    pipes_end(hub, NULL, NULL, false, 1001, "the daemon is stopping");
    log_stop(hub);
    {
        LOCK_SCOPE(&hub->inbox_lock);
        hub->stop = true;
    }
    loop_wake(hub);
    pthread_join(hub->thread, NULL);
    hub_unref(hub);
}

/* ---- the guest's end ---- */

/*
 * Where the ring of a boot begins that is older than this hub and has no log: nobody knows how much
 * was printed. The clock runs ahead of any serial line, so no offset is given twice, and who
 * resumes at one from before the restart is told of the gap.
 */
static void begin_by_clock(struct stream *s)
{
    LOCK_SCOPE(&s->lock);
    if (s->ring.next || s->up || s->ended || !TAILQ_EMPTY(&s->viewers))
        return;
    ring_skip(&s->ring, (uint64_t)clock_wall_ms() * CONSOLE_BYTES_PER_MS);
    s->boot_offset = s->logged = s->ring.next;
}

int console_feed(struct console_hub *hub, const char *vm_id, const char *stream, int fd, bool fresh,
                 struct error *err)
{
    auto_close int owned = fd;
    auto_stream struct stream *s = NULL;
    int rc;

    if (open_stream(hub, vm_id, stream, OPEN_NEW, &s, err))
        return -1;
    if (!fresh)
        begin_by_clock(s);
    log_reserve(s);
    lock_scope_enter(&s->lock);
    if (s->forgotten) {
        pthread_mutex_unlock(&s->lock);
        return error_set(err, ERROR_STREAM_UNAVAILABLE, "the VM was deleted");
    }
    if (s->up) {
        bool ending = s->up->state == UPSTREAM_ENDING;

        upstream_detach_locked(s);
        if (ending)
            stream_finish_locked(s);
    }
    /* It ran while we were away, and nobody knows what it said: at least that can be seen. */
    if (s->restored && !fresh)
        ring_skip(&s->ring, s->ring.next + 1);
    s->ended = s->restored = false;
    s->state_changed = true;
    if (fresh) {
        s->boot_offset = s->ring.next;
        s->has_output = false;
        s->input_len = 0; /* typed at the boot before this one */
    }
    rc = upstream_attach_locked(s, TAKE_FD(owned), err);
    stream_flush_input_locked(s);
    log_note_locked(s);
    stream_unlock_and_notify(s);
    return rc;
}

bool console_is_fed(struct console_hub *hub, const char *vm_id, const char *stream)
{
    auto_stream struct stream *s = hub_find(hub, vm_id, stream);

    if (!s)
        return false;
    LOCK_SCOPE(&s->lock);
    return s->up && s->up->state == UPSTREAM_LIVE;
}

bool console_has_output(struct console_hub *hub, const char *vm_id, const char *stream)
{
    auto_stream struct stream *s = hub_find(hub, vm_id, stream);

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
    pipes_end(hub, vm_id, NULL, true, 1000, "the VM stopped");
}

void console_forget(struct console_hub *hub, const char *vm_id)
{
    size_t count;
    auto_free struct stream **streams = pick_streams(hub, vm_id, PICK_AND_REMOVE, &count);

    for (size_t i = 0; i < count; i++)
        forget_stream(streams[i], 1000, "the VM was deleted");
    pipes_end(hub, vm_id, NULL, false, 1000, "the VM was deleted");
}

/* ---- viewers ---- */

void hub_seen_locked(struct console_hub *hub, const char *vm_id)
{
    struct seen *seen;

    LIST_FOREACH(seen, &hub->seen[bucket_of(vm_id)], link)
    {
        if (strcmp(seen->vm_id, vm_id) == 0)
            break;
    }
    if (!seen) {
        seen = xcalloc(1, sizeof(*seen));
        seen->vm_id = xstrdup(vm_id);
        LIST_INSERT_HEAD(&hub->seen[bucket_of(vm_id)], seen, link);
    }
    seen->at = clock_wall_ms();
}

int console_attach(struct console_hub *hub, const struct console_attach *attach,
                   struct source **ret, struct error *err)
{
    auto_stream struct stream *s = NULL;
    unsigned max = atomic_load_explicit(&hub->viewers_max, memory_order_relaxed);

    if (hub_require(hub, attach->vm_id, attach->stream, &s, err))
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
    LOCK_SCOPE(&hub->lock);
    hub_seen_locked(hub, attach->vm_id);
    return 0;
}

unsigned console_viewers(struct console_hub *hub, const char *vm_id, const char *stream)
{
    auto_stream struct stream *s = hub_find(hub, vm_id, stream);

    if (!s) {
        LOCK_SCOPE(&hub->lock);
        return pipes_count_locked(hub, vm_id, stream);
    }
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
    pipes_end(hub, NULL, viewer_prefix, false, 1008, "the right to watch was revoked");
}

void console_set_viewers_max(struct console_hub *hub, unsigned viewers_max)
{
    atomic_store_explicit(&hub->viewers_max, viewers_max, memory_order_relaxed);
}

/* ---- figures ---- */

static uint64_t get(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void console_stats_read(struct console_hub *hub, struct console_stats *ret)
{
    *ret = (struct console_stats){
        .dropped_viewers = get(&hub->dropped_viewers),
        .gaps = get(&hub->gaps),
        .log_bytes = get(&hub->log_bytes),
        .log_skipped = get(&hub->log_skipped),
        .log_errors = get(&hub->log_errors),
    };
    for (size_t i = 0; i < CONSOLE_KIND_COUNT; i++) {
        struct kind_counters *c = &hub->kinds[i];

        ret->kinds[i] = (struct console_kind_stats){
            .viewers = get(&c->viewers),
            .connections = get(&c->connections),
            .bytes_out = get(&c->bytes_out),
            .bytes_in = get(&c->bytes_in),
        };
        ret->viewers += ret->kinds[i].viewers;
        ret->bytes_out += ret->kinds[i].bytes_out;
        ret->bytes_in += ret->kinds[i].bytes_in;
    }
    LOCK_SCOPE(&hub->lock);
    ret->streams = hub->stream_count;
}

int64_t console_last_attached(struct console_hub *hub, const char *vm_id)
{
    const struct seen *seen;

    LOCK_SCOPE(&hub->lock);
    LIST_FOREACH(seen, &hub->seen[bucket_of(vm_id)], link)
    {
        if (strcmp(seen->vm_id, vm_id) == 0)
            return seen->at;
    }
    return 0;
}
