/*
 * A daemon with nothing behind it: the real transport over fake_core.c and a route for each thing
 * the transport can do. Driven by tests/integration/test_transport_*.py.
 *
 *     test_server [--unix PATH] [--ping SECONDS] [NAME=VALUE setting]...
 *
 * Prints "listening ADDR:PORT" and stops on SIGTERM.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http.h"
#include "api/http_metrics.h"
#include "api/ws.h"
#include "service/base/clock.h"
#include "service/base/hash.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/vm/core.h"
#include "tests/unit/api/fake_core.h"
#include "tests/unit/api/test_sources.h"

static _Atomic long uploads_aborted, uploads_finished;

/* ---- handlers ---- */

static int get_vm(struct request *req, struct response *res, struct error *err)
{
    static struct blob *body;

    (void)req;
    (void)err;
    if (!body)
        body = blob_new_text(test_vm_json);
    response_blob(res, 200, blob_ref(body));
    return 0;
}

static int get_public(struct request *req, struct response *res, struct error *err)
{
    (void)err;
    response_json(res, 200,
                  json_pack("{s:b,s:s}", "signed_in", req->has_principal, "peer", req->peer));
    return 0;
}

static int add_arg(void *list, const char *name, const char *value)
{
    json_array_append_new(list, json_pack("[s,s]", name, value));
    return 0;
}

static int get_query(struct request *req, struct response *res, struct error *err)
{
    json_t *list = json_array();
    int64_t n = -1;

    if (request_query_int(req, "n", 0, 10, &n, err) < 0) {
        json_decref(list);
        return -1;
    }
    request_query_each(req, add_arg, list);
    response_json(res, 200,
                  json_pack("{s:o,s:I,s:s,s:s}", "args", list, "n", (json_int_t)n, "principal",
                            req->principal.id, "param", request_param(req, "name")));
    return 0;
}

static int post_echo(struct request *req, struct response *res, struct error *err)
{
    struct idem idem = request_idem(req);

    (void)err;
    response_json(res, 201,
                  json_pack("{s:O?,s:i,s:s?,s:s?}", "json", req->json, "length", (int)req->body_len,
                            "key", idem.key, "sha256", idem.request_sha256));
    response_header(res, "Location", "/v1/echo/%s", "1");
    return 0;
}

static int delete_match(struct request *req, struct response *res, struct error *err)
{
    int64_t generation = -1;

    if (request_if_match(req, &generation, err) < 0)
        return -1;
    response_json(res, 200, json_pack("{s:I}", "generation", (json_int_t)generation));
    return 0;
}

static int post_fail(struct request *req, struct response *res, struct error *err)
{
    const char *slug = request_query(req, "code");

    (void)res;
    error_set_at(err, error_from_slug(slug ? slug : "internal"), "/member", "It failed \"so\".");
    error_remedy(err, "Do otherwise.");
    error_cause(err, "a secret of the library");
    return -1;
}

static int parked_over(struct request *req, struct response *res, struct error *err)
{
    enum wait_result how = request_wait_result(req);

    if (how == WAIT_STOPPING)
        return error_set(err, ERROR_SHUTTING_DOWN, "The daemon is stopping.");
    response_json(res, 200,
                  json_pack("{s:s,s:s}", "result", how == WAIT_DONE ? "done" : "timeout", "kept",
                            (const char *)request_kept(req)));
    return 0;
}

static int post_park(struct request *req, struct response *res, struct error *err)
{
    const char *id = request_query(req, "id");
    int64_t timeout_ms = 30000;

    (void)res;
    if (request_query_int(req, "timeout_ms", 0, 600000, &timeout_ms, err) < 0)
        return -1;
    request_keep(req, xstrdup("kept"), free);
    return request_park_op(req, id ? id : "never", timeout_ms, parked_over);
}

static int post_finish(struct request *req, struct response *res, struct error *err)
{
    (void)err;
    fake_core_finish_op(request_query(req, "id"));
    res->status = 204;
    return 0;
}

static int get_events(struct request *req, struct response *res, struct error *err)
{
    int64_t count = 3;
    int64_t every_ms = 5;

    if (request_query_int(req, "count", 0, 1000000, &count, err) < 0 ||
        request_query_int(req, "every_ms", 1, 600000, &every_ms, err) < 0)
        return -1;
    if (request_wants_upgrade(req))
        res->status = 101;
    else if (!str_eq(request_header(req, "Accept"), "text/event-stream")) {
        response_json(res, 200, json_pack("{s:[]}", "items"));
        return 0;
    }
    res->stream = test_source_ticks(count, every_ms);
    return 0;
}

