/*
 * What a front that was taken over could say to the core: any bytes. The core may end it, and serves what is well formed
 * as it serves everybody; nothing is left of it afterwards. Links the transport, with a core of a few lines.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "api/front.h"
#include "api/front_wire.h"
#include "api/http_internal.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "tests/fuzz/http_end.h"
#include "tests/unit/api/fake_core.h"

#define END_MS 60000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- routes: at once, by a worker, an upload, a stream ---- */

static int get_inline(struct request *req, struct response *res, struct error *err)
{
    (void)err;
    response_text(res, 200, "text/plain", request_header(req, "accept") ? "asked for" : "plain");
    return 0;
}

static int post_body(struct request *req, struct response *res, struct error *err)
{
    (void)err;
    response_blob(res, 200, blob_new(req->body ? req->body : "", req->body_len));
    return 0;
}

static int upload_begin_none(struct request *req, void **ret_state, struct error *err)
{
    (void)req, (void)err;
    *ret_state = malloc(1);
    return 0;
}

static int upload_write_none(void *state, const void *data, size_t len, struct error *err)
{
    (void)state, (void)data, (void)len, (void)err;
    return 0;
}

static int upload_finish_none(struct request *req, void *state, struct response *res, struct error *err)
{
    (void)req, (void)err;
    free(state);
    response_text(res, 200, "text/plain", "stored");
    return 0;
}

static ssize_t echo_read(struct source *s, void *buf, size_t max, enum source_kind *ret_kind)
{
    (void)s, (void)max;
    *ret_kind = SOURCE_TEXT;
    memcpy(buf, "tick", 4);
    return 4;
}

static ssize_t echo_write(struct source *s, enum source_kind kind, const void *data, size_t len)
{
    (void)s, (void)kind, (void)data;
    return (ssize_t)(len > 100 ? 100 : len);
}

static void echo_notify(struct source *s, void (*notify)(void *opaque), void *opaque)
{
    (void)s, (void)notify, (void)opaque;
}

static void echo_close(struct source *s)
{
    free(s);
}

static int get_stream(struct request *req, struct response *res, struct error *err)
{
    struct source *s = xcalloc(1, sizeof(*s));

    (void)err;
    *s = (struct source){.read = echo_read, .write = echo_write, .set_notify = echo_notify, .close = echo_close};
    if (request_wants_upgrade(req))
        res->status = 101;
    res->stream = s;
    return 0;
}

static const struct upload_ops upload = {upload_begin_none, upload_write_none, upload_finish_none, free};
const struct route routes[] = {
    {"GET", "/v1/vms/{vm}", "getVm", 0, ROUTE_INLINE | ROUTE_PUBLIC, get_inline, NULL},
    {"POST", "/v1/vms", "createVm", 0, ROUTE_BODY | ROUTE_PUBLIC, post_body, NULL},
    {"GET", "/v1/secret", "getSecret", ACCESS_VM_READ, ROUTE_INLINE, get_inline, NULL},
    {"PUT", "/v1/images/{image}", "putImage", 0, ROUTE_UPLOAD | ROUTE_PUBLIC, NULL, &upload},
    {"GET", "/v1/events", "getEvents", 0, ROUTE_UPGRADE_OPTIONAL | ROUTE_PUBLIC, get_stream, NULL},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};

/* ---- a transport without a loop: this thread is it ---- */

static struct http http;
static struct settings *settings;

static void end(void)
{
    pipeline_side.stop(&http);
    close(http.epoll_fd);
    http_end(&http, settings);
}

static void begin(void)
{
    struct http_options options = {0};
    struct error err;

    secret_init();
    log_set_level((enum log_level)0);
    settings = settings_new();
    if (settings_set(settings, "network_process", "never", &err) < 0)
        abort();
    http.side = &pipeline_side;
    http.settings = settings;
    http.core = fake_core(settings);
    http.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    http.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    http.limits =
        (struct http_limits){.body_limit = 65536, .user_data_limit = 1024, .json_depth = 16, .json_tokens = 4096};
    memcpy(http.id_prefix, "fuzz", sizeof("fuzz"));
    if (http_policy_new(settings, &http.policy, &err) < 0 || pipeline_side.start(&http, &options, &err) < 0)
        abort();
    atexit(end);
}

/* Workers give back what they have. */
static void settle(struct front *f)
{
    int64_t until = clock_monotonic_ms() + END_MS;

    front_turn(f);
    while (atomic_load(&http.count.suspended)) {
        struct pollfd p = {.fd = http.wake_fd, .events = POLLIN};
        uint64_t count;

        if (clock_monotonic_ms() > until)
            abort();
        if (poll(&p, 1, 10) > 0 && read(http.wake_fd, &count, sizeof(count)) < 0)
            abort();
        front_turn(f);
    }
}

static void drain(int fd)
{
    static char buf[65536];

    while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct front_head ready = {.len = sizeof(uint32_t), .type = FRONT_READY};
    const uint32_t version = FRONT_VERSION;
    struct front *f;
    struct error err;
    int pair[2];

    if (!settings)
        begin();
    if (size > 65536 || fd_socketpair(pair, &err) < 0)
        return 0;
    f = front_attach(&http, pair[0]);
    if (send(pair[1], &ready, sizeof(ready), 0) < 0 || send(pair[1], &version, sizeof(version), 0) < 0 ||
        (size && send(pair[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0))
        abort();
    settle(f);
    drain(pair[1]);
    settle(f);
    close(pair[1]);
    settle(f); /* its clients are gone with it */
    if (atomic_load(&http.count.in_flight) || atomic_load(&http.count.streams))
        abort();
    front_free(f);
    return 0;
}
