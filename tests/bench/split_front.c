/*
 * What a process boundary between HTTP and everything else costs: a front that parses and a core that answers,
 * beside the same front which answers by itself. Neither checks anything.
 *
 *     split_front PORT one|suspended|split FILE
 *
 * one: the answer (FILE's bytes) is given at once. suspended: the connection is suspended and resumed once, as
 * one that waits for a core must be, but nobody is asked. split: what a core needs to know of each request goes
 * to a second process, and its answer comes back; all that one turn of the loop brought leaves in one write, and
 * the core answers a batch with one write, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH   (1 << 20)
#define WAITING 1024

enum mode { ONE, SUSPENDED, SPLIT };

struct head { /* of a request and of an answer; text follows */
    uint32_t len, slot;
};

struct waiting {
    struct MHD_Connection *connection;
    char *answer; /* NULL: not yet */
    size_t len;
    int next_free;
};

static enum mode mode;
static char body[65536];
static size_t body_len;
static struct waiting waiting[WAITING];
static int first_free;
static int core_fd = -1;
static char out[BATCH], in[BATCH];
static size_t out_len, in_len;
static int resumed[WAITING], resumed_count;
static volatile sig_atomic_t ending;

static void end(int sig)
{
    (void)sig;
    ending = 1;
}

/* ---- the core ---- */

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0)
            _exit(1);
        data += n;
        len -= (size_t)n;
    }
}

static void core(int fd)
{
    size_t have = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        ssize_t n = read(fd, in + have, sizeof(in) - have);
        size_t at = 0, produced = 0;
        struct head h;

        if (n <= 0)
            _exit(0);
        have += (size_t)n;
        for (; have - at >= sizeof(h); at += sizeof(h) + h.len) {
            memcpy(&h, in + at, sizeof(h));
            if (have - at < sizeof(h) + h.len)
                break;
            if (produced + sizeof(h) + body_len > sizeof(out)) {
                write_all(fd, out, produced);
                produced = 0;
            }
            memcpy(out + produced, &(struct head){.len = (uint32_t)body_len, .slot = h.slot}, sizeof(h));
            memcpy(out + produced + sizeof(h), body, body_len);
            produced += sizeof(h) + body_len;
        }
        memmove(in, in + at, have - at);
        have -= at;
        write_all(fd, out, produced);
    }
}

/* ---- the front ---- */

static void add(const char *text)
{
    size_t len = text ? strlen(text) + 1 : 0;

    if (sizeof(out) - out_len < len)
        abort();
    memcpy(out + out_len, text ? text : "", len);
    out_len += len;
}

/* What the checks look at: method, path, credential, host, origin. */
static void ask(struct MHD_Connection *c, int slot, const char *method, const char *url)
{
    static const char *const names[] = {"Host", "Authorization", "Origin", "Cookie", "If-None-Match"};
    struct head h = {.slot = (uint32_t)slot};
    size_t at = out_len;

    if (sizeof(out) - out_len < sizeof(h))
        abort();
    out_len += sizeof(h);
    add(method);
    add(url);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        add(MHD_lookup_connection_value(c, MHD_HEADER_KIND, names[i]));
    h.len = (uint32_t)(out_len - at - sizeof(h));
    memcpy(out + at, &h, sizeof(h));
}

