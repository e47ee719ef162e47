/* See console_peers.h. Children are started in their own session and ended by their id. */
#include "tests/bench/console_peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 20000

static bool find(const char *name, const char *variable, char *ret, size_t max)
{
    const char *given = getenv(variable), *path = getenv("PATH");
    char dirs[4096], *save = NULL;

    if (given) {
        snprintf(ret, max, "%s", given);
        return access(ret, X_OK) == 0;
    }
    snprintf(dirs, sizeof(dirs), "%s", path ? path : "/usr/bin");
    for (char *dir = strtok_r(dirs, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        snprintf(ret, max, "%s/%s", dir, name);
        if (access(ret, X_OK) == 0)
            return true;
    }
    return false;
}

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || getsockname(fd, (struct sockaddr *)&a, &len))
        abort();
    close(fd);
    return ntohs(a.sin_port);
}

static bool run(struct peer *p, const char *const argv[])
{
    p->pid = fork();
    if (p->pid < 0)
        return false;
    if (p->pid == 0) {
        setsid();
        if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout) ||
            !freopen("/dev/null", "w", stderr))
            _exit(126);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return true;
}

static int target(struct peer *p)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(p->path, sizeof(p->path), "/tmp/drover-bench-%d.sock", (int)getpid());
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", p->path);
    unlink(p->path);
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4))
        abort();
    return fd;
}

bool peer_websockify(struct peer *ret)
{
    char program[4200], listen_at[32], target_at[96];

    *ret = (struct peer){.listener = -1};
    if (!find("websockify", "WEBSOCKIFY", program, sizeof(program)))
        return false;
    ret->port = free_port();
    ret->listener = target(ret);
    snprintf(listen_at, sizeof(listen_at), "127.0.0.1:%d", ret->port);
    snprintf(target_at, sizeof(target_at), "--unix-target=%s", ret->path);
    return run(ret, (const char *const[]){program, target_at, listen_at, NULL});
}

bool peer_ttyd(struct peer *ret)
{
    char program[4200], port[16];

    *ret = (struct peer){.listener = -1};
    if (!find("ttyd", "TTYD", program, sizeof(program)))
        return false;
    ret->port = free_port();
    snprintf(port, sizeof(port), "%d", ret->port);
    return run(ret, (const char *const[]){program, "-d", "1", "-i", "lo", "-p", port, "/bin/sh", "-c",
                                    "stty raw -echo; exec cat /dev/zero", NULL});
}

static int connect_to(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (int waited = 0; waited < START_MS; waited += 50) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            return fd;
        }
        close(fd);
        poll(NULL, 0, 50);
    }
    return -1;
}

static bool shake_hands(int fd, const char *path, const char *subprotocol)
{
    char request[512], c;
    int newlines = 0;
    int n = snprintf(request, sizeof(request),
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
                     path, subprotocol);

    if (send(fd, request, (size_t)n, MSG_NOSIGNAL) != n)
        return false;
    while (newlines < 2) {
        if (recv(fd, &c, 1, 0) != 1)
            return false;
        newlines = c == '\n' ? newlines + 1 : c == '\r' ? newlines : 0;
    }
    return true;
}

/* ttyd runs its command once it knows the window's size. */
static bool open_tty(int fd)
{
    static const char json[] = "{\"columns\":80,\"rows\":24}";
    unsigned char frame[6 + sizeof(json)] = {0x82, 0x80 | (sizeof(json) - 1)};

    memcpy(frame + 6, json, sizeof(json) - 1); /* the mask is zero */
    return send(fd, frame, 6 + sizeof(json) - 1, MSG_NOSIGNAL) == 6 + sizeof(json) - 1;
}

int peer_client(struct peer *p, int *ret_guest)
{
    bool tty = p->listener < 0;
    int fd = connect_to(p->port);

    *ret_guest = -1;
    if (fd < 0)
        return -1;
    if (!shake_hands(fd, tty ? "/ws" : "/", tty ? "tty" : "binary") || (tty && !open_tty(fd))) {
        close(fd);
        return -1;
    }
    if (!tty)
        *ret_guest = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    return fd;
}

void peer_stop(struct peer *p)
{
    if (p->pid > 0) {
        kill(-p->pid, SIGTERM);
        waitpid(p->pid, NULL, 0);
    }
    if (p->listener >= 0) {
        close(p->listener);
        unlink(p->path);
    }
    *p = (struct peer){.listener = -1};
}
