/*
 * Listening sockets and accept. The daemon accepts by itself and hands connections to
 * libmicrohttpd, so that TCP, Unix and inherited sockets share one loop and one set of limits, and
 * a client over a limit is told so.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/http_internal.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/conf/settings.h"

#define BACKLOG     512
#define ACCEPT_TURN 64 /* connections taken before the others are served again */

static int add_listener(struct http *h, int fd, bool is_unix, struct error *err)
{
    if (h->listener_count == HTTP_LISTENERS_MAX) {
        close(fd);
        return error_set(err, ERROR_CONFIG, "More than %d listening sockets.", HTTP_LISTENERS_MAX);
    }
    h->listeners[h->listener_count].fd = fd;
    h->listeners[h->listener_count++].is_unix = is_unix;
    return 0;
}

/* libmicrohttpd ignores events without a pointer, so its epoll set can wake the loop for us. */
void http_listen_watch(struct http *h, bool on)
{
    struct epoll_event ev = {.events = EPOLLIN};

    if (h->listening == on)
        return;
    h->listening = on;
    for (size_t i = 0; i < h->listener_count; i++) {
        if (epoll_ctl(h->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, h->listeners[i].fd, &ev) < 0)
            log_error("cannot watch a listening socket: %s", strerror(errno));
    }
}

static bool is_loopback(const struct sockaddr *addr)
{
    const struct sockaddr_in *in = (const void *)addr;
    const struct sockaddr_in6 *in6 = (const void *)addr;

    if (addr->sa_family == AF_INET)
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    if (addr->sa_family != AF_INET6)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == 127);
}

/* Without TLS, tokens would travel in clear: only a clear "yes" opens the network. */
static int check_exposed(struct http *h, const struct sockaddr *addr, struct error *err)
{
    h->exposed |= !is_loopback(addr);
    if (*h->settings->tls_certificate || is_loopback(addr) || h->settings->insecure_listen)
        return 0;
    error_set_at(err, ERROR_CONFIG, "listen",
                 "The address is reachable from the network, and there is no TLS.");
    error_remedy(err,
                 "Set tls_certificate and tls_key, listen on 127.0.0.1 behind a TLS proxy (see deploy/), or "
                 "set insecure_listen.");
    return -1;
}

static void name_address(struct http *h, const struct sockaddr *addr, socklen_t len)
{
    char host[64];
    char port[8];

    if (*h->address || getnameinfo(addr, len, host, sizeof(host), port, sizeof(port),
                                   NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(h->address, sizeof(h->address), addr->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
             host, port);
}

static int open_address(struct http *h, const struct addrinfo *ai, const char *text,
                        struct error *err)
{
    auto_close int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof(bound);
    int on = 1;

    if (check_exposed(h, ai->ai_addr, err) < 0)
        return -1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &len) < 0) {
        error_errno(err, errno, "Cannot listen on %s.", text);
        if (errno == EADDRINUSE)
            error_remedy(err, "Another program has that port; stop it or choose another `listen`.");
        return -1;
    }
    name_address(h, (struct sockaddr *)&bound, len);
    return add_listener(h, TAKE_FD(fd), false, err);
}

static int open_tcp(struct http *h, const char *text, struct error *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    auto_free char *host = xstrdup(text);
    char *colon = strrchr(host, ':');
    struct addrinfo *list = NULL;
    char *name = host;
    int rc;

    if (!colon || colon == host)
        return error_set_at(err, ERROR_CONFIG, "listen", "\"%s\" is not ADDRESS:PORT.", text);
    *colon = '\0';
    if (*name == '[' && colon[-1] == ']') {
        name++;
        colon[-1] = '\0';
    }
    rc = getaddrinfo(name, colon + 1, &hints, &list);
    if (rc) {
        error_set_at(err, ERROR_CONFIG, "listen", "\"%s\" is not an address to listen on.", text);
        error_cause(err, "%s", gai_strerror(rc));
        return -1;
    }
    rc = open_address(h, list, text, err);
    freeaddrinfo(list);
    return rc;
}

/* A socket file nobody listens on is left over from a crash; one that answers is not ours. */
static int remove_stale(const struct sockaddr_un *un, struct error *err)
{
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return error_errno(err, errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno == EAGAIN)
        return error_set(err, ERROR_CONFIG, "Another daemon listens on %s.", un->sun_path);
    if (errno == ECONNREFUSED && unlink(un->sun_path) < 0)
        return error_errno(err, errno, "cannot remove the stale socket %s", un->sun_path);
    return 0;
}

