/*
 * The daemon's end of the KSM helper: what an unprivileged daemon may not read or write itself. One
 * connection, kept; a helper that is not there or does not answer is left alone for a while, and
 * the figures are absent, as without it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/host/helper_request.h"
#include "service/host/host_internal.h"

#define FIGURE_MS 300  /* one of many, that can be missing */
#define CHANGE_MS 5000 /* the first may have to wait until the helper is started */
#define AGAIN_MS  10000

static int set_patience(int fd, int64_t ms)
{
    const struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

static int connect_helper(struct host *h, int64_t patience_ms)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/fd/%d/" HELPER_SOCKET, h->root);
    if (set_patience(fd, patience_ms) || connect(fd, (struct sockaddr *)&to, sizeof(to))) {
        close(fd);
        return -1;
    }
    return fd;
}

static ssize_t exchange(int fd, const char *request, char *answer, size_t size)
{
    ssize_t n;

    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        return -1;
    n = recv(fd, answer, size - 1, 0);
    if (n == 0)
        errno = ECONNRESET;
    if (n > 0)
        answer[n] = '\0';
    return n > 0 ? n : -1;
}

ssize_t host_helper_ask(struct host *h, const char *request, bool changes, char *buf, size_t size)
{
    const int64_t patience_ms = changes ? CHANGE_MS : FIGURE_MS;
    bool late = false;
    char answer[HELPER_PACKET_MAX + 1];
    ssize_t n = -1;
    uint64_t why;

    /* Held over one small packet to a process of this host and back, with a deadline. */
    LOCK_SCOPE(&h->helper_lock);
    for (int round = 0; round < 2 && n < 0; round++) {
        if (h->helper < 0 && (changes || clock_monotonic_ms() >= h->helper_again_ms))
            h->helper = connect_helper(h, patience_ms);
        if (h->helper < 0 || set_patience(h->helper, patience_ms))
            break;
        n = exchange(h->helper, request, answer, sizeof(answer));
        if (n < 0) { /* it was started anew, or hangs: its late answer must not be the next one's */
            late = errno == EAGAIN;
            close(h->helper);
            h->helper = -1;
            if (late)
                break;
        }
    }
    if (n < 0) {
        h->helper_again_ms = clock_monotonic_ms() + AGAIN_MS;
        errno = late && changes ? ETIMEDOUT : EACCES;
        return -1;
    }
    if (answer[0] != HELPER_GOOD) {
        errno = str_to_u64(answer + 1, 4095, &why) && why ? (int)why : EACCES;
        return -1;
    }
    snprintf(buf, size, "%s", answer + 1);
    return (ssize_t)strlen(buf);
}
