/*
 * From what arrived to what is kept: unpacking, and qemu-img under limits. Both work on hostile
 * bytes; neither is told to guess a format, and qemu-img sees only what our inspector has found to
 * stand alone.
 */
#include "service/vm/image_import.h"
#include "service/vm/image_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/exec.h"
#include "service/base/fault.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "service/vm/op.h"

#define QEMU_IMG       "/usr/bin/qemu-img"
#define MIB            ((int64_t)1 << 20)
#define CHUNK          ((size_t)256 << 10)
#define LOCKED_TRIES   100 /* with a pause after each: 10 s in all */
#define LOCKED_US      100000
#define XZ_MEMORY      ((uint64_t)256 << 20) /* xz -9 needs 65 MiB */
#define CONVERT_HOURS  12
#define CHECK_BYTES    ((int64_t)16 << 20)

static enum fetch_result ended_or(const struct op *op)
{
    return op_should_end(op) ? FETCH_ENDED : FETCH_REFUSED;
}

/* ---- hashing ---- */

int image_hash_file(const struct op *op, const char *path, char ret[SECRET_SHA256_TEXT],
                    struct error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    auto_free char *buf = xcalloc(1, CHUNK);
    struct hash *hash;
    int64_t at = 0;
    ssize_t n;

    if (fd < 0)
        return error_errno(err, errno, "cannot read the image");
    hash = hash_new(HASH_SHA256);
    while ((n = pread(fd, buf, CHUNK, at)) != 0 && !(op && op_should_end(op))) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        hash_add(hash, buf, (size_t)n);
        at += n;
        if (op)
            atomic_store(&op->progress->done_bytes, at);
    }
    hash_finish(hash, ret);
    hash_free(hash);
    if (n < 0)
        return error_errno(err, errno, "cannot read the image");
    return n ? error_set(err, ERROR_CANCELLED, "ended") : 0;
}

/* ---- xz ---- */

struct unpack {
    struct core *core;
    const struct op *op;
    int in, out;
    int64_t read, written, checked, max;
    uint8_t from[64 << 10], to[256 << 10];
};

static int put(struct unpack *u, size_t len, struct error *err)
{
    if ((int64_t)len > u->max - u->written)
        return error_set(err, ERROR_IMAGE_REFUSED, "unpacked, it is larger than image_max_mib allows");
    if (image_write_at(u->out, (const char *)u->to, len, u->written, err))
        return -1;
    u->written += (int64_t)len;
    if (u->written - u->checked < CHECK_BYTES)
        return 0;
    u->checked = u->written;
    return image_check_space(u->core, 0, err);
}

static int unpack_error(lzma_ret rc, struct error *err)
{
    if (rc == LZMA_MEMLIMIT_ERROR)
        return error_set(err, ERROR_IMAGE_REFUSED, "unpacking it would take more than 256 MiB of memory");
    if (rc == LZMA_BUF_ERROR)
        return error_set(err, ERROR_IMAGE_REFUSED, "the xz file is cut off");
    return error_set(err, ERROR_IMAGE_REFUSED,
                     rc == LZMA_FORMAT_ERROR ? "this is not an xz file" : "the xz file is corrupt");
}

static int unpack_all(struct unpack *u, lzma_stream *z, struct error *err)
{
    lzma_action action = LZMA_RUN;

    for (;;) {
        lzma_ret rc;

        if (z->avail_in == 0 && action == LZMA_RUN) {
            ssize_t n = read(u->in, u->from, sizeof(u->from));

            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return error_errno(err, errno, "cannot read the download");
            if (n == 0)
                action = LZMA_FINISH;
            z->next_in = u->from;
            z->avail_in = (size_t)n;
            u->read += n;
            atomic_store(&u->op->progress->done_bytes, u->read);
        }
        z->next_out = u->to;
        z->avail_out = sizeof(u->to);
        rc = lzma_code(z, action);
        if (put(u, sizeof(u->to) - z->avail_out, err))
            return -1;
        if (rc == LZMA_STREAM_END)
            return 0;
        if (rc != LZMA_OK)
            return unpack_error(rc, err);
        if (op_should_end(u->op))
            return error_set(err, ERROR_CANCELLED, "ended");
    }
}

enum fetch_result image_unxz(struct core *core, const struct op *op, const char *from, const char *to,
                             struct error *err)
{
    auto_free struct unpack *u = xcalloc(1, sizeof(*u));
    auto_close int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    auto_close int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    lzma_stream z = LZMA_STREAM_INIT;
    struct stat st;
    int rc = -1;

    if (in < 0 || out < 0 || fstat(in, &st)) {
        error_errno(err, errno, "cannot unpack the download");
        return FETCH_REFUSED;
    }
    atomic_store(&op->progress->stage, "unpacking");
    atomic_store(&op->progress->done_bytes, 0);
    atomic_store(&op->progress->total_bytes, st.st_size);
    u->core = core;
    u->op = op;
    u->in = in;
    u->out = out;
    u->max = core_settings(core)->image_max_mib * MIB;
    if (lzma_stream_decoder(&z, XZ_MEMORY, LZMA_CONCATENATED) != LZMA_OK)
        error_set(err, ERROR_SYSTEM, "cannot start to unpack");
    else
        rc = unpack_all(u, &z, err);
    lzma_end(&z);
    if (rc == 0 && ftruncate(out, u->written))
        rc = error_errno(err, errno, "cannot write what was unpacked");
    return rc ? ended_or(op) : FETCH_DONE;
}

/* ---- qemu-img ---- */

struct watch {
    const struct op *op;
    int64_t total;
};

