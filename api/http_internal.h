/*
 * The libmicrohttpd wall's own: only http*.c and request.c may include this, and nothing else may
 * include microhttpd.h.
 *
 * One thread ("http") runs libmicrohttpd's loop and owns every conn, every counter and, except
 * while its connection is suspended, every exchange. A suspended exchange belongs to exactly one
 * other party: a request worker, a parked wait, or the WebSocket thread; each gives it back by
 * resuming the connection, as the last thing it does with it. What an upload's worker touches while
 * its connection goes on receiving is behind a lock of its own (http_upload.c).
 */
#ifndef DROVER_API_HTTP_INTERNAL_H
#define DROVER_API_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "api/http.h"
#include "api/http_gate.h"
#include "api/http_metrics.h"
#include "api/http_policy.h"
#include "api/query.h"
#include "api/request.h"
#include "api/tls.h"
#include "service/vm/audit_log.h"

#define HTTP_LISTENERS_MAX 8
#define HTTP_ADMIN_RESERVE 8 /* connections beyond the limit, for the host's own administrator */

#define RETRY_AFTER_SECONDS "1"

/* ---- connections (http_conn.c) ---- */

/* What a connection is doing, which says what its deadline means. */
enum conn_wait {
    CONN_HEADER, /* the header is to arrive */
    CONN_BODY,
    CONN_UPLOAD, /* a body of any size: judged by its rate */
    CONN_SERVED, /* ours to act: no deadline */
    CONN_ANSWER, /* the answer is to leave */
    CONN_STREAM, /* time for a keep-alive comment */
    CONN_IDLE,   /* kept alive */
};

struct conn {
    unsigned magic;
    struct conn *prev, *next;
    struct exchange *exchange; /* the request being served, or NULL */
    struct MHD_Connection *mhd;
    int fd; /* libmicrohttpd's */
    struct conn *hung_next;
    bool hung; /* the client has closed its side; on the list */
    enum conn_wait wait;
    bool cut;            /* the deadline passed: the socket is shut */
    int64_t deadline_ms; /* monotonic; 0: none */
    bool is_unix;
    unsigned uid;
    struct addr_count *addr; /* NULL for Unix sockets */
    struct tls_link *tls;    /* NULL: in clear */
    char peer[64];
};

/* ---- requests ---- */

enum phase {
    PHASE_NEW,     /* the header is not complete */
    PHASE_BODY,    /* the body is arriving, or there is none */
    PHASE_BEGUN,   /* an upload was accepted: the body may come */
    PHASE_WORKING, /* suspended: with a worker, parked */
    PHASE_READY,   /* rc, res and err say what to answer */
    PHASE_ANSWERED,
    PHASE_SOCKET, /* suspended: with the WebSocket thread */
};

struct call;
struct core_link;
struct errand;
struct front;
struct http_stream;
struct parking;
struct upload_pipe;

#define EXCHANGE_MAGIC 0x44455843u
#define CONN_MAGIC     0x44434f4eu

/* What a parked request waits for. */
enum park_kind { PARK_OP, PARK_VM, PARK_LEASE };

struct exchange {
    struct request req; /* first: req.http points back here */
    struct call *call;     /* it came through a front; NULL: by libmicrohttpd */
    struct errand *errand; /* in a front: what the core was asked */
    unsigned magic;
    struct http *http;
    struct conn *conn; /* NULL once the client is gone */
    struct MHD_Connection *mhd;
    struct exchange *next; /* in the free list, or in the worker queue */
    enum phase phase;
    bool suspended; /* the HTTP thread's own note */
    bool failed;    /* err is the answer, whatever the body says */
    bool close_after;
    bool wants_upgrade;
    int64_t started_ns;
    size_t uri_len; /* as the request line had it */
    char *raw_query;
    struct query *query; /* NULL: none */
    struct gate gate;

    char *body; /* grows to body_limit, no further */
    size_t body_len, body_cap, body_limit, swallowed;
    size_t json_depth, json_tokens;
    int64_t audit_seq; /* of the entry that was stored with what this request changed; 0: none was */
    bool audit_rides;  /* between the two calls of request_work_begin() and _end() */

    /* ROUTE_UPLOAD */
    struct {
        struct upload_pipe *pipe;
        void (*release)(struct exchange *x);
        uint64_t received, mark; /* bytes, and what they were at the last deadline */
    } upload;

    void (*job)(struct exchange *x); /* what a worker is to do */
    handler_fn *resume;
    struct {
        char id[UUID_TEXT];
        enum park_kind kind;
        park_arm_fn *arm; /* NULL: one of the core's waits */
        void *arg;
        enum wait_vm what;
        int64_t deadline_ms;
        enum wait_result result;
    } park;
    void *kept;
    void (*kept_free)(void *);
    struct http_stream *stream;

    /* Large, and written before they are read: not cleared from one request to the next. */
    struct error err;
    struct response res;
    char allow[64];
    char cookie[256];
};

/* ---- the daemon ---- */

