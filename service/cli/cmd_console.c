/*
 * `console`: a VM's serial console (or virtio-serial channel) on this terminal. Speaks
 * drover.console.v1, whose offsets let a broken connection go on where it stopped.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/control.h"
#include "service/cli/match.h"
#include "service/cli/print.h"
#include "service/cli/socket.h"
#include "service/cli/stream.h"
#include "service/cli/terminal.h"

#define SUBPROTOCOL   "drover.console.v1"
#define NO_ESCAPE     (-1)
#define CONTROL_MAX   65536
#define RETRY_MS      500
#define RETRY_FOR_MS  30000

struct session {
    const char *vm;
    bool raw_terminal, controls; /* the server speaks drover.console.v1 */
    bool left, found, output_failed;
    bool has_offset;
    unsigned long long offset; /* of the next byte to come */
    int escape;
    struct match until;
    struct strbuf message; /* a text message in parts */
    struct control control;
};

static void note(const struct session *s, const char *text)
{
    fprintf(stderr, "%sdrover: ", s->raw_terminal ? "\r\n" : "");
    print_safe(stderr, text);
    fputs(s->raw_terminal ? "\r\n" : "\n", stderr);
}

static void say(void *opaque, const char *text)
{
    const struct session *s = opaque;

    if (s->raw_terminal) /* whoever pipes bytes is told by what comes of it */
        note(s, text);
}

static void on_open(void *opaque, const char *subprotocol)
{
    struct session *s = opaque;

    s->controls = str_eq(subprotocol, SUBPROTOCOL);
    control_reset(&s->control);
}

static void on_control(struct session *s, const char *text, size_t len)
{
    auto_value json_t *message = value_parse(text, len);
    const char *type = value_text(message, "type", "");
    double offset;

    if (str_eq(type, "hello") && value_number(message, "offset", &offset)) {
        s->offset = (unsigned long long)offset;
        s->has_offset = true;
    } else if (str_eq(type, "gap") && value_number(message, "to", &offset)) {
        auto_free char *bytes = NULL;

        bytes = print_bytes(offset - (double)s->offset);
        s->offset = (unsigned long long)offset;
        if (s->raw_terminal) {
            auto_free char *said = xasprintf("[%s of output were lost]", bytes);

            note(s, said);
        }
    }
    control_message(&s->control, message);
}

static bool on_data(void *opaque, bool text, bool last, const void *data, size_t len)
{
    struct session *s = opaque;
    struct error err;

    if (text && s->controls) {
        if (s->message.len + len <= CONTROL_MAX)
            strbuf_add(&s->message, data, len);
        if (last) {
            on_control(s, s->message.data ? s->message.data : "", s->message.len);
            s->message.len = 0;
        }
        return true;
    }
    s->offset += len;
    if (fd_write_all(STDOUT_FILENO, data, len, &err)) {
        s->output_failed = true;
        return false;
    }
    s->found = match_feed(&s->until, data, len);
    return !s->found;
}

static size_t on_input(void *opaque, char *data, size_t len, bool *ret_leave)
{
    struct session *s = opaque;
    const char *escape = NULL;

    if (!s->raw_terminal) /* a pipe's bytes are data, all of them; its end is not ours */
        return len;
    if (len && s->escape != NO_ESCAPE)
        escape = memchr(data, s->escape, len);
    if (len && !escape)
        return control_keys(&s->control, data, len);
    s->left = *ret_leave = true; /* the key, or the terminal hung up */
    return escape ? control_keys(&s->control, data, (size_t)(escape - data)) : 0;
}

static const char *next_text(void *opaque)
{
    struct session *s = opaque;

    return control_next_text(&s->control);
}

/* "^]", "]" or "none". */
static int parse_key(const char *option, const char *text, int *ret, struct failure *fail)
{
    if (str_eq(text, "none"))
        *ret = NO_ESCAPE;
    else if (text[0] == '^' && text[1] && !text[2])
        *ret = (unsigned char)text[1] & 0x1f;
    else if (text[0] && !text[1])
        *ret = (unsigned char)text[0];
    else
        return failure_set(fail, CLI_USAGE, "--%s must be a key such as ^] or none, not '%s'",
                           option, text);
    return 0;
}

static char *make_path(const struct args *args, const struct session *s)
{
    auto_free char *vm = url_escape(s->vm);
    const char *channel = args_text(args, "channel", NULL);
    auto_free char *escaped = channel ? url_escape(channel) : NULL;
    const char *serial = args_text(args, "serial", NULL);
    auto_free char *port = serial ? url_escape(serial) : NULL;
    auto_free char *stream = channel  ? xasprintf("channels/%s", escaped)
                             : serial ? xasprintf("serial/%s", port)
                                      : xstrdup("console");
    const char *mode = args_flag(args, "view") ? "view" : "control";

    if (s->has_offset)
        return xasprintf("/v1/vms/%s/%s?mode=%s&from=%llu", vm, stream, mode, s->offset);
    return xasprintf("/v1/vms/%s/%s?mode=%s", vm, stream, mode);
}

/* Worth another attempt with ?from=: the daemon restarts, the network broke, this viewer was slow. */
static bool can_resume(const struct session *s, const struct socket_result *result)
{
    if (!s->has_offset)
        return false;
    return result->end == SOCKET_LOST || result->code == 1001 || result->code == 1006 ||
           result->code == 1012 || result->code == 1013;
}

