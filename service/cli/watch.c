/*
 * The order makes it right: first where the log of events ends, then the list, then the stream from
 * there. What happened after the list was made is in the stream, so that nothing is missed; and as a
 * server may log an event a moment before its lists show it, the stream goes on after the event that
 * ended it, and begins one before the log's end. That costs a look too many now and then.
 */
#include "service/cli/watch.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/output.h"
#include "service/cli/sse.h"
#include "service/cli/style.h"

#define GATHER_MS 250 /* events come in groups: one look serves all of them */
#define RETRY_MS  1000

static const struct {
    const char *words, *events;
} watched[] = {
    {"vm list", "vm."},
    {"vm show", "vm."},
    {"vm timeline", "vm."},
    {"vm addresses", "vm."},
    {"image list", "image. vm.created vm.deleted"},
    {"image show", "image. vm.created vm.deleted"},
    {"image labels", "image."},
    {"pool list", "pool. lease. vm."},
    {"pool show", "pool. lease. vm."},
    {"lease list", "lease."},
    {"lease show", "lease."},
    {"recording list", "recording."},
    {"ticket list", "ticket."},
    {"token list", "token."},
    {"op list", "operation."},
    {"op show", "operation."},
    {"webhook list", "webhook."},
    {"host check", "host. daemon."},
    {"host shutdown-report", "operation. vm."},
    {"project list", "project. vm."},
    {"project show", "project. vm."},
    {"quota show", "quota. vm. lease. image."},
    {"set list", "set. vm."},
    {"set show", "set. vm."},
};

const char *watch_events(const char *words)
{
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
        if (str_eq(watched[i].words, words))
            return watched[i].events;
    }
    return NULL;
}

bool watch_matches(const char *events, const char *type)
{
    while (*events) {
        size_t len = strcspn(events, " ");

        /* "vm." is any of them, "vm.created" that one */
        if (strncmp(type, events, len) == 0 && (events[len - 1] == '.' || !type[len]))
            return true;
        events += len + (events[len] == ' ');
    }
    return false;
}

/* ---- the stream ---- */

struct wait {
    struct sse sse;
    const char *events;
    long long seq; /* of the event that was heard last */
    bool due;
};

static bool on_event(void *opaque, const char *data, size_t len)
{
    struct wait *w = opaque;
    auto_value json_t *event = value_parse(data, len);
    const char *type = value_text(event, "type", "resync");
    double seq;

    if (value_number(event, "seq", &seq))
        w->seq = (long long)seq;
    w->due |= str_eq(type, "resync") || watch_matches(w->events, type);
    return !w->due;
}

static bool on_bytes(void *opaque, const char *data, size_t len)
{
    struct wait *w = opaque;

    return sse_feed(&w->sse, data, len);
}

/* Until an event after *seq that matters; a stream that ends is looked at again. */
static int wait_for_event(struct cli *cli, const char *events, long long *seq, struct failure *fail)
{
    auto_free char *resume = xasprintf("Last-Event-ID: %lld", *seq);
    const char *headers[] = {resume, NULL};
    struct wait w = {.events = events, .seq = *seq};
    const struct client_request r = {.path = "/v1/events",
                                     .accept = "text/event-stream",
                                     .headers = headers,
                                     .timeout_s = -1,
                                     .on_data = on_bytes,
                                     .opaque = &w};
    auto_answer struct answer a = {0};
    int rc;

    sse_init(&w.sse, on_event, &w);
    rc = client_do(cli->client, &r, &a, fail);
    sse_done(&w.sse);
    *seq = w.seq;
    if (rc && !w.due)
        return -1;
    poll(NULL, 0, w.due ? GATHER_MS : RETRY_MS);
    return 0;
}

static int first_seq(struct cli *cli, long long *ret, struct failure *fail)
{
    auto_answer struct answer a = {0};
    double last = 0;

    if (client_get(cli->client, "/v1/events?limit=1", &a, fail))
        return -1;
    (void)value_number(a.value, "last_seq", &last);
    *ret = last > 0 ? (long long)last - 1 : 0;
    return 0;
}

