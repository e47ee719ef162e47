/* `events`: the event log, once or as it grows (server-sent events, resumed after a break). */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"
#include "service/cli/sse.h"

#define RETRY_MS 1000

struct follow {
    struct sse sse;
    bool json, ended;
    long long last; /* seq of the newest event printed, or -1 */
};

static void print_event(const json_t *event, bool json)
{
    auto_free char *data = NULL;

    if (json) {
        cli_print_value(event);
        return;
    }
    print_safe(stdout, value_text(event, "at", "-"));
    printf("  %-20s ", value_text(event, "type", "-"));
    print_safe(stdout, value_text(event, "subject.name", value_text(event, "subject.id", "-")));
    data = value_show("data", value_at(event, "data"));
    if (!str_eq(data, "-")) {
        fputs("  ", stdout);
        print_safe(stdout, data);
    }
    putchar('\n');
}

static bool on_event(void *opaque, const char *data, size_t len)
{
    struct follow *f = opaque;
    auto_value json_t *event = value_parse(data, len);
    double seq;

    if (!event || str_eq(value_text(event, "type", NULL), "resync")) /* the stream ends, follow() resumes */
        return true;
    if (value_number(event, "seq", &seq))
        f->last = (long long)seq;
    print_event(event, f->json);
    if (fflush(stdout)) /* the reader of a pipe has gone */
        f->ended = true;
    return !f->ended;
}

static bool on_bytes(void *opaque, const char *data, size_t len)
{
    struct follow *f = opaque;

    return sse_feed(&f->sse, data, len);
}

static int follow(struct cli *cli, long long since, struct failure *fail)
{
    struct follow f = {.json = cli->json, .last = since};
    bool connected_once = false;
    int rc;

    do {
        auto_free char *resume = f.last >= 0 ? xasprintf("Last-Event-ID: %lld", f.last) : NULL;
        const char *headers[] = {resume, NULL};
        struct client_request r = {.path = "/v1/events",
                                   .accept = "text/event-stream",
                                   .headers = resume ? headers : NULL,
                                   .timeout_s = -1,
                                   .on_data = on_bytes,
                                   .opaque = &f};
        auto_answer struct answer a = {0};

        sse_init(&f.sse, on_event, &f);
        rc = client_do(cli->client, &r, &a, fail);
        sse_done(&f.sse);
        connected_once |= rc == 0 || f.last > since;
        if (f.ended)
            return failure_set(fail, CLI_FAILED, "the output cannot be written");
        if (rc && !(connected_once && fail->exit == CLI_CONNECT))
            return -1;
        fputs("drover: the stream broke off, resuming\n", stderr);
        poll(NULL, 0, RETRY_MS);
    } while (true);
}

/* Where the newest `limit` events begin. */
static int newest(struct cli *cli, int64_t limit, int64_t *ret_since, struct failure *fail)
{
    auto_answer struct answer a = {0};
    double last = 0;

    if (client_get(cli->client, "/v1/events?limit=1", &a, fail))
        return -1;
    (void)value_number(a.value, "last_seq", &last);
    *ret_since = (int64_t)last > limit ? (int64_t)last - limit : 0;
    return 0;
}

static int run_events(struct cli *cli, const struct args *args, struct failure *fail)
{
    int64_t since, limit;
    auto_answer struct answer a = {0};
    auto_free char *path = NULL;
    const json_t *event;
    size_t i;

    if (args_number(args, "since", 0, INT64_MAX / 2, -1, &since, fail) ||
        args_number(args, "limit", 1, 1000, 100, &limit, fail) || cli_connect(cli, fail))
        return -1;
    if (args_flag(args, "follow"))
        return follow(cli, since, fail);
    if (since < 0 && newest(cli, limit, &since, fail))
        return -1;
    path = xasprintf("/v1/events?since=%lld&limit=%lld", (long long)since, (long long)limit);
    if (client_get(cli->client, path, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    json_array_foreach(json_object_get(a.value, "items"), i, event)
        print_event(event, false);
    return 0;
}

static const struct option_row event_options[] = {
    {"follow", 'f', NULL, "keep printing events as they happen"},
    {"since", 0, "SEQ", "only events after this sequence number"},
    {"limit", 0, "N", "how many (default 100): the newest, or the first after --since"},
    {0}};

const struct command event_commands[] = {
    {"events", "", 0, 0, "show what happened, oldest first", event_options, run_events,
     "With --follow only new events are shown, unless --since says from where; a broken connection "
     "is resumed without losing one. With --json each event is one line."},
    {0}};
