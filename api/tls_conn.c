/*
 * One client: the handshake, then bytes both ways, then the end of each side told to the other.
 * Nothing is queued but the part of a chunk that the other side did not take.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/tls_internal.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define ROUNDS      8 /* chunks each way before others have their turn */
#define LINGER_MS   2000
#define SWALLOW_MAX (1024 * 1024)

static void keep(struct tls_rest *r, const char *data, size_t len)
{
    r->data = xcalloc(1, len);
    memcpy(r->data, data, len);
    r->at = 0;
    r->len = len;
}

static void forget(struct tls_rest *r)
{
    free(r->data);
    *r = (struct tls_rest){0};
}

/* ---- OpenSSL ---- */

/* What a call that did not succeed means; false: nothing now. */
static bool came_to_an_end(struct tls_conn *c, int rc)
{
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return false;
    case SSL_ERROR_WANT_WRITE:
        c->wants_out = true;
        return false;
    case SSL_ERROR_ZERO_RETURN:
        c->net_ended = true;
        return true;
    default:
        c->phase = TLS_DEAD;
        return true;
    }
}

static void begin_linger(struct tls_conn *c);

/* Somebody spoke HTTP to this port: the one thing that can be said in clear. */
static void answer_plain(const struct tls_conn *c)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
                               "Content-Length: 24\r\nConnection: close\r\n\r\n"
                               "This port speaks HTTPS.\n";

    (void)!send(c->net.fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void handshake(struct tls_conn *c)
{
    bool http;
    int rc;

    ERR_clear_error();
    rc = SSL_accept(c->ssl);
    if (rc == 1) {
        tls_peer_name(c->ssl, c->link->name);
        atomic_store_explicit(&c->link->known, true, memory_order_release);
        c->phase = TLS_OPEN;
        return;
    }
    if (!came_to_an_end(c, rc))
        return;
    http = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
    log_debug("tls: no handshake: %s", http ? "HTTP in clear" : "refused");
    ERR_clear_error();
    c->phase = TLS_DEAD;
    if (http) {
        answer_plain(c);
        begin_linger(c);
    }
}

/* ---- both ways; true: something moved ---- */

static void to_plain(struct tls_conn *c, const char *data, size_t len)
{
    ssize_t n = send(c->plain.fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        c->deaf = true;
        return;
    }
    if (n < (ssize_t)len)
        keep(&c->up, data + (n > 0 ? n : 0), len - (size_t)(n > 0 ? n : 0));
}

static bool push_up(struct tls_conn *c)
{
    ssize_t n =
        send(c->plain.fd, c->up.data + c->up.at, c->up.len - c->up.at, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0)
        c->deaf = true;
    else
        c->up.at += (size_t)n;
    if (c->deaf || c->up.at == c->up.len)
        forget(&c->up);
    return true;
}

static bool move_up(struct tls_conn *c)
{
    int n;

    if (c->up.len)
        return push_up(c);
    if (c->net_ended && !c->told) {
        c->told = true;
        shutdown(c->plain.fd, SHUT_WR);
    }
    if (c->net_ended || c->deaf)
        return false;
    ERR_clear_error();
    n = SSL_read(c->ssl, c->tls->scratch, TLS_CHUNK);
    if (n <= 0)
        return came_to_an_end(c, n);
    to_plain(c, c->tls->scratch, (size_t)n);
    return true;
}

/* Bytes taken, or -1: none now. */
static int to_net(struct tls_conn *c, const char *data, size_t len)
{
    int n;

    ERR_clear_error();
    n = SSL_write(c->ssl, data, (int)len);
    if (n <= 0) {
        (void)came_to_an_end(c, n);
        return -1;
    }
    return n;
}

static bool push_down(struct tls_conn *c)
{
    int n = to_net(c, c->down.data + c->down.at, c->down.len - c->down.at);

    if (n < 0)
        return false;
    c->down.at += (size_t)n;
    if (c->down.at == c->down.len)
        forget(&c->down);
    return true;
}

static bool move_down(struct tls_conn *c)
{
    char *scratch = c->tls->scratch;
    ssize_t n;
    int sent;

    if (c->down.len)
        return push_down(c);
    if (c->plain_ended)
        return false;
    n = recv(c->plain.fd, scratch, TLS_CHUNK, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        c->plain_ended = true;
        return true;
    }
    sent = to_net(c, scratch, (size_t)n);
    if (c->phase == TLS_OPEN && sent < n)
        keep(&c->down, scratch + (sent > 0 ? sent : 0), (size_t)n - (size_t)(sent > 0 ? sent : 0));
    return true;
}

/* ---- the end ---- */

/*
 * All has been said. Closing with bytes unread would reset the connection, and might take our last
 * words with it: what still comes is read, for a moment, and thrown away.
 */
static void begin_linger(struct tls_conn *c)
{
    if (SSL_is_init_finished(c->ssl))
        (void)SSL_shutdown(c->ssl);
    ERR_clear_error();
    shutdown(c->net.fd, SHUT_WR);
    c->phase = c->net_ended ? TLS_DEAD : TLS_LINGER;
    c->until_ms = clock_monotonic_ms() + LINGER_MS;
}

static void linger(struct tls_conn *c)
{
    ssize_t n;

    for (int i = 0; i < ROUNDS; i++) {
        n = recv(c->net.fd, c->tls->scratch, TLS_CHUNK, MSG_DONTWAIT);
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
        net = EPOLLIN;
        plain = EPOLLRDHUP; /* its deadline passed */
    } else if (c->phase == TLS_OPEN) {
        net = !c->up.len && !c->net_ended && !c->deaf ? EPOLLIN : 0;
        net |= c->down.len ? EPOLLOUT : 0;
        plain = !c->down.len && !c->plain_ended ? EPOLLIN : 0;
        plain |= c->up.len ? EPOLLOUT : 0;
    } else if (c->phase == TLS_LINGER) {
        net = EPOLLIN;
    }
    if (c->wants_out && c->phase != TLS_LINGER)
        net |= EPOLLOUT;
    watch_side(&c->net, net);
    watch_side(&c->plain, plain);
}

static bool plain_left(const struct tls_conn *c)
{
    char byte;

    /* Nobody talks before the handshake but about its deadline. */
    return recv(c->plain.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

static void work(struct tls_conn *c)
{
    bool moved = true;

    c->wants_out = false;
    if (c->phase == TLS_LINGER) {
        linger(c);
        return;
    }
    if (c->phase == TLS_HANDSHAKE) {
        if (plain_left(c))
            c->phase = TLS_DEAD;
        else
            handshake(c);
    }
    for (int i = 0; c->phase == TLS_OPEN && moved && i < ROUNDS; i++) {
        moved = move_up(c);
        if (c->phase == TLS_OPEN)
            moved |= move_down(c);
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
    forget(&c->up);
    forget(&c->down);
    SSL_free(c->ssl);
    /* Not only by closing: while a program is being started, its child has them, too. */
    watch_side(&c->net, 0);
    watch_side(&c->plain, 0);
    close(c->net.fd);
    shutdown(c->plain.fd, SHUT_RDWR);
    close(c->plain.fd);
    tls_link_unref(c->link);
    free(c);
}
