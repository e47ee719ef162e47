/*
 * The whole daemon: what one client says on one connection of the Unix socket, with every right
 * there is, against libvirt's test driver. No answer may be 500. It lives in a network of its own,
 * as a user who may write nowhere else: what is fuzzed could name any address, and any knob of the
 * host. Links api.
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/http.h"
#include "api/ws.h"
#include "service/base/log.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "service/json/doc.h"
#include "service/vm/core.h"

#define NOBODY     65534
#define QUIET_MS   50 /* without a byte: an answer that waits, or a stream */
#define ANSWER_MAX 262144

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *dir;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static struct settings *settings;
static struct core *core;
static struct ws *ws;
static struct http *http;

static void die(const char *what, const struct error *err)
{
    fprintf(stderr, "%s: %s\n", what, err ? err->detail : strerror(errno));
    abort();
}

/* Loopback only, and nobody's rights. Who is no root may be refused a network of its own: then
 * there is nothing to run, since names and addresses in the input would be asked of the real one.
 */
static bool shut_in(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    uid_t uid = geteuid();
    int fd;

    if (unshare(uid ? CLONE_NEWUSER | CLONE_NEWNET : CLONE_NEWNET) < 0)
        return false;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
        die("cannot bring up the loopback interface", NULL);
    close(fd);
    dir = xasprintf("%s/drover-fuzz-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(dir))
        die("cannot make a folder", NULL);
    if (uid)
        return true;
    if (chown(dir, NOBODY, NOBODY) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
        die("cannot become nobody", NULL);
    return true;
}

static void set(const char *name, const char *value)
{
    struct error err;

    if (settings_set(settings, name, value, &err))
        die(name, &err);
}

static void end(void)
{
    auto_free char *command = xasprintf("rm -rf %s", dir);

    http_quiesce(http);
    ws_stop(ws);
    http_stop(http);
    core_stop(core);
    settings_free(settings);
    if (system(command) != 0)
        fprintf(stderr, "%s is left\n", dir);
}

static bool begin(void)
{
    static char socket_path[sizeof(address.sun_path)];
    struct core_options options = {0};
    struct http_options listen = {.listen = "127.0.0.1:0", .unix_socket = socket_path};
    struct error err;

    secret_init();
    doc_init();
    if (!shut_in())
        return false;
    signal(SIGPIPE, SIG_IGN);
    umask(0077);
    log_set_level(LOG_LEVEL_ERROR);
    settings = settings_new();
    set("state_dir", dir);
    set("libvirt_uri", "test:///default");
    set("ksm_tuner", "off");
    snprintf(socket_path, sizeof(socket_path), "%s/drover.sock", dir);
    memcpy(address.sun_path, socket_path, sizeof(socket_path));
    options = (struct core_options){.settings = settings, .state_dir = dir};
    if (core_start(&options, &core, &err) || ws_start(30, &ws, &err))
        die("cannot start", &err);
    listen.core = core;
    listen.ws = ws;
    if (http_start(&listen, &http, &err))
        die("cannot listen", &err);
    atexit(end);
    return true;
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, QUIET_MS) > 0;
}

/* One connection. What lies behind the first answer may be a body that quotes anything: it is not
 * judged. */
static void say(const void *data, size_t size)
{
    static char answer[ANSWER_MAX];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = 0, at = 0;
    ssize_t n;

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("cannot connect", NULL);
    while (at < size &&
           (n = send(fd, (const char *)data + at, size - at, MSG_NOSIGNAL | MSG_DONTWAIT)) > 0)
        at += (size_t)n;
    shutdown(fd, SHUT_WR);
    while (len < sizeof(answer) && readable(fd) &&
           (n = recv(fd, answer + len, sizeof(answer) - len, 0)) > 0)
        len += (size_t)n;
    close(fd);
    if (len >= 12 && memcmp(answer, "HTTP/1.1 500", 12) == 0) {
        fprintf(stderr, "%.*s\n", (int)len, answer);
        abort();
    }
}

/* What the stored inputs speak of. */
static void furnish(void)
{
    static const char *const made[][2] = {
        {"/v1/vms", "{\"name\":\"web-1\",\"memory_mib\":64,\"start\":true}"},
        {"/v1/images", "{\"name\":\"demo\",\"kind\":\"disk\",\"format\":\"raw\"}"},
        {"/v1/projects", "{\"name\":\"x1\"}"},
        {"/v1/leases", "{\"spec\":{\"memory_mib\":64},\"ttl_seconds\":600}"},
    };

    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        auto_free char *text =
            xasprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      "Content-Length: %zu\r\n\r\n%s",
                      made[i][0], strlen(made[i][1]), made[i][1]);

        say(text, strlen(text));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int state; /* 1: runs, -1: cannot */

    if (!state) {
        state = begin() ? 1 : -1;
        if (state > 0)
            furnish();
    }
    if (state > 0)
        say(data, size);
    return 0;
}