static int open_unix(struct http *h, const char *path, struct error *err)
{
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(un.sun_path))
        return error_set(err, ERROR_CONFIG, "The path %s is too long for a socket.", path);
    memcpy(un.sun_path, path, strlen(path) + 1);
    if (remove_stale(&un, err) < 0)
        return -1;
    /* Closed to others from the first moment: whoever may connect is signed in. */
    if (fd < 0 || fchmod(fd, 0660) < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0 ||
        chmod(path, 0660) < 0 || listen(fd, BACKLOG) < 0)
        return error_errno(err, errno, "cannot listen on %s", path);
    h->unix_path = xstrdup(path);
    return add_listener(h, TAKE_FD(fd), true, err);
}

static int take_passed(struct http *h, int fd, struct error *err)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    bool is_unix;

    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return error_errno(err, errno, "the inherited descriptor %d is not a socket", fd);
    is_unix = addr.ss_family == AF_UNIX;
    if (!is_unix && check_exposed(h, (struct sockaddr *)&addr, err) < 0)
        return -1;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return error_errno(err, errno, "cannot use the inherited socket %d", fd);
    if (!is_unix)
        name_address(h, (struct sockaddr *)&addr, len);
    return add_listener(h, fd, is_unix, err);
}

int http_listen_open(struct http *h, const struct http_options *o, struct error *err)
{
    bool have_tcp = false, have_unix = false;

    for (int i = 0; i < o->passed_count; i++) {
        if (take_passed(h, o->passed_fds[i], err) < 0)
            return -1;
        if (h->listeners[h->listener_count - 1].is_unix)
            have_unix = true;
        else
            have_tcp = true;
    }
    if (!have_tcp && o->listen && *o->listen && open_tcp(h, o->listen, err) < 0)
        return -1;
    if (!have_unix && o->unix_socket && open_unix(h, o->unix_socket, err) < 0)
        return -1;
    return 0;
}

void http_listen_close(struct http *h)
{
    http_listen_watch(h, false);
    for (size_t i = 0; i < h->listener_count; i++)
        close(h->listeners[i].fd);
    h->listener_count = 0;
    if (h->unix_path)
        unlink(h->unix_path);
    free(h->unix_path);
    h->unix_path = NULL;
}

static void refuse(struct http *h, int fd, bool in_clear, int status)
{
    struct error err;

    count_add(&h->count.refused, 1);
    /* A handshake, to say that there is no room for one, would be a handshake too many. */
    if (!in_clear) {
        close(fd);
        return;
    }
    if (status == 429)
        error_set(&err, ERROR_TOO_MANY_REQUESTS, "This address has too many connections open.");
    else
        error_set(&err, ERROR_UNAVAILABLE, "The daemon has as many connections as it takes.");
    answer_raw(fd, &err, NULL);
    close(fd);
}

/* Out of descriptors: the waiting client stays in the backlog, and the loop must not spin. */
static void pause_accept(struct http *h, int errnum)
{
    log_warning("cannot accept connections for now: %s", strerror(errnum));
    http_listen_watch(h, false);
    h->accept_paused_until_ms = clock_monotonic_ms() + 100;
}

/* False: nothing more waits. */
static bool accept_one(struct http *h, int listener, bool is_unix)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    int fd = accept4(listener, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    bool in_clear = is_unix || !h->tls;
    int status;
    int on = 1;

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accept(h, errno);
        return errno == ECONNABORTED || errno == EINTR;
    }
    if (is_unix)
        addr.ss_family = AF_UNIX;
    else
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    status = conn_admit(h, fd, (struct sockaddr *)&addr);
    if (status) {
        refuse(h, fd, in_clear, status);
        return true;
    }
    if (MHD_add_connection(h->mhd, fd, (struct sockaddr *)&addr, is_unix ? sizeof(sa_family_t) : len) != MHD_YES)
        log_warning("a connection could not be taken: %s", strerror(errno)); /* MHD closed it */
    return true;
}

void http_accept(struct http *h)
{
    if (atomic_load_explicit(&h->held, memory_order_relaxed))
        return;
    if (!h->accept_paused_until_ms)
        http_listen_watch(h, true);
    if (h->accept_paused_until_ms) {
        if (clock_monotonic_ms() < h->accept_paused_until_ms)
            return;
        h->accept_paused_until_ms = 0;
        http_listen_watch(h, true);
    }
    for (size_t i = 0; i < h->listener_count; i++) {
        for (int n = 0; n < ACCEPT_TURN && !h->accept_paused_until_ms; n++) {
            if (!accept_one(h, h->listeners[i].fd, h->listeners[i].is_unix))
                break;
        }
    }
}
