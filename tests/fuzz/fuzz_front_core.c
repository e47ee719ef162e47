/*
 * What a core could say to its front: any frames, while clients of every kind wait for answers: one without a body, one
 * whose body waits to be asked for, one that wants a stream and one a WebSocket. The front ends (here: what it has open
 * does) or goes on, and nothing is left of a client that has gone. Links the transport with libmicrohttpd and
 * libwebsockets as they are; this thread is the loop.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/front_core.h"
#include "api/ws.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "tests/fuzz/http_end.h"

#define END_MS 60000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whose requests are 1, 2, 3 and 4. */
static const char *const requests[] = {
    "GET /v1/vms HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "PUT /v1/images/one/content HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\nthe first of it",
    "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
    ("GET /v1/vms/one/console HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
};
#define CLIENTS (sizeof(requests) / sizeof(requests[0]))

static struct http http;
static struct settings *settings;
static struct front_counts counts;

static void end(void)
{
    MHD_stop_daemon(http.mhd);
    ws_stop(http.ws);
    close(http.hangup_fd);
    http_end(&http, settings);
}

/* As http.c does it, but for who turns it. */
static void begin(void)
{
    struct epoll_event ev = {.events = EPOLLIN};
    const union MHD_DaemonInfo *info;
    struct error err;

    log_set_level((enum log_level)0);
    settings = settings_new();
    http = (struct http){.side = &front_side, .settings = settings, .next_deadline_ms = INT64_MAX};
    http.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    http.hangup_fd = epoll_create1(EPOLL_CLOEXEC);
    http.now_ms = clock_monotonic_ms();
    http.limits = (struct http_limits){.header_timeout_ms = END_MS,
                                       .body_timeout_ms = END_MS,
                                       .idle_timeout_ms = END_MS,
                                       .body_limit = 65536,
                                       .json_depth = 16,
                                       .json_tokens = 4096,
                                       .connections = 100,
                                       .per_address = 100};
    if (http_policy_new(settings, &http.policy, &err) < 0 || ws_start(60, &http.ws, &err) < 0)
        abort();
    http.mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC, 0,
                                NULL, NULL, exchange_access, &http, MHD_OPTION_URI_LOG_CALLBACK, exchange_begin, &http,
                                MHD_OPTION_NOTIFY_COMPLETED, exchange_completed, &http, MHD_OPTION_NOTIFY_CONNECTION,
                                conn_notify, &http, MHD_OPTION_END);
    info = http.mhd ? MHD_get_daemon_info(http.mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info)
        abort();
    http.epoll_fd = info->epoll_fd;
    if (epoll_ctl(http.epoll_fd, EPOLL_CTL_ADD, http.wake_fd, &ev) < 0)
        abort();
    atexit(end);
}

/* False: the front would end here. */
static bool turn(struct core_link *core, int wait_ms)
{
    uint64_t count;

    http.again = false;
    MHD_run_wait(http.mhd, wait_ms);
    http.now_ms = clock_monotonic_ms();
    (void)!read(http.wake_fd, &count, sizeof(count));
    return core_link_pass(core) >= 0;
}

static int connect_client(const char *request)
{
    struct sockaddr_storage addr = {.ss_family = AF_UNIX};
    struct error err;
    int pair[2];

    if (fd_socketpair(pair, &err) < 0 || send(pair[0], request, strlen(request), 0) < 0 ||
        MHD_add_connection(http.mhd, pair[1], (struct sockaddr *)&addr, sizeof(sa_family_t)) != MHD_YES)
        abort();
    return pair[0];
}

static void drain(int fd)
{
    static char buf[65536];

    while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
        ;
}

/* What the core is still to answer never will be. */
static void let_go(struct core_link *core)
{
    struct errand *e, *next;

    HASH_ITER(hh, core->errands, e, next)
        errand_refuse(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t until = clock_monotonic_ms() + END_MS;
    struct core_link *core;
    struct error err;
    int pair[2], clients[CLIENTS];

    if (!settings)
        begin();
    if (size > 65536 || fd_socketpair(pair, &err) < 0)
        return 0;
    core = core_link_new(pair[0], &counts);
    core->http = &http;
    core->ws = http.ws;
    http.core_link = core;
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = connect_client(requests[i]);
        while (core->last_id == i)
            turn(core, 10);
    }
    drain(pair[1]);
    if (size && send(pair[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        abort();
    for (int i = 0; i < 4 && turn(core, 0); i++)
        ;
    for (size_t i = 0; i < CLIENTS; i++)
        drain(clients[i]);
    turn(core, 0);
    let_go(core);
    for (size_t i = 0; i < CLIENTS; i++)
        close(clients[i]);
    while (http.conns || core->errands || atomic_load(&http.count.suspended)) {
        if (clock_monotonic_ms() > until)
            abort();
        conn_hangups(&http);
        turn(core, 1);
    }
    if (atomic_load(&http.count.in_flight) || atomic_load(&http.count.streams))
        abort();
    close(pair[1]);
    epoll_ctl(http.epoll_fd, EPOLL_CTL_DEL, pair[0], NULL);
    core_link_free(core);
    return 0;
}