static int session_run(struct cli *cli, const struct args *args, struct session *s,
                       int64_t deadline_ms, struct failure *fail)
{
    int64_t give_up_ms = 0;

    for (;;) {
        auto_free char *path = make_path(args, s);
        unsigned long long before = s->offset;
        struct socket_options o = {.client = cli->client,
                                   .path = path,
                                   .subprotocol = SUBPROTOCOL,
                                   .input_fd = args_flag(args, "view") && !s->raw_terminal
                                                   ? -1 : STDIN_FILENO,
                                   .deadline_ms = deadline_ms,
                                   .on_open = on_open,
                                   .on_data = on_data,
                                   .on_input = on_input,
                                   .next_text = next_text,
                                   .opaque = s};
        struct socket_result result;
        bool was_open;

        s->controls = false;
        socket_run(&o, &result);
        was_open = result.end != SOCKET_REFUSED;
        if (s->output_failed)
            return failure_set(fail, CLI_FAILED, "the output cannot be written");
        if (s->left || s->found)
            return 0;
        if (result.end == SOCKET_TIMEOUT)
            return args_text(args, "until", NULL)
                       ? failure_set(fail, CLI_TIMEOUT, "the text did not appear in time") : 0;
        if (!give_up_ms && !was_open)
            return stream_explain_refusal(cli, path, &result, fail);
        if (was_open && (!can_resume(s, &result) || args_flag(args, "no-resume")))
            return stream_explain_close(&result, fail);
        if (!give_up_ms || (was_open && s->offset != before)) {
            give_up_ms = clock_monotonic_ms() + RETRY_FOR_MS;
            note(s, "the connection broke off, resuming");
        }
        if (clock_monotonic_ms() > give_up_ms)
            return was_open ? stream_explain_close(&result, fail)
                            : stream_explain_refusal(cli, path, &result, fail);
        poll(NULL, 0, RETRY_MS);
    }
}

static int run_console(struct cli *cli, const struct args *args, struct failure *fail)
{
    struct session s = {.vm = args->operand[0]};
    int64_t timeout, from;
    const char *until = args_text(args, "until", NULL);
    int rc;

    s.control = (struct control){
        .key_name = args_text(args, "control", "^^"), .say = say, .opaque = &s};
    if (parse_key("escape", args_text(args, "escape", "^]"), &s.escape, fail) ||
        parse_key("control", s.control.key_name, &s.control.key, fail) ||
        args_number(args, "timeout", 1, 86400, 0, &timeout, fail) ||
        args_number(args, "from", 0, INT64_MAX / 2, -1, &from, fail) || cli_connect(cli, fail))
        return -1;
    if (until && !*until)
        return failure_set(fail, CLI_USAGE, "--until needs a text");
    if (args_text(args, "channel", NULL) && args_text(args, "serial", NULL))
        return failure_set(fail, CLI_USAGE, "--channel and --serial exclude each other");
    s.has_offset = from >= 0;
    s.offset = from >= 0 ? (unsigned long long)from : 0;
    match_init(&s.until, until);
    if (isatty(STDIN_FILENO) && !until)
        fprintf(stderr, "Console of %s. Leave with %s.\n", s.vm, args_text(args, "escape", "Ctrl-]"));
    s.raw_terminal = terminal_raw(STDIN_FILENO);
    rc = session_run(cli, args, &s, timeout ? clock_monotonic_ms() + timeout * 1000 : 0, fail);
    terminal_restore();
    strbuf_done(&s.message);
    control_done(&s.control);
    match_done(&s.until);
    if (s.raw_terminal && rc == 0)
        fprintf(stderr, "\n%s\n", s.left ? "Left the console; the VM goes on." : "The console ended.");
    else if (s.raw_terminal)
        fputc('\n', stderr);
    return rc;
}

static const struct option_row console_options[] = {
    {"view", 0, NULL, "only watch: nothing typed is sent"},
    {"from", 0, "OFFSET", "begin at this byte since power-on (default: all that is remembered)"},
    {"channel", 0, "NAME", "a virtio-serial channel instead of the serial console"},
    {"serial", 0, "PORT", "a further serial port, 1 to 3"},
    {"control", 0, "KEY", "the key that begins a command about who types (default ^^, which is Ctrl-6); none"},
    {"escape", 'e', "KEY", "the key that leaves (default ^]); none for no such key"},
    {"until", 0, "TEXT", "leave with status 0 as soon as the output contains this"},
    {"timeout", 0, "SECONDS", "leave after this time; status 7 if --until was not met"},
    {"no-resume", 0, NULL, "end when the connection breaks instead of resuming it"},
    {0}};

const struct command console_commands[] = {
    {"console", "VM", 1, 1, "open a VM's serial console on this terminal", console_options,
     run_console,
     "Ctrl-] leaves. One viewer at a time types: Ctrl-^ and then r asks for it, t takes it, x takes it "
     "alone, g grants it to who asks, l lets it go, w says who is there; Ctrl-^ twice sends one. Every "
     "other key goes to the guest. When input is no terminal it is sent as it "
     "is, and the command goes on printing until the console ends or --until or --timeout says so."},
    {0}};
