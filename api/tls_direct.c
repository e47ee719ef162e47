/*
 * TLS for libmicrohttpd: once a handshake is over, the http thread opens and seals a connection's records by
 * itself, where the library reads and writes (tls_socket.c). No other thread, and no copy, is between.
 *
 * Both calls behave as on a TCP socket with edge-triggered events, which the library counts on: fewer bytes
 * than asked for means that no more waits, or that there is no more room.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/tls_internal.h"
#include "service/base/cleanup.h"
#include "service/base/str.h"

/* ---- the socket below OpenSSL ---- */

static int direct_read(BIO *bio, char *data, size_t len, size_t *ret)
{
    struct tls_link *l = BIO_get_data(bio);
    ssize_t n = tls_real_recv(l->fd, data, len, MSG_DONTWAIT);

    BIO_clear_retry_flags(bio);
    *ret = n > 0 ? (size_t)n : 0;
    l->drained = n < (ssize_t)len;
    /* Who sends as fast as we read gets room for several records: from when the buffer is empty. */
    SSL_set_default_read_buffer_len(l->ssl, l->drained ? 0 : TLS_CHUNK / 2);
    if (n > 0)
        return 1;
    if (n == 0)
        l->ended = true;
    else if (errno == EAGAIN || errno == EINTR)
        BIO_set_retry_read(bio);
    return 0;
}

/*
 * So that the next handshake is cheap; with the first answer, not before: a client that leaves with bytes of ours
 * unread resets the connection, and what it had sent is lost.
 */
static int send_ticket(struct tls_link *l)
{
    struct tls_rest *r = &l->ticket;
    ssize_t n = tls_real_send(l->fd, r->data + r->at, r->len - r->at, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE);

    if (n < 0)
        return -1;
    r->at += (size_t)n;
    if (r->at < r->len)
        return errno = EAGAIN, -1;
    tls_forget(r);
    return 0;
}

static int direct_write(BIO *bio, const char *data, size_t len, size_t *ret)
{
    struct tls_link *l = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    if (l->ticket.len && send_ticket(l) < 0)
        n = -1;
    else
        n = tls_real_send(l->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL | (l->more ? MSG_MORE : 0));
    *ret = n > 0 ? (size_t)n : 0;
    if (n >= 0)
        return 1;
    if (errno == EAGAIN || errno == EINTR)
        BIO_set_retry_write(bio);
    return 0;
}

static long direct_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    const struct tls_link *l = BIO_get_data(bio);

    (void)num;
    (void)ptr;
    if (cmd == BIO_CTRL_EOF)
        return l->ended;
    return cmd == BIO_CTRL_FLUSH;
}

static int direct_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *tls_direct_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tls direct");

    if (!m || BIO_meth_set_read_ex(m, direct_read) != 1 || BIO_meth_set_write_ex(m, direct_write) != 1 ||
        BIO_meth_set_ctrl(m, direct_ctrl) != 1 || BIO_meth_set_create(m, direct_create) != 1)
        out_of_memory();
    return m;
}

/* ---- between two threads ---- */

/* The tls thread: a handshake is over, well or not. Nothing of it is touched here afterwards. */
void tls_link_settle(struct tls *t, struct tls_link *l, SSL *ssl)
{
    if (ssl) {
        BIO *bio = BIO_new(t->direct);

        if (!bio)
            out_of_memory();
        BIO_set_data(bio, l);
        SSL_set_bio(ssl, bio, bio);
        SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        l->ssl = ssl;
    }
    atomic_fetch_add(&l->refs, 1);
    /* First this: whoever finds it in the list reads at once, and is not told again. */
    atomic_store_explicit(&l->state, ssl ? TLS_LINK_OPEN : TLS_LINK_DEAD, memory_order_release);
    {
        LOCK_SCOPE(&t->lock);
        l->next = t->settled;
        t->settled = l;
    }
    t->settled_wake(t->opaque);
}

struct tls_link *tls_next_settled(struct tls *t)
{
    struct tls_link *l;

    LOCK_SCOPE(&t->lock);
    l = t->settled;
    if (l)
        t->settled = l->next;
    return l;
}

void tls_link_set_owner(struct tls_link *l, void *owner)
{
    l->owner = owner;
}

void *tls_link_owner(const struct tls_link *l)
{
    return l->owner;
}

const char *tls_link_name(const struct tls_link *l)
{
    return l->name;
}

bool tls_link_is_open(const struct tls_link *l)
{
    return atomic_load_explicit(&l->state, memory_order_acquire) == TLS_LINK_OPEN;
}

bool tls_link_has_spoken(const struct tls_link *l)
{
    return l->spoken;
}

bool tls_link_is_settled(const struct tls_link *l)
{
    return atomic_load_explicit(&l->state, memory_order_acquire) != TLS_LINK_SHAKING;
}

bool tls_link_has_answered(const struct tls_link *l)
{
    return l->answered;
}

