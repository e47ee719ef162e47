/*
 * An open-loop HTTP client: sends GETs at a fixed rate over kept-alive connections and measures
 * each from the moment it was due, so that a stall shows in every request it delayed.
 *
 *     paced ADDR PORT PATH TOKEN RATE SECONDS CONNECTIONS
 *
 * RATE 0: closed loop, as fast as the connections allow. Prints one JSON object.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    int64_t due; /* ns; 0: idle */
    size_t got, want; /* bytes of the answer; want 0: header not complete */
    char buf[262144];
};

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static int dial(const char *addr, int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    inet_pton(AF_INET, addr, &sa.sin_addr);
    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

/* 1: a whole answer arrived, 0: not yet. Exits on an answer that is not 200. */
static int on_readable(struct client *c)
{
    ssize_t n = recv(c->fd, c->buf + c->got, sizeof(c->buf) - 1 - c->got, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        die("recv");
    c->got += (size_t)n;
    c->buf[c->got] = '\0';
    if (!c->want) {
        char *end = strstr(c->buf, "\r\n\r\n"), *len;

        if (!end)
            return 0;
        if (strncmp(c->buf, "HTTP/1.1 200", 12) != 0) {
            fprintf(stderr, "%.200s\n", c->buf);
            exit(2);
        }
        len = strcasestr(c->buf, "\r\ncontent-length:");
        if (!len || len > end)
            die("no content-length");
        c->want = (size_t)(end + 4 - c->buf) + strtoul(len + 17, NULL, 10);
    }
    return c->got >= c->want;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static struct client clients[64];
    static char request[4096];
    int64_t *times, start, end, next, gap;
    size_t count = 0, cap = 4000000;
    int n, ep = epoll_create1(0);

    if (argc != 8 || (n = atoi(argv[7])) < 1 || n > 64) {
        fprintf(stderr, "usage: paced ADDR PORT PATH TOKEN RATE SECONDS CONNECTIONS\n");
        return 2;
    }
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s:%s\r\nAuthorization: Bearer %s\r\n\r\n",
             argv[3], argv[1], argv[2], argv[4]);
    times = malloc(cap * sizeof(*times));
    if (!times)
        return 2;
    for (int i = 0; i < n; i++) {
        struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};

        clients[i].fd = dial(argv[1], atoi(argv[2]));
        epoll_ctl(ep, EPOLL_CTL_ADD, clients[i].fd, &ev);
    }
    gap = atof(argv[5]) > 0 ? (int64_t)(1e9 / atof(argv[5])) : 0;
    start = next = now_ns();
    end = start + (int64_t)(atof(argv[6]) * 1e9);
    while (now_ns() < end && count < cap) {
        struct epoll_event evs[64];
        int got;

        for (int i = 0; i < n && (!gap || next <= now_ns()); i++) {
            struct client *c = &clients[i];

            if (c->due)
                continue;
            c->due = gap ? next : now_ns();
            next += gap;
            c->got = c->want = 0;
            if (send(c->fd, request, strlen(request), MSG_NOSIGNAL) < 0)
                die("send");
        }
        got = epoll_wait(ep, evs, 64, gap ? 0 : 100);
        for (int k = 0; k < got; k++) {
            struct client *c = &clients[evs[k].data.u32];

            if (c->due && on_readable(c)) {
                times[count++] = now_ns() - c->due;
                c->due = 0;
            }
        }
    }
    if (!count)
        return 2;
    qsort(times, count, sizeof(*times), compare);
    printf("{\"requests\":%zu,\"per_second\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n", count,
           (double)count / ((double)(now_ns() - start) / 1e9), (double)times[count / 2] / 1e6,
           (double)times[count * 99 / 100] / 1e6, (double)times[count - 1] / 1e6);
    return 0;
}
