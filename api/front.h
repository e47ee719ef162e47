/*
 * The front, as the core sees it: another process (drover-front) that has the network, TLS, HTTP and WebSockets, and
 * neither libvirt nor the database nor files. It hands over what it parsed, and the pipeline serves it as it serves
 * what comes through libmicrohttpd here: gate, route, credential, right, body and handler are decided on this side.
 * Sockets of this host's own administrators (Unix) stay here. See front_wire.h for what the two say.
 *
 * On the HTTP thread, but for what says otherwise.
 */
#ifndef DROVER_API_FRONT_H
#define DROVER_API_FRONT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "service/base/error.h"

struct call;
struct exchange;
struct front;
struct http;
struct http_options;
struct settings;

/* What a front counts; it writes, the core reads. Believed as far as figures go. */
struct front_counts {
    _Atomic unsigned long long tick_ms; /* monotonic: when its loop last turned */
    _Atomic unsigned long long accepted, refused, connections, timed_out;
    _Atomic unsigned long long sockets, socket_bytes_in, socket_bytes_out;
};

/* ---- front.c: the process ---- */

int front_check(const struct settings *s, struct error *err); /* CONFIG: no such wish; any thread */
/*
 * Where the setting wants one: takes the TCP listeners of h, starts the process and waits until it listens.
 * h->front stays NULL where none is wanted. Before the HTTP thread; blocks.
 */
int front_start(struct http *h, const struct http_options *options, struct error *err);
/* One whose process is whoever has the other end of fd, which is taken: for tests of what it may say. */
struct front *front_attach(struct http *h, int fd);
void front_turn(struct front *f); /* reads, serves, writes; starts it again when it died */
void front_reload(struct front *f);  /* f may be NULL here and below */
void front_quiesce(struct front *f); /* no new connections */
/* WebSockets are closed, answers leave, the process ends; some seconds at most. While the HTTP thread goes on. */
void front_stop(struct front *f);
void front_free(struct front *f);
const struct front_counts *front_counts(const struct front *f); /* zeros when f is NULL; any thread */

/* ---- front_calls.c: requests that came through it ---- */

void call_answer(struct exchange *x); /* x->res is whole; x is gone, or with its stream, afterwards */
void call_back(struct exchange *x);   /* whoever had x gives it back; any thread */
void call_free(struct exchange *x);   /* with x; any thread */
int call_headers(struct exchange *x, const char *method, const char *version, struct error *err);
const char *call_header(const struct call *c, const char *name); /* NULL: absent */
const char *call_certificate(const struct call *c);              /* "" when none was shown */
bool call_is_tls(const struct call *c);                          /* NULL: no */

#endif