/* ---- showing ---- */

static int show_on_terminal(struct cli *cli, const struct args *args, struct failure *fail)
{
    fputs("\033[H\033[2J", stdout);
    style_begin(stdout, STYLE_FAINT);
    printf("drover %s, shown again when something happens; Ctrl-C ends it", args->command->words);
    style_end(stdout);
    fputs("\n\n", stdout);
    return args->command->run(cli, args, fail);
}

/* Standard output into a file in memory and back; *ret is the caller's. */
static int capture(struct cli *cli, const struct args *args, char **ret, size_t *ret_len, struct failure *fail)
{
    auto_close int file = memfd_create("drover-watch", MFD_CLOEXEC), saved = dup(STDOUT_FILENO);
    struct stat st;
    ssize_t n = -1;
    int rc;

    if (file < 0 || saved < 0 || fflush(stdout) || dup2(file, STDOUT_FILENO) < 0)
        return failure_set(fail, CLI_FAILED, "the output cannot be kept");
    rc = args->command->run(cli, args, fail);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    if (fstat(file, &st) == 0) {
        *ret = xcalloc(1, (size_t)st.st_size + 1);
        n = pread(file, *ret, (size_t)st.st_size, 0);
    }
    *ret_len = n > 0 ? (size_t)n : 0;
    return rc;
}

/* JSON is a line and YAML brings a mark of its own; between tables there is an empty line. */
static bool separates(void)
{
    return output_form() == OUTPUT_TABLE || output_form() == OUTPUT_NAME;
}

static int show_when_different(struct cli *cli, const struct args *args, char **last, size_t *last_len,
                               struct failure *fail)
{
    auto_free char *text = NULL;
    struct error err;
    size_t len = 0;
    int rc = capture(cli, args, &text, &len, fail);

    if (*last && len == *last_len && memcmp(*last, text, len) == 0)
        return rc;
    if ((*last && separates() && fd_write_all(STDOUT_FILENO, "\n", 1, &err)) ||
        fd_write_all(STDOUT_FILENO, text ? text : "", len, &err))
        return failure_set(fail, CLI_FAILED, "the output cannot be written");
    free(*last);
    *last = TAKE_PTR(text);
    *last_len = len;
    return rc;
}

/* A server that restarts: gone, or on its way. */
static bool is_passing(const struct failure *fail)
{
    return fail->exit == CLI_CONNECT || str_has_word("shutting-down unavailable hypervisor-unavailable", fail->code);
}

int watch_run(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *events = watch_events(args->command->words);
    bool terminal = isatty(STDOUT_FILENO), once = false, told = false;
    auto_free char *last = NULL;
    size_t last_len = 0;
    long long seq = 0;
    int rc;

    if (!events) {
        failure_set(fail, CLI_USAGE, "'%s' cannot be watched", args->command->words);
        failure_remedy(fail, "--watch is for lists and things: drover vm list --watch");
        return -1;
    }
    if (cli_connect(cli, fail) || first_seq(cli, &seq, fail))
        return -1;
    for (;;) {
        rc = terminal ? show_on_terminal(cli, args, fail)
                      : show_when_different(cli, args, &last, &last_len, fail);
        if (rc == 0 && fflush(stdout))
            return failure_set(fail, CLI_FAILED, "the output cannot be written");
        once |= rc == 0;
        told &= rc != 0;
        if (rc == 0)
            rc = wait_for_event(cli, events, &seq, fail);
        /* A server that restarts comes back; anything else is for the user to hear. */
        if (rc && !(once && is_passing(fail)))
            return -1;
        if (rc) {
            if (!told)
                fputs("drover: the server does not answer, trying again\n", stderr);
            told = true;
            poll(NULL, 0, RETRY_MS);
        }
    }
}
