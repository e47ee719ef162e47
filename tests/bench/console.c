/*
 * The console path, measured from a guest that is a socket pair to WebSocket clients on loopback:
 * port, hub, ring and carrier of the daemon, without QEMU and libvirt. Each figure stands beside
 * one of the same run that needs no hub. `console_bench [throughput|latency|crowd|flood ...]`.
 */
#include "tests/bench/console_rig.h"

#include <sys/wait.h>

/* ---- key to echo ---- */

static void *echo(void *opaque)
{
    int fd = *(int *)opaque;
    char c[256];
    ssize_t n;

    while ((n = recv(fd, c, sizeof(c), 0)) > 0) {
        if (send(fd, c, (size_t)n, MSG_NOSIGNAL) < 0)
            break;
    }
    return NULL;
}

#define PRESSES 3000

struct latency {
    double p50, p99;
};

static struct latency echo_times(int fd, bool framed, int presses)
{
    static double times[PRESSES];
    char c[16];

    for (int i = 0; i < presses; i++) {
        double began = now_ms();

        if (framed)
            press(fd);
        else
            MUST(send(fd, "x", 1, 0) == 1);
        MUST(framed ? take(fd, 1) : recv(fd, c, sizeof(c), 0) == 1);
        times[i] = now_ms() - began;
    }
    qsort(times, (size_t)presses, sizeof(times[0]), by_size);
    return (struct latency){times[presses / 2], times[presses * 99 / 100]};
}

static struct latency bare_echo(void)
{
    struct latency l;
    pthread_t thread;
    int pair[2];

    tcp_pair(pair);
    MUST(pthread_create(&thread, NULL, echo, &pair[1]) == 0);
    l = echo_times(pair[0], false, PRESSES);
    close(pair[0]);
    pthread_join(thread, NULL);
    close(pair[1]);
    return l;
}

static struct latency console_echo(int presses)
{
    int guest = guest_new(ONE), viewer = viewer_new(ONE);
    struct latency l;
    pthread_t thread;

    MUST(pthread_create(&thread, NULL, echo, &guest) == 0);
    l = echo_times(viewer, true, presses);
    close(viewer);
    shutdown(guest, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(guest);
    console_forget(hub, ONE);
    return l;
}

static void latency(void)
{
    for (int i = 0; i < 3; i++) {
        struct latency bare = bare_echo(), console = console_echo(PRESSES);

        printf("key to echo: console p50 %.3f ms p99 %.3f ms, bare stream p50 %.3f ms p99 %.3f ms; "
               "added %.3f ms (target: 0.3)\n",
               console.p50, console.p99, bare.p50, bare.p99, console.p50 - bare.p50);
    }
}

/* ---- a crowd ---- */

#define CROWD_VMS     100
#define CROWD_VIEWERS 20

static void crowd(void)
{
    static int guests[CROWD_VMS];
    static int fds[CROWD_VMS * CROWD_VIEWERS];
    static struct frames frames[CROWD_VMS * CROWD_VIEWERS];
    static uint64_t got[CROWD_VMS * CROWD_VIEWERS];
    static char burst[65536];
    const int all = CROWD_VMS * CROWD_VIEWERS;
    static unsigned char buf[1 << 16];
    static struct epoll_event events[256];
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    long before = rss_kib(), after;
    double began, cpu;
    char vm[64];
    int left;

    for (int i = 0; i < CROWD_VMS; i++) {
        snprintf(vm, sizeof(vm), VM, i + 1);
        guests[i] = guest_new(vm);
        for (int j = 0; j < CROWD_VIEWERS; j++) {
            int k = i * CROWD_VIEWERS + j;

            fds[k] = viewer_new(vm);
            MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[k],
                           &(struct epoll_event){.events = EPOLLIN, .data.u32 = (uint32_t)k}) == 0);
        }
    }
    after = rss_kib();
    printf("crowd: %d viewers on %d consoles: %.1f KiB each (target: 48)\n", all, CROWD_VMS,
           (double)(after - before) / all);
    cpu = cpu_ms();
    began = now_ms();
    poll(NULL, 0, (int)(bench_seconds() * 1e3));
    printf("crowd: idle CPU %.2f %% (target: 2)\n", (cpu_ms() - cpu) / (now_ms() - began) * 100);
    for (int round = 0; round < 3; round++) {
        memset(got, 0, sizeof(got));
        cpu = cpu_ms();
        began = now_ms();
        for (int i = 0; i < CROWD_VMS; i++) {
            if (round == 0 && i)
                break; /* one console's 20 first, then all of them */
            MUST(send(guests[i], burst, sizeof(burst), MSG_NOSIGNAL) == sizeof(burst));
        }
        left = round == 0 ? CROWD_VIEWERS : all;
        while (left) {
            int n = epoll_wait(epoll, events, 256, 20000);

            MUST(n > 0);
            for (int e = 0; e < n; e++) {
                uint32_t k = events[e].data.u32;
                ssize_t len = recv(fds[k], buf, sizeof(buf), MSG_DONTWAIT);

                MUST(len > 0);
                got[k] += frames_feed(&frames[k], buf, (size_t)len);
                left -= got[k] == sizeof(burst);
            }
        }
        printf("crowd: 64 KiB to each of %d viewers in %.0f ms (target: 250), CPU %.0f ms\n",
               round == 0 ? CROWD_VIEWERS : all, now_ms() - began, cpu_ms() - cpu);
    }
    printf("crowd: %.1f KiB each after the bursts\n", (double)(rss_kib() - before) / all);
    for (int i = 0; i < all; i++)
        close(fds[i]);
    for (int i = 0; i < CROWD_VMS; i++)
        close(guests[i]);
    close(epoll);
}

