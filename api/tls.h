/*
 * TLS in front of everything: a thread that shakes hands with clients and carries bytes between
 * them and a socket pair. What reads and writes the other side of the pair, libmicrohttpd and later
 * libwebsockets, sees a plain connection.
 */
#ifndef DROVER_API_TLS_H
#define DROVER_API_TLS_H

#include "service/base/error.h"

struct settings;
struct tls;
struct tls_link; /* what is known of one client; shared, counted */

/* *ret stays NULL when no certificate is set. CONFIG names the setting at fault. */
int tls_start(const struct settings *s, struct tls **ret, struct error *err);
/* What is open is carried to its end, a second at most for what waits to leave; then joined, freed.
 */
void tls_stop(struct tls *t);
/*
 * Reads the files again. Connections that are open keep what they were opened with; on failure so
 * do new ones. Any thread.
 */
int tls_reload(struct tls *t, struct error *err);

/*
 * Takes the connected, non-blocking fd, also on failure. *ret_plain is the caller's: what it reads
 * there comes after the handshake, and its end is the client's. Any thread; never blocks.
 */
int tls_adopt(struct tls *t, int fd, int *ret_plain, struct tls_link **ret, struct error *err);

/*
 * The common name of the certificate that the client showed and tls_client_ca vouches for, "" when
 * it showed none. Meaningful once something was read from the plain side.
 */
const char *tls_link_name(const struct tls_link *l);
void tls_link_unref(struct tls_link *l);

#endif
