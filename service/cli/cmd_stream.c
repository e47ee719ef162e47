/*
 * `vsock`: a guest's vsock port on standard input and output, made for `ssh -o ProxyCommand`.
 * `display`: a VM's screen for a VNC viewer of one's own. `screenshot`: a picture of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"
#include "service/cli/socket.h"
#include "service/cli/stream.h"

#define SUBPROTOCOL "drover.console.v1"
#define EOF_TEXT    "{\"type\": \"eof\"}"
#define CONTROL_MAX 4096
#define BACKLOG     8

/* ---- bytes between two descriptors and a stream ---- */

struct relay {
    int in, out; /* out -1: the reader has gone, or has all there is */
    bool v1, input_ended, eof_sent, output_failed;
    struct strbuf control;
};

static void on_open(void *opaque, const char *subprotocol)
{
    struct relay *r = opaque;

    r->v1 = str_eq(subprotocol, SUBPROTOCOL);
}

/* The guest says no more; what we have to say may still go on. */
static void end_output(struct relay *r)
{
    if (r->out == r->in)
        shutdown(r->out, SHUT_WR);
    else if (r->out >= 0)
        close(r->out);
    r->out = -1;
}

static void on_control(struct relay *r, const char *text, size_t len)
{
    auto_value json_t *message = value_parse(text, len);

    if (str_eq(value_text(message, "type", ""), "eof"))
        end_output(r);
}

static bool on_data(void *opaque, bool text, bool last, const void *data, size_t len)
{
    struct relay *r = opaque;
    struct error err;

    if (text && r->v1) {
        if (r->control.len + len <= CONTROL_MAX)
            strbuf_add(&r->control, data, len);
        if (last) {
            on_control(r, r->control.data ? r->control.data : "", r->control.len);
            r->control.len = 0;
        }
        return true;
    }
    if (r->out >= 0 && fd_write_all(r->out, data, len, &err))
        r->output_failed = true;
    return !r->output_failed;
}

static size_t on_input(void *opaque, char *data, size_t len, bool *ret_leave)
{
    struct relay *r = opaque;

    (void)data;
    if (len)
        return len;
    r->input_ended = true;
    *ret_leave = !r->v1; /* a raw stream cannot say that only one side is done */
    return 0;
}

static const char *next_text(void *opaque)
{
    struct relay *r = opaque;

    if (!r->input_ended || !r->v1 || r->eof_sent)
        return NULL;
    r->eof_sent = true;
    return EOF_TEXT;
}

static int relay_run(struct cli *cli, const char *path, const char *subprotocol, struct relay *r,
                     struct failure *fail)
{
    const struct socket_options o = {.client = cli->client,
                                     .path = path,
                                     .subprotocol = subprotocol,
                                     .input_fd = r->in,
                                     .on_open = on_open,
                                     .on_data = on_data,
                                     .on_input = on_input,
                                     .next_text = next_text,
                                     .opaque = r};
    struct socket_result result;

    socket_run(&o, &result);
    strbuf_done(&r->control);
    if (r->output_failed)
        return failure_set(fail, CLI_FAILED, "the output cannot be written");
    if (result.end == SOCKET_ENDED_HERE)
        return 0;
    if (result.end == SOCKET_REFUSED)
        return stream_explain_refusal(cli, path, &result, fail);
    return stream_explain_close(&result, fail);
}

/* ---- vsock ---- */

static int run_vsock(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]), *port = url_escape(args->operand[1]);
    auto_free char *path = xasprintf("/v1/vms/%s/vsock/%s", vm, port);
    struct relay r = {.in = STDIN_FILENO, .out = STDOUT_FILENO};

    if (cli_connect(cli, fail))
        return -1;
    /* Whoever reads us may go; that is an end like others, not a signal. */
    signal(SIGPIPE, SIG_IGN);
    return relay_run(cli, path, SUBPROTOCOL, &r, fail);
}

/* ---- display ---- */

static int listen_on(int fd, const struct sockaddr *address, socklen_t len, struct failure *fail)
{
    if (bind(fd, address, len) || listen(fd, BACKLOG))
        return failure_set(fail, CLI_FAILED, "cannot listen: %s", strerror(errno));
    return 0;
}

static int listen_tcp(int64_t port, int *ret_fd, struct failure *fail)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return failure_set(fail, CLI_FAILED, "cannot make a socket: %s", strerror(errno));
    if (listen_on(fd, (const struct sockaddr *)&a, sizeof(a), fail) ||
        getsockname(fd, (struct sockaddr *)&a, &len))
        return -1;
    printf("127.0.0.1:%u\n", ntohs(a.sin_port));
    fprintf(stderr, "Connect a VNC viewer to 127.0.0.1::%u; every user of this machine could. "
                    "Ctrl-C ends it.\n", ntohs(a.sin_port));
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int listen_unix(const char *path, int *ret_fd, struct failure *fail)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mode_t old;
    int rc;

    if (strlen(path) >= sizeof(a.sun_path))
        return failure_set(fail, CLI_USAGE, "the socket's path is longer than %zu bytes",
                           sizeof(a.sun_path) - 1);
    memcpy(a.sun_path, path, strlen(path) + 1);
    old = umask(0077);
    rc = fd < 0 ? -1 : listen_on(fd, (const struct sockaddr *)&a, sizeof(a), fail);
    umask(old);
    if (rc)
        return -1;
    printf("%s\n", path);
    fprintf(stderr, "Connect a VNC viewer to this socket (vncviewer %s). Ctrl-C ends it.\n", path);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static char socket_to_remove[sizeof(((struct sockaddr_un *)0)->sun_path)];

