/*
 * The console path, measured from a guest that is a socket pair to WebSocket clients on loopback:
 * hub, ring and carrier as in the daemon, without QEMU and libvirt. Each figure stands beside one
 * of the same run that needs no hub. `console [throughput|latency|crowd|flood ...]`.
 */
#include "tests/bench/console_rig.h"

#define VM   "aaaaaaaa-0000-4000-8000-%012d"
#define ONE  "aaaaaaaa-0000-4000-8000-000000000000"
#define MIB  (1024.0 * 1024.0)

static double seconds(void)
{
    const char *text = getenv("BENCH_SECONDS");

    return text ? atof(text) : 3;
}

/* ---- one stream at line rate ---- */

static atomic_bool stop;

static void *print_at_line_rate(void *opaque)
{
    static char data[65536];
    int fd = *(int *)opaque;

    memset(data, 'p', sizeof(data));
    while (!atomic_load(&stop)) {
        if (send(fd, data, sizeof(data), MSG_NOSIGNAL) < 0)
            break;
    }
    shutdown(fd, SHUT_RDWR);
    return NULL;
}

static double cpu_per_gb; /* ms, of the whole process, in the last rate_of() */

/* MB/s that arrive at fd while guest prints; framed: count payload only. */
static double rate_of(int guest, int fd, bool framed)
{
    static unsigned char buf[1 << 18];
    struct frames f = {0};
    pthread_t thread;
    uint64_t got = 0;
    double began, until, cpu = cpu_ms();

    atomic_store(&stop, false);
    MUST(pthread_create(&thread, NULL, print_at_line_rate, &guest) == 0);
    began = now_ms();
    until = began + seconds() * 1e3;
    while (now_ms() < until) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);

        if (n <= 0) {
            printf("  the server closed after %.0f MB\n", (double)got / 1e6);
            break;
        }
        got += framed ? frames_feed(&f, buf, (size_t)n) : (uint64_t)n;
    }
    until = now_ms();
    cpu_per_gb = (cpu_ms() - cpu) / ((double)got / 1e9);
    atomic_store(&stop, true);
    close(fd);
    shutdown(guest, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(guest);
    return (double)got / 1e6 / ((until - began) / 1e3);
}

/* The yardstick: one thread that copies from the guest to TCP, as websockify does at its best. */
static void *relay(void *opaque)
{
    static char buf[65536];
    int *fds = opaque;
    ssize_t n;

    while ((n = recv(fds[0], buf, sizeof(buf), 0)) > 0) {
        for (ssize_t at = 0; at < n;) {
            ssize_t sent = send(fds[1], buf + at, (size_t)(n - at), MSG_NOSIGNAL);

            if (sent < 0)
                goto out;
            at += sent;
        }
    }
out:
    close(fds[0]);
    close(fds[1]);
    return NULL;
}

static double relay_rate(void)
{
    int guest[2], tcp[2], fds[2];
    pthread_t thread;
    double rate;

    unix_pair(guest);
    tcp_pair(tcp);
    fds[0] = guest[1];
    fds[1] = tcp[1];
    MUST(pthread_create(&thread, NULL, relay, fds) == 0);
    rate = rate_of(guest[0], tcp[0], false);
    pthread_join(thread, NULL);
    return rate;
}

static double pipe_rate(void)
{
    struct console_pipe pipe = {
        .vm_id = ONE, .stream = "display", .mode = CONSOLE_CONTROL, .viewer = "bench"};
    struct source *source;
    struct error err;
    int pair[2];

    unix_pair(pair);
    pipe.fd = pair[1];
    MUST(console_pipe(hub, &pipe, &source, &err) == 0);
    return rate_of(pair[0], client_of(source), true);
}

static void throughput(void)
{
    for (int i = 0; i < 3; i++) {
        double bare = relay_rate(), bare_cpu = cpu_per_gb;
        double through_pipe = pipe_rate(), pipe_cpu = cpu_per_gb;
        int guest = guest_new(ONE);
        double console = rate_of(guest, viewer_new(ONE), true);

        console_forget(hub, ONE);
        printf("throughput: console %.0f MB/s, display %.0f MB/s, bare relay %.0f MB/s "
               "(%.0f %%, %.0f %%)\n",
               console, through_pipe, bare, console / bare * 100, through_pipe / bare * 100);
        printf("throughput: CPU of a GB, both ends: console %.0f ms, display %.0f ms, bare %.0f ms\n",
               cpu_per_gb, pipe_cpu, bare_cpu);
    }
}

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

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
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
               "added %.3f ms\n",
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
    printf("crowd: %d viewers on %d consoles: %.1f KiB each\n", all, CROWD_VMS,
           (double)(after - before) / all);
    cpu = cpu_ms();
    began = now_ms();
    poll(NULL, 0, (int)(seconds() * 1e3));
    printf("crowd: idle CPU %.2f %%\n", (cpu_ms() - cpu) / (now_ms() - began) * 100);
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
        printf("crowd: 64 KiB to each of %d viewers in %.0f ms, CPU %.0f ms\n",
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
    printf("flood: 1 GiB %s: %.0f MB/s, CPU %.0f %%, %ld KiB more memory\n", what,
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
    atomic_store(&stop, false);
    MUST(pthread_create(&printer, NULL, print_at_line_rate, &guest) == 0);
    l = console_echo(1000);
    printf("flood: meanwhile another console's echo: p50 %.2f ms p99 %.2f ms\n", l.p50, l.p99);
    atomic_store(&stop, true);
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

    setvbuf(stdout, NULL, _IOLBF, 0);
    hub_open();
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        bool wanted = argc < 2;

        for (int j = 1; j < argc; j++)
            wanted |= strcmp(argv[j], parts[i].name) == 0;
        if (wanted)
            parts[i].run();
    }
    hub_close();
    return 0;
}
