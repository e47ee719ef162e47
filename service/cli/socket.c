/*
 * A WebSocket client on libwebsockets. Input is read only while nothing waits to be sent, so what
 * the server does not take stays in the terminal's (or the pipe's) own buffer.
 */
#include "service/cli/socket.h"

#include <errno.h>
#include <libwebsockets.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/str.h"

#define INPUT_MAX 16384
#define LEAVE_MS  500
#define TAG       0x64726f73u /* "dros": what lws hands back is checked */

struct run {
    uint32_t tag;
    const struct socket_options *options;
    struct socket_result *result;
    struct lws_context *context;
    struct lws *wsi;
    bool open, done, input_ended, leaving;
    char *path;
    char chosen[64]; /* subprotocol */
    size_t pending; /* bytes of input that wait to be sent, after the LWS_PRE head room */
    unsigned char input[LWS_PRE + INPUT_MAX];
    size_t text_len; /* of a text frame that waits to be sent */
    unsigned char text[LWS_PRE + SOCKET_TEXT_MAX];
};

static struct run *run_of(struct lws *wsi)
{
    struct run *r = lws_context_user(lws_get_context(wsi));

    if (!r || r->tag != TAG)
        abort();
    return r;
}

static void finish(struct run *r, enum socket_end end, const char *detail, size_t len)
{
    if (r->done)
        return;
    r->done = true;
    r->result->end = end;
    if (detail) {
        auto_free char *text = xstrndup(detail, len);

        str_copy_utf8(r->result->detail, sizeof(r->result->detail), text);
    }
}

static int add_token(struct run *r, struct lws *wsi, unsigned char **p, unsigned char *end)
{
    const char *token = client_token(r->options->client);
    auto_free char *value = token ? xasprintf("Bearer %s", token) : NULL;
    int rc;

    if (!token)
        return 0;
    rc = lws_add_http_header_by_token(wsi, WSI_TOKEN_HTTP_AUTHORIZATION,
                                      (const unsigned char *)value, (int)strlen(value), p, end);
    explicit_bzero(value, strlen(value));
    return rc ? -1 : 0;
}

/* The last moment at which the answer's headers can be read. */
static void on_headers(struct run *r, struct lws *wsi)
{
    if (lws_hdr_copy(wsi, r->chosen, sizeof(r->chosen), WSI_TOKEN_PROTOCOL) < 0)
        *r->chosen = '\0';
}

static void on_established(struct run *r)
{
    r->open = true;
    r->options->on_open(r->options->opaque, r->chosen);
}

static void on_receive(struct run *r, struct lws *wsi, const void *data, size_t len)
{
    bool text = !lws_frame_is_binary(wsi);
    bool last = lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;

    if (!r->done && !r->options->on_data(r->options->opaque, text, last, data, len))
        finish(r, SOCKET_ENDED_HERE, NULL, 0);
}

static void on_peer_close(struct run *r, const unsigned char *data, size_t len)
{
    r->result->code = 1005; /* no status received */
    if (len >= 2) {
        r->result->code = data[0] << 8 | data[1];
        finish(r, SOCKET_CLOSED, (const char *)data + 2, len - 2);
    }
    finish(r, SOCKET_CLOSED, NULL, 0);
}

static int on_writable(struct run *r, struct lws *wsi)
{
    size_t len = r->pending;

    /* One frame a turn, in the order in which they came. */
    if (len) {
        r->pending = 0;
        if (lws_write(wsi, r->input + LWS_PRE, len, LWS_WRITE_BINARY) < (int)len)
            return -1;
        if (r->text_len || r->leaving)
            lws_callback_on_writable(wsi);
        return 0;
    }
    if (r->text_len) {
        len = r->text_len;
        r->text_len = 0;
        return lws_write(wsi, r->text + LWS_PRE, len, LWS_WRITE_TEXT) < (int)len ? -1 : 0;
    }
    if (r->leaving) {
        lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
        return -1;
    }
    return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    struct run *r;

    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER: {
        unsigned char **p = in;

        return add_token(run_of(wsi), wsi, p, *p + len);
    }
    case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
        on_headers(run_of(wsi), wsi);
        return 0;
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        on_established(run_of(wsi));
        return 0;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        on_receive(run_of(wsi), wsi, in, len);
        return 0;
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return on_writable(run_of(wsi), wsi);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        on_peer_close(run_of(wsi), in, len);
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        r = run_of(wsi);
        r->result->http_status = (int)lws_http_client_http_response(wsi);
        finish(r, SOCKET_REFUSED, in, in ? len : 0);
        return 0;
    case LWS_CALLBACK_CLIENT_CLOSED:
        r = run_of(wsi);
        r->wsi = NULL;
        finish(r, SOCKET_LOST, NULL, 0);
        return 0;
    default:
        return 0;
    }
}

static const struct lws_protocols protocols[] = {
    {.name = "drover", .callback = on_event, .rx_buffer_size = 65536}, {0}};

static struct lws_context *context_new(struct run *r)
{
    const struct client_trust *trust = client_trust(r->options->client);
    struct lws_context_creation_info info = {.port = CONTEXT_PORT_NO_LISTEN,
                                             .protocols = protocols,
                                             .user = r,
                                             .client_ssl_ca_filepath = trust->ca,
                                             .client_ssl_cert_filepath = trust->certificate,
                                             .client_ssl_private_key_filepath = trust->key,
                                             .options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT};