static void on_interrupt(int signal_number)
{
    if (*socket_to_remove)
        unlink(socket_to_remove);
    _exit(128 + signal_number);
}

/* One viewer after the other; who wants two runs the command twice. */
static int serve(struct cli *cli, const char *path, int listener, bool once, struct failure *fail)
{
    const struct sigaction stop = {.sa_handler = on_interrupt};

    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        auto_close int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        struct relay r = {.in = fd, .out = fd};
        int rc;

        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return failure_set(fail, CLI_FAILED, "cannot accept: %s", strerror(errno));
        rc = relay_run(cli, path, NULL, &r, fail);
        if (once)
            return rc;
        if (rc) /* the next one may be luckier: the VM may be started meanwhile */
            failure_print(fail, stderr);
        *fail = (struct failure){.exit = CLI_FAILED};
    }
}

/* A refusal is better heard now than by the first viewer. */
static int check_display(struct cli *cli, const char *vm, struct failure *fail)
{
    auto_free char *path = xasprintf("/v1/vms/%s", vm);
    auto_answer struct answer a = {0};

    if (client_get(cli->client, path, &a, fail))
        return -1;
    if (!value_true(a.value, "display"))
        return failure_set(fail, CLI_FAILED, "the VM has no display; set it with: drover vm create … --display");
    return 0;
}

static int run_display(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s/display?mode=%s", vm,
                                     args_flag(args, "view") ? "view" : "control");
    const char *socket_path = args_text(args, "listen", NULL);
    auto_close int listener = -1;
    int64_t port;
    int rc;

    if (args_number(args, "port", 0, 65535, 0, &port, fail) || cli_connect(cli, fail))
        return -1;
    if (socket_path && args_text(args, "port", NULL))
        return failure_set(fail, CLI_USAGE, "--listen and --port exclude each other");
    if (check_display(cli, vm, fail) ||
        (socket_path ? listen_unix(socket_path, &listener, fail) : listen_tcp(port, &listener, fail)))
        return -1;
    if (socket_path)
        str_copy_utf8(socket_to_remove, sizeof(socket_to_remove), socket_path);
    fflush(stdout);
    rc = serve(cli, path, listener, args_flag(args, "once"), fail);
    if (socket_path)
        unlink(socket_path);
    return rc;
}

/* ---- screenshot ---- */

static bool save(void *opaque, const char *data, size_t len)
{
    return fwrite(data, 1, len, opaque) == len;
}

static int run_screenshot(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s/display.png", vm);
    auto_free char *name = args->count > 1 ? xstrdup(args->operand[1])
                                           : xasprintf("%s.png", args->operand[0]);
    bool to_stdout = str_eq(name, "-");
    struct client_request r = {.path = path, .accept = "image/png", .on_data = save};
    auto_answer struct answer a = {0};
    FILE *file;
    int rc;

    if (to_stdout && isatty(STDOUT_FILENO))
        return failure_set(fail, CLI_USAGE, "a picture is not for a terminal; name a file");
    if (cli_connect(cli, fail))
        return -1;
    file = to_stdout ? stdout : fopen(name, "wbe");
    if (!file)
        return failure_set(fail, CLI_FAILED, "cannot write %s: %s", name, strerror(errno));
    r.opaque = file;
    rc = client_do(cli->client, &r, &a, fail);
    if (!to_stdout) {
        bool written = !ferror(file) && fclose(file) == 0;

        if (rc == 0 && !written)
            rc = failure_set(fail, CLI_FAILED, "%s cannot be written", name);
        if (rc)
            unlink(name);
        else
            printf("%s\n", name);
    }
    return rc;
}

static const struct option_row display_options[] = {
    {"view", 0, NULL, "only watch: keys and pointer do not pass"},
    {"listen", 'l', "PATH", "a Unix socket that only this user can open, instead of a port"},
    {"port", 'p', "PORT", "this port of 127.0.0.1 (default: a free one)"},
    {"once", 0, NULL, "serve one viewer and end with it"},
    {0}};

const struct command stream_commands[] = {
    {"vsock", "VM PORT", 2, 2, "connect to a guest's vsock port on standard input and output", NULL,
     run_vsock,
     "The end of input is passed on and the guest's answer is still read, as with ssh -o "
     "ProxyCommand='drover vsock VM 22' root@VM."},
    {"display", "VM", 1, 1, "relay a VM's screen to a VNC viewer of your own", display_options,
     run_display,
     "Prints the address to connect a viewer to. The dashboard shows the screen without one."},
    {"screenshot", "VM [FILE]", 1, 2, "save a picture of a VM's screen", NULL, run_screenshot,
     "FILE is VM.png unless given; - is standard output."},
    {0}};
