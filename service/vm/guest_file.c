/*
 * Files in and out of a guest, in pieces: memory does not know how large they are.
 */
#include "service/vm/guest_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/conf/settings.h"

#define PIECE       (192 * 1024) /* in base64 still a small part of what an agent takes at once */
#define ROOM        (512 * 1024) /* read ahead of a slow client */
#define SPACE_EVERY (16 * 1024 * 1024)

/* ---- the agent's handles ---- */

int guest_file_open(struct guest_link *link, const char *path, const char *mode, int64_t *ret,
                    struct error *err)
{
    auto_guest_answer struct guest_answer answer = {0};

    if (guest_call(link, "guest-file-open", json_pack("{s:s, s:s}", "path", path, "mode", mode),
                   guest_deadline(link->hub->core), &answer, err)) {
        if (err->code == ERROR_AGENT_FAILED && strstr(err->detail, "No such file or directory"))
            return error_set_at(err, ERROR_GUEST_FILE_NOT_FOUND, "path",
                                "the guest has no %s", path);
        return -1;
    }
    if (!json_is_integer(answer.value))
        return error_set(err, ERROR_AGENT_FAILED, "the guest agent gave no handle of the file");
    *ret = json_integer_value(answer.value);
    return 0;
}

int guest_file_close(struct guest_link *link, int64_t handle, struct error *err)
{
    return guest_call(link, "guest-file-close", json_pack("{s:I}", "handle", (json_int_t)handle),
                      guest_deadline(link->hub->core), NULL, err);
}

/* ---- out ---- */

/* Between the task that asks the agent and the source that a client reads. */
struct pipe {
    struct source source; /* first */
    _Atomic unsigned refs;
    struct guest_link *link;
    int64_t handle;
    pthread_mutex_t lock;
    pthread_cond_t room, quiet;
    /* lock: */
    char *data; /* ROOM */
    size_t at, len;
    bool ended, closed, notifying;
    char failure[96]; /* "" when the file's end was reached */
    void (*notify)(void *opaque);
    void *opaque;
};

static struct pipe *pipe_of(struct source *s)
{
    return (struct pipe *)s;
}

