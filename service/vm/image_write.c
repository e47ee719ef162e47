/*
 * Bytes of images to the disk: zeros become holes, and a full disk is told as such. What is written
 * once and not read soon goes past the page cache where the file system can: copying it there costs
 * more than the disk does, and takes the place of what guests read.
 */
#include "service/vm/image_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PIECE   ((size_t)64 << 10) /* zeros are looked for in pieces of this */
#define RESERVE ((int64_t)64 << 20) /* of the disk, at once: a block at a time costs more than the writing */

int image_no_space(struct error *err)
{
    /* A quota or a file size limit is the same to the client as a full disk. */
    error_set(err, ERROR_INSUFFICIENT_STORAGE, "the disk is full");
    error_cause(err, "%s", strerror(errno));
    return -1;
}

void image_write_past_cache(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0)
        (void)fcntl(fd, F_SETFL, flags | O_DIRECT); /* where it is refused, nothing is lost */
}

bool image_write_through_cache(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && (flags & O_DIRECT) && fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

static bool is_zero(const char *data, size_t len)
{
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

static int write_all(int fd, const char *data, size_t len, int64_t at, struct error *err)
{
    while (len) {
        ssize_t n = pwrite(fd, data, len, at);

        if (n < 0 && errno == EINTR)
            continue;
        /* The end of a file, or a file system with larger blocks. */
        if (n < 0 && errno == EINVAL && image_write_through_cache(fd))
            continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
            return image_no_space(err);
        if (n < 0)
            return error_errno(err, errno, "cannot write the image");
        data += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Best effort: what is short of space or not able to is told by the write. */
static void reserve(int fd, int64_t at, size_t len, struct image_ahead *ahead)
{
    int64_t end = at + RESERVE;

    if (at + (int64_t)len <= ahead->end)
        return;
    if (ahead->size >= 0 && end > ahead->size)
        end = ahead->size;
    if (end < at + (int64_t)len)
        end = at + (int64_t)len;
    (void)fallocate(fd, FALLOC_FL_KEEP_SIZE, at, end - at);
    ahead->end = end;
}

static int write_data(int fd, const char *data, size_t len, int64_t at, struct image_ahead *ahead,
                      struct error *err)
{
    if (ahead && len)
        reserve(fd, at, len, ahead);
    return write_all(fd, data, len, at, err);
}

int image_write_ahead(int fd, const char *data, size_t len, int64_t at, struct image_ahead *ahead,
                      struct error *err)
{
    size_t from = 0; /* what lies between it and i is not zeros, and not written */

    /* Raw disks are mostly empty. */
    for (size_t i = 0; i < len; i += PIECE) {
        size_t n = len - i < PIECE ? len - i : PIECE;

        if (n < 4096 || !is_zero(data + i, n))
            continue;
        if (write_data(fd, data + from, i - from, at + (int64_t)from, ahead, err))
            return -1;
        from = i + n;
        if (ahead && at + (int64_t)i < ahead->end) /* what was reserved there is given back */
            (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at + (int64_t)i, (off_t)n);
    }
    return write_data(fd, data + from, len - from, at + (int64_t)from, ahead, err);
}

int image_write_end(int fd, int64_t size, const struct image_ahead *ahead)
{
    /* Only what is cut off is given back: a file that ends in a hole is shorter than what was reserved for it. */
    if (ahead->end > size && ftruncate(fd, ahead->end) && errno != EFBIG)
        return -1;
    return ftruncate(fd, size);
}

int image_write_at(int fd, const char *data, size_t len, int64_t at, struct error *err)
{
    return image_write_ahead(fd, data, len, at, NULL, err);
}
