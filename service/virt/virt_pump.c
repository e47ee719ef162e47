/*
 * Pumps: a libvirt stream on one side, a socket pair on the other, one small buffer each way,
 * everything on the virt thread. A full buffer drops interest in what fills it, so a guest that
 * floods or a reader that stalls costs 32 KiB and no more.
 *
 * A pump is opened by any thread, adopted and ended by the virt thread, and buried by the link
 * thread, because aborting a remote stream waits for an answer.
 */
#include "service/virt/virt_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "service/base/fd.h"

#define PUMP_MAGIC  0x70756d70u
#define PUMP_BUFFER 16384
#define PUMP_ROUNDS 4 /* per wake-up, so that one loud guest does not starve the others */

struct buffer {
    size_t start, len;
    char data[PUMP_BUFFER];
};

enum stage {
    PUMP_NEW,     /* opened; the virt thread starts it */
    PUMP_RUNNING, /* the virt thread's alone, but for the marks below */
    PUMP_ENDED,   /* libvirt may still hold a pointer to it */
    PUMP_DEAD,    /* the link thread aborts its stream and frees it */
};

struct pump {
    uint32_t magic;
    struct virt *v;
    struct pump *next; /* this and the next three: guarded by v->lock */
    enum stage stage;
    bool unwanted;
    char *key;
    virStreamPtr stream;
    struct virt_line *line; /* the stream's alone, until it is buried */
    int fd, watch;
    int stream_events, fd_events;
    bool stream_watched;
    bool stream_hup;   /* the guest's side hung up: read what is left, ask for nothing more */
    bool stream_ended; /* nothing more comes from the guest */
    bool client_ended; /* the caller shut down its sending side */
    bool ended;
    struct buffer to_client, to_guest;
};

static struct pump *pump_of(void *opaque)
{
    struct pump *p = opaque;

    if (p->magic != PUMP_MAGIC)
        abort();
    return p;
}

static void set_stage(struct pump *p, enum stage stage)
{
    struct virt *v = p->v;

    LOCK_SCOPE(&v->lock);
    p->stage = stage;
    if (stage == PUMP_DEAD)
        pthread_cond_broadcast(&v->changed);
}

/* libvirt has let go of the last pointer; the link thread takes over. */
static void handle_freed(void *opaque)
{
    set_stage(pump_of(opaque), PUMP_DEAD);
}

/* The caller must not touch p afterwards. */
static void end(struct pump *p)
{
    p->ended = true;
    /*
     * No free function was given for the stream's callback, because libvirt forgets to call it
     * for a stream it aborted itself; after this call there are no more callbacks.
     */
    if (p->stream_watched)
        (void)virStreamEventRemoveCallback(p->stream);
    if (p->watch < 0) {
        close(p->fd);
        set_stage(p, PUMP_DEAD);
        return;
    }
    set_stage(p, PUMP_ENDED);
    (void)virEventRemoveHandle(p->watch);
    close(p->fd);
}

/* ---- moving bytes; each returns whether it moved any ---- */

static bool from_guest(struct pump *p)
{
    struct buffer *b = &p->to_client;
    int n;

    if (p->stream_ended || b->len)
        return false;
    n = virStreamRecv(p->stream, b->data, sizeof(b->data));
    if (n == -2)
        return false;
    if (n <= 0) {
        p->stream_ended = true; /* stopped, or the console was taken: the same to a reader */
        return true;
    }
    b->start = 0;
    b->len = (size_t)n;
    return true;
}

static bool to_guest(struct pump *p)
{
    struct buffer *b = &p->to_guest;
    int n;

    if (p->stream_ended || p->stream_hup || !b->len)
        return false;
    n = virStreamSend(p->stream, b->data + b->start, b->len);
    if (n == -2)
        return false;
    if (n < 0) {
        /* Nothing can be typed any more; what the guest said last is still to be read. */
        b->len = 0;
        p->stream_hup = true;
        return true;
    }
    b->start += (size_t)n;
    b->len -= (size_t)n;
    return n > 0;
}

