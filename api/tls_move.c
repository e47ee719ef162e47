/*
 * One client's bytes, both ways: records from the network opened and sent into the pair, what comes
 * out of the pair sealed and sent. System calls that wake somebody cost more than the cipher, so a
 * connection that takes whole chunks gets larger ones, and the records of a chunk leave together.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "api/tls_internal.h"
#include "service/base/str.h"

/* Behind what is there; whoever is slow has a chunk here at most, and nothing more is read for him.
 */
static void keep(struct tls_rest *r, const char *data, size_t len)
{
    size_t left = r->len - r->at;

    if (!len)
        return;
    if (left && r->at)
        memmove(r->data, r->data + r->at, left);
    r->data = xrealloc(r->data, left + len);
    memcpy(r->data + left, data, len);
    r->at = 0;
    r->len = left + len;
}

void tls_forget(struct tls_rest *r)
{
    free(r->data);
    *r = (struct tls_rest){0};
}

/* ---- what OpenSSL wants to send ---- */

/* Sends what is staged; what the network does not take now is kept. */
static void unstage(struct tls_conn *c)
{
    struct tls *t = c->tls;
    size_t len = t->staged, sent = 0;
    ssize_t n;

    t->staged = 0;
    t->staged_of = NULL;
    if (!len || c->phase == TLS_LINGER)
        return;
    if (!c->down.len) {
        n = send(c->net.fd, t->stage, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            c->phase = TLS_DEAD;
            return;
        }
        sent = n > 0 ? (size_t)n : 0;
    }
    keep(&c->down, t->stage + sent, len - sent);
}

/* One stage for all connections: nothing stays in it beyond the call into OpenSSL that put it
 * there. */
static int out_write(BIO *bio, const char *data, size_t len, size_t *ret)
{
    struct tls_conn *c = BIO_get_data(bio);
    struct tls *t = c->tls;

    if (t->staged_of && t->staged_of != c)
        abort(); /* one client's bytes to another */
    t->staged_of = c;
    *ret = len;
    while (len > 0) {
        size_t part = sizeof(t->stage) - t->staged < len ? sizeof(t->stage) - t->staged : len;

        memcpy(t->stage + t->staged, data, part);
        t->staged += part;
        data += part;
        len -= part;
        if (t->staged == sizeof(t->stage)) {
            unstage(c);
            t->staged_of = c;
        }
    }
    return 1;
}

static long out_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

static int out_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *tls_out_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tls front");

    if (!m || BIO_meth_set_write_ex(m, out_write) != 1 || BIO_meth_set_ctrl(m, out_ctrl) != 1 ||
        BIO_meth_set_create(m, out_create) != 1)
        out_of_memory(); /* nothing else can fail there */
    return m;
}

int tls_call(struct tls_conn *c, int (*call)(SSL *ssl))
{
    int rc;

    ERR_clear_error();
    rc = call(c->ssl);
    unstage(c);
    return rc;
}

/*
 * Here, since it takes 50 kB for a moment, and what the http thread frees lies where its next connections' memory
 * is made: their pages would all be resident. Not where certificates are shown (take_clients); TLS 1.2 has sent one.
 */
void tls_make_ticket(struct tls *t, SSL *ssl, struct tls_rest *ret)
{
    ERR_clear_error();
    if (SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE && SSL_new_session_ticket(ssl) == 1)
        (void)SSL_do_handshake(ssl);
    keep(ret, t->stage, t->staged);
    t->staged = 0;
    t->staged_of = NULL;
    (void)SSL_free_buffers(ssl);
    ERR_clear_error();
}

bool tls_push(struct tls_conn *c)
{
    ssize_t n = send(c->net.fd, c->down.data + c->down.at, c->down.len - c->down.at,
                     MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0) {
        c->phase = TLS_DEAD;
        return false;
    }
    c->down.at += (size_t)n;
    if (c->down.at == c->down.len)
        tls_forget(&c->down);
    return true;
}

bool tls_came_to_an_end(struct tls_conn *c, int rc)
{
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return false;
    case SSL_ERROR_ZERO_RETURN:
        c->net_ended = true;
        return true;
    default:
        c->phase = TLS_DEAD;
        return true;
    }
}

/* ---- from the client ---- */

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
        tls_forget(&c->up);
    return true;
}

/* Larger after one that was taken whole, small again after one that was not. */
static size_t next_chunk(size_t chunk, size_t moved, bool whole)
{
    if (!whole)
        return TLS_RECORD;
    return moved == chunk && chunk < TLS_CHUNK ? chunk * 2 : chunk;
}

static void to_plain(struct tls_conn *c, const char *data, size_t len)
{
    ssize_t n = send(c->plain.fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        c->deaf = true;
        return;
    }
    keep(&c->up, data + (n > 0 ? n : 0), len - (size_t)(n > 0 ? n : 0));
    c->up_chunk = next_chunk(c->up_chunk, len, n == (ssize_t)len);
}

bool tls_move_up(struct tls_conn *c)
{
    char *scratch = c->tls->scratch;
    bool ended = false;
    size_t got = 0;

    if (c->up.len)
        return push_up(c);
    if (c->net_ended && !c->told) {
        c->told = true;
        shutdown(c->plain.fd, SHUT_WR);
    }
    if (c->net_ended || c->deaf)
        return false;
    while (got < c->up_chunk) {
        int n;

        ERR_clear_error();
        n = SSL_read(c->ssl, scratch + got, (int)(c->up_chunk - got));
        if (n <= 0)
            ended = tls_came_to_an_end(c, n);
        unstage(c); /* an answer to what was no data */
        if (n > 0)
            got += (size_t)n;
        /* A record that is not full is the last for now, most of the time; epoll tells of more. */
        if (n < TLS_RECORD && !(n > 0 && SSL_has_pending(c->ssl))) {
            c->ripe &= ~TLS_NET;
            break;
        }
    }
    if (got)
        to_plain(c, scratch, got);
    return got || ended;
}

/* ---- to the client ---- */

/* What the network takes at once, roughly: beyond it, what waits would only wait here. */
static size_t room(const struct tls_conn *c)
{
    int unsent = 0;
    size_t free_bytes;

    if (c->down_chunk <= TLS_RECORD)
        return TLS_RECORD;
    if (ioctl(c->net.fd, SIOCOUTQNSD, &unsent) < 0 || unsent >= TLS_UNSENT)
        return TLS_RECORD;
    free_bytes = (size_t)(TLS_UNSENT - unsent);
    if (free_bytes < TLS_RECORD)
        return TLS_RECORD;
    return free_bytes < c->down_chunk ? free_bytes : c->down_chunk;
}

bool tls_move_down(struct tls_conn *c)
{
    char *scratch = c->tls->scratch;
    size_t want;
    ssize_t n;

    if (c->down.len)
        return tls_push(c);
    if (c->plain_ended)
        return false;
    want = room(c);
    n = recv(c->plain.fd, scratch, want, MSG_DONTWAIT);
    if (n < (ssize_t)want)
        c->ripe &= ~TLS_PLAIN;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        c->plain_ended = true;
        return true;
    }
    ERR_clear_error();
    if (SSL_write(c->ssl, scratch, (int)n) != n)
        c->phase = TLS_DEAD; /* the stage takes everything */
    unstage(c);
    c->down_chunk = next_chunk(c->down_chunk, (size_t)n, !c->down.len);
    return true;
}
