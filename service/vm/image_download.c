/*
 * One file from a URL to a file below tmp, hashed as it arrives. What came stays there when the
 * connection or the daemon ends, with the server's validator beside it, and the next try goes on
 * from it; whether that was right, the hash tells.
 */
#include "service/vm/image_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "service/vm/op.h"

#define MIB                ((int64_t)1 << 20)
#define CHECK_BYTES        ((int64_t)16 << 20) /* between two looks at the disk */
#define BEGIN_BYTES        ((int64_t)64 << 10) /* enough of a file to judge its header */
#define TAIL_BYTES         BEGIN_BYTES
#define BOOT_PART_MAX      (1024 * MIB)
#define CONNECT_TIMEOUT_MS 15000
#define PAUSE_FIRST_MS     500
#define PAUSE_MAX_MS       30000

struct download {
    struct core *core;
    const struct op *op;
    const struct image *image;
    enum image_part part;
    const struct image_link *link;
    const char *path;
    char *mark; /* file that holds the validator */
    char validator[FETCH_VALIDATOR_MAX];
    int fd;
    int64_t have, checked, size;
    bool begin_seen; /* the header was looked at */
    struct hash *sha256;
    struct hash *sha512;
};

static void download_done(struct download *d)
{
    if (d->fd >= 0)
        close(d->fd);
    hash_free(d->sha256);
    hash_free(d->sha512);
    free(d->mark);
}

static void hash(struct download *d, const void *data, size_t len)
{
    if (d->sha256)
        hash_add(d->sha256, data, len);
    if (d->sha512)
        hash_add(d->sha512, data, len);
}

static void hash_anew(struct download *d)
{
    hash_free(d->sha256);
    hash_free(d->sha512);
    d->sha256 = hash_new(HASH_SHA256);
    d->sha512 = d->link->bits == 512 ? hash_new(HASH_SHA512) : NULL;
}

static int begin_anew(struct download *d, struct error *err)
{
    if (ftruncate(d->fd, 0))
        return error_errno(err, errno, "cannot write the download");
    d->have = d->checked = 0;
    d->begin_seen = false;
    hash_anew(d);
    return 0;
}

/* What an earlier daemon left: its bytes are hashed again, and the server is asked for the rest. */
static int take_up(struct download *d, struct error *err)
{
    auto_free char *buf = NULL, *validator = NULL;
    struct stat st;
    int64_t keep;
    size_t len;

    d->fd = open(d->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->fd < 0 || fstat(d->fd, &st))
        return error_errno(err, errno, "cannot create a file for the download");
    hash_anew(d);
    if (st.st_size == 0 ||
        file_read(d->mark, FETCH_VALIDATOR_MAX - 1, &validator, &len, err) != 1 || !*validator)
        return begin_anew(d, err);
    str_copy_utf8(d->validator, sizeof(d->validator), validator);
    /* The tail is fetched again: it may not have reached the disk, and there is always a rest to ask for. */
    keep = st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0;
    buf = xcalloc(1, 1 << 18);
    while (d->have < keep) {
        size_t want = keep - d->have < 1 << 18 ? (size_t)(keep - d->have) : 1 << 18;
        ssize_t n = pread(d->fd, buf, want, d->have);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || op_should_end(d->op))
            return n < 0 ? error_errno(err, errno, "cannot read the download") : 0;
        hash(d, buf, (size_t)n);
        d->have += n;
    }
    log_info("going on with a download at byte %lld image=%s", (long long)d->have, d->image->id);
    return 0;
}

static int64_t bytes_max(const struct download *d)
{
    return d->part == IMAGE_CONTENT ? core_settings(d->core)->image_max_mib * MIB : BOOT_PART_MAX;
}

/* ---- what fetch_run asks ---- */

static int on_head(void *opaque, const struct fetch_head *head, struct error *err)
{
    struct download *d = opaque;

    if (head->offset != d->have && begin_anew(d, err))
        return -1;
    if (strcmp(head->validator, d->validator) != 0) {
        str_copy_utf8(d->validator, sizeof(d->validator), head->validator);
        if (file_write_atomic(d->mark, d->validator, strlen(d->validator), 0600, err))
            return -1;
    }
    d->size = head->size;
    atomic_store(&d->op->progress->total_bytes, d->size < 0 ? 0 : d->size);
    atomic_store(&d->op->progress->done_bytes, d->have);
    return image_check_space(d->core, d->size < 0 ? 0 : d->size - d->have, err);
}

/* The first bytes are enough to refuse what is no image, hours before the last. */
static int look_at_begin(struct download *d, struct error *err)
{
    int64_t size = d->size < 0 ? IMAGE_SIZE_UNKNOWN : d->size;
    enum image_origin origin = image_origin(d->image);
    struct image_facts facts = {0};

    d->begin_seen = true;
    if (d->image->source->xz)
        return 0;
    if (d->part == IMAGE_CONTENT && d->image->kind == IMAGE_DISK)
        return image_inspect_origin(d->fd, size, origin, &facts, err);
    return image_inspect_begin(d->fd, size, d->image->kind, d->part, d->image->format, &facts, err);
}

