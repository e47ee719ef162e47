/* File descriptors and files. */
#include "service/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "service/base/str.h"

#define WAKE_TRIES 3

int fd_wake(int eventfd)
{
    const uint64_t one = 1;

    for (int i = 0; i < WAKE_TRIES; i++) {
        if (write(eventfd, &one, sizeof(one)) == (ssize_t)sizeof(one))
            return 0;
    }
    return errno == EAGAIN ? 0 : -1; /* a counter that is full has woken him already */
}

int fd_set_nonblock(int fd, struct error *err)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return error_errno(err, errno, "cannot make a descriptor non-blocking");
    return 0;
}

int fd_socketpair(int ret[2], struct error *err)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret))
        return error_errno(err, errno, "cannot make a socket pair");
    return 0;
}

int fd_write_all(int fd, const void *data, size_t len, struct error *err)
{
    const char *p = data;

    while (len) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "cannot write");
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    auto_free char *buf = NULL;
    size_t len = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot open %s", path);
    buf = xcalloc(1, max + 1);
    while (len < max) {
        ssize_t n = read(fd, buf + len, max - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "cannot read %s", path);
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret = TAKE_PTR(buf);
    if (ret_len)
        *ret_len = len;
    return 1;
}

ssize_t file_read_at(int dirfd, const char *path, char *buf, size_t size)
{
    auto_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (fd < 0)
        return -1;
    while (len < size - 1) {
        ssize_t n = read(fd, buf + len, size - 1 - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    buf[len] = '\0';
    return (ssize_t)len;
}

int dir_sync(const char *path, struct error *err)
{
    auto_free char *copy = xstrdup(path);
    const char *dir = dirname(copy);
    auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd))
        return error_errno(err, errno, "cannot sync %s", dir);
    return 0;
}

int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
                      struct error *err)
{
    auto_free char *tmp = xasprintf("%s.part", path);
    auto_close int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);

    if (fd < 0)
        return error_errno(err, errno, "cannot create %s", tmp);
    if (fd_write_all(fd, data, len, err))
        goto undo;
    if (fchmod(fd, mode) || fsync(fd) || rename(tmp, path)) {
        error_errno(err, errno, "cannot store %s", path);
        goto undo;
    }
    return dir_sync(path, err);
undo:
    unlink(tmp);
    return -1;
}

int dir_ensure(const char *path, mode_t mode, struct error *err)
{
    struct stat st;

    /* The umask keeps files private; a directory has exactly the mode that was asked for. */
    if (mkdir(path, mode) == 0 && chmod(path, mode) == 0)
        return 0;
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return error_errno(err, errno, "cannot create the directory %s", path);
}

int file_remove(const char *path, struct error *err)
{
    if (unlink(path) && errno != ENOENT)
        return error_errno(err, errno, "cannot remove %s", path);
    return 0;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
