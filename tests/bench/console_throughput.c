/*
 * One stream at line rate: through hub, ring and carrier (console), through a pipe and the carrier
 * (display), through websockify and through ttyd, in turns; medians are compared.
 */
#include "tests/bench/console_peers.h"
#include "tests/bench/console_rig.h"

#define ROUNDS 5

enum { CONSOLE, DISPLAY, WEBSOCKIFY, TTYD, BARE, KINDS };
static const char *const names[KINDS] = {"console", "display", "websockify", "ttyd", "bare relay"};

static atomic_bool stop;
static double cpu_per_gb; /* ms, of this process, in the last rate_of() */

void *print_at_line_rate(void *opaque)
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

void print_stop(bool now)
{
    atomic_store(&stop, now);
}

/* MB/s that arrive at fd while guest prints (-1: it does so by itself); framed: payload only. */
static double rate_of(int guest, int fd, bool framed)
{
    static unsigned char buf[1 << 18];
    struct frames f = {0};
    pthread_t thread;
    uint64_t got = 0;
    double began, until, cpu = cpu_ms();

    atomic_store(&stop, false);
    if (guest >= 0)
        MUST(pthread_create(&thread, NULL, print_at_line_rate, &guest) == 0);
    began = now_ms();
    until = began + bench_seconds() * 1e3;
    while (now_ms() < until) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);

        if (n <= 0) {
            printf("  the server closed after %.0f MB\n", (double)got / 1e6);
            break;
        }
        got += framed ? frames_feed(&f, buf, (size_t)n) : (uint64_t)n;
    }
    until = now_ms();
    cpu_per_gb = got ? (cpu_ms() - cpu) / ((double)got / 1e9) : 0;
    atomic_store(&stop, true);
    close(fd);
    if (guest >= 0) {
        shutdown(guest, SHUT_RDWR);
        pthread_join(thread, NULL);
        close(guest);
    }
    return (double)got / 1e6 / ((until - began) / 1e3);
}

/* One thread that copies from the guest to TCP: what is left when there is nothing to do. */
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

static double bare_rate(void)
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

static double display_rate(void)
{
    int pair[2];

    unix_pair(pair);
    return rate_of(pair[0], display_new(pair[1]), true);
}

static double console_rate(void)
{
    int guest = guest_new(ONE);
    double rate = rate_of(guest, viewer_new(ONE), true);

    console_forget(hub, ONE);
    return rate;
}

static double peer_rate(struct peer *p)
{
    int guest, fd;

    if (!p->pid)
        return 0;
    fd = peer_client(p, &guest);
    if (fd < 0) {
        printf("  a peer does not answer\n");
        return 0;
    }
    return rate_of(guest, fd, true);
}

static void compare(double (*rates)[ROUNDS], int a, int b, double target)
{
    double x, y;

    x = median(rates[a], ROUNDS);
    y = median(rates[b], ROUNDS);
    if (y > 0)
        printf("throughput: %s is %.0f %% of %s (target: %.0f %%)\n", names[a], x / y * 100,
               names[b], target);
    else
        printf("throughput: %s is not installed; %s had to be %.0f %% of it\n", names[b], names[a],
               target);
}

void throughput(void)
{
    static double rates[KINDS][ROUNDS], cpu[KINDS][ROUNDS];
    struct peer websockify, ttyd;

    (void)peer_websockify(&websockify);
    (void)peer_ttyd(&ttyd);
    for (int i = 0; i < ROUNDS; i++) {
        for (int kind = 0; kind < KINDS; kind++) {
            rates[kind][i] = kind == CONSOLE      ? console_rate()
                             : kind == DISPLAY    ? display_rate()
                             : kind == WEBSOCKIFY ? peer_rate(&websockify)
                             : kind == TTYD       ? peer_rate(&ttyd)
                                                  : bare_rate();
            cpu[kind][i] = cpu_per_gb;
        }
    }
    peer_stop(&websockify);
    peer_stop(&ttyd);
    for (int kind = 0; kind < KINDS; kind++) {
        bool own = kind != WEBSOCKIFY && kind != TTYD;

        printf("throughput: %-10s %5.0f MB/s", names[kind], median(rates[kind], ROUNDS));
        if (own)
            printf(", CPU of a GB, both ends: %.0f ms", median(cpu[kind], ROUNDS));
        printf("\n");
    }
    compare(rates, CONSOLE, TTYD, 100);
    compare(rates, CONSOLE, WEBSOCKIFY, 50);
    compare(rates, DISPLAY, WEBSOCKIFY, 80);
}
