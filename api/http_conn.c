/*
 * Connections and their absolute deadlines. libmicrohttpd's own time-out restarts with every byte,
 * so a client could hold a connection with one byte a second for ever; here each stage of a request
 * has an end, and a connection that is late has its socket shut.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "api/http_internal.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define UPLOAD_FLOOR_BYTES_PER_SECOND 1024

struct addr_count {
    struct addr_count *next;
    unsigned char key[16]; /* an IPv4 address mapped, or an IPv6 /64 */
    unsigned bucket;
    size_t count;
};

/* A household has a /64, so that is what counts as one address. */
static bool addr_key(const struct sockaddr *addr, unsigned char key[16])
{
    memset(key, 0, 16);
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)addr;

        key[10] = key[11] = 0xff;
        memcpy(key + 12, &in->sin_addr, 4);
        return true;
    }
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)addr;

        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
            memcpy(key, &in6->sin6_addr, 16);
        else
            memcpy(key, &in6->sin6_addr, 8);
        return true;
    }
    return false;
}

static unsigned addr_bucket(const unsigned char key[16])
{
    unsigned h = 2166136261u;

    for (int i = 0; i < 16; i++)
        h = (h ^ key[i]) * 16777619u;
    return h & 255;
}

static struct addr_count *addr_find(struct http *h, const unsigned char key[16])
{
    for (struct addr_count *a = h->addrs[addr_bucket(key)]; a; a = a->next) {
        if (memcmp(a->key, key, 16) == 0)
            return a;
    }
    return NULL;
}

static struct addr_count *addr_take(struct http *h, const unsigned char key[16])
{
    struct addr_count *a = addr_find(h, key);

    if (!a) {
        a = xcalloc(1, sizeof(*a));
        memcpy(a->key, key, 16);
        a->bucket = addr_bucket(key);
        a->next = h->addrs[a->bucket];
        h->addrs[a->bucket] = a;
    }
    a->count++;
    return a;
}

static void addr_drop(struct http *h, struct addr_count *a)
{
    struct addr_count **at;

    if (!a || --a->count)
        return;
    for (at = &h->addrs[a->bucket]; *at != a; at = &(*at)->next)
        ;
    *at = a->next;
    free(a);
}

static bool peer_uid(int fd, unsigned *ret)
{
    struct ucred cred = {.uid = (uid_t)-1};
    socklen_t len = sizeof(cred);
    bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0;

    *ret = cred.uid;
    return known;
}

/* Whoever fills all places: the administrator of the host gets in, to see who it is. */
int conn_admit(struct http *h, int fd, const struct sockaddr *addr)
{
    size_t places = (size_t)h->limits.connections;
    unsigned char key[16];
    const struct addr_count *a;
    unsigned uid;

    if (addr->sa_family == AF_UNIX && peer_uid(fd, &uid) && h->side->is_admin(uid))
        places += HTTP_ADMIN_RESERVE;
    if (h->conn_count + (h->side->elsewhere ? h->side->elsewhere(h) : 0) >= places)
        return 503;
    if (!addr_key(addr, key))
        return 0;
    a = addr_find(h, key);
    return a && a->count >= (size_t)h->limits.per_address ? 429 : 0;
}

static void name_peer(struct conn *c, const struct sockaddr *addr)
{
    const struct sockaddr_in *in = (const void *)addr;
    const struct sockaddr_in6 *in6 = (const void *)addr;

    if (addr->sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &in6->sin6_addr, c->peer, sizeof(c->peer));
    } else if (addr->sa_family == AF_INET) {
        inet_ntop(AF_INET, &in->sin_addr, c->peer, sizeof(c->peer));
    } else {
        c->is_unix = peer_uid(c->fd, &c->uid);
        snprintf(c->peer, sizeof(c->peer), "unix:%u", c->uid);
    }
}

/* ---- clients that have left ---- */

/*
 * libmicrohttpd 0.9.75 takes a short read as the sign that nothing more waits. With edge-triggered
 * events a close that arrived together with the last bytes then goes unseen for ever. So hang-ups
 * are watched for here, and a connection that waits for its client is made to read once more.
 */
static void watch_hangup(struct http *h, struct conn *c)
{
    struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = c};

    if (epoll_ctl(h->hangup_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        log_warning("cannot watch a connection for its end: %s", strerror(errno));
}

/*
 * Closing is not enough: while a program is being started, the child has the socket, too, and
 * hangups would be told of a connection that is gone. Forgetting twice does no harm.
 */
void conn_forget_hangup(struct http *h, struct conn *c)
{
    struct epoll_event ev = {0};

    if (epoll_ctl(h->hangup_fd, EPOLL_CTL_DEL, c->fd, &ev) < 0 && errno != ENOENT)
        log_warning("cannot stop watching a connection: %s", strerror(errno));
}

static void unlink_hung(struct http *h, struct conn *c)
{
    struct conn **at;

    if (!c->hung)
        return;
    for (at = &h->hung; *at != c; at = &(*at)->hung_next)
        ;
    *at = c->hung_next;
    c->hung = false;
}

static void collect_hangups(struct http *h)
{
    struct epoll_event events[64];
    int n = epoll_wait(h->hangup_fd, events, 64, 0);

    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;

        if (c->hung)
            continue;
        c->hung = true;
        c->hung_next = h->hung;
        h->hung = c;
        if (c->exchange)
            stream_end(c->exchange);
    }
}

/* Suspending and resuming at once marks it as readable: the loop will find the end. */
static void read_again(struct conn *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_CONNECTION_SUSPENDED);

    if (!info || info->suspended == MHD_YES)
        return;
    MHD_suspend_connection(c->mhd);
    MHD_resume_connection(c->mhd);
}

