/*
 * One client: its handshake, after which it is the http thread's; or, once it has become a WebSocket, bytes
 * both ways, then the end of each side told to the other. Nothing is queued but the part of a chunk that the
 * other side did not take.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/tls_internal.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define ROUNDS      4 /* chunks each way before others have their turn */
#define LINGER_MS   2000
#define SWALLOW_MAX (1024 * 1024)

static void begin_linger(struct tls_conn *c);

/* Somebody spoke HTTP to this port: the one thing that can be said in clear. */
static void answer_plain(const struct tls_conn *c)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
                               "Content-Length: 24\r\nConnection: close\r\n\r\n"
                               "This port speaks HTTPS.\n";

    (void)!send(c->net.fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The http thread has it from here. */
static void give(struct tls_conn *c)
{
    const int on = 1;
    SSL *ssl = c->ssl;

    /* His last words of the handshake are to be acknowledged at once: Nagle's algorithm may hold his request back. */
    (void)setsockopt(c->net.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
    tls_peer_name(ssl, c->link->name);
    tls_make_ticket(c->tls, ssl, &c->link->ticket);
    c->ssl = NULL;
    tls_link_settle(c->tls, c->link, ssl);
    tls_link_unref(c->link);
    c->link = NULL;
    c->phase = TLS_DEAD;
}

static void refuse(struct tls_conn *c)
{
    tls_link_settle(c->tls, c->link, NULL);
    tls_link_unref(c->link);
    c->link = NULL;
}

static void want(const struct tls_conn *c, int bytes)
{
    (void)setsockopt(c->net.fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

static bool has_left(const struct tls_conn *c)
{
    struct pollfd p = {.fd = c->net.fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) != 0;
}

/*
 * Whoever begins a handshake and sends no more costs a descriptor, and not the 40 kB that OpenSSL takes for one:
 * it gets to see the first record when it is whole. What is no handshake it sees at once, and refuses.
 */
static bool hello_is_whole(struct tls_conn *c)
{
    unsigned char head[5];
    ssize_t n = recv(c->net.fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);
    int there = 0, whole = sizeof(head);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        c->phase = TLS_DEAD;
        return false;
    }
    if (n == sizeof(head))
        whole += head[3] << 8 | head[4];
    if (head[0] == SSL3_RT_HANDSHAKE && whole <= TLS_RECORD &&
        ioctl(c->net.fd, FIONREAD, &there) == 0 && there < whole) {
        want(c, whole);
        if (has_left(c))
            c->phase = TLS_DEAD;
        return false;
    }
    want(c, 1);
    return true;
}

static void handshake(struct tls_conn *c)
{
    bool http;
    int rc;

    if (!c->ssl) {
        if (!hello_is_whole(c))
            return;
        tls_conn_take(c, NULL);
    }
    if (SSL_is_init_finished(c->ssl)) {
        if (!c->down.len)
            give(c);
        return;
    }
    rc = tls_call(c, SSL_accept);
    if (rc == 1) {
        if (!c->down.len && c->phase == TLS_HANDSHAKE)
            give(c);
        return;
    }
    if (!tls_came_to_an_end(c, rc))
        return;
    http = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
    log_debug("tls: no handshake: %s", http ? "HTTP in clear" : "refused");
    ERR_clear_error();
    c->phase = TLS_DEAD;
    /* Before the http thread hears of it, which shuts the socket down. */
    if (http) {
        answer_plain(c);
        begin_linger(c);
    }
    refuse(c);
}

/* A call that finds nothing costs as much as one that does: only where there may be something. */
static bool is_worth_moving_up(const struct tls_conn *c)
{
    return c->ripe & TLS_NET || c->up.len || (c->net_ended && !c->told) || SSL_has_pending(c->ssl);
}

static bool is_worth_moving_down(const struct tls_conn *c)
{
    return c->ripe & TLS_PLAIN || c->down.len;
}

/* ---- the end ---- */

/*
 * All has been said. Closing with bytes unread would reset the connection, and might take our last
 * words with it: what still comes is read, for a moment, and thrown away.
 */
static void begin_linger(struct tls_conn *c)
{
    if (SSL_is_init_finished(c->ssl))
        (void)tls_call(c, SSL_shutdown);
    ERR_clear_error();
    tls_forget(&c->down);
    shutdown(c->net.fd, SHUT_WR);
    c->phase = c->net_ended ? TLS_DEAD : TLS_LINGER;
    c->until_ms = clock_monotonic_ms() + LINGER_MS;
}

static void linger(struct tls_conn *c)
{
    ssize_t n;

    for (int i = 0; i < ROUNDS; i++) {
        n = recv(c->net.fd, c->tls->scratch, sizeof(c->tls->scratch), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        c->swallowed += n > 0 ? (size_t)n : 0;
        if (n <= 0 || c->swallowed > SWALLOW_MAX) {
            c->phase = TLS_DEAD;
            return;
        }
    }
}

/* ---- what to be woken for ---- */

/* A socket that nothing is wanted of leaves the set: its end would be told again and again. */
static void watch_side(struct tls_side *s, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = s};
    int op = !events ? EPOLL_CTL_DEL : s->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (s->events == events)
        return;
    if (epoll_ctl(s->conn->tls->epoll_fd, op, s->fd, &ev) < 0) {
        log_warning("tls: cannot watch a connection: %s", strerror(errno));
        s->conn->phase = TLS_DEAD;
        return;
    }
    s->events = events;
}

static void watch(struct tls_conn *c)
{
    uint32_t net = 0, plain = 0;

    if (c->phase == TLS_HANDSHAKE) {
        net = c->ssl && SSL_is_init_finished(c->ssl) ? 0 : EPOLLIN;
        net |= c->down.len ? EPOLLOUT : 0;
    } else if (c->phase == TLS_OPEN) {
        net = !c->up.len && !c->net_ended && !c->deaf ? EPOLLIN : 0;
        net |= c->down.len ? EPOLLOUT : 0;
        plain = !c->down.len && !c->plain_ended ? EPOLLIN : 0;
        plain |= c->up.len ? EPOLLOUT : 0;
    } else if (c->phase == TLS_LINGER) {
        net = EPOLLIN;
    }
    watch_side(&c->net, net);
    watch_side(&c->plain, plain);
}

static void work(struct tls_conn *c)
{
    bool moved = true;

    if (c->phase == TLS_LINGER) {
        linger(c);
        return;
    }
    if (c->phase == TLS_HANDSHAKE) {
        if (c->down.len)
            (void)tls_push(c);
        if (c->phase == TLS_HANDSHAKE)
            handshake(c);
    }
    for (int i = 0; c->phase == TLS_OPEN && moved && i < ROUNDS; i++) {
        moved = is_worth_moving_up(c) && tls_move_up(c);
        if (c->phase == TLS_OPEN && is_worth_moving_down(c))
            moved |= tls_move_down(c);
    }
    if (c->phase == TLS_OPEN && c->plain_ended && !c->down.len)
        begin_linger(c);
    c->busy = c->phase == TLS_OPEN && moved;
}

void tls_conn_turn(struct tls_conn *c)
{
    work(c);
    if (c->phase != TLS_DEAD)
        watch(c);
    if (c->phase == TLS_DEAD)
        tls_conn_free(c);
}

void tls_conn_begin(struct tls_conn *c)
{
    c->listed = true;
    c->next = c->tls->conns;
    if (c->next)
        c->next->prev = c;
    c->tls->conns = c;
    tls_conn_turn(c);
}

void tls_conn_free(struct tls_conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else if (c->listed)
        c->tls->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if (c->link)
        refuse(c);
    tls_forget(&c->up);
    tls_forget(&c->down);
    SSL_free(c->ssl);
    /* Not only by closing: while a program is being started, its child has them, too. */
    watch_side(&c->net, 0);
    watch_side(&c->plain, 0);
    close(c->net.fd);
    if (c->plain.fd >= 0) {
        shutdown(c->plain.fd, SHUT_RDWR);
        close(c->plain.fd);
    }
    free(c);
}
