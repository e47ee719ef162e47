/*
 * An open-loop HTTP client: sends GETs at a fixed rate over kept-alive connections and measures
 * each from the moment it was due, so that a stall shows in every request it delayed.
 *
 *     paced ADDR PORT PATH TOKEN RATE SECONDS CONNECTIONS [JSON]
 *
 * RATE 0: closed loop, as fast as the connections allow. With JSON: POSTs of it, answered with 201.
 * Prints one JSON object; of POSTs also each time it took, in the order of their ends.
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

static const char *expected = "HTTP/1.1 200";

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

/* 1: a whole answer arrived, 0: not yet. Exits on an answer that is not the expected one. */
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
        if (strncmp(c->buf, expected, 12) != 0) {
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

/* Up to the next request that is due, or until an answer comes; what is due at once is polled for. */
static int wait_for(int ep, struct epoll_event *evs, int64_t gap, int64_t next)
{
    int64_t left = next - now_ns();
    struct timespec ts = {.tv_nsec = left < 900000000 ? left : 900000000};

    if (!gap)
        return epoll_wait(ep, evs, 64, 100);
    return left < 1000000 ? epoll_wait(ep, evs, 64, 0) : epoll_pwait2(ep, evs, 64, &ts, NULL);
}

static void write_request(char *to, size_t size, char **argv, const char *body)
{
    int n = snprintf(to, size, "%s %s HTTP/1.1\r\nHost: %s:%s\r\nAuthorization: Bearer %s\r\n",
                     body ? "POST" : "GET", argv[3], argv[1], argv[2], argv[4]);

    if (body)
        snprintf(to + n, size - (size_t)n, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
    else
        snprintf(to + n, size - (size_t)n, "\r\n");
}

static void print_all(const int64_t *times, size_t count)
{
    printf("\"times_ms\":[");
    for (size_t i = 0; i < count; i++)
        printf("%s%.3f", i ? "," : "", (double)times[i] / 1e6);
    printf("],");
}

int main(int argc, char **argv)
{
    static struct client clients[64];
    static char request[4096];
    int64_t *times, start, end, next, gap;
    size_t count = 0, cap = 4000000, waiting = 0;
    int n, ep = epoll_create1(0);

    if (argc < 8 || argc > 9 || (n = atoi(argv[7])) < 1 || n > 64) {
        fprintf(stderr, "usage: paced ADDR PORT PATH TOKEN RATE SECONDS CONNECTIONS [JSON]\n");
        return 2;
    }
    write_request(request, sizeof(request), argv, argc == 9 ? argv[8] : NULL);
    if (argc == 9)
        expected = "HTTP/1.1 201";
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
    /* Every POST has an effect, so all answers are awaited; of GETs the last few do not matter. */
    while ((now_ns() < end || (argc == 9 && waiting)) && count < cap) {
        struct epoll_event evs[64];
        int got;

        for (int i = 0; i < n && (!gap || next <= now_ns()) && next < end; i++) {
            struct client *c = &clients[i];

            if (c->due)
                continue;
            c->due = gap ? next : now_ns();
            next += gap;
            c->got = c->want = 0;
            if (send(c->fd, request, strlen(request), MSG_NOSIGNAL) < 0)
                die("send");
            waiting++;
        }
        got = wait_for(ep, evs, gap, next);
        for (int k = 0; k < got; k++) {
            struct client *c = &clients[evs[k].data.u32];

            if (c->due && on_readable(c)) {
                times[count++] = now_ns() - c->due;
                c->due = 0;
                waiting--;
            }
        }
    }
    if (!count)
        return 2;
    printf("{");
    if (argc == 9)
        print_all(times, count);
    qsort(times, count, sizeof(*times), compare);
    printf("\"requests\":%zu,\"per_second\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n", count,
           (double)count / ((double)(now_ns() - start) / 1e9), (double)times[count / 2] / 1e6,
           (double)times[count * 99 / 100] / 1e6, (double)times[count - 1] / 1e6);
    return 0;
}
