/*
 * The TLS wall's own: only tls*.c may include this, and nothing else of the transport OpenSSL.
 *
 * The tls thread owns every tls_conn. What others bring crosses in a mailbox; what it gives to the http
 * thread, a link with an SSL of which the handshake is over, in a list.
 */
#ifndef DROVER_API_TLS_INTERNAL_H
#define DROVER_API_TLS_INTERNAL_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "api/tls.h"
#include "service/base/thread.h"

#define TLS_RECORD 16384             /* a record's most, RFC 8446, 5.1 */
#define TLS_CHUNK  (8 * TLS_RECORD)  /* what is moved at once, at most */
#define TLS_STAGE  (TLS_CHUNK + 8192) /* and with what sealing adds */
#define TLS_UNSENT 131072            /* what the kernel may hold back for a client */
#define TLS_NAME  64

/* What one side sent and the other did not take yet: at most a chunk, and then nothing is read. */
struct tls_rest {
    char *data;
    size_t at, len;
};

enum tls_link_state { TLS_LINK_SHAKING, TLS_LINK_OPEN, TLS_LINK_DEAD };

struct tls_link {
    _Atomic unsigned refs;
    _Atomic int state; /* written once, by the tls thread; what is below is its own before, the http thread's then */
    char name[TLS_NAME];
    SSL *ssl; /* NULL: never open, or carried */
    int fd;   /* the http thread's descriptor */
    struct tls_link *next;
    void *owner;  /* the http thread's */
    bool drained; /* the last read from the socket found less than it could take */
    bool ended;   /* it found its end */
    bool more;    /* another record follows at once */
    bool blocked; /* a record waits in OpenSSL: only the same one may be written */
    bool spoken, answered;
    struct tls_rest ticket; /* sealed before all else, sent with the first answer */
};

struct tls_conn;
/* What epoll tells of; one for each of a connection's two sockets. */
struct tls_side {
    struct tls_conn *conn;
    int fd;
    uint32_t events; /* as registered; 0: not in the set */
};

/* Which sockets are known, or thought, to have something for us; epoll tells again of what is left. */
#define TLS_NET   1u
#define TLS_PLAIN 2u

enum tls_phase { TLS_HANDSHAKE, TLS_OPEN, TLS_LINGER, TLS_DEAD };

struct tls_conn {
    struct tls_conn *prev, *next;
    struct tls *tls;
    SSL *ssl; /* NULL: not even the first record is whole */
    struct tls_link *link; /* of a handshake; NULL once it is settled */
    struct tls_side net, plain; /* plain.fd is -1 before bytes are carried */
    enum tls_phase phase;
    struct tls_rest up, down; /* to the plain side; to the client, sealed */
    size_t up_chunk, down_chunk; /* what to move next, at most */
    unsigned ripe;
    bool net_ended;           /* the client will send no more */
    bool plain_ended;         /* the server will send no more */
    bool told;                /* the plain side knows that the client has ended */
    bool deaf;                /* the plain side takes no more */
    bool listed;              /* among its front's: the thread has it */
    bool busy;                /* there is more, but others come first */
    int64_t until_ms;         /* of TLS_LINGER */
    size_t swallowed;
};

struct tls {
    char *certificate, *key, *client_ca; /* paths */
    int epoll_fd, wake_fd;
    pthread_t thread;
    bool started;
    _Atomic bool stopping;
    struct mailbox *mailbox; /* struct tls_conn that were adopted */
    pthread_mutex_t lock;    /* leaf: context, settled */
    SSL_CTX *context;        /* for new connections; each holds the one it has */
    struct tls_conn *conns;
    struct tls_link *settled;
    void (*settled_wake)(void *opaque);
    void *opaque;
    BIO_METHOD *out, *direct;
    struct tls_conn *staged_of; /* whose bytes are in stage; NULL between two calls into OpenSSL */
    size_t staged;
    char scratch[TLS_CHUNK], stage[TLS_STAGE];
};

/* tls_context.c */
int tls_context_new(const char *certificate, const char *key, const char *client_ca, SSL_CTX **ret,
                    struct error *err);
/* The name in the certificate that the client showed, or "". */
void tls_peer_name(SSL *ssl, char ret[TLS_NAME]);

/* tls_move.c; the tls thread. True: something moved. */
bool tls_move_up(struct tls_conn *c);
bool tls_move_down(struct tls_conn *c);
/* More of c->down; not when it is empty. */
bool tls_push(struct tls_conn *c);
void tls_forget(struct tls_rest *r);
/* A ticket for the next handshake, sealed, or nothing. */
void tls_make_ticket(struct tls *t, SSL *ssl, struct tls_rest *ret);
/* SSL_accept or SSL_shutdown, and what it had to send is on its way. */
int tls_call(struct tls_conn *c, int (*call)(SSL *ssl));
/* What a call that did not succeed means; false: nothing now. */
bool tls_came_to_an_end(struct tls_conn *c, int rc);
/* Where OpenSSL writes: its data is the struct tls_conn. Freed with BIO_meth_free(). */
BIO_METHOD *tls_out_new(void);

/* tls.c: the connection's SSL, or a new one when it is NULL. */
void tls_conn_take(struct tls_conn *c, SSL *ssl);
/* tls.c: takes net, the SSL and what is sealed but not sent, also on failure; any thread. */
int tls_pump(struct tls *t, int net, SSL *ssl, struct tls_rest *sealed, int *ret_plain, struct error *err);

/* tls_direct.c */
BIO_METHOD *tls_direct_new(void); /* its data is the struct tls_link */
/* Takes ssl; NULL: there was no handshake. The tls thread. */
void tls_link_settle(struct tls *t, struct tls_link *l, SSL *ssl);
/* As recv(), send() and shutdown(fd, SHUT_WR) on a socket would, with errno. The http thread. */
ssize_t tls_link_read(struct tls_link *l, char *data, size_t len);
ssize_t tls_link_write(struct tls_link *l, const struct iovec *iov, size_t count);
void tls_link_end(struct tls_link *l);

/* tls_socket.c: the socket itself, whatever the thread */
ssize_t tls_real_recv(int fd, void *data, size_t len, int flags);
ssize_t tls_real_send(int fd, const void *data, size_t len, int flags);
int tls_real_shutdown(int fd, int how);

/* tls_conn.c; the tls thread */
void tls_conn_begin(struct tls_conn *c);
/* Moves what can be moved; c may be gone afterwards. */
void tls_conn_turn(struct tls_conn *c);
void tls_conn_free(struct tls_conn *c); /* in the list or not */

#endif
