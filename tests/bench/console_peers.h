/*
 * What the console is compared with, as separate programs: websockify relaying a Unix socket, and
 * ttyd with a pty. Each gives a client's socket after the handshake; -1 when it is not installed.
 */
#ifndef DROVER_BENCH_CONSOLE_PEERS_H
#define DROVER_BENCH_CONSOLE_PEERS_H

#include <stdbool.h>
#include <sys/types.h>

struct peer {
    pid_t pid; /* 0: not there */
    int port;
    int listener; /* websockify's target: our guests are accepted here; -1: it makes its own */
    char path[64];
};

/* Found by $WEBSOCKIFY, $TTYD or in PATH; false when there is none. */
bool peer_websockify(struct peer *ret);
bool peer_ttyd(struct peer *ret);
/* A connected client; *ret_guest is the end to print into, -1 where the peer prints by itself. */
int peer_client(struct peer *p, int *ret_guest);
void peer_stop(struct peer *p);

#endif
