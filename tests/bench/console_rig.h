/*
 * What the console benchmark is made of: a hub, the WebSocket carrier, guests that are socket pairs,
 * and WebSocket clients on loopback TCP that do as little as a client can.
 */
#ifndef DROVER_BENCH_CONSOLE_RIG_H
#define DROVER_BENCH_CONSOLE_RIG_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "service/vm/console.h"

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#pragma GCC diagnostic ignored "-Wunused-function"

#define VM  "aaaaaaaa-0000-4000-8000-%012d"
#define ONE "aaaaaaaa-0000-4000-8000-000000000000"
#define MIB (1024.0 * 1024.0)

extern struct console_hub *hub;

/* console_throughput.c */
void throughput(void);
void *print_at_line_rate(void *guest); /* a thread; until print_stop(true) */
void print_stop(bool now);

static double bench_seconds(void)
{
    const char *text = getenv("BENCH_SECONDS");

    return text ? atof(text) : 2;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts them. */
static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), by_size);
    return values[count / 2];
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static long rss_kib(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    MUST(f && fscanf(f, "%ld %ld", &pages, &resident) == 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void tcp_pair(int ret[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    MUST(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 1) == 0);
    MUST(getsockname(listener, (struct sockaddr *)&a, &len) == 0);
    ret[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(connect(ret[0], (struct sockaddr *)&a, sizeof(a)) == 0);
    ret[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    MUST(ret[1] >= 0);
    setsockopt(ret[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(ret[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    close(listener);
}

static void unix_pair(int ret[2])
{
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret) == 0);
}

/* The guest's end of a console of that VM. */
static int guest_new(const char *vm_id)
{
    struct error err;
    int pair[2];

    unix_pair(pair);
    MUST(console_feed(hub, vm_id, "console", pair[1], true, &err) == 0);
    return pair[0];
}

/* console_daemon.c: the daemon's transport in front of the hub */
void daemon_open(void);
void daemon_close(void);
/* A client's socket, upgraded by an authorised request. */
int viewer_new(const char *vm_id);
int display_new(int guest_fd);

/* Counts the payload of unmasked frames; headers may be cut anywhere. */
struct frames {
    unsigned char head[10];
    size_t have;
    uint64_t left;
};

static uint64_t frames_feed(struct frames *f, const unsigned char *p, size_t len)
{
    uint64_t payload = 0;

    while (len) {
        size_t want, n;

        if (f->left) {
            n = f->left < len ? (size_t)f->left : len;
            payload += n;
            f->left -= n;
            p += n;
            len -= n;
            continue;
        }
        f->head[f->have++] = *p++;
        len--;
        want = f->have < 2 ? 2 : (f->head[1] & 127) == 126 ? 4 : (f->head[1] & 127) == 127 ? 10 : 2;
        if (f->have < want)
            continue;
        f->left = f->head[1] & 127;
        if (want > 2) {
            f->left = 0;
            for (size_t i = 2; i < want; i++)
                f->left = f->left << 8 | f->head[i];
        }
        f->have = 0;
    }
    return payload;
}

/* Receives until so much payload came; false when the server closed. */
static bool take(int fd, uint64_t payload)
{
    static _Thread_local unsigned char buf[1 << 18];
    struct frames f = {0};
    uint64_t got = 0;

    while (got < payload) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);

        if (n <= 0)
            return false;
        got += frames_feed(&f, buf, (size_t)n);
    }
    return true;
}

/* A key press: one masked byte. */
static void press(int fd)
{
    static const unsigned char frame[] = {0x82, 0x81, 0, 0, 0, 0, 'x'};

    MUST(send(fd, frame, sizeof(frame), MSG_NOSIGNAL) == sizeof(frame));
}

#endif
