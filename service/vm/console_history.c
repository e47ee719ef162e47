/*
 * Looking back: the log as a client reads it, clearing it, and throwing away what nobody owns.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/cleanup.h"
#include "service/base/clock.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/vm/console_internal.h"

DEFINE_CLEANUP(stream, struct stream *, stream_unref);
#define auto_stream auto_scope(cleanup_stream)

/* A log that is put together: bytes with growing offsets, at most max of them. */
struct history {
    struct strbuf text;
    struct console_log *log;
    uint64_t from, until; /* what is wanted of the file */
    size_t max;
};

static void add(struct history *h, uint64_t offset, const char *data, size_t len)
{
    struct console_log *log = h->log;

    if (h->text.len >= h->max || !len)
        return;
    if (!h->text.len) {
        log->offset = offset;
    } else if (offset != log->end) {
        if (log->gap_count == CONSOLE_LOG_GAPS) {
            h->max = h->text.len; /* the caller goes on at end */
            return;
        }
        log->gaps[log->gap_count++] =
            (struct console_log_gap){.at = h->text.len, .from = log->end, .to = offset};
    }
    if (len > h->max - h->text.len)
        len = h->max - h->text.len;
    strbuf_add(&h->text, data, len);
    log->end = offset + len;
}

static void visit(void *opaque, uint64_t offset, const char *data, size_t len)
{
    struct history *h = opaque;
    uint64_t from = h->text.len && h->log->end > h->from ? h->log->end : h->from;

    if (offset < from) {
        size_t before = from - offset < len ? (size_t)(from - offset) : len;

        offset += before;
        data += before;
        len -= before;
    }
    if (offset >= h->until)
        return;
    add(h, offset, data, len < h->until - offset ? len : (size_t)(h->until - offset));
}

struct oldest {
    uint64_t boot, offset;
};

static void visit_oldest(void *opaque, uint64_t offset, const char *data, size_t len)
{
    struct oldest *o = opaque;
    uint64_t first = offset > o->boot ? offset : o->boot;

    if (offset + len > o->boot && first < o->offset)
        o->offset = first;
}

/* The ring's bytes, in pieces between holes; a snapshot, because the guest goes on printing. */
struct snapshot {
    char *data; /* the pieces, one after the other */
    size_t len;
    uint64_t boot, start, next;
    struct {
        uint64_t offset;
        size_t len;
    } pieces[RING_HOLES + 1];
    size_t count;
};

static int take_snapshot(struct stream *s, struct snapshot *ret, struct error *err)
{
    size_t size = s->ring.size;
    auto_free char *data = malloc(size); /* outside the lock, which the guest's output waits for */

    if (!data)
        return error_set(err, ERROR_UNAVAILABLE, "no memory for %zu bytes of log", size);
    LOCK_SCOPE(&s->lock);
    *ret = (struct snapshot){
        .boot = s->boot_offset, .start = stream_oldest_locked(s), .next = s->ring.next};
    for (uint64_t at = ret->start; (at = ring_solid(&s->ring, at)) < ret->next;) {
        size_t n = ring_copy(&s->ring, at, data + ret->len, size - ret->len);

        ret->pieces[ret->count].offset = at;
        ret->pieces[ret->count++].len = n;
        ret->len += n;
        at += n;
    }
    ret->data = TAKE_PTR(data);
    return 0;
}

/* What the file has of this boot and the ring has not. */
static void add_file(struct stream *s, struct history *h, const struct snapshot *snap,
                     uint64_t *ret_oldest)
{
    struct oldest oldest = {snap->boot, snap->start};
    const struct console_visitor look = {NULL, visit_oldest, &oldest}, copy = {NULL, visit, h};
    struct error ignored;

    if (!s->file.path)
        return;
    LOCK_SCOPE(&s->file_lock);
    if (console_file_scan(&s->file, &look, &ignored) > 0)
        *ret_oldest = oldest.offset;
    if (h->from < h->until)
        (void)console_file_scan(&s->file, &copy, &ignored);
}

static int read_log(struct stream *s, uint64_t from, size_t max, struct console_log *ret,
                    struct error *err)
{
    struct snapshot snap = {0};
    struct history h = {.log = ret, .max = max};
    size_t at = 0;

