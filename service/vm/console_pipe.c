/*
 * Streams that pass through: a display, a vsock connection. No ring: the carrier's thread reads and
 * writes the socket itself; the console thread only waits for it to become ready, once each time it
 * was not (EPOLLONESHOT), so an idle pipe costs nothing and a busy one no change of thread.
 */
#include "service/vm/console_pipe.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>

#include "service/base/cleanup.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/base/thread.h"

void pipe_tell(struct pipe *p)
{
    void (*notify)(void *);
    void *opaque;

    {
        LOCK_SCOPE(&p->lock);
        notify = p->notify;
        opaque = p->opaque;
    }
    if (notify)
        notify(opaque);
    LOCK_SCOPE(&p->lock);
    if (--p->notifying == 0)
        pthread_cond_broadcast(&p->quiet);
}

/* On the console thread. p may be closed already, but it is not freed before this batch is done. */
static void pipe_ready(struct watch *w, uint32_t events)
{
    struct pipe *p = (struct pipe *)(void *)((char *)w - offsetof(struct pipe, watch));

    {
        LOCK_SCOPE(&p->lock);
        p->armed = 0;
        if (p->fd < 0)
            return;
        p->notifying++;
    }
    pipe_tell(p);
}

static void pipe_set_notify(struct source *source, void (*notify)(void *opaque), void *opaque)
{
    struct pipe *p = pipe_from(source);

    LOCK_SCOPE(&p->lock);
    p->notify = notify;
    p->opaque = opaque;
}

static void notice(const struct pipe *p, enum console_what what)
{
    const struct console_options *options = &p->hub->options;
    const struct console_notice n = {
        .what = what,
        .vm_id = p->vm_id,
        .stream = p->stream,
        .viewer = p->who,
        .name = p->name,
        .viewer_id = p->id,
        .mode = p->mode,
        .protocol = p->protocol,
    };

    if (options->on_notice)
        options->on_notice(options->opaque, &n);
}

static void pipe_free(struct pipe *p)
{
    struct console_hub *hub = p->hub;

    p->magic = 0;
    pthread_cond_destroy(&p->quiet);
    pthread_mutex_destroy(&p->lock);
    free(p->vm_id);
    free(p->stream);
    free(p->who);
    free(p->rights);
    free(p->name);
    free(p->passed);
    free(p);
    hub_unref(hub);
}

void pipe_reap(struct pipe *p)
{
    pipe_free(p);
}

struct pipe *pipe_next_dead_locked(struct console_hub *hub)
{
    struct pipe *p = STAILQ_FIRST(&hub->dead_pipes);

    if (p)
        STAILQ_REMOVE_HEAD(&hub->dead_pipes, dead_link);
    return p;
}

static void pipe_close(struct source *source)
{
    struct pipe *p = pipe_from(source);
    struct console_hub *hub = p->hub;
    bool stopped;

    {
        LOCK_SCOPE(&hub->lock);
        LIST_REMOVE(p, link);
    }
    {
        LOCK_SCOPE(&p->lock);
        p->notify = NULL;
        (void)epoll_ctl(hub->epoll, EPOLL_CTL_DEL, p->fd, NULL);
        close(p->fd);
        p->fd = -1;
        while (p->notifying)
            pthread_cond_wait(&p->quiet, &p->lock);
    }
    count(&hub->kinds[p->kind].viewers, -1ULL);
    notice(p, CONSOLE_DETACHED);
    {
        /* An event that was fetched already may point to p: the console thread frees it after it. */
        LOCK_SCOPE(&hub->inbox_lock);
        stopped = hub->stopped;
        if (!stopped)
            STAILQ_INSERT_TAIL(&hub->dead_pipes, p, dead_link);
        if (!stopped)
            loop_wake(hub);
    }
    if (stopped)
        pipe_free(p);
}

unsigned pipes_count_locked(struct console_hub *hub, const char *vm_id, const char *stream)
{
    const struct pipe *p;
    unsigned n = 0;

    LIST_FOREACH(p, &hub->pipes, link)
    {
        n += str_eq(p->vm_id, vm_id) && (!stream || str_eq(p->stream, stream));
    }
    return n;
}