static enum MHD_Result send_answer(struct MHD_Connection *c, char *data, size_t len, enum MHD_ResponseMemoryMode memory)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, data, memory);
    enum MHD_Result rc;

    MHD_add_response_header(r, "Content-Type", "application/json");
    MHD_add_response_header(r, "X-Request-Id", "AbCdEfGhIj-1f");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "ETag", "\"7\"");
    rc = MHD_queue_response(c, MHD_HTTP_OK, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result answer(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *data, size_t *size, void **con_cls)
{
    static struct waiting seen;
    struct waiting *w = *con_cls;
    int slot;

    (void)cls;
    (void)version;
    (void)data;
    if (!w) {
        *con_cls = &seen;
        return MHD_YES;
    }
    if (w != &seen) {
        char *copy = w->answer;

        w->answer = NULL;
        w->next_free = first_free;
        first_free = (int)(w - waiting);
        if (mode == SUSPENDED)
            return send_answer(c, body, body_len, MHD_RESPMEM_PERSISTENT);
        return send_answer(c, copy, w->len, MHD_RESPMEM_MUST_FREE);
    }
    *size = 0;
    if (mode == ONE)
        return send_answer(c, body, body_len, MHD_RESPMEM_PERSISTENT);
    slot = first_free;
    if (slot < 0)
        return MHD_NO;
    first_free = waiting[slot].next_free;
    waiting[slot].connection = c;
    *con_cls = &waiting[slot];
    MHD_suspend_connection(c);
    if (mode == SUSPENDED)
        resumed[resumed_count++] = slot;
    else
        ask(c, slot, method, url);
    return MHD_YES;
}

/* Everything that waits; answers that are whole let their connections go on. */
static void take_answers(void)
{
    ssize_t n = recv(core_fd, in + in_len, sizeof(in) - in_len, MSG_DONTWAIT);
    struct head h;
    size_t at = 0;

    if (n == 0 || (n < 0 && errno != EAGAIN))
        exit(1);
    in_len += n > 0 ? (size_t)n : 0;
    for (; in_len - at >= sizeof(h); at += sizeof(h) + h.len) {
        memcpy(&h, in + at, sizeof(h));
        if (in_len - at < sizeof(h) + h.len)
            break;
        waiting[h.slot].answer = malloc(h.len);
        if (!waiting[h.slot].answer)
            abort();
        memcpy(waiting[h.slot].answer, in + at + sizeof(h), h.len);
        waiting[h.slot].len = h.len;
        MHD_resume_connection(waiting[h.slot].connection);
    }
    memmove(in, in + at, in_len - at);
    in_len -= at;
}

static void serve(struct MHD_Daemon *d)
{
    while (!ending) {
        MHD_run_wait(d, 1000);
        for (; resumed_count > 0; resumed_count--)
            MHD_resume_connection(waiting[resumed[resumed_count - 1]].connection);
        if (out_len)
            write_all(core_fd, out, out_len);
        out_len = 0;
        if (mode == SPLIT)
            take_answers();
    }
}

static void begin_core(void)
{
    const int bytes = BATCH;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        exit(1);
    for (int i = 0; i < 2; i++)
        (void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    switch (fork()) {
    case -1:
        exit(1);
    case 0:
        close(pair[0]);
        core(pair[1]);
        _exit(0);
    default:
        close(pair[1]);
        core_fd = pair[0];
    }
}

int main(int argc, char **argv)
{
    struct sigaction act = {.sa_handler = end};
    struct epoll_event ev = {.events = EPOLLIN};
    struct MHD_Daemon *d;
    FILE *f;

    if (argc != 4 || !(f = fopen(argv[3], "re")))
        return 2;
    body_len = fread(body, 1, sizeof(body), f);
    fclose(f);
    mode = strcmp(argv[2], "split") == 0 ? SPLIT : strcmp(argv[2], "suspended") == 0 ? SUSPENDED : ONE;
    for (int i = 0; i < WAITING; i++)
        waiting[i].next_free = i + 1 < WAITING ? i + 1 : -1;
    if (mode == SPLIT)
        begin_core();
    sigaction(SIGTERM, &act, NULL);
    d = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, (unsigned short)atoi(argv[1]), NULL, NULL, answer,
                         NULL, MHD_OPTION_CONNECTION_LIMIT, (unsigned)WAITING, MHD_OPTION_END);
    if (!d)
        return 1;
    /* The library ignores events without a pointer, so its set can wake the loop for the core's answers. */
    if (core_fd >= 0 && epoll_ctl(MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, EPOLL_CTL_ADD, core_fd, &ev))
        return 1;
    puts("listening");
    fflush(stdout);
    serve(d);
    return 0; /* the kernel ends what is open, and with it the core */
}
