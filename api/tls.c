/*
 * The TLS front: starting, the loop, reading the certificate again. Connections have a file of
 * their own.
 */
#include "api/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/tls_internal.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/conf/settings.h"

#define EVENTS     64
#define WAITING    1024   /* connections on their way to the thread */
#define PAIR_BYTES 131072 /* what a pair holds of each direction; with TLS_UNSENT as without TLS */
#define TICK_MS    500
#define STOP_MS    1000

static void wake(void *opaque)
{
    struct tls *t = opaque;

    if (fd_wake(t->wake_fd))
        log_error("tls: cannot wake the loop: %s", strerror(errno));
}

static void drop(void *message)
{
    tls_conn_free(message);
}

/* Those that had more to move than their turn; then those whose time is up. */
static bool turn_busy(struct tls *t)
{
    struct tls_conn *next;
    bool more = false;

    for (struct tls_conn *c = t->conns; c; c = next) {
        next = c->next;
        if (!c->busy)
            continue;
        tls_conn_turn(c);
        more = true;
    }
    return more;
}

static void reap(struct tls *t)
{
    int64_t now = clock_monotonic_ms();
    struct tls_conn *next;

    for (struct tls_conn *c = t->conns; c; c = next) {
        next = c->next;
        if (c->phase == TLS_LINGER && c->until_ms <= now)
            tls_conn_free(c);
    }
}

/* Both sides of one connection may be among them, and the first one's turn may have freed it. */
static void turn_events(struct tls *t, struct epoll_event *events, int n)
{
    for (int i = 0; i < n; i++) {
        struct tls_side *s = events[i].data.ptr;
        struct tls_conn *c = s ? s->conn : NULL;

        if (!c)
            continue;
        c->ripe |= s == &c->net ? TLS_NET : TLS_PLAIN;
        for (int k = i + 1; k < n; k++) {
            struct tls_side *other = events[k].data.ptr;

            if (other != &c->net && other != &c->plain)
                continue;
            events[k].data.ptr = NULL;
            c->ripe = TLS_NET | TLS_PLAIN;
        }
        tls_conn_turn(c);
    }
    (void)t;
}