static int on_data(void *opaque, const void *data, size_t len, struct error *err)
{
    struct download *d = opaque;

    if (image_write_at(d->fd, data, len, d->have, err))
        return -1;
    hash(d, data, len);
    d->have += (int64_t)len;
    atomic_store(&d->op->progress->done_bytes, d->have);
    if (!d->begin_seen && d->have >= BEGIN_BYTES && look_at_begin(d, err))
        return -1;
    if (d->have - d->checked < CHECK_BYTES)
        return 0;
    (void)sync_file_range(d->fd, d->checked, d->have - d->checked, SYNC_FILE_RANGE_WRITE);
    d->checked = d->have;
    return image_check_space(d->core, 0, err);
}

static bool should_end(void *opaque)
{
    return op_should_end(((struct download *)opaque)->op);
}

static enum fetch_result fetch(struct download *d, struct error *err)
{
    const struct settings *s = core_settings(d->core);
    struct fetch_options o = {.url = d->link->url,
                              .allow_private = s->fetch_private,
                              .offset = d->have,
                              .validator = d->validator,
                              .max_bytes = bytes_max(d),
                              .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                              .stall_seconds = s->fetch_stall_seconds,
                              .on_head = on_head,
                              .on_data = on_data,
                              .should_end = should_end,
                              .opaque = d};
    enum fetch_result result = fetch_run(&o, err);

    /* A hole at the end must show in the file's size, or the next daemon would not know of it. */
    if (ftruncate(d->fd, d->have) && result == FETCH_DONE) {
        error_errno(err, errno, "cannot write the download");
        return FETCH_REFUSED;
    }
    return result;
}

/* ---- trying again ---- */

static bool pause_for(const struct op *op, int64_t ms)
{
    int64_t until = clock_monotonic_ms() + ms;

    while (clock_monotonic_ms() < until && !op_should_end(op))
        usleep(50000);
    return !op_should_end(op);
}

static enum fetch_result fetch_with_patience(struct download *d, struct error *err)
{
    int64_t attempts = core_settings(d->core)->fetch_attempts, pause = PAUSE_FIRST_MS;

    for (int64_t tries = 1;; tries++) {
        int64_t before = d->have;
        enum fetch_result result = fetch(d, err);

        if (result != FETCH_BROKEN)
            return result;
        if (d->have > before) { /* it gets somewhere: that is worth going on for */
            tries = 1;
            pause = PAUSE_FIRST_MS;
        }
        if (tries >= attempts)
            return result;
        log_info("a download broke off at byte %lld: %s image=%s", (long long)d->have, err->detail,
                 d->image->id);
        if (!pause_for(d->op, pause))
            return FETCH_ENDED;
        pause = pause * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause * 2;
    }
}

static bool hash_is_right(struct download *d, char ret_sha256[SECRET_SHA256_TEXT], struct error *err)
{
    char sha512[SECRET_SHA512_TEXT] = "";
    const char *found = ret_sha256;

    hash_finish(d->sha256, ret_sha256);
    if (d->sha512) {
        hash_finish(d->sha512, sha512);
        found = sha512;
    }
    if (strcmp(found, d->link->hash) == 0)
        return true;
    error_set(err, ERROR_DIGEST_MISMATCH, "the %s has the SHA-%u %s", image_part_name(d->part),
              d->link->bits, found);
    error_remedy(err, "Either the hash in the request is wrong, or the source has changed.");
    return false;
}

enum fetch_result image_download(struct core *core, const struct op *op, const struct image *image,
                                 enum image_part part, const char *path,
                                 char ret_sha256[SECRET_SHA256_TEXT], struct error *err)
{
    auto_scope(download_done) struct download d = {.core = core,
                                                   .op = op,
                                                   .image = image,
                                                   .part = part,
                                                   .link = &image->source->links[part],
                                                   .path = path,
                                                   .fd = -1,
                                                   .size = -1};
    enum fetch_result result;
    bool taken_up;

    d.mark = xasprintf("%s.validator", path);
    atomic_store(&op->progress->stage, "downloading");
    if (take_up(&d, err))
        return FETCH_REFUSED;
    taken_up = d.have > 0;
    for (;;) {
        result = fetch_with_patience(&d, err);
        if (result != FETCH_DONE)
            return result;
        if (d.have == 0) {
            error_set(err, ERROR_IMAGE_REFUSED, "the content is empty");
            return FETCH_REFUSED;
        }
        CRASH_POINT(IMAGE_WHOLE);
        if (hash_is_right(&d, ret_sha256, err))
            return FETCH_DONE;
        if (!taken_up)
            return FETCH_REFUSED;
        /* Perhaps it was the earlier part that a power cut spoilt: once more, all of it. */
        taken_up = false;
        d.validator[0] = '\0';
        if (begin_anew(&d, err))
            return FETCH_REFUSED;
    }
}

void image_download_forget(const char *path)
{
    auto_free char *mark = xasprintf("%s.validator", path);
    struct error ignored;

    (void)file_remove(path, &ignored);
    (void)file_remove(mark, &ignored);
}