static int get_console(struct request *req, struct response *res, struct error *err)
{
    const char *kind = request_param(req, "vm");
    const char *ticket = request_query(req, "ticket");

    if (!req->has_principal && !str_eq(ticket, "good"))
        return error_set(err, ERROR_TICKET_EXPIRED, "The ticket is over.");
    if (strcmp(kind, "missing") == 0)
        return error_set(err, ERROR_VM_NOT_FOUND, "There is no such VM.");
    if (request_offers_subprotocol(req, "drover.console.v1"))
        snprintf(res->subprotocol, sizeof(res->subprotocol), "drover.console.v1");
    else if (request_offers_subprotocol(req, "binary"))
        snprintf(res->subprotocol, sizeof(res->subprotocol), "binary");
    else if (*request_offered_subprotocols(req))
        return error_set(err, ERROR_SUBPROTOCOL_UNKNOWN, "Offer binary.");
    res->status = 101;
    res->stream = strcmp(kind, "flood") == 0  ? test_source_flood()
                  : strcmp(kind, "slow") == 0 ? test_source_slow()
                  : strcmp(kind, "bye") == 0  ? test_source_bye()
                                              : test_source_echo();
    return 0;
}

/* ---- uploads ---- */

struct upload {
    struct hash *hash;
    uint64_t bytes;
    bool fail;
};

static int upload_begin(struct request *req, void **ret, struct error *err)
{
    struct upload *u;

    if (request_query(req, "refuse"))
        return error_set(err, ERROR_IMAGE_STATE_CONFLICT, "Not in this state.");
    u = xcalloc(1, sizeof(*u));
    u->hash = hash_new(HASH_SHA256);
    u->fail = request_query(req, "fail") != NULL;
    *ret = u;
    return 0;
}

static int upload_write(void *state, const void *data, size_t len, struct error *err)
{
    struct upload *u = state;

    if (u->fail && u->bytes)
        return error_set(err, ERROR_INSUFFICIENT_STORAGE, "The disk is full.");
    hash_add(u->hash, data, len);
    u->bytes += len;
    return 0;
}

static void upload_abort(void *state)
{
    struct upload *u = state;

    hash_free(u->hash);
    free(u);
    atomic_fetch_add(&uploads_aborted, 1);
}

static int upload_finish(struct request *req, void *state, struct response *res, struct error *err)
{
    struct upload *u = state;
    char sum[SECRET_SHA256_TEXT];

    (void)req;
    (void)err;
    hash_finish(u->hash, sum);
    response_json(res, 200, json_pack("{s:I,s:s}", "bytes", (json_int_t)u->bytes, "sha256", sum));
    hash_free(u->hash);
    free(u);
    atomic_fetch_add(&uploads_finished, 1);
    return 0;
}

static const struct upload_ops upload_ops = {upload_begin, upload_write, upload_finish,
                                             upload_abort};

/* ---- what the tests look at ---- */

