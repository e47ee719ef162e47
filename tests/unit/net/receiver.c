#include "tests/unit/net/receiver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/base/thread.h"
static void say(int fd, const struct receiver *r)
{
    static const char zeros[RECEIVER_LONG];

    if (r->head && send(fd, r->head, strlen(r->head), MSG_NOSIGNAL) > 0 && r->body)
        (void)!send(fd, zeros, r->body, MSG_NOSIGNAL);
}

/* One client after another, until the listener is shut down. */
static void *receive(void *arg)
{
    struct receiver *r = arg;
    char heard[8192];
    int fd;

    while ((fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        if (recv(fd, heard, sizeof(heard), 0) > 0)
            say(fd, r);
        /* Until the client leaves. */
        while (r->keeps && recv(fd, heard, sizeof(heard), 0) > 0)
            ;
        close(fd);
    }
    return NULL;
}

void receiver_begin(struct receiver *r)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    struct error err;

    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (r->fd < 0 || bind(r->fd, (struct sockaddr *)&a, len) || listen(r->fd, 8) ||
        getsockname(r->fd, (struct sockaddr *)&a, &len) || thread_start(&r->thread, "receiver", receive, r, &err))
        abort();
    r->port = ntohs(a.sin_port);
}

void receiver_end(struct receiver *r)
{
    shutdown(r->fd, SHUT_RDWR);
    pthread_join(r->thread, NULL);
    close(r->fd);
}
