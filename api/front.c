/*
 * The front's process: when one is wanted, started with the TCP listeners, watched, started again, ended.
 */
#include "api/front.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/front_internal.h"
#include "api/ws.h"
#include "service/base/clock.h"
#include "service/base/exec.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/conf/settings.h"

#define START_MS     20000 /* until it listens; a busy machine needs long */
#define STALL_MS     20000 /* its loop turns every second when idle */
#define END_MS       5000
#define AGAIN_MS     1000 /* between two starts of one that dies at once */
#define LIVED_MS     5000
#define PROGRAM_NAME "drover-front"

static const struct front_counts none;

const struct front_counts *front_counts(const struct front *f)
{
    return f && f->counts ? f->counts : &none;
}

/* ---- what it is told ---- */

static const char *const told[] = {
    "header_timeout_ms", "body_timeout_ms", "idle_timeout_ms", "max_connections", "max_connections_per_address",
    "insecure_listen",   "tls_certificate", "tls_key",         "tls_client_ca",   "log_level",
};

/* The front's own folder is another one. NULL: it is absolute, or none. */
static char *absolute(const char *path)
{
    auto_free char *here = *path && *path != '/' ? getcwd(NULL, 0) : NULL;

    return here ? xasprintf("%s/%s", here, path) : NULL;
}

static void tell_settings(struct front *f, unsigned flags)
{
    struct wire_out w = {0};

    for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++) {
        auto_free char *value = settings_text(f->http->settings, told[i]);
        auto_free char *path = str_starts(told[i], "tls_") ? absolute(value) : NULL;

        wire_text(&w, told[i]);
        wire_text(&w, path ? path : value);
    }
    front_send(&f->link, FRONT_SETTINGS, flags, 0, w.data, w.len, true);
    free(w.data);
}

/* ---- the process ---- */

/* Beside our own program, as it is built; else where it is installed. */
static void find_program(struct front *f, const char *given)
{
    char self[400];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (given) {
        snprintf(f->program, sizeof(f->program), "%s", given);
        return;
    }
    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    snprintf(f->program, sizeof(f->program), "%s/" PROGRAM_NAME, self);
    if (!file_exists(f->program))
        snprintf(f->program, sizeof(f->program), DROVER_LIBEXECDIR "/" PROGRAM_NAME);
}

static void watch(struct front *f)
{
    uint32_t want = EPOLLIN | (front_link_waits(&f->link) ? EPOLLOUT : 0u);
    struct epoll_event ev = {.events = want};

    if (f->watched == want)
        return;
    if (epoll_ctl(f->http->epoll_fd, f->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, f->link.fd, &ev) < 0)
        log_error("cannot watch the front: %s", strerror(errno));
    f->watched = want;
}

static int spawn(struct front *f, struct error *err)
{
    const char *const argv[] = {f->program, f->ping, f->hangup, NULL};
    int fds[2 + FRONT_LISTENERS];
    int pair[2];

    if (fd_socketpair(pair, err) < 0)
        return -1;
    fds[0] = pair[1];
    fds[1] = f->counts_fd;
    for (size_t i = 0; i < f->listener_count; i++)
        fds[2 + i] = f->listeners[i];
    f->started_ms = clock_monotonic_ms();
    f->counts->tick_ms = (unsigned long long)f->started_ms;
    if (exec_child(argv, fds, 2 + f->listener_count, &f->pidfd, err) < 0) {
        close(pair[0]);
        close(pair[1]);
        f->pidfd = -1;
        return -1;
    }
    close(pair[1]);
    front_link_init(&f->link, pair[0]);
    f->listens = false;
    f->failed = ERROR_INIT;
    f->watched = 0;
    watch(f);
    tell_settings(f, 0);
    return 0;
}

