/*
 * One tuner per host, and what it has to restore. The lock is the kernel's (flock), so a crash frees
 * it; the text stays and tells the next holder what the knobs were before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/host/host_internal.h"

#define CLAIM_FILE "run/drover-ksm"
#define CLAIM_MAX  4096

struct host_ksm_claim {
    int fd;
};

int host_ksm_claim_take(struct host *h, struct host_ksm_claim **ret, char **ret_text,
                        struct error *err)
{
    auto_close int fd =
        openat(h->root, CLAIM_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    auto_free char *text = xcalloc(1, CLAIM_MAX);

    if (fd < 0)
        return error_errno(err, errno, "cannot open /" CLAIM_FILE);
    if (flock(fd, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? 0 : error_errno(err, errno, "cannot lock /" CLAIM_FILE);
    if (pread(fd, text, CLAIM_MAX - 1, 0) < 0)
        return error_errno(err, errno, "cannot read /" CLAIM_FILE);
    *ret = xcalloc(1, sizeof(**ret));
    (*ret)->fd = TAKE_FD(fd);
    *ret_text = TAKE_PTR(text);
    return 1;
}

int host_ksm_claim_write(struct host_ksm_claim *c, const char *text, struct error *err)
{
    size_t len = strlen(text);

    if (ftruncate(c->fd, 0) || pwrite(c->fd, text, len, 0) != (ssize_t)len)
        return error_errno(err, errno, "cannot write /" CLAIM_FILE);
    return 0;
}

void host_ksm_claim_drop(struct host_ksm_claim *c)
{
    if (!c)
        return;
    close(c->fd);
    free(c);
}