void conn_hangups(struct http *h)
{
    collect_hangups(h);
    for (struct conn *c = h->hung; c; c = c->hung_next) {
        if (c->tls && !tls_link_is_settled(c->tls))
            continue; /* the thread that shakes hands sees it, too */
        if (c->wait == CONN_HEADER || c->wait == CONN_BODY || c->wait == CONN_UPLOAD ||
            c->wait == CONN_IDLE)
            read_again(c);
    }
}

/* ---- clients that come over TLS ---- */

/* Where there is no room for his handshake, what a client says is not heeded (cut) and nothing is answered. */
static void begin_tls(struct http *h, struct conn *c)
{
    struct error err;

    if (tls_adopt(h->tls, c->fd, &c->tls, &err) < 0) {
        log_failure(LOG_LEVEL_WARNING, &err, "a connection could not be taken");
        c->cut = true;
        shutdown(c->fd, SHUT_RDWR);
        return;
    }
    tls_link_set_owner(c->tls, c);
    tls_sockets_set(c->fd, c->tls);
}

static void end_tls(struct conn *c)
{
    if (!c->tls)
        return;
    tls_sockets_set(c->fd, NULL);
    tls_link_leave(c->tls);
    tls_link_unref(c->tls);
}

/* What they sent may be in OpenSSL already, of which epoll knows nothing. */
void conn_greet(struct http *h)
{
    struct tls_link *l;

    while (h->tls && (l = tls_next_settled(h->tls))) {
        struct conn *c = tls_link_owner(l);

        if (c)
            read_again(c);
        tls_link_unref(l);
    }
}

static void conn_open(struct http *h, struct MHD_Connection *mhd, void **socket_context)
{
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *addr =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct conn *c = xcalloc(1, sizeof(*c));
    unsigned char key[16];

    h->now_ms = clock_monotonic_ms();
    c->magic = CONN_MAGIC;
    c->mhd = mhd;
    c->fd = fd->connect_fd;
    watch_hangup(h, c);
    name_peer(c, addr->client_addr);
    if (addr_key(addr->client_addr, key))
        c->addr = addr_take(h, key);
    c->next = h->conns;
    if (c->next)
        c->next->prev = c;
    h->conns = c;
    h->conn_count++;
    count_add(&h->count.connections, 1);
    count_add(&h->count.accepted, 1);
    *socket_context = c;
    if (h->tls && addr->client_addr->sa_family != AF_UNIX)
        begin_tls(h, c);
    conn_expect(h, c, CONN_HEADER, h->limits.header_timeout_ms);
}

static void conn_close(struct http *h, struct conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        h->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    h->conn_count--;
    conn_forget_hangup(h, c);
    unlink_hung(h, c);
    count_add(&h->count.connections, -1ULL);
    addr_drop(h, c->addr);
    end_tls(c);
    c->magic = 0;
    free(c);
}

void conn_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                 enum MHD_ConnectionNotificationCode code)
{
    struct http *h = cls;
    struct conn *c = *socket_context;

    h->progress = true;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        conn_open(h, mhd, socket_context);
    } else if (c && c->magic == CONN_MAGIC) {
        *socket_context = NULL;
        conn_close(h, c);
    }
}

void conn_expect(struct http *h, struct conn *c, enum conn_wait wait, int64_t ms)
{
    c->wait = wait;
    c->deadline_ms = wait == CONN_SERVED ? 0 : h->now_ms + ms;
    if (c->deadline_ms && c->deadline_ms < h->next_deadline_ms)
        h->next_deadline_ms = c->deadline_ms;
}

static void cut(struct http *h, struct conn *c)
{
    struct error err;

    count_add(&h->count.timed_out, 1);
    log_debug("connection cut at its deadline stage=%d peer=%s", (int)c->wait, c->peer);
    if (c->wait == CONN_HEADER || c->wait == CONN_BODY || c->wait == CONN_UPLOAD) {
        error_set(&err, ERROR_REQUEST_TIMEOUT, "The rest of the %s did not arrive in time.",
                  c->wait == CONN_HEADER ? "header" : "body");
        answer_raw(c->fd, &err, NULL);
    }
    c->cut = true;
    c->deadline_ms = 0;
    /* libmicrohttpd sees the end of the stream, and closes as if the client had left. */
    shutdown(c->fd, SHUT_RDWR);
}

/* An upload may last, but not crawl. */
static bool upload_is_slow(struct http *h, struct conn *c)
{
    struct exchange *x = c->exchange;
    uint64_t floor = (uint64_t)h->limits.body_timeout_ms * UPLOAD_FLOOR_BYTES_PER_SECOND / 1000;

    if (x->suspended || x->upload.received - x->upload.mark >= floor) {
        x->upload.mark = x->upload.received;
        conn_expect(h, c, CONN_UPLOAD, h->limits.body_timeout_ms);
        return false;
    }
    return true;
}

void conn_reap(struct http *h)
{
    int64_t now = h->now_ms;

    if (now < h->next_deadline_ms)
        return;
    h->next_deadline_ms = INT64_MAX;
    for (struct conn *c = h->conns; c; c = c->next) {
        if (c->deadline_ms && c->deadline_ms <= now) {
            if (c->wait == CONN_STREAM)
                stream_tick(c->exchange);
            else if (c->wait != CONN_UPLOAD || upload_is_slow(h, c))
                cut(h, c);
        }
        if (c->deadline_ms && c->deadline_ms < h->next_deadline_ms)
            h->next_deadline_ms = c->deadline_ms;
    }
}
