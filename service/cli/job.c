/* A leased VM: having and ending it. Asking for one is in job_claim.c. */
#include "service/cli/job.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/cli/interrupt.h"
#include "service/cli/exec_output.h"
#include "service/cli/print.h"

#define PATIENCE_MS  60000
#define PAUSE_MS     250
#define PAUSE_MAX_MS 2000
#define WAIT_STEP_S  25 /* below what proxies cut off */

/* ---- telling ---- */

void job_say(const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fflush(stdout); /* in one log both are to be in order */
    fputs("drover: ", stderr);
    print_safe(stderr, text);
    fputc('\n', stderr);
}

bool job_pause(int64_t ms)
{
    int64_t until = clock_monotonic_ms() + ms;

    while (!interrupt_signal()) {
        int64_t left = until - clock_monotonic_ms();
        struct timespec t = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};

        if (left <= 0)
            return true;
        (void)nanosleep(&t, NULL); /* ended early by a signal, or over */
    }
    return false;
}

void job_quote(struct strbuf *b, const char *text)
{
    strbuf_addc(b, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            strbuf_adds(b, "'\\''");
        else
            strbuf_addc(b, *text);
    }
    strbuf_addc(b, '\'');
}

/* ---- having ---- */

int job_keep(struct job *job, struct failure *fail)
{
    return keeper_start(job->cli->client, job->lease, job->ttl_s, &job->keeper, fail);
}

/* Whether the same request may well succeed in a moment. */
static bool passing(const struct failure *fail)
{
    static const char codes[] = "too-many-requests unavailable shutting-down interrupted "
                                "hypervisor-unavailable database-failed agent-unavailable "
                                "agent-failed timeout insufficient-storage request-timeout "
                                "incomplete-body too-many-viewers";

    return fail->exit == CLI_CONNECT || (fail->exit == CLI_TIMEOUT && !*fail->code) ||
           (*fail->code && str_has_word(codes, fail->code));
}

static int interrupted(struct failure *fail)
{
    return failure_set(fail, CLI_FAILED, "interrupted");
}

int job_request(struct job *job, struct client_request *r, const char *path, struct answer *ret,
                struct failure *fail)
{
    auto_free char *whole = xasprintf("/v1/vms/%s%s%s", job->vm, *path ? "/" : "", path);
    int64_t deadline = clock_monotonic_ms() + PATIENCE_MS, pause = PAUSE_MS;

    r->path = whole;
    for (;;) {
        struct failure lost;

        if (client_do(job->cli->client, r, ret, fail) == 0)
            return 0;
        if (job->keeper && keeper_lost(job->keeper, &lost)) {
            failure_set(fail, CLI_CONFLICT, "the VM is gone: %s",
                        *lost.detail ? lost.detail : lost.title);
            return -1;
        }
        if (interrupt_signal() || !passing(fail) || clock_monotonic_ms() > deadline)
            return -1;
        if (!job_pause(pause))
            return interrupted(fail);
        pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
        if (r->upload)
            rewind(r->upload);
    }
}

int job_ready(struct job *job, int64_t seconds, struct failure *fail)
{
    int64_t deadline = clock_monotonic_ms() + seconds * 1000;

    for (;;) {
        int64_t left = (deadline - clock_monotonic_ms()) / 1000;
        auto_free char *path = NULL;
        auto_answer struct answer a = {0};
        struct client_request r = {0};

        left = left < 1 ? 1 : left > WAIT_STEP_S ? WAIT_STEP_S : left;
        path = xasprintf("wait?for=agent&timeout=%lld", (long long)left);
        r.timeout_s = (long)left + 30;
        r.path = path;
        if (job_request(job, &r, path, &a, fail) == 0)
            return 0;
        if (interrupt_signal())
            return interrupted(fail);
        if (clock_monotonic_ms() >= deadline || !str_eq(fail->code, "timeout"))
            break;
    }
    if (!*fail->remedy)
        failure_remedy(fail, "the image needs QEMU's guest agent, started at boot; see what "
                             "the guest printed: drover vm timeline %s", job->name);
    return -1;
}

static int shell(struct job *job, const char *script, const char *const *arguments, int64_t timeout_s,
                 bool recorded, struct answer *ret, struct failure *fail)
{
    auto_value json_t *body = json_pack("{s:[s, s, s, s], s:I, s:b}", "argv", "/bin/sh", "-c", script,
                                        "sh", "timeout_seconds", (json_int_t)timeout_s, "record",
                                        (int)recorded);
    struct client_request r = {.method = "POST", .timeout_s = (long)timeout_s + 60};

    if (!body)
        return failure_set(fail, CLI_USAGE, "what is sent to the guest must be UTF-8");
    for (; arguments && *arguments; arguments++) {
        if (json_array_append_new(json_object_get(body, "argv"), json_string(*arguments)))
            return failure_set(fail, CLI_USAGE, "'%s' is not UTF-8", *arguments);
    }
    r.body = body;
    return job_request(job, &r, "exec", ret, fail);
}