    if (take_snapshot(s, &snap, err))
        return -1;
    *ret = (struct console_log){.oldest = snap.start, .next = snap.next};
    h.from = from > snap.boot ? from : snap.boot;
    if (h.from > snap.next)
        h.from = snap.next;
    h.until = snap.start;
    add_file(s, &h, &snap, &ret->oldest);
    h.until = snap.next;
    for (size_t i = 0; i < snap.count; i++) {
        visit(&h, snap.pieces[i].offset, snap.data + at, snap.pieces[i].len);
        at += snap.pieces[i].len;
    }
    free(snap.data);
    if (!h.text.len)
        ret->offset = ret->end = h.from > ret->oldest ? h.from : ret->oldest;
    ret->len = h.text.len;
    ret->data = strbuf_take(&h.text);
    return 0;
}

int console_log_read(struct console_hub *hub, const char *vm_id, const char *stream, uint64_t from,
                     size_t max, struct console_log *ret, struct error *err)
{
    auto_stream struct stream *s = hub_find(hub, vm_id, stream);

    if (s)
        return read_log(s, from, max, ret, err);
    /* Perhaps of a VM that is gone: read it, but do not remember it. */
    if (stream_new(hub, vm_id, stream, &s, err))
        return -1;
    if (log_restore(s))
        return read_log(s, from, max, ret, err);
    error_set(err, ERROR_STREAM_UNAVAILABLE, "nothing is remembered of \"%s\"", stream);
    error_remedy(err, "start the VM; a stream opens when it runs");
    return -1;
}

int console_log_clear(struct console_hub *hub, const char *vm_id, const char *stream,
                      struct error *err)
{
    auto_stream struct stream *s = NULL;
    struct console_state state;
    struct viewer *v;

    if (hub_open(hub, vm_id, stream, HUB_OPEN_KNOWN, &s, err))
        return -1;
    LOCK_SCOPE(&s->file_lock);
    lock_scope_enter(&s->lock);
    TAILQ_FOREACH(v, &s->viewers, link)
    {
        /* The bytes go at a user's wish: a raw viewer skips them, but was not too slow. */
        if (v->protocol == CONSOLE_RAW && v->offset < s->ring.next)
            v->offset = v->end == VIEWER_DRAINS ? v->end_offset : s->ring.next;
        stream_wake_locked(v);
    }
    ring_clear(&s->ring);
    s->logged = s->ring.next;
    state = log_state_locked(s);
    pace_moved_locked(s);
    stream_unlock_and_notify(s);
    if (!s->file.path)
        return 0;
    /* One that has printed nothing yet has no directory either. */
    return log_dir_ensure(s, err) ? -1 : console_file_clear(&s->file, &state, err);
}

/* ---- what nobody owns any more ---- */

/* When something was last written there, in wall-clock ms. */
static int64_t newest_in(int dir_fd, DIR *dir)
{
    const struct dirent *entry;
    struct stat st;
    int64_t newest = 0;

    rewinddir(dir);
    while ((entry = readdir(dir))) {
        int64_t at;

        if (entry->d_name[0] == '.' || fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        at = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        newest = at > newest ? at : newest;
    }
    return newest;
}

static int remove_all(const char *path, int64_t before, struct error *err)
{
    auto_closedir DIR *dir = opendir(path);
    const struct dirent *entry;

    if (!dir)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot open %s", path);
    if (newest_in(dirfd(dir), dir) > before)
        return 0;
    rewinddir(dir);
    while ((entry = readdir(dir))) {
        if (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, "..") &&
            unlinkat(dirfd(dir), entry->d_name, 0) && errno != ENOENT)
            return error_errno(err, errno, "cannot remove %s in %s", entry->d_name, path);
    }
    if (rmdir(path) && errno != ENOENT)
        return error_errno(err, errno, "cannot remove %s", path);
    return 0;
}

int console_logs_prune(struct console_hub *hub, int64_t keep_ms,
                       bool (*is_alive)(void *opaque, const char *vm_id), void *opaque,
                       struct error *err)
{
    auto_closedir DIR *dir = hub->log_dir ? opendir(hub->log_dir) : NULL;
    const struct dirent *entry;
    int64_t before = clock_wall_ms() - keep_ms;
    int rc = 0;

    if (!dir)
        return hub->log_dir ? error_errno(err, errno, "cannot open %s", hub->log_dir) : 0;
    while ((entry = readdir(dir))) {
        auto_free char *path = NULL;

        if (!uuid_is_valid(entry->d_name) || is_alive(opaque, entry->d_name))
            continue;
        path = xasprintf("%s/%s", hub->log_dir, entry->d_name);
        rc |= remove_all(path, before, err); /* one that cannot be removed keeps no other */
    }
    return rc;
}
