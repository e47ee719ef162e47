/*
 * drover-front: the process that has the network, started by droverd and never by hand. It parses TLS, HTTP and
 * WebSockets for a core that it asks over an inherited socket; it can open no file but its certificate's, make no
 * connection and start no program. When the core goes it goes, too.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/front_process.h"
#include "service/base/secret.h"

#define LINK_FD   3
#define COUNTS_FD 4
#define LISTEN_FD 5
#define LISTENERS_MAX 8

static int listeners(int ret[LISTENERS_MAX])
{
    int count = 0;

    while (count < LISTENERS_MAX && fcntl(LISTEN_FD + count, F_GETFD) >= 0) {
        ret[count] = LISTEN_FD + count;
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGXFSZ};
    int fds[LISTENERS_MAX], count = listeners(fds);

    if (argc != 3 || fcntl(LINK_FD, F_GETFD) < 0 || fcntl(COUNTS_FD, F_GETFD) < 0 || !count) {
        fputs("drover-front is started by droverd.\n", stderr);
        return 2;
    }
    for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
        signal(ignored[i], SIG_IGN); /* the core says when to stop */
    secret_init();
    return front_process(LINK_FD, COUNTS_FD, fds, count, (unsigned)strtoul(argv[1], NULL, 10),
                         (unsigned)strtoul(argv[2], NULL, 10));
}