int job_shell(struct job *job, const char *script, const char *const *arguments, int64_t timeout_s,
              struct answer *ret, struct failure *fail)
{
    return shell(job, script, arguments, timeout_s, false, ret, fail);
}

int job_shell_recorded(struct job *job, const char *script, const char *const *arguments,
                       int64_t timeout_s, struct answer *ret, struct failure *fail)
{
    return shell(job, script, arguments, timeout_s, true, ret, fail);
}

int job_shell_check(struct job *job, const char *script, const char *const *arguments,
                    int64_t timeout_s, struct failure *fail)
{
    auto_answer struct answer a = {0};
    auto_free char *text = NULL;
    size_t len = 0;
    int status;

    if (job_shell(job, script, arguments, timeout_s, &a, fail))
        return -1;
    status = exec_output_status(a.value);
    if (status == 0)
        return 0;
    text = exec_output_bytes(a.value, "stderr", &len);
    while (len && text[len - 1] == '\n')
        text[--len] = '\0';
    return failure_set(fail, CLI_FAILED, "the guest failed with status %d: %s", status,
                       text && *text ? text : "it printed nothing");
}

/* ---- ending ---- */

static int lease_do(struct job *job, const char *method, json_t *body, struct answer *ret,
                    struct failure *fail)
{
    auto_free char *path = xasprintf("/v1/leases/%s", job->lease);
    struct client_request r = {.method = method, .path = path, .body = body, .timeout_s = 20};
    int64_t deadline = clock_monotonic_ms() + PATIENCE_MS / 4;

    keeper_stop(job->keeper);
    job->keeper = NULL;
    client_interruptible(job->cli->client, false);
    while (client_do(job->cli->client, &r, ret, fail)) {
        struct timespec t = {.tv_nsec = PAUSE_MS * 1000000L};

        if (!passing(fail) || clock_monotonic_ms() > deadline)
            return -1;
        (void)nanosleep(&t, NULL);
    }
    return 0;
}

int job_release(struct job *job, struct failure *fail)
{
    auto_answer struct answer a = {0};

    if (!*job->lease)
        return 0;
    if (lease_do(job, "DELETE", NULL, &a, fail) && fail->exit != CLI_NOT_FOUND)
        return -1;
    job->lease[0] = '\0';
    return 0;
}

static void share(struct job *job, int64_t seconds, bool may_type)
{
    auto_value json_t *body =
        json_pack("{s:s, s:s, s:s, s:b, s:I, s:s}", "vm", job->vm, "stream", "console", "mode",
                  may_type ? "control" : "view", "single_use", 0, "expires_in_seconds",
                  (json_int_t)seconds, "name", "a failed job");
    struct client_request r = {.method = "POST", .path = "/v1/tickets", .body = body, .timeout_s = 20};
    auto_answer struct answer a = {0};
    struct failure fail = {0};

    if (client_do(job->cli->client, &r, &a, &fail))
        job_say("no link to its console: %s %s", fail.title, fail.detail);
    else
        job_say("%s its console: %s", may_type ? "watch and use" : "watch",
                value_text(a.value, "link", "-"));
}

int job_renew(struct job *job, int64_t seconds, struct failure *fail)
{
    auto_value json_t *body = json_pack("{s:I}", "ttl_seconds", (json_int_t)seconds);
    auto_answer struct answer a = {0};

    if (lease_do(job, "PATCH", body, &a, fail))
        return -1;
    str_copy_utf8(job->expires, sizeof(job->expires), value_text(a.value, "expires_at", ""));
    return 0;
}

int job_hold(struct job *job, int64_t seconds, bool may_type, struct failure *fail)
{
    auto_free char *time = print_duration((double)seconds);

    if (job_renew(job, seconds, fail))
        return -1;
    job_say("the VM %s is kept for %s, until %s", job->name, time, job->expires);
    share(job, seconds, may_type);
    job_say("type on it: drover console %s; give it back: drover lease release %s", job->name,
            job->lease);
    return 0;
}

void job_done(struct job *job)
{
    keeper_stop(job->keeper);
    *job = (struct job){0};
}
