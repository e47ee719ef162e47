/*
 * Many domains from one saved image. libvirt restores from a file that names one domain, and the
 * memory in it may be gigabytes; so it is given a FIFO instead, into which goes a header of the new
 * domain's and behind it the memory, spliced from the one file that all of them share.
 */
#include "service/virt/virt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/fd.h"

#define PIPE_MOST   (256 << 20) /* of what a pipe may hold; the pages in it are the page cache's own */
#define PIPE_LEAST  (1 << 20)
#define SPLICE_MOST (16 << 20)

bool virt_can_clone(const struct virt *v)
{
    return v->save_dir != NULL;
}

static char *saved_path(const struct virt *v, const char *name)
{
    return v->save_dir && !strchr(name, '/') ? xasprintf("%s/%s.save", v->save_dir, name) : NULL;
}

uint64_t virt_saved_bytes(const struct virt *v, const char *name)
{
    auto_free char *path = saved_path(v, name);
    struct stat st;

    return path && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* ---- the saved image ---- */

struct feed {
    const char *fifo;
    int saved;
    off_t at; /* where QEMU's bytes begin */
    char *head;
    size_t head_len;
};

static int read_head(int fd, char **ret, size_t *ret_len, struct error *err)
{
    char header[DOMXML_SAVED_HEADER];
    auto_free char *data = NULL;
    size_t len;

    if (pread(fd, header, sizeof(header), 0) != (ssize_t)sizeof(header))
        return error_set(err, ERROR_HYPERVISOR_FAILED, "the saved memory is cut short");
    if (domxml_saved_length(header, &len, err))
        return -1;
    data = xcalloc(1, len);
    if (pread(fd, data, len, 0) != (ssize_t)len)
        return error_set(err, ERROR_HYPERVISOR_FAILED, "the saved memory is cut short");
    *ret = TAKE_PTR(data);
    *ret_len = len;
    return 0;
}

/*
 * All of the memory fits in, if the kernel lets us: QEMU then never waits for this thread to be
 * scheduled again, which on a busy host is most of what a pipe costs.
 */
static void widen(int pipe)
{
    for (int size = PIPE_MOST; size >= PIPE_LEAST; size /= 2) {
        if (fcntl(pipe, F_SETPIPE_SZ, size) >= 0)
            return;
    }
}

/*
 * Ends when all is through, or when nobody reads any more (a restore that failed); the reader sees
 * an end of file in either case.
 */
static void *feed_thread(void *arg)
{
    struct feed *f = arg;
    auto_close int out = open(f->fifo, O_WRONLY | O_CLOEXEC);
    struct error ignored;
    ssize_t n;

    if (out < 0)
        return NULL;
    widen(out);
    if (fd_write_all(out, f->head, f->head_len, &ignored))
        return NULL;
    do
        n = splice(f->saved, &f->at, out, NULL, SPLICE_MOST, SPLICE_F_MOVE);
    while (n > 0 || (n < 0 && errno == EINTR));
    return NULL;
}

/* Whoever waits for a reader meets one, and then none. */
static void release(const char *fifo)
{
    auto_close int fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    (void)fd;
}

static int restore(virConnectPtr conn, struct feed *f, struct error *err)
{
    pthread_t thread;
    int rc;

    if (file_remove(f->fifo, err))
        return -1;
    if (mkfifo(f->fifo, 0600))
        return error_errno(err, errno, "cannot make a pipe for the saved memory");
    rc = thread_start(&thread, "virt-feed", feed_thread, f, err);
    if (rc == 0) {
        rc = virDomainRestoreFlags(conn, f->fifo, NULL, VIR_DOMAIN_SAVE_PAUSED);
        if (rc)
            rc = virt_fail(conn, err, "restore the VM");
        release(f->fifo);
        pthread_join(thread, NULL);
    }
    (void)unlink(f->fifo);
    return rc;
}

int virt_clone(struct virt *v, const struct virt_domain *domain, const char *source_uuid,
               const char *fifo, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr target = NULL, source = NULL;
    auto_free char *path = NULL, *data = NULL, *head = NULL;
    auto_close int fd = -1;
    struct feed feed = {.fifo = fifo};
    struct virt_domain own = *domain;
    size_t len;

    if (!virt_can_clone(v))
        return error_set(err, ERROR_NOT_SUPPORTED_BY_HOST,
                         "only the embedded driver's saved memory can be shared");
    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err) ||
        virt_find_ours(v, line->conn, domain->uuid, &target, err) ||
        virt_find_ours(v, line->conn, source_uuid, &source, err))
        return -1;
    if (virDomainIsActive(target) == 1)
        return error_set(err, ERROR_VM_STATE_CONFLICT, "the VM is already started");
    own.name = virDomainGetName(target); /* which may be its second one */
    path = saved_path(v, virDomainGetName(source));
    fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0)
        return error_set(err, ERROR_HYPERVISOR_FAILED, "the saved memory is gone");
    if (read_head(fd, &data, &len, err) ||
        domxml_clone(data, len, &own, v->install_id, &head, &feed.head_len, err))
        return -1;
    feed.saved = fd;
    feed.at = (off_t)len;
    feed.head = head;
    return restore(line->conn, &feed, err);
}