    lws_set_log_level(0, NULL);
    return lws_create_context(&info);
}

static bool connect_to(struct run *r)
{
    const struct client *c = r->options->client;
    const char *scheme, *host, *rest;
    int port = 0;
    auto_free char *url = xstrdup(client_url(c));
    auto_free char *path = client_path(c, r->options->path);
    auto_free char *address = NULL, *host_header = xstrdup(strstr(url, "://") + 3);
    struct lws_client_connect_info i = {.context = r->context,
                                        .local_protocol_name = "drover",
                                        .protocol = r->options->subprotocol,
                                        .ietf_version_or_minus_one = -1,
                                        .userdata = r,
                                        .pwsi = &r->wsi};

    host_header[strcspn(host_header, "/")] = '\0';
    if (lws_parse_uri(url, &scheme, &host, &port, &rest))
        return false;
    address = client_socket(c) ? xasprintf("+%s", client_socket(c)) : xstrdup(host);
    /* lws takes the first slash off a path and says "/" when there is none */
    if (!*rest || strcmp(rest, "/") == 0)
        r->path = client_path(c, r->options->path);
    else
        r->path = xasprintf("/%s%s", rest, path);
    i.address = address;
    i.port = client_socket(c) ? 0 : port;
    i.host = host_header;
    i.path = r->path;
    i.ssl_connection = strcmp(scheme, "https") == 0 ? LCCSCF_USE_SSL : 0;
    return lws_client_connect_via_info(&i) != NULL;
}

/* Reads input and asks for room to send it. */
static void take_input(struct run *r)
{
    char *data = (char *)r->input + LWS_PRE;
    ssize_t n = read(r->options->input_fd, data, INPUT_MAX);
    bool leave = false;

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        r->input_ended = true;
        n = 0;
    }
    r->pending = r->options->on_input(r->options->opaque, data, (size_t)n, &leave);
    if (leave)
        finish(r, SOCKET_ENDED_HERE, NULL, 0); /* what is pending goes out before the close frame */
    else if (r->pending && r->wsi)
        lws_callback_on_writable(r->wsi);
}

/* After the input that was there before it. */
static void take_text(struct run *r)
{
    const char *text = r->text_len || !r->options->next_text ? NULL : r->options->next_text(r->options->opaque);

    if (!text)
        return;
    r->text_len = strnlen(text, SOCKET_TEXT_MAX);
    memcpy(r->text + LWS_PRE, text, r->text_len);
    lws_callback_on_writable(r->wsi);
}

/*
 * Once open, this loop waits itself, for the connection, the input and the deadline, and lets lws
 * serve what is ready without waiting: lws's own loop knows neither the input nor the deadline.
 */
static void wait_and_serve(struct run *r)
{
    struct pollfd fds[2] = {{.fd = -1}, {.fd = -1}};
    int64_t timeout = 1000;

    if (r->options->stop && r->options->stop(r->options->opaque)) {
        finish(r, SOCKET_ENDED_HERE, NULL, 0);
        return;
    }
    if (r->options->deadline_ms) {
        int64_t left = r->options->deadline_ms - clock_monotonic_ms();

        if (left <= 0) {
            finish(r, SOCKET_TIMEOUT, NULL, 0);
            return;
        }
        timeout = left < timeout ? left : timeout;
    }
    if (r->wsi && r->open) {
        take_text(r);
        fds[0].fd = lws_get_socket_fd(r->wsi);
        fds[0].events = (short)(POLLIN | (r->pending || r->text_len ? POLLOUT : 0));
        if (!r->input_ended && !r->pending && r->options->input_fd >= 0)
            fds[1] = (struct pollfd){.fd = r->options->input_fd, .events = POLLIN};
        /* data lws has already read but not yet delivered must not wait for the socket */
        if (lws_service_adjust_timeout(r->context, (int)timeout, 0) == 0)
            timeout = 0;
        poll(fds, 2, (int)timeout);
        if (fds[1].revents)
            take_input(r);
        lws_service(r->context, -1);
    } else {
        lws_service(r->context, 0);
    }
}

/* Says goodbye with a close frame, and waits a moment for the answer. */
static void leave(struct run *r)
{
    int64_t until = clock_monotonic_ms() + LEAVE_MS;

    r->leaving = true;
    lws_callback_on_writable(r->wsi);
    while (r->wsi && clock_monotonic_ms() < until) {
        struct pollfd fd = {.fd = lws_get_socket_fd(r->wsi), .events = POLLIN};

        lws_service(r->context, -1);
        if (r->wsi)
            poll(&fd, 1, 20);
    }
}

void socket_run(const struct socket_options *options, struct socket_result *ret)
{
    struct run *r = xcalloc(1, sizeof(*r));

    *ret = (struct socket_result){0};
    r->tag = TAG;
    r->options = options;
    r->result = ret;
    r->context = context_new(r);
    if (!r->context || !connect_to(r))
        finish(r, SOCKET_REFUSED, "no connection", strlen("no connection"));
    while (!r->done)
        wait_and_serve(r);
    if (r->wsi && r->open && (ret->end == SOCKET_ENDED_HERE || ret->end == SOCKET_TIMEOUT))
        leave(r);
    if (r->context)
        lws_context_destroy(r->context);
    free(r->path);
    free(r);
}