/* -1: the client is gone */
static int to_client(struct pump *p)
{
    struct buffer *b = &p->to_client;
    ssize_t n;

    if (!b->len)
        return 0;
    n = send(p->fd, b->data + b->start, b->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    b->start += (size_t)n;
    b->len -= (size_t)n;
    return n > 0;
}

static int from_client(struct pump *p)
{
    struct buffer *b = &p->to_guest;
    ssize_t n;

    if (p->client_ended || b->len)
        return 0;
    n = recv(p->fd, b->data, sizeof(b->data), MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0) {
        p->client_ended = true;
        return 0;
    }
    b->start = 0;
    b->len = (size_t)n;
    return 1;
}

static void watch(struct pump *p)
{
    int stream = 0, fd = VIR_EVENT_HANDLE_HANGUP | VIR_EVENT_HANDLE_ERROR;

    if (!p->stream_ended && !p->to_client.len)
        stream |= VIR_STREAM_EVENT_READABLE | VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR;
    if (!p->stream_ended && !p->stream_hup && p->to_guest.len)
        stream |= VIR_STREAM_EVENT_WRITABLE | VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR;
    if (!p->client_ended && !p->to_guest.len)
        fd |= VIR_EVENT_HANDLE_READABLE;
    if (p->to_client.len)
        fd |= VIR_EVENT_HANDLE_WRITABLE;
    if (stream != p->stream_events) {
        p->stream_events = stream;
        (void)virStreamEventUpdateCallback(p->stream, stream);
    }
    if (fd != p->fd_events) {
        p->fd_events = fd;
        virEventUpdateHandle(p->watch, fd);
    }
}

/* Moves what can be moved. May end the pump. */
static void run(struct pump *p)
{
    for (int round = 0; round < PUMP_ROUNDS; round++) {
        bool moved = from_guest(p);
        int out = to_client(p), in = from_client(p);

        moved |= to_guest(p);
        if (out < 0 || in < 0 || (p->stream_ended && !p->to_client.len)) {
            end(p);
            return;
        }
        if (!moved && !out && !in)
            break;
    }
    watch(p);
}

static void on_stream(virStreamPtr stream, int events, void *opaque)
{
    struct pump *p = pump_of(opaque);

    (void)stream;
    if (p->ended || !pthread_equal(pthread_self(), p->v->loop_thread))
        return;
    if (events & (VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR))
        p->stream_hup = true;
    run(p);
}

static void on_fd(int handle, int fd, int events, void *opaque)
{
    struct pump *p = pump_of(opaque);

    (void)handle;
    (void)fd;
    if (p->ended)
        return;
    if (!(events & (VIR_EVENT_HANDLE_HANGUP | VIR_EVENT_HANDLE_ERROR))) {
        run(p);
        return;
    }
    /* The caller closed: what it wrote before goes to the guest as far as the guest takes it. */
    while (to_guest(p) || (!p->to_guest.len && from_client(p) > 0)) {
    }
    end(p);
}

/* ---- birth and death ---- */

int virt_pump_open(struct virt *v, struct virt_line **line, const char *key, virStreamPtr *stream,
                   int *ret_fd, struct error *err)
{
    int pair[2];
    struct pump *p;

    if (fd_socketpair(pair, err))
        return -1;
    p = xcalloc(1, sizeof(*p));
    p->magic = PUMP_MAGIC;
    p->v = v;
    p->key = xstrdup(key);
    p->stream = TAKE_PTR(*stream);
    p->line = TAKE_PTR(*line);
    p->fd = pair[0];
    p->watch = -1;
    {
        LOCK_SCOPE(&v->lock);
        p->unwanted = v->broken || p->line->era != v->era; /* too late for virt_pump_end_all() */
        p->next = v->pumps;
        v->pumps = p;
    }
    virt_wake(v);
    *ret_fd = pair[1];
    return 0;
}

/* Lock held. */
static bool mark_unwanted(struct virt *v, const char *key)
{
    bool found = false;

    for (struct pump *p = v->pumps; p; p = p->next) {
        if (str_eq(p->key, key))
            found = p->unwanted = true;
    }
    return found;
}

bool virt_pump_displace(struct virt *v, const char *key, int64_t deadline_monotonic_ms)
{
    LOCK_SCOPE(&v->lock);
    while (mark_unwanted(v, key)) {
        virt_wake(v); /* an eventfd write: never blocks */
        if (!cond_wait_until(&v->changed, &v->lock, deadline_monotonic_ms))
            return !mark_unwanted(v, key);
    }
    return true;
}

void virt_pump_end_all(struct virt *v, virConnectPtr conn)
{
    {
        LOCK_SCOPE(&v->lock);
        for (struct pump *p = v->pumps; p; p = p->next) {
            if (!conn || p->line->conn == conn)
                p->unwanted = true;
        }
    }
    virt_wake(v);
}

static void start(struct pump *p)
{
    p->stream_events = VIR_STREAM_EVENT_READABLE | VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR;
    if (virStreamEventAddCallback(p->stream, p->stream_events, on_stream, p, NULL) == 0) {
        p->stream_watched = true;
        p->fd_events = VIR_EVENT_HANDLE_READABLE | VIR_EVENT_HANDLE_HANGUP | VIR_EVENT_HANDLE_ERROR;
        p->watch = virEventAddHandle(p->fd, p->fd_events, on_fd, p, handle_freed);
    }
    if (p->watch < 0)
        end(p);
    else
        run(p);
}

/* The next pump that the virt thread has to start or to end. */
static struct pump *next_task(struct virt *v, enum stage *ret_stage)
{
    LOCK_SCOPE(&v->lock);
    for (struct pump *p = v->pumps; p; p = p->next) {
        bool end_it = p->stage == PUMP_RUNNING && (p->unwanted || v->stopping);

        if (p->stage != PUMP_NEW && !end_it)
            continue;
        *ret_stage = p->stage;
        p->stage = PUMP_RUNNING;
        return p;
    }
    return NULL;
}

void virt_pump_turn(struct virt *v)
{
    enum stage stage;
    struct pump *p;

    while ((p = next_task(v, &stage))) {
        if (stage == PUMP_NEW)
            start(p);
        else
            end(p);
    }
}

bool virt_pump_is_buried(const struct virt *v)
{
    for (const struct pump *p = v->pumps; p; p = p->next) {
        if (p->stage == PUMP_DEAD)
            return false;
    }
    return true;
}

/* The list keeps a pump until its stream is gone, so that displacing can wait for that. */
static struct pump *next_dead(struct virt *v)
{
    LOCK_SCOPE(&v->lock);
    for (struct pump *p = v->pumps; p; p = p->next) {
        if (p->stage == PUMP_DEAD)
            return p;
    }
    return NULL;
}

static void forget(struct virt *v, const struct pump *dead)
{
    LOCK_SCOPE(&v->lock);
    for (struct pump **p = &v->pumps; *p; p = &(*p)->next) {
        if (*p == dead) {
            *p = dead->next;
            break;
        }
    }
    pthread_cond_broadcast(&v->changed);
}

void virt_pump_bury(struct virt *v)
{
    struct pump *p;

    while ((p = next_dead(v))) {
        (void)virStreamAbort(p->stream);
        virStreamFree(p->stream);
        virt_release(p->line);
        forget(v, p);
        p->magic = 0;
        free(p->key);
        free(p);
    }
}
