/* drover.exec.v1 from the client's side. */
#include "service/cli/exec_stream.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/cli/socket.h"
#include "service/cli/stream.h"

#define SUBPROTOCOL  "drover.exec.v1"
#define ACK_EVERY    (32 * 1024)
#define CONTROL_MAX  4096
#define RETRY_MS     500
#define RETRY_FOR_MS 30000

static void on_open(void *opaque, const char *subprotocol)
{
    struct exec_stream *s = opaque;

    (void)subprotocol;
    s->in_message = false;
    s->sent_before = s->sent;
    s->control.len = 0;
    s->eof_sent = s->kill_sent = false;
}

static void on_control(struct exec_stream *s)
{
    auto_value json_t *message = value_parse(s->control.data ? s->control.data : "", s->control.len);
    const char *type = value_text(message, "type", "");
    double number = 0;

    if (str_eq(type, "hello")) {
        (void)value_number(message, "stdin", &number);
        /* What was sent over this one may or may not be there yet. */
        s->input_lost = (unsigned long long)number < s->sent_before;
    } else if (str_eq(type, "gap")) {
        fprintf(stderr, "drover: some of %s is lost\n",
                str_eq(value_text(message, "stream", ""), "stderr") ? "stderr" : "stdout");
        if (value_number(message, "to", &number))
            s->have[str_eq(value_text(message, "stream", ""), "stderr")] = (unsigned long long)number;
    } else if (str_eq(type, "exit")) {
        s->exit = TAKE_PTR(message);
    }
}

static bool on_bytes(struct exec_stream *s, const unsigned char *data, size_t len)
{
    struct error err;

    if (len && !s->in_message) {
        s->output = data[0] == 2;
        data++;
        len--;
    }
    s->have[s->output] += len;
    if (len && fd_write_all(s->output ? STDERR_FILENO : STDOUT_FILENO, data, len, &err))
        s->output_failed = true;
    return !s->output_failed;
}

static bool on_data(void *opaque, bool text, bool last, const void *data, size_t len)
{
    struct exec_stream *s = opaque;
    bool go_on = true;

    if (!text) {
        go_on = on_bytes(s, data, len);
        s->in_message = !last;
        return go_on;
    }
    if (s->control.len + len <= CONTROL_MAX)
        strbuf_add(&s->control, data, len);
    if (last) {
        on_control(s);
        s->control.len = 0;
    }
    return !s->input_lost;
}

static size_t on_input(void *opaque, char *data, size_t len, bool *ret_leave)
{
    struct exec_stream *s = opaque;

    (void)data;
    *ret_leave = false;
    s->sent += len;
    s->input_ended = s->input_ended || !len;
    return len;
}

static const char *next_text(void *opaque)
{
    struct exec_stream *s = opaque;

    if (s->wants_kill && s->wants_kill(s->opaque) && !s->kill_sent) {
        s->kill_sent = true;
        return "{\"type\": \"kill\"}";
    }
    if (s->has_input && s->input_ended && !s->eof_sent) {
        s->eof_sent = true;
        return "{\"type\": \"eof\"}";
    }
    if (s->have[0] - s->acked[0] + s->have[1] - s->acked[1] < ACK_EVERY)
        return NULL;
    memcpy(s->acked, s->have, sizeof(s->acked));
    snprintf(s->text, sizeof(s->text), "{\"type\": \"ack\", \"stdout\": %llu, \"stderr\": %llu}",
             s->have[0], s->have[1]);
    return s->text;
}

static bool wants_stop(void *opaque)
{
    struct exec_stream *s = opaque;

    s->stopped = s->stopped || (s->wants_stop && s->wants_stop(s->opaque));
    return s->stopped;
}

static bool worth_another(const struct socket_result *result, int64_t lost_at)
{
    bool broken = result->end == SOCKET_LOST || (result->end == SOCKET_CLOSED && result->code == 1001) ||
                  (result->end == SOCKET_REFUSED && !result->http_status);

    return broken && clock_monotonic_ms() - lost_at < RETRY_FOR_MS;
}

int exec_stream_follow(struct cli *cli, const char *stream, struct exec_stream *s, struct failure *fail)
{
    int64_t lost_at = clock_monotonic_ms();

    for (;;) {
        auto_free char *path = xasprintf("%s?from=%llu,%llu", stream, s->have[0], s->have[1]);
        const struct socket_options o = {.client = cli->client,
                                         .path = path,
                                         .subprotocol = SUBPROTOCOL,
                                         .input_fd = s->has_input && !s->input_ended ? STDIN_FILENO : -1,
                                         .on_open = on_open,
                                         .on_data = on_data,
                                         .on_input = on_input,
                                         .next_text = next_text,
                                         .stop = wants_stop,
                                         .opaque = s};
        struct socket_result result;
        unsigned long long had = s->have[0] + s->have[1];

        socket_run(&o, &result);
        if (s->exit || s->stopped)
            return 0;
        if (s->output_failed)
            return failure_set(fail, CLI_FAILED, "the output cannot be written");
        if (s->input_lost)
            return failure_set(fail, CLI_CONNECT, "the connection broke while standard input was on its way");
        if (s->have[0] + s->have[1] != had)
            lost_at = clock_monotonic_ms();
        if (!worth_another(&result, lost_at))
            return result.end == SOCKET_REFUSED ? stream_explain_refusal(cli, path, &result, fail)
                                                : stream_explain_close(&result, fail);
        usleep(RETRY_MS * 1000);
    }
}

void exec_stream_done(struct exec_stream *s)
{
    strbuf_done(&s->control);
    json_decref(s->exit);
    s->exit = NULL;
}