/* Its clients are gone with it. Its figures of what is open now end, those of what was stay. */
static void lose(struct front *f)
{
    epoll_ctl(f->http->epoll_fd, EPOLL_CTL_DEL, f->link.fd, NULL);
    calls_lose(f);
    front_link_done(&f->link);
    if (f->pidfd >= 0)
        exec_child_end(TAKE_FD(f->pidfd), 0);
    if (f->counts)
        f->counts->connections = f->counts->sockets = 0;
    f->restart_at_ms = clock_monotonic_ms();
    if (f->restart_at_ms - f->started_ms < LIVED_MS)
        f->restart_at_ms += AGAIN_MS;
}

static int on_frame(void *opaque, const struct front_head *head, const char *data)
{
    struct wire_in in = {.at = data, .end = data + head->len};
    struct front *f = opaque;

    if (head->type == FRONT_READY) {
        f->listens = wire_take_u32(&in) == FRONT_VERSION;
        if (f->listens)
            return 0;
        error_set(&f->failed, ERROR_CONFIG, "The process for the network is of another version than droverd.");
        error_remedy(&f->failed, "Restart droverd.");
        return -1;
    }
    if (head->type != FRONT_FAILED)
        return f->listens ? calls_frame(f, head, data) : -1;
    error_set(&f->failed, ERROR_CONFIG, "%s", wire_take_text(&in));
    str_copy_utf8(f->failed.pointer, sizeof(f->failed.pointer), wire_take_text(&in));
    error_remedy(&f->failed, "%s", wire_take_text(&in));
    error_cause(&f->failed, "%s", wire_take_text(&in));
    return -1;
}

static void start_again(struct front *f)
{
    struct error err;

    if (f->stopping)
        atomic_store(&f->ended, true);
    if (f->quiesced || f->stopping || clock_monotonic_ms() < f->restart_at_ms)
        return;
    if (spawn(f, &err) < 0) {
        log_failure(LOG_LEVEL_ERROR, &err, "the network's process does not start");
        f->restart_at_ms = clock_monotonic_ms() + AGAIN_MS;
    }
}

void front_turn(struct front *f)
{
    int n;

    if (!f->link.in) {
        calls_work(f); /* what others had, of clients that are gone */
        start_again(f);
        return;
    }
    n = front_read(&f->link, on_frame, f);
    if (n >= 0 && f->counts && clock_monotonic_ms() - (int64_t)f->counts->tick_ms > STALL_MS) {
        log_error("the network's process does not move; it is started again");
        n = -1;
    }
    if (n < 0) {
        if (*f->failed.detail)
            log_failure(LOG_LEVEL_ERROR, &f->failed, "the network's process did not start");
        else if (!f->stopping)
            log_error("the network's process has ended; it is started again");
        lose(f);
        start_again(f);
        return;
    }
    calls_work(f);
    if (f->stopping && !f->told_to_stop) { /* after the answers that there are */
        f->told_to_stop = true;
        front_send(&f->link, FRONT_STOP, 0, 0, NULL, 0, false);
    }
    front_flush(&f->link);
    watch(f);
    f->http->progress |= n > 0;
}

void front_reload(struct front *f)
{
    if (f && f->link.in)
        tell_settings(f, FRONT_AGAIN);
}

static void close_listeners(struct front *f)
{
    while (f->listener_count)
        close(f->listeners[--f->listener_count]);
}

void front_quiesce(struct front *f)
{
    if (!f)
        return;
    f->quiesced = true;
    close_listeners(f);
    if (f->link.in)
        front_send(&f->link, FRONT_QUIESCE, 0, 0, NULL, 0, true);
}

void front_stop(struct front *f)
{
    int64_t until = clock_monotonic_ms() + END_MS;

    if (!f)
        return;
    f->stopping = true;
    http_wake(f->http);
    /* The HTTP thread tells it, hears what it still has to say, and sees it end. */
    while (!atomic_load(&f->ended) && clock_monotonic_ms() < until)
        usleep(1000);
}

