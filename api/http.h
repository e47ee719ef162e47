/*
 * The libmicrohttpd wall: listeners, parsing gates, deadlines, the request pipeline, hand-over of
 * upgrades to ws.
 */
#ifndef DROVER_API_HTTP_H
#define DROVER_API_HTTP_H

#include "service/base/error.h"

struct core;
struct core_link;
struct http;
struct settings;
struct ws;

struct http_options {
    struct core *core;
    const struct settings *settings; /* of a front; NULL: the core's */
    struct ws *ws;
    const char *listen;      /* ADDR:PORT */
    const char *unix_socket; /* path, or NULL */
    /* Listening sockets from socket activation: one of a kind stands for the address above. */
    const int *passed_fds;
    int passed_count;
    /* For a front: its program (NULL: beside ours, or as installed); as for ws_start_with(), 0: as the settings say. */
    const char *front_program;
    unsigned ping_seconds, hangup_seconds;
    struct core_link *core_link; /* in a front */
    bool held; /* nobody is let in before http_let_in() */
};

/* Binds and starts; answers 503 shutting-down after http_quiesce(). */
int http_start(const struct http_options *options, struct http **ret, struct error *err);
void http_let_in(struct http *h); /* any thread */
const char *http_address(const struct http *h); /* the bound ADDR:PORT */
/* Order of stopping: http_quiesce(), ws_stop(), http_stop(). */
void http_quiesce(struct http *h); /* no new connections; parked requests and streams end */
void http_stop(struct http *h);    /* every suspended connection resumed, then joined; frees h */
/*
 * Reads the reloadable settings again (limits, timeouts, allowed hosts and origins), and the
 * certificate's files. Blocks on the disk.
 */
void http_reload(struct http *h);
/* Monotonic ms at which the HTTP loop was last seen alive, for the watchdog and /livez. */
long long http_last_tick(const struct http *h);

#endif