static void take_new(struct tls *t)
{
    struct tls_conn *c;
    uint64_t count;

    if (read(t->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        log_error("tls: cannot read what woke the loop: %s", strerror(errno));
    while ((c = mailbox_take(t->mailbox)))
        tls_conn_begin(c);
}

static void *loop(void *arg)
{
    struct epoll_event events[EVENTS];
    struct tls *t = arg;
    int64_t until = 0, reaped = 0;
    bool busy = false;

    for (;;) {
        int n = epoll_wait(t->epoll_fd, events, EVENTS, busy ? 0 : until ? 20 : TICK_MS);

        turn_events(t, events, n);
        busy = turn_busy(t);
        take_new(t);
        if (clock_monotonic_ms() - reaped >= TICK_MS) {
            reaped = clock_monotonic_ms();
            reap(t);
        }
        if (!atomic_load(&t->stopping))
            continue;
        if (!until)
            until = clock_monotonic_ms() + STOP_MS;
        if (!t->conns || clock_monotonic_ms() >= until)
            return NULL;
    }
}

static void tls_free(struct tls *t)
{
    struct tls_link *l;

    if (!t)
        return;
    while (t->conns)
        tls_conn_free(t->conns);
    mailbox_free(t->mailbox, drop);
    while ((l = tls_next_settled(t)))
        tls_link_unref(l);
    if (t->epoll_fd >= 0)
        close(t->epoll_fd);
    if (t->wake_fd >= 0)
        close(t->wake_fd);
    SSL_CTX_free(t->context);
    BIO_meth_free(t->out);
    BIO_meth_free(t->direct);
    pthread_mutex_destroy(&t->lock);
    free(t->certificate);
    free(t->key);
    free(t->client_ca);
    free(t);
}

DEFINE_CLEANUP(tls, struct tls *, tls_free);

static int check_settings(const struct settings *s, struct error *err)
{
    const char *missing = !*s->tls_certificate ? "tls_certificate" : "tls_key";

    if (*s->tls_certificate && *s->tls_key)
        return 0;
    error_set_at(err, ERROR_CONFIG, missing, "TLS needs a certificate and its key.");
    return -1;
}

static int open_loop(struct tls *t, struct error *err)
{
    struct epoll_event ev = {.events = EPOLLIN};

    if (t->epoll_fd < 0 || t->wake_fd < 0 ||
        epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, t->wake_fd, &ev) < 0)
        return error_errno(err, errno, "cannot make an event descriptor");
    return 0;
}

int tls_start(const struct settings *s, void (*settled_wake)(void *opaque), void *opaque, struct tls **ret,
              struct error *err)
{
    auto_scope(cleanup_tls) struct tls *t = NULL;

    *ret = NULL;
    if (!*s->tls_certificate && !*s->tls_key && !*s->tls_client_ca)
        return 0;
    if (check_settings(s, err) || tls_sockets_check(err))
        return -1;
    t = xcalloc(1, sizeof(*t));
    mutex_init(&t->lock);
    t->certificate = xstrdup(s->tls_certificate);
    t->key = xstrdup(s->tls_key);
    t->client_ca = xstrdup(s->tls_client_ca);
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->mailbox = mailbox_new(WAITING, wake, t);
    t->out = tls_out_new();
    t->direct = tls_direct_new();
    t->settled_wake = settled_wake;
    t->opaque = opaque;
    if (open_loop(t, err) || tls_reload(t, err) || thread_start(&t->thread, "tls", loop, t, err))
        return -1;
    t->started = true;
    *ret = TAKE_PTR(t);
    return 0;
}

int tls_reload(struct tls *t, struct error *err)
{
    SSL_CTX *fresh = NULL, *old;

    if (tls_context_new(t->certificate, t->key, t->client_ca, &fresh, err))
        return -1;
    {
        LOCK_SCOPE(&t->lock);
        old = t->context;
        t->context = fresh;
    }
    SSL_CTX_free(old);
    return 0;
}

void tls_stop(struct tls *t)
{
    if (!t)
        return;
    atomic_store(&t->stopping, true);
    wake(t);
    if (t->started)
        pthread_join(t->thread, NULL);
    tls_free(t);
}

/* ---- adopting ---- */

static struct tls_conn *new_conn(struct tls *t, int net)
{
    const int unsent = TLS_UNSENT, on = 1, off = 0;
    struct tls_conn *c = xcalloc(1, sizeof(*c));

    /* Best effort: without it a Ctrl-C is seen later on a slow line. */
    (void)setsockopt(net, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    /* libmicrohttpd turns these as it needs them, for itself. */
    (void)setsockopt(net, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(net, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
    c->tls = t;
    c->net = (struct tls_side){.conn = c, .fd = net};
    c->plain = (struct tls_side){.conn = c, .fd = -1};
    c->up_chunk = c->down_chunk = TLS_RECORD;
    return c;
}

void tls_conn_take(struct tls_conn *c, SSL *ssl)
{
    BIO *in = BIO_new_socket(c->net.fd, BIO_NOCLOSE), *out = BIO_new(c->tls->out);

    if (!ssl) {
        LOCK_SCOPE(&c->tls->lock);
        ssl = SSL_new(c->tls->context); /* and holds it */
    }
    if (!ssl || !in || !out)
        out_of_memory();
    BIO_set_data(out, c);
    SSL_set_bio(ssl, in, out);
    c->ssl = ssl;
}

static int post(struct tls *t, struct tls_conn *c, struct error *err)
{
    if (mailbox_post(t->mailbox, c))
        return 0;
    tls_conn_free(c);
    return error_set(err, ERROR_UNAVAILABLE, "too many TLS connections begin at once");
}

int tls_adopt(struct tls *t, int fd, struct tls_link **ret, struct error *err)
{
    /* Its own, so that neither thread's closing is the other's. */
    int net = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    struct tls_link *l;
    struct tls_conn *c;

    if (net < 0)
        return error_errno(err, errno, "no descriptor for a TLS connection");
    c = new_conn(t, net);
    l = c->link = xcalloc(1, sizeof(*l));
    l->fd = fd;
    atomic_store(&l->refs, 2);
    if (post(t, c, err)) {
        tls_link_unref(l);
        return -1;
    }
    *ret = l;
    return 0;
}

int tls_pump(struct tls *t, int net, SSL *ssl, struct tls_rest *sealed, int *ret_plain, struct error *err)
{
    const int bytes = PAIR_BYTES;
    struct tls_conn *c = new_conn(t, net);
    int pair[2];

    tls_conn_take(c, ssl);
    c->phase = TLS_OPEN;
    c->ripe = TLS_NET | TLS_PLAIN;
    c->down = *sealed;
    *sealed = (struct tls_rest){0};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        error_errno(err, errno, "no socket pair for a TLS connection");
        tls_conn_free(c);
        return -1;
    }
    for (int i = 0; i < 2; i++)
        (void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    c->plain.fd = pair[0];
    if (post(t, c, err)) {
        close(pair[1]);
        return -1;
    }
    *ret_plain = pair[1];
    return 0;
}
