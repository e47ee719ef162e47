/*
 * The daemon's transport and hub without the rest of it: the real port, pipeline and carrier, with
 * two routes.
 */
#include "api/http.h"
#include "api/request.h"
#include "api/ws.h"
#include "service/base/log.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "tests/bench/console_rig.h"
#include "tests/unit/api/fake_core.h"

struct console_hub *hub;

static struct ws *ws;
static struct http *http;
static struct settings *settings;
static int display_fd = -1; /* what the next display is made of */

static int get_console(struct request *req, struct response *res, struct error *err)
{
    const struct console_attach attach = {.vm_id = request_param(req, "vm"),
                                          .stream = "console",
                                          .mode = CONSOLE_CONTROL,
                                          .viewer = "bench"};

    res->status = 101;
    return console_attach(hub, &attach, &res->stream, err);
}

static int get_display(struct request *req, struct response *res, struct error *err)
{
    const struct console_pipe pipe = {.vm_id = request_param(req, "vm"),
                                      .stream = "display",
                                      .fd = display_fd,
                                      .mode = CONSOLE_CONTROL,
                                      .viewer = "bench"};

    res->status = 101;
    return console_pipe(hub, &pipe, &res->stream, err);
}

const struct route routes[] = {
    {"GET", "/v1/vms/{vm}/console", "getConsole", ACCESS_CONSOLE_VIEW, ROUTE_UPGRADE, get_console,
     NULL},
    {"GET", "/v1/vms/{vm}/display", "getDisplay", ACCESS_CONSOLE_VIEW, ROUTE_UPGRADE, get_display,
     NULL},
    {0},
};

static int upgraded(const char *vm_id, const char *stream)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[512], c;
    int one = 1, newlines = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n = snprintf(request, sizeof(request),
                     "GET /v1/vms/%s/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Version: 13\r\nAuthorization: Bearer " FAKE_TOKEN "\r\n\r\n",
                     vm_id, stream);

    a.sin_port = htons((uint16_t)atoi(strrchr(http_address(http), ':') + 1));
    MUST(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    MUST(send(fd, request, (size_t)n, MSG_NOSIGNAL) == n);
    MUST(recv(fd, request, 12, MSG_WAITALL) == 12 && strncmp(request, "HTTP/1.1 101", 12) == 0);
    while (newlines < 2) { /* "\r\n\r\n" */
        MUST(recv(fd, &c, 1, 0) == 1);
        newlines = c == '\n' ? newlines + 1 : c == '\r' ? newlines : 0;
    }
    return fd;
}

int viewer_new(const char *vm_id)
{
    return upgraded(vm_id, "console");
}

int display_new(int guest_fd)
{
    display_fd = guest_fd;
    return upgraded(ONE, "display");
}

void daemon_open(void)
{
    const char *log_dir = getenv("BENCH_LOG_DIR"), *rate = getenv("BENCH_RATE");
    const struct console_options options = {
        .ring_bytes = 262144,
        .viewers_max = 64,
        .log_dir = log_dir,
        .log_bytes = 1 << 20,
        .rate_bytes = rate ? strtoull(rate, NULL, 10) : 64 << 20,
    };
    struct http_options http_options = {0};
    struct rlimit files;
    struct error err;

    MUST(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = files.rlim_max;
    MUST(setrlimit(RLIMIT_NOFILE, &files) == 0);
    secret_init();
    log_set_level(LOG_LEVEL_ERROR);
    settings = settings_new();
    MUST(settings_set(settings, "listen", "127.0.0.1:0", &err) == 0);
    MUST(settings_set(settings, "max_connections", "65536", &err) == 0);
    MUST(settings_set(settings, "max_connections_per_address", "65536", &err) == 0);
    MUST(console_hub_new(&options, &hub, &err) == 0);
    fake_core_start();
    MUST(ws_start((unsigned)settings->websocket_ping_seconds, &ws, &err) == 0);
    http_options.core = fake_core(settings);
    http_options.listen = settings->listen;
    http_options.ws = ws;
    MUST(http_start(&http_options, &http, &err) == 0);
}

void daemon_close(void)
{
    http_quiesce(http);
    ws_stop(ws);
    http_stop(http);
    fake_core_stop();
    console_hub_free(hub);
    settings_free(settings);
}
