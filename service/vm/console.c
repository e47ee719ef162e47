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

DEFINE_CLEANUP(stream, struct stream *, stream_unref);
#define auto_stream auto_scope(cleanup_stream)

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

size_t hub_bucket(const char *vm_id)
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

    LIST_FOREACH(s, &hub->buckets[hub_bucket(vm_id)], link)
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

/*
 * A new stream reads its log from the disk, so it is made before the lock is taken; of two that are
 * made at once, one is dropped.
 */
int hub_open(struct console_hub *hub, const char *vm_id, const char *name, enum hub_open how,
             struct stream **ret, struct error *err)
{
    auto_stream struct stream *made = NULL;
    struct stream *s = hub_find(hub, vm_id, name);

    if (s) {
        *ret = s;
        return 0;
    }
    if (stream_new(hub, vm_id, name, &made, err))
        return -1;
    if (!log_restore(made) && how == HUB_OPEN_KNOWN) {
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
        LIST_INSERT_HEAD(&hub->buckets[hub_bucket(vm_id)], s, link);
        hub->stream_count++;
    }
    *ret = stream_ref(s);
    return 0;
}

struct stream **hub_pick(struct console_hub *hub, const char *vm_id, enum hub_pick pick,
                         size_t *ret_count)
{
    struct stream **picked;
    size_t n = 0;

    LOCK_SCOPE(&hub->lock);
    picked = xcalloc(hub->stream_count + 1, sizeof(struct stream *));
    for (size_t i = 0; i < CONSOLE_BUCKETS; i++) {
        struct stream_list *bucket = &hub->buckets[vm_id ? hub_bucket(vm_id) : i];
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

void hub_forget_stream(struct stream *s, int code, const char *reason)
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
    streams = hub_pick(hub, NULL, PICK_AND_REMOVE, &count);
    for (size_t i = 0; i < count; i++)
        hub_forget_stream(streams[i], 1001, "the daemon is stopping");
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
