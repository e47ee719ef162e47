/*
 * Log files. Opened for each write, so that thousands of quiet consoles hold no descriptor.
 */
#include "service/vm/console_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/fd.h"
#include "service/base/str.h"

#define MAGIC 0x314c4344u /* "DCL1"; another byte order is another machine's */

enum kind { KIND_STATE = 1, KIND_DATA = 2 };

struct record {
    uint32_t magic, kind, len, sum;
    uint64_t offset;
};

bool console_file_path(const char *dir, const char *stream, char *ret, size_t size)
{
    int n = snprintf(ret, size, "%s/%s.log", dir, stream);
    size_t at = strlen(dir) + 1;

    if (n < 0 || (size_t)n >= size || !*stream || *stream == '.' || strlen(stream) > 200)
        return false;
    for (char *p = ret + at; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-_.", *p);

        if (*p == '/')
            *p = ':';
        else if (!plain)
            return false;
    }
    return true;
}

void console_file_open(struct console_file *f, const char *path, uint64_t bound)
{
    *f = (struct console_file){.path = xstrdup(path), .bound = bound};
}

void console_file_done(struct console_file *f)
{
    free(f->path);
    *f = (struct console_file){0};
}

/* FNV-1a: tells a torn write, not an attacker; the file is the daemon's own. */
static uint32_t sum_of(const struct record *r, const char *data)
{
    uint32_t sum = 2166136261u;

    for (size_t i = 0; i < sizeof(r->offset); i++)
        sum = (sum ^ ((const unsigned char *)&r->offset)[i]) * 16777619u;
    for (size_t i = 0; i < r->len; i++)
        sum = (sum ^ (unsigned char)data[i]) * 16777619u;
    return sum;
}

uint64_t console_file_parse(const char *segment, size_t len, const struct console_visitor *visitor)
{
    struct console_state state;
    struct record r;
    size_t at = 0;

    while (len - at >= sizeof(r)) {
        const char *data = segment + at + sizeof(r);

        memcpy(&r, segment + at, sizeof(r));
        if (r.magic != MAGIC || r.len > CONSOLE_FILE_DATA_MAX || r.len > len - at - sizeof(r) ||
            r.offset > INT64_MAX || r.sum != sum_of(&r, data))
            break;
        if (r.kind == KIND_STATE && r.len == sizeof(state) && visitor->state) {
            memcpy(&state, data, sizeof(state));
            visitor->state(visitor->opaque, &state);
        } else if (r.kind == KIND_DATA && r.len) {
            visitor->data(visitor->opaque, r.offset, data, r.len);
        }
        at += sizeof(r) + r.len;
    }
    return at;
}

/* As many bytes as there are, at most size; -1 sets errno. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = pread(fd, buf + len, size - len, (off_t)len);

        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* 1: read, 0: no file, -1. A file is never longer than a bound and a record. */
static int read_segment(const char *path, char **ret, size_t *ret_len, struct error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    ssize_t len;

    if (fd < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &st))
        return error_errno(err, errno, "cannot read %s", path);
    *ret = malloc((size_t)st.st_size + 1); /* the caller frees it in any case */
    if (!*ret)
        return error_set(err, ERROR_UNAVAILABLE, "no memory for a log");
    len = read_all(fd, *ret, (size_t)st.st_size);
    if (len < 0)
        return error_errno(err, errno, "cannot read %s", path);
    *ret_len = (size_t)len;
    return 1;
}

static int scan_segment(const char *path, const struct console_visitor *visitor, uint64_t *ret_len,
                        struct error *err)
{
    char *text = NULL;
    size_t len = 0;
    int rc = read_segment(path, &text, &len, err);

    *ret_len = rc == 1 ? console_file_parse(text, len, visitor) : 0;
    free(text); /* no auto_free: the analyser does not see it, and reports a leak */
    return rc;
}

int console_file_scan(struct console_file *f, const struct console_visitor *visitor,
                      struct error *err)
{
    auto_free char *older = xasprintf("%s.1", f->path);
    uint64_t ignored;
    int a = scan_segment(older, visitor, &ignored, err);
    int b = scan_segment(f->path, visitor, &f->len, err);

    if (b < 0 || (a < 0 && b == 0))
        return -1;
    return a > 0 || b > 0;
}

static size_t put(struct record *r, enum kind kind, uint64_t offset, const void *data, size_t len,
                  struct iovec iov[2])
{
    *r = (struct record){.magic = MAGIC, .kind = kind, .len = (uint32_t)len, .offset = offset};
    r->sum = sum_of(r, data);
    iov[0] = (struct iovec){r, sizeof(*r)};
    iov[1] = (struct iovec){(void *)(uintptr_t)data, len};
    return sizeof(*r) + len;
}

static int open_segment(struct console_file *f, struct error *err)
{
    struct stat st;
    int fd = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", f->path);
    /* A torn record of a crash would end the segment for ever. */
    if (fstat(fd, &st) || ((uint64_t)st.st_size > f->len && ftruncate(fd, (off_t)f->len))) {
        error_errno(err, errno, "cannot shorten %s", f->path);
        close(fd);
        return -1;
    }
    /* Removed by hand: what we think is there is not. */
    if ((uint64_t)st.st_size < f->len)
        f->len = 0;
    return fd;
}

static int rotate(struct console_file *f, struct error *err)
{
    auto_free char *older = xasprintf("%s.1", f->path);

    if (rename(f->path, older) && errno != ENOENT)
        return error_errno(err, errno, "cannot rename %s", f->path);
    f->len = 0;
    return 0;
}

int console_file_append(struct console_file *f, const struct console_state *state, bool write_state,
                        uint64_t offset, const void *data, size_t len, struct error *err)
{
    struct record records[2];
    struct iovec iov[4];
    auto_close int fd = -1;
    size_t total = 0;
    int n = 0;
    ssize_t written;

    if (f->len && f->len + len > f->bound / 2 && rotate(f, err))
        return -1;
    fd = open_segment(f, err);
    if (fd < 0)
        return -1;
    if (write_state || !f->len) {
        total += put(&records[0], KIND_STATE, state->next, state, sizeof(*state), iov);
        n += 2;
    }
    if (len) {
        total += put(&records[1], KIND_DATA, offset, data, len, iov + n);
        n += 2;
    }
    if (!n)
        return 0;
    written = pwritev(fd, iov, n, (off_t)f->len);
    if (written < 0 || (size_t)written != total)
        return error_errno(err, written < 0 ? errno : ENOSPC, "cannot write %s", f->path);
    f->len += total;
    return 0;
}

int console_file_sync(struct console_file *f, struct error *err)
{
    auto_close int fd = open(f->path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || fdatasync(fd))
        return error_errno(err, errno, "cannot sync %s", f->path);
    return 0;
}

int console_file_clear(struct console_file *f, const struct console_state *state, struct error *err)
{
    auto_free char *older = xasprintf("%s.1", f->path);

    /* The state is never gone from the disk, whenever we crash: offsets would repeat. */
    if (rotate(f, err) || console_file_append(f, state, true, 0, NULL, 0, err))
        return -1;
    return file_remove(older, err);
}