/* ---- a flood ---- */

static void print_gib(int guest, const char *what, long before)
{
    static char data[65536];
    double began = now_ms(), cpu = cpu_ms();

    for (int i = 0; i < 16384; i++)
        MUST(send(guest, data, sizeof(data), MSG_NOSIGNAL) == sizeof(data));
    printf("flood: 1 GiB %s: %.0f MB/s, CPU %.0f %%, %ld KiB more memory (target: 1024)\n", what,
           1073.7 / ((now_ms() - began) / 1e3), (cpu_ms() - cpu) / (now_ms() - began) * 100,
           rss_kib() - before);
}

static void *take_all(void *opaque)
{
    struct frames f = {0};
    static unsigned char buf[1 << 18];
    uint64_t *got = opaque;
    int fd = (int)*got;
    ssize_t n;

    *got = 0;
    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
        *got += frames_feed(&f, buf, (size_t)n);
    return NULL;
}

static void flood(void)
{
    char vm[64];
    pthread_t thread, printer;
    uint64_t got;
    struct latency l;
    long before;
    int guest, stalled, fast;

    snprintf(vm, sizeof(vm), VM, 9999);
    guest = guest_new(vm);
    before = rss_kib();
    print_gib(guest, "with no viewer", before);
    stalled = viewer_new(vm);
    print_gib(guest, "with a stalled viewer", before);
    fast = viewer_new(vm);
    got = (uint64_t)fast;
    MUST(pthread_create(&thread, NULL, take_all, &got) == 0);
    print_gib(guest, "with one stalled and one fast viewer", before);
    poll(NULL, 0, 300);
    shutdown(fast, SHUT_RDWR);
    pthread_join(thread, NULL);
    printf("flood: the fast viewer has %.1f MiB of 1024 (and what the ring held before)\n",
           (double)got / MIB);
    print_stop(false);
    MUST(pthread_create(&printer, NULL, print_at_line_rate, &guest) == 0);
    l = console_echo(1000);
    printf("flood: meanwhile another console's echo: p50 %.2f ms p99 %.2f ms (target: 20)\n", l.p50, l.p99);
    print_stop(true);
    shutdown(guest, SHUT_RDWR);
    pthread_join(printer, NULL);
    close(guest);
    close(stalled);
    close(fast);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {
        {"throughput", throughput}, {"latency", latency}, {"crowd", crowd}, {"flood", flood}};

    int status, failed = 0;
    pid_t child;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        bool wanted = argc < 2;

        for (int j = 1; j < argc; j++)
            wanted |= strcmp(argv[j], parts[i].name) == 0;
        if (!wanted)
            continue;
        child = fork(); /* each part's memory is its own */
        MUST(child >= 0);
        if (child == 0) {
            daemon_open();
            parts[i].run();
            daemon_close();
            exit(0);
        }
        MUST(waitpid(child, &status, 0) == child);
        failed |= status != 0;
    }
    return failed;
}