static void pipe_unref(struct pipe *p)
{
    if (atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    guest_link_unref(p->link);
    pthread_cond_destroy(&p->room);
    pthread_cond_destroy(&p->quiet);
    pthread_mutex_destroy(&p->lock);
    free(p->data);
    free(p);
}

static void pipe_drop(void *p)
{
    pipe_unref(p);
}

static ssize_t pipe_read(struct source *s, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct pipe *p = pipe_of(s);
    size_t n;

    *ret_kind = SOURCE_BYTES;
    LOCK_SCOPE(&p->lock);
    n = p->len - p->at < max ? p->len - p->at : max;
    if (n == 0) {
        if (!p->ended)
            return 0;
        s->close_code = *p->failure ? 1011 : 1000;
        memcpy(s->close_reason, p->failure, sizeof(p->failure));
        return -1;
    }
    memcpy(buf, p->data + p->at, n);
    p->at += n;
    if (p->at == p->len) {
        p->at = p->len = 0;
        pthread_cond_signal(&p->room);
    }
    return (ssize_t)n;
}

static void pipe_set_notify(struct source *s, void (*notify)(void *opaque), void *opaque)
{
    struct pipe *p = pipe_of(s);

    LOCK_SCOPE(&p->lock);
    p->notify = notify;
    p->opaque = opaque;
}

static void pipe_close(struct source *s)
{
    struct pipe *p = pipe_of(s);

    {
        LOCK_SCOPE(&p->lock);
        p->closed = true;
        p->notify = NULL;
        pthread_cond_signal(&p->room);
        while (p->notifying)
            pthread_cond_wait(&p->quiet, &p->lock);
    }
    pipe_unref(p);
}

static void tell(struct pipe *p)
{
    void (*notify)(void *);
    void *opaque;

    {
        LOCK_SCOPE(&p->lock);
        notify = p->notify;
        opaque = p->opaque;
        p->notifying = notify != NULL;
    }
    if (!notify)
        return;
    notify(opaque);
    LOCK_SCOPE(&p->lock);
    p->notifying = false;
    pthread_cond_signal(&p->quiet);
}

/* True when there is room for a piece; false: nobody reads any more, or the daemon stops. */
static bool wait_for_room(struct pipe *p)
{
    struct error ignored;

    for (;;) {
        {
            LOCK_SCOPE(&p->lock);
            if (!p->closed && p->len + PIECE > ROOM)
                cond_wait_until(&p->room, &p->lock, clock_monotonic_ms() + 200);
            if (p->closed)
                return false;
            if (p->len + PIECE <= ROOM)
                return true;
        }
        if (guest_pause(p->link->hub, 0, &ignored))
            return false;
    }
}

int guest_file_next(struct guest_link *link, int64_t handle, size_t max, char **ret,
                    size_t *ret_len, struct error *err)
{
    auto_guest_answer struct guest_answer answer = {0};
    auto_free char *data = NULL;
    int64_t count;
    size_t len = 0;

    if (max > PIECE)
        max = PIECE;
    if (guest_call(link, "guest-file-read",
                   json_pack("{s:I, s:i}", "handle", (json_int_t)handle, "count", (int)max),
                   guest_deadline(link->hub->core), &answer, err) ||
        guest_reply_int(answer.value, "count", 0, (int64_t)max, &count, err) ||
        guest_reply_bytes(json_object_get(answer.value, "buf-b64"), max, &data, &len, err))
        return -1;
    if (len != (size_t)count || (len == 0 && !json_is_true(json_object_get(answer.value, "eof"))))
        return error_set(err, ERROR_AGENT_FAILED, "the guest agent sent other data than it says");
    *ret = TAKE_PTR(data);
    *ret_len = len;
    return 0;
}

/* 1: more may come, 0: the file's end, -1. */
static int read_piece(struct pipe *p, struct error *err)
{
    auto_free char *data = NULL;
    size_t len;

    if (guest_file_next(p->link, p->handle, PIECE, &data, &len, err))
        return -1;
    LOCK_SCOPE(&p->lock);
    memcpy(p->data + p->len, data, len);
    p->len += len;
    return len != 0;
}

static int pump(struct core *core, void *arg, struct error *err)
{
    struct pipe *p = arg;
    int rc = 1;
    struct error ignored;

    (void)core;
    while (rc > 0 && wait_for_room(p)) {
        rc = read_piece(p, err);
        if (rc > 0)
            tell(p);
    }
    (void)guest_file_close(p->link, p->handle, &ignored);
    {
        LOCK_SCOPE(&p->lock);
        p->ended = true;
        if (rc)
            str_copy_utf8(p->failure, sizeof(p->failure),
                          rc < 0 ? err->detail : "the daemon is stopping");
    }
    tell(p);
    return 0;
}

struct guest_read *guest_read_new(const char *vm_id, const char *path)
{
    struct guest_read *r = xcalloc(1, sizeof(*r));

    str_copy_utf8(r->vm_id, sizeof(r->vm_id), vm_id);
    r->path = xstrdup(path);
    return r;
}

void guest_read_free(void *arg)
{
    struct guest_read *r = arg;

    if (r->source)
        r->source->close(r->source);
    free(r->path);
    free(r);
}

static struct pipe *pipe_new(struct guest_link *link, int64_t handle)
{
    struct pipe *p = xcalloc(1, sizeof(*p));

    p->source = (struct source){
        .read = pipe_read, .set_notify = pipe_set_notify, .close = pipe_close};
    atomic_init(&p->refs, 2); /* the source's and the task's */
    atomic_fetch_add(&link->refs, 1);
    p->link = link;
    p->handle = handle;
    p->data = xcalloc(1, ROOM);
    mutex_init(&p->lock);
    cond_init(&p->room);
    cond_init(&p->quiet);
    return p;
}

int guest_read_run(struct core *core, void *arg, struct error *err)
{
    struct guest_read *r = arg;
    auto_guest_link struct guest_link *link = NULL;
    struct error ignored;
    struct pipe *p;
    int64_t handle;
    int rc;

    if (guest_link_get(core, r->vm_id, &link, NULL, err) ||
        guest_file_open(link, r->path, "r", &handle, err))
        return -1;
    p = pipe_new(link, handle);
    /* A directory, say, opens and cannot be read: better told now than in the middle. */
    rc = read_piece(p, err);
    if (rc < 0 || guest_task_start(core, r->vm_id, pump, p, pipe_drop, NULL, err)) {
        (void)guest_file_close(link, handle, &ignored);
        if (rc < 0)
            pipe_unref(p); /* the task's, which was not to be */
        pipe_unref(p);
        return -1;
    }
    r->source = &p->source;
    return 0;
}

/* ---- in ---- */

struct guest_write *guest_write_new(struct core *core, const char *vm_id, const char *path,
                                    struct error *err)
{
    struct guest_write *w;
    auto_guest_link struct guest_link *link = NULL;
    auto_free char *dir = vm_dir(core, vm_id);
    auto_free char *name = xasprintf("%s/.put-XXXXXX", dir);

    /* Known before the bytes come, however many they are. */
    if (guest_link_get(core, vm_id, &link, NULL, err))
        return NULL;
    w = xcalloc(1, sizeof(*w));
    str_copy_utf8(w->vm_id, sizeof(w->vm_id), vm_id);
    w->path = xstrdup(path);
    w->mode = -1;
    w->fd = mkostemp(name, O_CLOEXEC);
    if (w->fd < 0) {
        error_errno(err, errno, "cannot make a temporary file");
        guest_write_free(w);
        return NULL;
    }
    (void)unlink(name);
    return w;
}

void guest_write_free(void *arg)
{
    struct guest_write *w = arg;

    if (w->fd >= 0)
        close(w->fd);
    free(w->path);
    free(w);
}

static int check_space(struct core *core, struct error *err)
{
    uint64_t available = 0, total = 0;
    uint64_t floor = (uint64_t)core->settings->free_space_floor_mib << 20;

    if (host_disk_space(core->state_dir, &available, &total, err))
        return -1;
    if (available >= floor)
        return 0;
    error_set(err, ERROR_INSUFFICIENT_STORAGE, "only %llu MiB are free below the state directory",
              (unsigned long long)(available >> 20));
    error_remedy(err, "Free some space, or lower the setting free_space_floor_mib.");
    return -1;
}

int guest_write_add(struct core *core, struct guest_write *w, const void *data, size_t len,
                    struct error *err)
{
    bool look = w->written / SPACE_EVERY != (w->written + len) / SPACE_EVERY || w->written == 0;

    if ((look && check_space(core, err)) || fd_write_all(w->fd, data, len, err))
        return -1;
    w->written += len;
    return 0;
}

int guest_file_add(struct guest_link *link, int64_t handle, const char *data, size_t len,
                   struct error *err)
{
    while (len) {
        auto_guest_answer struct guest_answer answer = {0};
        int64_t count;

        if (guest_call(link, "guest-file-write",
                       json_pack("{s:I, s:o}", "handle", (json_int_t)handle, "buf-b64",
                                 guest_base64(data, len)),
                       guest_deadline(link->hub->core), &answer, err) ||
            guest_reply_int(answer.value, "count", 1, (int64_t)len, &count, err))
            return -1;
        data += count;
        len -= (size_t)count;
    }
    return 0;
}

static int write_all(struct guest_link *link, int64_t handle, int fd, struct error *err)
{
    auto_free char *buf = xcalloc(1, PIECE);
    off_t at = 0;

    for (;;) {
        ssize_t n = pread(fd, buf, PIECE, at);

        if (n < 0)
            return error_errno(err, errno, "cannot read what was sent");
        if (n == 0)
            return 0;
        if (guest_file_add(link, handle, buf, (size_t)n, err))
            return -1;
        at += n;
    }
}

int guest_write_run(struct core *core, void *arg, struct error *err)
{
    struct guest_write *w = arg;
    auto_guest_link struct guest_link *link = NULL;
    struct error ignored;
    char mode[8];
    const char *argv[] = {"chmod", mode, "--", w->path, NULL};
    int64_t handle;

    if (guest_link_get(core, w->vm_id, &link, NULL, err) ||
        guest_file_open(link, w->path, "w", &handle, err))
        return -1;
    if (write_all(link, handle, w->fd, err)) {
        (void)guest_file_close(link, handle, &ignored);
        return -1;
    }
    if (guest_file_close(link, handle, err))
        return -1;
    snprintf(mode, sizeof(mode), "%04o", (unsigned)w->mode & 07777);
    return w->mode < 0 ? 0 : guest_run_simple(link, argv, err);
}