/* "    (12.50/100%)\r" */
static void on_output(void *opaque, const char *data, size_t len)
{
    const struct watch *w = opaque;
    const char *open = memrchr(data, '(', len);
    char text[16] = "";
    double percent;

    if (!open)
        return;
    len -= (size_t)(open - data) + 1;
    memcpy(text, open + 1, len < sizeof(text) - 1 ? len : sizeof(text) - 1);
    percent = strtod(text, NULL);
    if (percent >= 0 && percent <= 100)
        atomic_store(&w->op->progress->done_bytes, (int64_t)((double)w->total * percent / 100));
}

static bool should_end(void *opaque)
{
    return op_should_end(((const struct watch *)opaque)->op);
}

static int64_t virtual_size(const char *path, enum image_origin format)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct image_facts facts = {0};
    struct error ignored;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) || image_inspect_origin(fd, st.st_size, format, &facts, &ignored))
        return 0;
    return facts.virtual_size_bytes;
}

static enum fetch_result explain(const struct op *op, const struct exec_result *r,
                                 const struct error *why, struct error *err)
{
    if (r->ended && op_should_end(op))
        return FETCH_ENDED;
    /* It may write as much as is free above the floor. */
    if (r->signal == SIGXFSZ ||
        (r->status > 0 && (strstr(r->err, "No space left") || strstr(r->err, "File too large"))))
        error_set(err, ERROR_INSUFFICIENT_STORAGE, "the disk is full");
    else if (r->timed_out || r->signal)
        error_set(err, ERROR_IMAGE_REFUSED, "converting it took too long or too much");
    else if (r->status > 0)
        error_set(err, ERROR_IMAGE_REFUSED, "qemu-img cannot convert it");
    else
        *err = *why;
    error_cause(err, "%s", why->cause);
    return FETCH_REFUSED;
}

/* Who was killed with an earlier daemon may hold its file for a moment yet. */
static bool is_locked(const struct exec_result *r)
{
    return r->status > 0 && r->err && strstr(r->err, "Is another process using the image");
}

/* Under limits; max: of a file it writes. */
static enum fetch_result run_qemu_img(const struct op *op, const char *const *argv, int64_t total,
                                      int64_t max, struct error *err)
{
    struct watch watch = {.op = op, .total = total};
    struct exec_options options = {.argv = argv,
                                   .profile = IMAGE_PROFILE,
                                   .timeout_ms = CONVERT_HOURS * 3600000LL,
                                   .output_max = 2048,
                                   .address_space_bytes = (uint64_t)2 << 30,
                                   .cpu_seconds = CONVERT_HOURS * 3600,
                                   .file_bytes = (uint64_t)max,
                                   .open_files = 64,
                                   .nice = 5,
                                   .on_output = on_output,
                                   .should_end = should_end,
                                   .opaque = &watch};

    atomic_store(&op->progress->done_bytes, 0);
    atomic_store(&op->progress->total_bytes, total);
    for (int again = 0;; again++) {
        auto_exec_result struct exec_result result = {0};
        struct error why = ERROR_INIT;

        if (exec_run(&options, &result, &why) == 0)
            return FETCH_DONE;
        if (again == LOCKED_TRIES || !is_locked(&result) || op_should_end(op))
            return explain(op, &result, &why, err);
        usleep(LOCKED_US);
    }
}

static void report_copied(const struct op *op, int64_t bytes)
{
    atomic_store(&op->progress->done_bytes, bytes);
    atomic_store(&op->progress->total_bytes, bytes);
}

static int64_t allocated(const char *path)
{
    struct stat st;

    return stat(path, &st) ? 0 : (int64_t)st.st_blocks * 512;
}

enum fetch_result image_convert(struct core *core, const struct op *op, enum image_origin from_format,
                                const char *from, enum image_format to_format, const char *to,
                                int64_t total, struct error *err)
{
    /* Absolute paths cannot be mistaken for protocols, nor, after --, for options. */
    const char *argv[] = {QEMU_IMG, "convert", "-p", "-f", image_origin_name((int)from_format),
                          "-O", image_format_name((int)to_format), "--", from, to, NULL};
    int64_t max = core_settings(core)->image_max_mib * MIB, left = image_space_left(core);
    enum fetch_result result;

    if (total == 0)
        total = virtual_size(from, from_format);
    if (left <= 0) {
        image_check_space(core, 1, err);
        return FETCH_REFUSED;
    }
    if (total > max) {
        error_set(err, ERROR_IMAGE_REFUSED, "the disk is larger than image_max_mib allows");
        return FETCH_REFUSED;
    }
    atomic_store(&op->progress->stage, "converting");
    CRASH_POINT(IMAGE_CONVERTING);
    /* qcow2 takes no more than is written; a raw file's holes count for the limit on its size. */
    result = run_qemu_img(op, argv, total, to_format == IMAGE_FORMAT_QCOW2 && left < max ? left : max, err);
    CRASH_POINT(IMAGE_CONVERTED);
    if (result == FETCH_DONE)
        report_copied(op, allocated(to));
    return result;
}

enum fetch_result image_move_base(struct core *core, const struct op *op, const char *disk,
                                  const char *base, enum image_format base_format, struct error *err)
{
    const char *argv[] = {QEMU_IMG, "rebase", "-p", "-f", "qcow2", "-F",
                          image_format_name((int)base_format), "-b", base, "--", disk, NULL};
    int64_t before = allocated(disk), left = image_space_left(core);
    enum fetch_result result;

    if (left <= 0) {
        image_check_space(core, 1, err);
        return FETCH_REFUSED;
    }
    atomic_store(&op->progress->stage, "copying");
    result = run_qemu_img(op, argv, image_disk_size(disk), before + left, err);
    if (result == FETCH_DONE)
        report_copied(op, allocated(disk) > before ? allocated(disk) - before : 0);
    return result;
}