static long rss_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f) {
        if (fscanf(f, "%*d %ld", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* What the program holds, whoever gave it: of resident memory a sanitizer's own part grows with every call. */
static long heap_kib(void)
{
    void *address = dlsym(RTLD_DEFAULT, "__sanitizer_get_current_allocated_bytes");
    size_t (*allocated)(void);

    if (!address) {
        struct mallinfo2 m = mallinfo2();

        return (long)((m.uordblks + m.hblkhd) / 1024);
    }
    memcpy(&allocated, &address, sizeof(allocated));
    return (long)(allocated() / 1024);
}

static int open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = -3; /* . and .. and this very directory */

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static int get_state(struct request *req, struct response *res, struct error *err)
{
    struct http_metrics m;
    struct http_route_metrics r;
    json_t *counts = json_object();
    json_t *out;

    (void)err;
    http_metrics_read(req, &m);
    for (size_t i = 0; http_metrics_route(req, i, &r); i++) {
        json_t *classes = json_array();

        for (int class = 0; class < 6; class ++)
            json_array_append_new(classes, json_integer((json_int_t)r.by_class[class]));
        json_object_set_new(counts, r.route ? r.route->operation_id : "none", classes);
    }
    out = json_pack(
        "{s:i,s:i,s:i,s:i,s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "rss_kib",
        (int)rss_kib(), "heap_kib", (int)heap_kib(), "fds", open_fds(), "uploads_aborted", (int)atomic_load(&uploads_aborted),
        "uploads_finished", (int)atomic_load(&uploads_finished), "websockets",
        (json_int_t)m.websockets.connections, "auth_failures", (json_int_t)m.auth_failures,
        "malformed", (json_int_t)m.malformed_requests, "timed_out", (json_int_t)m.timed_out,
        "refused", (json_int_t)m.refused_connections, "connections", (json_int_t)m.connections,
        "in_flight", (json_int_t)m.requests_in_flight, "parked", (json_int_t)m.requests_parked,
        "streams", (json_int_t)m.event_streams, "sources", (json_int_t)test_sources_open(),
        "latency_count", (json_int_t)m.latency_count, "routes", counts);
    response_json(res, 200, out);
    return 0;
}

const struct route routes[] = {
    {"GET", "/v1/vms/{vm}", "getVm", ACCESS_VM_READ, ROUTE_INLINE, get_vm, NULL},
    {"GET", "/v1/blocking/{vm}", "getBlocking", ACCESS_VM_READ, 0, get_vm, NULL},
    {"GET", "/v1/public", "getPublic", 0, ROUTE_PUBLIC | ROUTE_INLINE, get_public, NULL},
    {"POST", "/v1/public", "postPublic", 0, ROUTE_PUBLIC | ROUTE_BODY, post_echo, NULL},
    {"GET", "/v1/query/{name}", "getQuery", 0, 0, get_query, NULL},
    {"POST", "/v1/echo", "postEcho", ACCESS_VM_WRITE, ROUTE_BODY, post_echo, NULL},
    {"POST", "/v1/echo/large", "postLarge", ACCESS_VM_WRITE, ROUTE_BODY | ROUTE_LARGE_BODY,
     post_echo, NULL},
    {"POST", "/v1/inline", "postInline", 0, ROUTE_BODY_OPTIONAL | ROUTE_INLINE, post_echo, NULL},
    {"DELETE", "/v1/echo", "deleteEcho", 0, 0, delete_match, NULL},
    {"POST", "/v1/fail", "postFail", 0, 0, post_fail, NULL},
    {"POST", "/v1/park", "postPark", 0, 0, post_park, NULL},
    {"POST", "/v1/finish", "postFinish", 0, ROUTE_INLINE, post_finish, NULL},
    {"GET", "/v1/events", "getEvents", 0, ROUTE_UPGRADE_OPTIONAL, get_events, NULL},
    {"GET", "/v1/vms/{vm}/console", "getConsole", ACCESS_CONSOLE_VIEW, ROUTE_UPGRADE | ROUTE_TICKET,
     get_console, NULL},
    {"PUT", "/v1/upload", "putUpload", ACCESS_IMAGE_WRITE, ROUTE_UPLOAD, NULL, &upload_ops},
    {"GET", "/v1/state", "getState", 0, 0, get_state, NULL},
    {0},
};

static int usage(const char *why)
{
    fprintf(stderr, "test_server: %s\n", why);
    return 2;
}

static int serve(struct settings *settings, const char *unix_path, unsigned ping)
{
    struct core *core = fake_core(settings);
    struct http_options options = {
        .core = core, .listen = settings->listen, .unix_socket = unix_path,
        .front_program = getenv("DROVER_FRONT"), .ping_seconds = ping, .hangup_seconds = ping + 2};
    struct error err;
    struct http *http;
    sigset_t signals;
    int sig;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    fake_core_start();
    test_sources_start();
    if (ws_start_with(ping, ping + 2, &options.ws, &err) < 0 ||
        http_start(&options, &http, &err) < 0) {
        log_failure(LOG_LEVEL_ERROR, &err, "start");
        return 1;
    }
    printf("listening %s\n", http_address(http));
    fflush(stdout);
    while (sigwait(&signals, &sig) == 0 && sig == SIGHUP)
        http_reload(http);
    http_quiesce(http);
    ws_stop(options.ws);
    http_stop(http);
    fake_core_stop();
    printf("stopped sources=%ld\n", test_sources_open());
    return 0;
}

int main(int argc, char **argv)
{
    auto_settings struct settings *settings = settings_new();
    const char *unix_path = NULL;
    unsigned ping = 25;
    struct error err;

    secret_init();
    if (settings_set(settings, "listen", "127.0.0.1:0", &err) < 0)
        return usage(err.detail);
    for (int i = 1; i < argc; i++) {
        char *eq = strchr(argv[i], '=');

        if (strcmp(argv[i], "--unix") == 0 && i + 1 < argc) {
            unix_path = argv[++i];
        } else if (strcmp(argv[i], "--ping") == 0 && i + 1 < argc) {
            ping = (unsigned)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--debug") == 0) {
            log_set_level(LOG_LEVEL_DEBUG);
        } else if (strcmp(argv[i], "--info") == 0) {
            log_set_level(LOG_LEVEL_INFO);
        } else if (strcmp(argv[i], "--quiet") == 0) {
            log_set_level(LOG_LEVEL_ERROR);
        } else if (eq) {
            *eq = '\0';
            if (settings_set(settings, argv[i], eq + 1, &err) < 0)
                return usage(err.detail);
        } else {
            return usage("what is that argument?");
        }
    }
    return serve(settings, unix_path, ping);
}
