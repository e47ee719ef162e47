/*
 * The composition root: builds everything in order, waits for a signal, takes everything down in
 * reverse. No logic of its own.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "api/dump.h"
#include "api/front.h"
#include "api/http.h"
#include "api/tls.h"
#include "api/ws.h"
#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/database_tool.h"
#include "service/json/doc.h"
#include "service/options.h"
#include "service/vm/console.h"
#include "service/vm/core.h"

#define STOP_SECONDS  10
#define HTTP_STALL_MS 10000 /* the HTTP loop ticks every second when idle */

struct daemon {
    struct options options;
    struct core *core;
    struct ws *ws;
    struct http *http;
};

static int start(struct daemon *d, struct error *err)
{
    struct settings *s = d->options.settings;
    struct core_options core = {.settings = s, .state_dir = s->state_dir};
    auto_free char *socket = xasprintf("%s/drover.sock", s->state_dir);
    auto_free char *address_file = xasprintf("%s/listen.addr", s->state_dir);
    struct http_options http = {.listen = s->listen, .unix_socket = socket};
    int passed = sd_listen_fds(1), fds[16];

    for (int i = 0; i < passed && i < 16; i++)
        fds[http.passed_count++] = SD_LISTEN_FDS_START + i;
    http.passed_fds = fds;
    CRASH_POINT(START_SOCKETS);
    if (core_start(&core, &d->core, err) ||
        ws_start((unsigned)s->websocket_ping_seconds, &d->ws, err))
        return -1;
    http.core = d->core;
    http.ws = d->ws;
    if (http_start(&http, &d->http, err))
        return -1;
    /* A convenience for scripts; a full disk is no reason not to serve. */
    if (file_write_atomic(address_file, http_address(d->http), strlen(http_address(d->http)), 0644, err))
        log_failure(LOG_LEVEL_WARNING, err, "cannot write the address to a file");
    CRASH_POINT(START_LISTENING);
    return 0;
}

/*
 * libvirt's calls cannot be called off: one that hangs would hold up the stop for ever. Everything
 * that was promised is on the disk, so leaving as after a crash loses nothing.
 */
static void leave(int sig)
{
    static const char text[] = "<3>stopping takes too long, libvirt does not answer; leaving without it\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)sig;
    (void)n;
    _exit(1);
}

static void stop(struct daemon *d)
{
    signal(SIGALRM, leave);
    alarm(STOP_SECONDS);
    if (d->http)
        http_quiesce(d->http);
    if (d->ws)
        ws_stop(d->ws);
    if (d->http)
        http_stop(d->http);
    core_stop(d->core);
    alarm(0);
}

static void reload(struct daemon *d)
{
    auto_settings struct settings *fresh = settings_new();
    struct error err;

    if (!d->options.config_path) {
        http_reload(d->http); /* a certificate may be a new one all the same */
        return;
    }
    if (settings_load(fresh, d->options.config_path, &err)) {
        log_failure(LOG_LEVEL_ERROR, &err, "the settings stay as they are");
        return;
    }
    settings_reload(d->options.settings, fresh);
    log_set_level_named(d->options.settings->log_level);
    http_reload(d->http);
    console_set_viewers_max(core_consoles(d->core), (unsigned)d->options.settings->console_viewers);
    log_info("settings read again from %s", d->options.config_path);
}

/* Waits for a signal to stop; reloads on SIGHUP; feeds the watchdog while the HTTP loop lives. */
static void serve(struct daemon *d, const sigset_t *signals)
{
    uint64_t watchdog_us = 0;
    int64_t interval_ms = sd_watchdog_enabled(0, &watchdog_us) > 0 ? (int64_t)(watchdog_us / 2000) : 1000;

    sd_notifyf(0, "READY=1\nSTATUS=Listening on %s", http_address(d->http));
    log_info("listening on %s", http_address(d->http));
    for (;;) {
        struct timespec timeout = {.tv_sec = interval_ms / 1000, .tv_nsec = interval_ms % 1000 * 1000000};
        int sig = sigtimedwait(signals, NULL, &timeout);

        if (sig == SIGTERM || sig == SIGINT)
            return;
        if (sig == SIGHUP)
            reload(d);
        if (watchdog_us && clock_monotonic_ms() - http_last_tick(d->http) < HTTP_STALL_MS)
            sd_notify(0, "WATCHDOG=1");
    }
}

static int run(struct daemon *d)
{
    struct error err;
    sigset_t signals, blocked;
    int rc;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    /* Blocked, not awaited here: who reaps QEMU is woken by it. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write(2), not an end */
    umask(0077);
    log_set_level_named(d->options.settings->log_level);
    rc = start(d, &err);
    if (rc) {
        log_failure(LOG_LEVEL_ERROR, &err, "cannot start");
        if (*err.remedy)
            log_error("%s", err.remedy);
    } else {
        serve(d, &signals);
        sd_notify(0, "STOPPING=1");
        log_info("stopping; guests keep running");
        CRASH_POINT(STOP_BEGUN);
    }
    stop(d);
    return rc ? 1 : 0;
}

/* setting: the one at fault where the words do not say it, or "". */
static int refuse(const char *setting, const struct error *err)
{
    fprintf(stderr, "droverd: %s%s%s%s%s\n", setting, *setting ? ": " : "", err->detail,
            *err->remedy ? "\n" : "", err->remedy);
    return 2;
}

/* The settings were read, each within its bounds; certificates are files of their own. */
static int check(const struct settings *s)
{
    struct tls *tls = NULL;
    struct error err;

    if (front_check(s, &err) || tls_start(s, NULL, NULL, &tls, &err)) /* nobody comes in */
        return refuse(err.pointer, &err);
    tls_stop(tls);
    return 0;
}

int main(int argc, char **argv)
{
    auto_settings struct settings *settings = settings_new();
    struct daemon d = {.options = {.settings = settings}};
    struct error err;

    secret_init();
    doc_init();
    if (options_parse(argc, argv, &d.options, &err))
        return refuse("", &err);
    switch (d.options.verb) {
    case OPTIONS_HELP:
        options_help();
        return 0;
    case OPTIONS_VERSION:
        puts(DROVER_VERSION);
        return 0;
    case OPTIONS_DUMP:
        return api_dump(d.options.dump, stdout) ? 2 : 0;
    case OPTIONS_CHECK:
        return check(settings);
    case OPTIONS_DATABASE:
        return database_tool(&d.options);
    case OPTIONS_RUN:
        return run(&d);
    }
    return 2;
}
