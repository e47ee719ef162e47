/*
 * TLS, below libraries that see a plain connection. A thread shakes hands with clients, which is dear;
 * then the http thread itself opens and seals what libmicrohttpd reads and writes; and a connection that
 * becomes a WebSocket goes back to the thread, which carries its bytes from and to a socket pair.
 */
#ifndef DROVER_API_TLS_H
#define DROVER_API_TLS_H

#include <stdbool.h>

#include "service/base/error.h"

struct settings;
struct tls;
struct tls_link; /* what is known of one client; shared, counted */

/*
 * *ret stays NULL when no certificate is set. CONFIG names the setting at fault. wake is called from the tls
 * thread when tls_next_settled() has something.
 */
int tls_start(const struct settings *s, void (*wake)(void *opaque), void *opaque, struct tls **ret,
              struct error *err);
/* What is open is carried to its end, a second at most for what waits to leave; then joined, freed.
 */
void tls_stop(struct tls *t);
/*
 * Reads the files again. Connections that are open keep what they were opened with; on failure so
 * do new ones. Any thread.
 */
int tls_reload(struct tls *t, struct error *err);

/*
 * Begins the handshake. The connected, non-blocking fd stays the caller's, who closes it after
 * tls_link_leave(). Any thread; never blocks.
 */
int tls_adopt(struct tls *t, int fd, struct tls_link **ret, struct error *err);

/* ---- the http thread from here on ---- */

/*
 * From begin to end, recv(), send(), sendmsg() and shutdown() on this thread, whoever calls them, mean the
 * client's bytes on a descriptor that has a link. Until the handshake is over they find nothing, and take
 * nothing; afterwards the end that they find is the client's.
 */
int tls_sockets_check(struct error *err); /* that libraries find them: else nothing may be served */
void tls_sockets_begin(void);
void tls_sockets_set(int fd, struct tls_link *l); /* NULL: it has none, any more */
void tls_sockets_end(void);

/* One whose handshake is over, well or not, since the last call; a reference is the caller's. NULL: none. */
struct tls_link *tls_next_settled(struct tls *t);
void tls_link_set_owner(struct tls_link *l, void *owner);
void *tls_link_owner(const struct tls_link *l);
bool tls_link_is_open(const struct tls_link *l);
bool tls_link_is_settled(const struct tls_link *l); /* open, or dead */
/* Something that the client sealed was read: what was not read so is not the client's. */
bool tls_link_has_spoken(const struct tls_link *l);
bool tls_link_has_answered(const struct tls_link *l); /* and something was sealed for him */
/*
 * The common name of the certificate that the client showed and tls_client_ca vouches for, "" when
 * it showed none. Meaningful once it is open.
 */
const char *tls_link_name(const struct tls_link *l);
/* Before its descriptor is closed: a handshake ends, and its owner is forgotten. */
void tls_link_leave(struct tls_link *l);
void tls_link_unref(struct tls_link *l); /* any thread */

/*
 * For a thread that knows no TLS: from now on the tls thread has the client's bytes, and *ret_plain, the
 * caller's, is what it talks through. Whether it worked or not, nothing is read or written by the link's
 * descriptor afterwards, and closing it ends nothing.
 */
int tls_carry(struct tls *t, struct tls_link *l, int *ret_plain, struct error *err);

#endif