/*
 * Who serves what libmicrohttpd parsed: this process (http_pipeline.c), or another one that a front asks
 * (front_pipeline.c). On the HTTP thread, but for start and stop. What is NULL has nothing to do.
 */
struct http_side {
    /* As libmicrohttpd's access handler, by what x waits for. */
    enum MHD_Result (*header)(struct exchange *x, const char *url, const char *method, const char *version);
    enum MHD_Result (*begun)(struct exchange *x); /* its body may come */
    enum MHD_Result (*data)(struct exchange *x, const char *data, size_t *size);
    enum MHD_Result (*complete)(struct exchange *x);
    enum MHD_Result (*answer)(struct exchange *x); /* there is one */
    void (*over)(struct exchange *x);              /* x is not its connection's any more: recycle it */
    bool (*is_admin)(unsigned uid); /* of a Unix socket's peer */
    size_t (*elsewhere)(struct http *h); /* connections that count, and another process has */
    int (*start)(struct http *h, const struct http_options *options, struct error *err); /* before the thread */
    void (*turn)(struct http *h);    /* at each turn of the loop */
    void (*reload)(struct http *h);
    void (*quiesce)(struct http *h); /* the listeners are closed */
    bool (*is_idle)(struct http *h); /* nobody works on a request; any thread */
    void (*end)(struct http *h);     /* the loop is about to; not on its thread */
    void (*stop)(struct http *h);    /* the loop has ended, or never began */
    /* Of a request that came through a front: whoever had it gives it back (any thread); it goes. */
    void (*call_back)(struct exchange *x);
    void (*call_free)(struct exchange *x);
};


struct http_limits { /* copies of the settings, replaced on the HTTP thread */
    int64_t header_timeout_ms, body_timeout_ms, idle_timeout_ms;
    int64_t body_limit, user_data_limit, json_depth, json_tokens;
    int64_t connections, per_address;
};

struct http {
    const struct http_side *side;
    const struct settings *settings;
    struct core *core; /* NULL in a front */
    struct ws *ws;
    struct MHD_Daemon *mhd;
    char address[128];
    char *unix_path;
    struct {
        int fd;
        bool is_unix;
    } listeners[HTTP_LISTENERS_MAX];
    size_t listener_count;
    int epoll_fd; /* libmicrohttpd's own, which also holds the listeners and wake_fd */
    int wake_fd;
    bool listening; /* the listeners are in it */
    _Atomic bool held; /* nobody is let in yet */
    struct tls *tls; /* NULL: the listeners speak HTTP in clear */
    struct front *front; /* what serves the network instead of this process; NULL: nothing does */
    struct core_link *core_link; /* in a front */
    bool exposed; /* an address beyond loopback is listened on */
    int hangup_fd;  /* an epoll set below it: who has closed its side */
    pthread_t thread;
    bool thread_started;
    _Atomic long long last_tick;
    _Atomic bool reload, quiescing, stopping;
    _Atomic bool quiesced; /* the loop has acted on it */
    bool abandoned;        /* something did not come back; memory is left to the process's end */

    struct http_limits limits;
    struct http_policy *policy;
    bool strict_layout; /* this libmicrohttpd's memory layout shows bare LF and folded lines */

    /* http_conn.c */
    struct conn *conns;
    size_t conn_count;
    struct conn *hung;
    int64_t now_ms;           /* when the loop last looked; deadlines count from it */
    int64_t next_deadline_ms; /* no deadline is earlier */
    struct addr_count *addrs[256];
    int64_t accept_paused_until_ms;
    bool progress; /* a request moved since the last turn of the loop */
    bool again;    /* a connection was resumed: the next turn waits for nothing */

    /* http_pipeline.c */
    struct exchange *spare; /* a few finished exchanges to use again */
    unsigned spare_count;
    size_t log_len;
    char log[16384];
    char id_prefix[24];
    unsigned long long id_next;

    /* http_workers.c */
    struct {
        pthread_mutex_t lock; /* leaf: guards all of this */
        pthread_cond_t more;
        struct exchange *head, **tail;
        pthread_t *threads;
        size_t count;
        size_t running;
        bool stop;
        struct parking *parkings; /* with park_closed under the lock in http_workers.c */
        bool park_closed;
    } work;

    struct counters {
        size_t route_count;
        _Atomic unsigned long long (*routes)[6]; /* the last one: no route matched */
        struct {
            _Atomic unsigned long long bucket[HTTP_LATENCY_BUCKETS + 1], ns;
        } *latency; /* as many as routes */
        _Atomic unsigned long long auth_failures, malformed, timed_out;
        _Atomic unsigned long long refused, accepted, connections, in_flight, parked, streams;
        _Atomic unsigned long long suspended; /* exchanges some other thread has */
    } count;
};