void front_free(struct front *f)
{
    if (!f)
        return;
    if (f->link.in)
        lose(f);
    calls_work(f);
    close_listeners(f);
    if (f->counts)
        munmap(f->counts, sizeof(*f->counts));
    if (f->counts_fd >= 0)
        close(f->counts_fd);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* ---- start ---- */

static int share_counts(struct front *f, struct error *err)
{
    f->counts_fd = memfd_create("front", MFD_CLOEXEC);
    if (f->counts_fd < 0 || ftruncate(f->counts_fd, sizeof(*f->counts)) < 0)
        return error_errno(err, errno, "cannot make memory to share");
    f->counts = mmap(NULL, sizeof(*f->counts), PROT_READ | PROT_WRITE, MAP_SHARED, f->counts_fd, 0);
    if (f->counts != MAP_FAILED)
        return 0;
    f->counts = NULL;
    return error_errno(err, errno, "cannot map memory to share");
}

/* From the HTTP loop's to the front's: a Unix socket stays. */
static void take_listeners(struct front *f, struct http *h)
{
    size_t kept = 0;

    for (size_t i = 0; i < h->listener_count; i++) {
        if (h->listeners[i].is_unix)
            h->listeners[kept++] = h->listeners[i];
        else
            f->listeners[f->listener_count++] = h->listeners[i].fd;
    }
    h->listener_count = kept;
}

int front_check(const struct settings *s, struct error *err)
{
    const char *wish = s->network_process;

    if (str_eq(wish, "always") || str_eq(wish, "never") || str_eq(wish, "auto"))
        return 0;
    return error_set_at(err, ERROR_CONFIG, "network_process", "\"%.40s\" is none of auto, always and never.", wish);
}

static bool is_wanted(const struct http *h)
{
    const char *wish = h->settings->network_process;

    return str_eq(wish, "always") || (str_eq(wish, "auto") && h->exposed);
}

static int wait_until_it_listens(struct front *f, struct error *err)
{
    int64_t until = f->started_ms + START_MS;

    while (!f->listens) {
        struct pollfd p = {.fd = f->link.fd, .events = POLLIN};
        int64_t left = until - clock_monotonic_ms();

        if (left <= 0)
            return error_set(err, ERROR_TIMEOUT, "The network's process did not start in time.");
        if (poll(&p, 1, (int)left) > 0 && front_read(&f->link, on_frame, f) < 0 && !f->listens) {
            *err = f->failed;
            return *err->detail ? -1 : error_set(err, ERROR_INTERNAL, "The network's process ended at its start.");
        }
    }
    return 0;
}

static struct front *front_new(struct http *h)
{
    struct front *f = xcalloc(1, sizeof(*f));

    f->http = h;
    f->pidfd = f->counts_fd = -1;
    mutex_init(&f->lock);
    f->back_tail = &f->back;
    f->ready_tail = &f->ready;
    return f;
}

struct front *front_attach(struct http *h, int fd)
{
    struct front *f = front_new(h);

    f->quiesced = true; /* there is no program to start again */
    front_link_init(&f->link, fd);
    watch(f);
    return f;
}

int front_start(struct http *h, const struct http_options *o, struct error *err)
{
    struct front *f;
    unsigned ping;

    if (front_check(h->settings, err) < 0)
        return -1;
    if (!is_wanted(h))
        return 0;
    f = h->front = front_new(h); /* freed with it */
    ping = o->ping_seconds ? o->ping_seconds : (unsigned)h->settings->websocket_ping_seconds;
    snprintf(f->ping, sizeof(f->ping), "%u", ping);
    snprintf(f->hangup, sizeof(f->hangup), "%u", o->hangup_seconds ? o->hangup_seconds : ping + WS_PONG_SECONDS);
    find_program(f, o->front_program);
    take_listeners(f, h);
    if (share_counts(f, err) < 0 || spawn(f, err) < 0 || wait_until_it_listens(f, err) < 0)
        return -1;
    return 0;
}
