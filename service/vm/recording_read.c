/*
 * Downloads: a thread of its own reads a file ahead of whoever sends it, one buffer each, so that
 * the sender never waits for the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/vm/recording_internal.h"

#define PIECE 65536

struct download {
    struct source source; /* first */
    struct recorder *recorder;
    STAILQ_ENTRY(download) link; /* of recorder->reads */
    int fd;
    int64_t at, end;
    pthread_mutex_t lock;
    pthread_cond_t quiet;
    /* lock: */
    char *piece;
    size_t have, given;
    bool reading, notifying, closed, failed; /* reading: piece and at are the thread's */
    void (*notify)(void *opaque);
    void *opaque;
};

static void download_free(struct download *d)
{
    close(d->fd);
    pthread_cond_destroy(&d->quiet);
    pthread_mutex_destroy(&d->lock);
    free(d->piece);
    free(d);
}

static ssize_t ended(struct download *d, int code, const char *reason)
{
    d->source.close_code = code;
    str_copy_utf8(d->source.close_reason, sizeof(d->source.close_reason), reason);
    return -1;
}

static ssize_t download_read(struct source *source, void *buf, size_t max,
                             enum source_kind *ret_kind)
{
    struct download *d = (struct download *)source;
    struct recorder *r = d->recorder;

    *ret_kind = SOURCE_BYTES;
    {
        LOCK_SCOPE(&d->lock);
        if (d->reading)
            return 0;
        if (d->given < d->have) {
            size_t n = d->have - d->given < max ? d->have - d->given : max;

            memcpy(buf, d->piece + d->given, n);
            d->given += n;
            return (ssize_t)n;
        }
        if (d->failed)
            return ended(d, 1011, "the recording cannot be read");
        if (d->at == d->end)
            return ended(d, 1000, "");
        d->reading = true;
    }
    LOCK_SCOPE(&r->read_lock);
    STAILQ_INSERT_TAIL(&r->reads, d, link);
    pthread_cond_signal(&r->read_news);
    return 0;
}

static void download_set_notify(struct source *source, void (*notify)(void *opaque), void *opaque)
{
    struct download *d = (struct download *)source;

    LOCK_SCOPE(&d->lock);
    d->notify = notify;
    d->opaque = opaque;
}

static void download_close(struct source *source)
{
    struct download *d = (struct download *)source;
    bool reading;

    {
        LOCK_SCOPE(&d->lock);
        d->closed = true;
        while (d->notifying)
            pthread_cond_wait(&d->quiet, &d->lock);
        reading = d->reading;
    }
    if (!reading) /* else the thread frees it */
        download_free(d);
}

/* On the thread. */
static void fill(struct download *d)
{
    size_t want = d->end - d->at < PIECE ? (size_t)(d->end - d->at) : PIECE;
    ssize_t n;
    void (*notify)(void *) = NULL;
    void *opaque = NULL;
    bool closed;

    do {
        n = pread(d->fd, d->piece, want, (off_t)d->at);
    } while (n < 0 && errno == EINTR);
    {
        LOCK_SCOPE(&d->lock);
        d->have = n > 0 ? (size_t)n : 0;
        d->given = 0;
        d->at += (int64_t)d->have;
        d->failed = n <= 0;
        d->reading = false;
        closed = d->closed;
        if (!closed) {
            notify = d->notify;
            opaque = d->opaque;
            d->notifying = true;
        }
    }
    if (closed) {
        download_free(d);
        return;
    }
    if (notify)
        notify(opaque);
    LOCK_SCOPE(&d->lock);
    d->notifying = false;
    pthread_cond_broadcast(&d->quiet);
}

static void *read_loop(void *arg)
{
    struct recorder *r = arg;

    for (;;) {
        struct download *d;

        {
            LOCK_SCOPE(&r->read_lock);
            while (!r->read_stopping && STAILQ_EMPTY(&r->reads))
                pthread_cond_wait(&r->read_news, &r->read_lock);
            d = STAILQ_FIRST(&r->reads);
            if (!d)
                return NULL;
            STAILQ_REMOVE_HEAD(&r->reads, link);
        }
        fill(d);
    }
}

int recording_read(struct core *core, const char *project_id, const char *id, struct source **ret,
                   struct error *err)
{
    struct recording rec;
    struct download *d;
    struct stat st;
    int fd;

    if (recording_get(core, project_id, id, &rec, err))
        return -1;
    auto_free char *path = recording_path(core->recorder, rec.id);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERROR_RECORDING_NOT_FOUND, "the file of the recording is gone");
    if (fd < 0 || fstat(fd, &st)) {
        error_errno(err, errno, "cannot open %s", path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    d = xcalloc(1, sizeof(*d));
    d->source = (struct source){
        .read = download_read, .set_notify = download_set_notify, .close = download_close};
    d->recorder = core->recorder;
    d->fd = fd;
    /* Of one that is being made, whole lines only. */
    d->end =
        rec.state == RECORDING_RUNNING && rec.size_bytes < st.st_size ? rec.size_bytes : st.st_size;
    d->piece = xcalloc(1, PIECE);
    mutex_init(&d->lock);
    cond_init(&d->quiet);
    *ret = &d->source;
    return 0;
}

int recording_read_start(struct recorder *r, struct error *err)
{
    if (thread_start(&r->read_thread, "recorder-read", read_loop, r, err))
        return -1;
    r->has_read_thread = true;
    return 0;
}

void recording_read_stop(struct recorder *r)
{
    if (!r->has_read_thread)
        return;
    {
        LOCK_SCOPE(&r->read_lock);
        r->read_stopping = true;
        pthread_cond_signal(&r->read_news);
    }
    pthread_join(r->read_thread, NULL);
}