/* The thread in the middle of a handshake has a descriptor of its own, and sees the end there. */
void tls_link_leave(struct tls_link *l)
{
    if (atomic_load_explicit(&l->state, memory_order_acquire) == TLS_LINK_SHAKING)
        (void)tls_real_shutdown(l->fd, SHUT_RDWR);
    l->owner = NULL;
}

void tls_link_unref(struct tls_link *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    SSL_free(l->ssl);
    tls_forget(&l->ticket);
    free(l);
}

/* ---- the http thread's bytes ---- */

static ssize_t fail(struct tls_link *l, int rc)
{
    int why = SSL_get_error(l->ssl, rc);

    ERR_clear_error();
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
    return why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* Whether there is somebody to talk to; if not, errno says what the socket would. */
static bool is_usable(const struct tls_link *l, int dead)
{
    int state = atomic_load_explicit(&l->state, memory_order_acquire);

    errno = state == TLS_LINK_SHAKING ? EAGAIN : dead;
    return state == TLS_LINK_OPEN && l->ssl;
}

ssize_t tls_link_read(struct tls_link *l, char *data, size_t len)
{
    size_t got = 0;
    int n = 0;

    if (!is_usable(l, 0))
        return errno ? -1 : 0;
    l->drained = false;
    while (got < len) {
        ERR_clear_error();
        n = SSL_read(l->ssl, data + got, (int)(len - got < INT_MAX ? len - got : INT_MAX));
        if (n <= 0)
            break;
        got += (size_t)n;
        /* Asking OpenSSL once more costs a call: only where there may be something. */
        if (l->drained && !SSL_has_pending(l->ssl))
            break;
    }
    if (!got)
        return fail(l, n);
    l->spoken = true;
    return (ssize_t)got;
}

/* The next record's bytes: as they lie when they are in one piece, else gathered. */
static const char *gather(const struct iovec *iov, size_t count, size_t at, size_t want, char *scratch)
{
    size_t have = 0;

    for (; count && at >= iov->iov_len; iov++, count--)
        at -= iov->iov_len;
    if (count && iov->iov_len - at >= want)
        return (const char *)iov->iov_base + at;
    for (; count && have < want; iov++, count--) {
        size_t part = iov->iov_len - at < want - have ? iov->iov_len - at : want - have;

        memcpy(scratch + have, (const char *)iov->iov_base + at, part);
        have += part;
        at = 0;
    }
    return scratch;
}

/*
 * A record that the socket does not take whole stays in OpenSSL, in 17 kB, for as long as its reader likes. Where
 * poll() finds room, a third of the socket's is free: two fit, mostly. Else it has the kernel tell when there is.
 * Not before the first two: most answers are no longer, and who writes was told of room, or has seen it.
 */
static bool has_room(const struct tls_link *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLOUT};

    return poll(&p, 1, 0) != 0;
}

ssize_t tls_link_write(struct tls_link *l, const struct iovec *iov, size_t count)
{
    static _Thread_local char scratch[TLS_RECORD];
    size_t len = 0, sent = 0;
    int n = 0;

    if (!is_usable(l, EPIPE))
        return -1;
    for (size_t i = 0; i < count; i++)
        len += iov[i].iov_len;
    while (sent < len) {
        size_t want = len - sent < TLS_RECORD ? len - sent : TLS_RECORD;

        if (sent && sent % (2 * TLS_RECORD) == 0 && !has_room(l))
            break;
        /*
         * Two leave together: each alone costs a call more, and of more the client opens nothing while we seal.
         * One that does not fit is asked for again, and is the same.
         */
        l->more = len - sent > want && sent % (2 * TLS_RECORD) == 0;
        ERR_clear_error();
        n = SSL_write(l->ssl, gather(iov, count, sent, want, scratch), (int)want);
        l->blocked = n <= 0;
        if (n <= 0)
            break;
        sent += (size_t)n;
        l->answered = true;
    }
    l->more = false;
    if (sent || !len)
        return (ssize_t)sent;
    /* No end of the client's: nothing can be sent. */
    return fail(l, n) ? -1 : (errno = EPIPE, -1);
}

void tls_link_end(struct tls_link *l)
{
    if (!is_usable(l, 0) || l->blocked)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(l->ssl);
    ERR_clear_error();
}

/* ---- to a thread that knows no TLS ---- */

int tls_carry(struct tls *t, struct tls_link *l, int *ret_plain, struct error *err)
{
    int net = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);
    SSL *ssl = l->ssl;

    if (net < 0)
        return error_errno(err, errno, "The socket cannot be handed over.");
    if (!tls_link_is_open(l) || l->blocked) {
        close(net);
        return error_set(err, ERROR_UNAVAILABLE, "the connection is not free to be handed over");
    }
    l->ssl = NULL;
    SSL_clear_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
    return tls_pump(t, net, ssl, &l->ticket, ret_plain, err);
}
