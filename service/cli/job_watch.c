/* A leased VM that works by itself: its console is shown here until it powers off. */
#include <stdio.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/cli/interrupt.h"
#include "service/cli/job.h"

#define PAUSE_MS     100
#define PAUSE_MAX_MS 1000

struct watch {
    struct job *job;
    int64_t at; /* of the console */
};

/* Text, not bytes: what a guest prints must not drive the terminal. 1: there was some. */
static int show(struct watch *w, struct failure *fail)
{
    auto_free char *path = xasprintf("console/log?from=%lld", (long long)w->at);
    struct client_request r = {.accept = "text/plain, application/problem+json"};
    auto_answer struct answer a = {0};
    int64_t before = w->at;

    if (job_request(w->job, &r, path, &a, fail))
        return str_eq(fail->code, "stream-unavailable") ? 0 : -1;
    fwrite(a.text, 1, a.len, stdout);
    if (fflush(stdout))
        return failure_set(fail, CLI_FAILED, "the output cannot be written");
    w->at = a.next > w->at ? a.next : w->at;
    return w->at > before;
}

/* 1: it works, 0: it has powered off. */
static int look(struct watch *w, struct failure *fail)
{
    struct client_request r = {0};
    auto_answer struct answer a = {0};
    const char *state, *reason;

    if (job_request(w->job, &r, "", &a, fail))
        return -1;
    state = value_text(a.value, "state", "");
    reason = value_text(a.value, "state_reason", "nobody knows why");
    if (str_eq(state, "stopped") && !str_eq(reason, "the host went down"))
        return 0;
    if (!str_has_word("stopped crashed failed deleting", state))
        return 1;
    return failure_set(fail, CLI_FAILED, "the VM %s %s: %s", w->job->name, state, reason);
}

int job_watch(struct job *job, int64_t timeout_s, bool *ret_timed_out, struct failure *fail)
{
    int64_t deadline = timeout_s ? clock_monotonic_ms() + timeout_s * 1000 : INT64_MAX, pause = PAUSE_MS;
    struct watch w = {.job = job};

    *ret_timed_out = false;
    while (clock_monotonic_ms() < deadline) {
        int working = look(&w, fail); /* before the console: what it printed last is to be seen */
        int printed = working < 0 ? -1 : show(&w, fail);

        if (printed < 0)
            return -1;
        if (printed == 0 && !working)
            return 0;
        pause = printed ? PAUSE_MS : pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
        if (working && !job_pause(pause))
            return failure_set(fail, CLI_FAILED, "interrupted");
    }
    *ret_timed_out = true;
    return 0;
}