/* Only the HTTP thread writes these: a plain add, readable elsewhere. */
static inline void count_add(_Atomic unsigned long long *c, unsigned long long n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline struct exchange *exchange_of(const struct request *req)
{
    struct exchange *x = req->http;

    if (!x || x->magic != EXCHANGE_MAGIC)
        abort();
    return x;
}

/* http.c */
void http_wake(struct http *h); /* any thread */
bool http_is_loop(const struct http *h); /* the calling thread is h's */
int http_start_as(const struct http_side *side, const struct http_options *options, struct http **ret,
                  struct error *err);

/* http_listen.c */
int http_listen_open(struct http *h, const struct http_options *o, struct error *err);
void http_listen_close(struct http *h);
void http_accept(struct http *h); /* whatever waits on the listeners */
void http_listen_watch(struct http *h, bool on);

/* http_conn.c */
void conn_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                 enum MHD_ConnectionNotificationCode code);
/* Over which limit this further connection from there would be: 0, 429 or 503. */
int conn_admit(struct http *h, int fd, const struct sockaddr *addr);
void conn_expect(struct http *h, struct conn *c, enum conn_wait wait, int64_t ms);
void conn_greet(struct http *h); /* those whose handshake is over */
void conn_reap(struct http *h); /* acts on deadlines that have passed */
void conn_hangups(struct http *h);
void conn_forget_hangup(struct http *h, struct conn *c); /* its socket goes elsewhere */

/* http_exchange.c */
void *exchange_begin(void *cls, const char *uri, struct MHD_Connection *mhd); /* libmicrohttpd's: a request line */
struct exchange *exchange_new(struct http *h);
void exchange_recycle(struct exchange *x); /* the HTTP thread */
void exchange_free(struct exchange *x); /* a worker, once the client is gone */
enum MHD_Result exchange_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                const char *version, const char *data, size_t *size, void **con_cls);
/* libmicrohttpd is done with it; its connection idles. */
void exchange_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode why);
void exchange_suspend(struct exchange *x);
void exchange_resume(struct exchange *x); /* any thread; x is not the caller's afterwards */
/* rc of a handler into the exchange's outcome. */
void exchange_outcome(struct exchange *x, int rc);

/* http_pipeline.c; then the steps of a request that came through a front */
extern const struct http_side pipeline_side;
void pipeline_header(struct exchange *x, const char *url, const char *method, const char *version);
enum MHD_Result pipeline_complete(struct exchange *x);

/* http_headers.c */
int headers_read(struct exchange *x, const char *url, const char *method, const char *version,
                 struct error *err);

/* http_auth.c */
int auth_check(struct exchange *x, struct error *err);

/* http_body.c */
int body_expect(struct exchange *x, struct error *err);
int body_add(struct exchange *x, const char *data, size_t len, struct error *err);
int body_parse(struct exchange *x, struct error *err); /* when whole; HTTP thread or worker */

/* http_upload.c */
void upload_begin(struct exchange *x);
void upload_data(struct exchange *x, const char *data, size_t *size);
void upload_end(struct exchange *x);
bool upload_gone(struct exchange *x);   /* true: a worker frees x */

/* http_answer.c */
enum MHD_Result answer_send(struct exchange *x);
void answer_count(struct exchange *x, int status); /* the log line and the counters */

/* http_reply.c */
/* x->res, whole, to libmicrohttpd. */
enum MHD_Result reply_send(struct exchange *x);
/* Straight to a socket libmicrohttpd has not answered on; best effort. */
void answer_raw(int fd, const struct error *err, const char *request_id);
void reply_raw(struct exchange *x); /* the same with x->res */

/* http_log.c: request lines, gathered during a turn of the loop */
void request_log(struct exchange *x, int status, int64_t ns);
void request_log_flush(struct http *h);

/* http_audit.c */
void request_audit(struct exchange *x, int status, int64_t ns); /* into the audit log, when it belongs there */
/* Around each call of a handler that may block: on one thread, while x is the caller's. */
void request_work_begin(struct exchange *x, struct audit_ride *ride);
void request_work_end(struct exchange *x, struct audit_ride *ride);

/* http_stream.c */
struct MHD_Response *stream_response(struct exchange *x);
void stream_tick(
    struct exchange *x); /* its time has come: a comment, or the end of a stuck client */
void stream_end(struct exchange *x);
void stream_detach(struct exchange *x); /* x goes before the stream does */

/* http_upgrade.c */
int upgrade_check(struct exchange *x, struct error *err);

/* http_hand_over.c: to the WebSocket thread. First what it is to talk through, -1: err says why not. */
int upgrade_socket(struct exchange *x, struct error *err);
void upgrade_hand_over(struct exchange *x, int fd); /* takes both, and x->res.stream */

/* http_workers.c */
int workers_start(struct http *h, size_t count, struct error *err);
void workers_post(struct exchange *x, void (*job)(struct exchange *));
void workers_run_handler(struct exchange *x); /* a job */
void workers_end_parked(struct http *h);
/* What a handler returned: parks the request, or lets it be answered. x is not the caller's then. */
void workers_outcome(struct exchange *x, int rc);
bool workers_idle(struct http *h);
void workers_stop(struct http *h);

#endif