void pipes_end(struct console_hub *hub, const char *vm_id, const char *right, bool drain, int code,
               const char *reason)
{
    auto_free struct pipe **told = NULL;
    size_t n = 0, all = 0;
    struct pipe *p;

    {
        LOCK_SCOPE(&hub->lock);
        LIST_FOREACH(p, &hub->pipes, link)
        {
            all++;
        }
        told = xcalloc(all + 1, sizeof(struct pipe *));
        LIST_FOREACH(p, &hub->pipes, link)
        {
            if ((vm_id && !str_eq(p->vm_id, vm_id)) || (right && !str_has_word(p->rights, right)))
                continue;
            LOCK_SCOPE(&p->lock);
            if (p->ended)
                continue;
            p->end_code = code;
            p->end_reason = reason;
            p->draining = true;
            p->ended = !drain;
            p->notifying++; /* keeps it */
            told[n++] = p;
        }
    }
    for (size_t i = 0; i < n; i++)
        pipe_tell(told[i]);
}

static int check(struct console_hub *hub, const struct console_pipe *pipe, struct error *err)
{
    enum console_kind kind = console_kind_of(pipe->stream);

    if (pipe->mode == CONSOLE_VIEW && kind != CONSOLE_KIND_DISPLAY) {
        error_set_at(err, ERROR_INVALID_ARGUMENT, "mode", "%s has no view mode", pipe->stream);
        error_remedy(err, "Ask for mode control; the connection is for you alone.");
        return -1;
    }
    return fd_set_nonblock(pipe->fd, err);
}

static int enter(struct pipe *p, struct error *err)
{
    struct console_hub *hub = p->hub;
    struct epoll_event ev = {.events = EPOLLONESHOT, .data.ptr = &p->watch};
    unsigned max = atomic_load_explicit(&hub->viewers_max, memory_order_relaxed);

    LOCK_SCOPE(&hub->lock);
    if (hub->stopping)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    if (pipes_count_locked(hub, p->vm_id, p->stream) >= max) {
        error_set(err, ERROR_TOO_MANY_VIEWERS, "%u clients use this stream already", max);
        error_remedy(err, "close one of them, or raise the setting console_viewers");
        return -1;
    }
    if (epoll_ctl(hub->epoll, EPOLL_CTL_ADD, p->fd, &ev))
        return error_errno(err, errno, "cannot watch %s", p->stream);
    LIST_INSERT_HEAD(&hub->pipes, p, link);
    hub_seen_locked(hub, p->vm_id);
    return 0;
}

int console_pipe(struct console_hub *hub, const struct console_pipe *pipe, struct source **ret,
                 struct error *err)
{
    auto_close int owned = pipe->fd;
    char name[CONSOLE_V1_NAME_MAX];
    struct pipe *p;

    if (check(hub, pipe, err))
        return -1;
    p = xcalloc(1, sizeof(*p));
    p->source = (struct source){.read = pipe_read,
                                .write = pipe_write,
                                .set_notify = pipe_set_notify,
                                .close = pipe_close};
    p->magic = PIPE_MAGIC;
    p->watch.ready = pipe_ready;
    p->hub = hub_ref(hub);
    p->vm_id = xstrdup(pipe->vm_id);
    p->stream = xstrdup(pipe->stream);
    p->who = xstrdup(pipe->viewer ? pipe->viewer : "");
    p->rights = xstrdup(pipe->rights ? pipe->rights : p->who);
    str_copy_utf8(name, sizeof(name), pipe->name ? pipe->name : p->who);
    p->name = xstrdup(name);
    p->kind = console_kind_of(pipe->stream);
    p->mode = pipe->mode;
    p->protocol = pipe->protocol;
    p->id = 1 + atomic_fetch_add_explicit(&hub->last_id, 1, memory_order_relaxed);
    p->fd = pipe->fd;
    mutex_init(&p->lock);
    cond_init(&p->quiet);
    if (enter(p, err)) {
        pipe_free(p);
        return -1;
    }
    (void)TAKE_FD(owned);
    count(&hub->kinds[p->kind].viewers, 1);
    count(&hub->kinds[p->kind].connections, 1);
    notice(p, CONSOLE_ATTACHED);
    *ret = &p->source;
    return 0;
}
