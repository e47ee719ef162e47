/* A program in a leased VM: starting, following, ending it. */
#include "service/cli/work.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/cli/interrupt.h"
#include "service/cli/exec_output.h"
#include "service/cli/exec_stream.h"

#define STEP_S       60 /* for each of our own small scripts in the guest */
#define PAUSE_MS     50
#define PAUSE_MAX_MS 1000
#define LOST_MS      60000 /* the guest's agent may be silent for that long */
#define FOLLOW_S     3600  /* as long as the server lets a program run */

/* What POLL and FOLLOW say beside the output. */
#define POLL_OVER 10
#define POLL_GONE 11

struct run {
    struct job *job;
    char dir[64]; /* in the guest */
    unsigned long long out_at, err_at;
    int64_t deadline; /* monotonic ms */
    bool plain;       /* the guest has not what a stream needs */
};

/*
 * $1: its folder. Being started twice is being started once. A session of its own lets it be killed
 * with all it started; boot_id tells a process that ended with its guest from one that lives.
 */
static const char start_script[] =
    "d=$1\n"
    "umask 077\n"
    "[ -e \"$d/pid\" ] && exit 0\n"
    "cat /proc/sys/kernel/random/boot_id >\"$d/boot\" 2>/dev/null\n"
    ": >\"$d/out\" && : >\"$d/err\" || exit 1\n"
    "cat >\"$d/main\" <<'end'\n"
    "umask 022\n"
    "sh \"$1/run\" </dev/null >\"$1/out\" 2>\"$1/err\"\n"
    "echo $? >\"$1/status.new\"\n"
    "mv \"$1/status.new\" \"$1/status\"\n"
    "end\n"
    "session=; command -v setsid >/dev/null 2>&1 && session=setsid\n"
    "$session sh \"$d/main\" \"$d\" </dev/null >/dev/null 2>&1 &\n"
    "echo $! >\"$d/pid\"\n";

/*
 * $2, $3: how much of the two outputs is known. What it ended with is looked for first: what is
 * printed after that was all there was.
 */
static const char poll_script[] =
    "d=$1 over=0\n"
    "boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)\n"
    "if [ -e \"$d/status\" ]; then over=10\n"
    "elif [ \"$boot\" != \"$(cat \"$d/boot\" 2>/dev/null)\" ]; then over=11\n"
    "elif ! kill -0 \"$(cat \"$d/pid\" 2>/dev/null)\" 2>/dev/null; then\n"
    "    over=11; [ ! -e \"$d/status\" ] || over=10\n"
    "fi\n"
    "[ ! -e \"$d/out\" ] || tail -c \"+$(($2 + 1))\" \"$d/out\" | head -c 262144\n"
    "[ ! -e \"$d/err\" ] || tail -c \"+$(($3 + 1))\" \"$d/err\" | head -c 262144 >&2\n"
    "exit $over\n";

/*
 * The same again and again until there is nothing more to come: what runs in the guest needs no
 * round trips to look, and its output is streamed.
 */
static const char follow_script[] =
    "d=$1 o=$2 e=$3 nap=0.05\n"
    "boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) was=$(cat \"$d/boot\" 2>/dev/null)\n"
    "pid=$(cat \"$d/pid\" 2>/dev/null)\n"
    "while :; do\n"
    "    over=0\n"
    "    if [ -e \"$d/status\" ]; then over=10\n"
    "    elif [ \"$boot\" != \"$was\" ]; then over=11\n"
    "    elif ! kill -0 \"$pid\" 2>/dev/null; then\n"
    "        over=11; [ ! -e \"$d/status\" ] || over=10\n"
    "    fi\n"
    "    on=0 en=0\n"
    "    [ ! -e \"$d/out\" ] || on=$(($(wc -c <\"$d/out\")))\n"
    "    [ ! -e \"$d/err\" ] || en=$(($(wc -c <\"$d/err\")))\n"
    "    if [ $on -gt $o ]; then\n"
    "        tail -c \"+$((o + 1))\" \"$d/out\" | head -c $((on - o)); o=$on nap=0.05\n"
    "    elif [ $en -le $e ]; then\n"
    "        [ $over = 0 ] || exit $over\n"
    "        sleep $nap 2>/dev/null || sleep 1\n"
    "        case $nap in 0.05) nap=0.1;; 0.1) nap=0.2;; *) nap=0.4;; esac\n"
    "    fi\n"
    "    if [ $en -gt $e ]; then\n"
    "        tail -c \"+$((e + 1))\" \"$d/err\" | head -c $((en - e)) >&2; e=$en nap=0.05\n"
    "    fi\n"
    "done\n";

/* All of its session, gently first. */
static const char kill_script[] =
    "pid=$(cat \"$1/pid\") || exit 0\n"
    "kill -TERM -- \"-$pid\" 2>/dev/null || kill -TERM \"$pid\" 2>/dev/null || exit 0\n"
    "n=0\n"
    "while [ $n -lt 5 ] && kill -0 -- \"-$pid\" 2>/dev/null; do sleep 1; n=$((n + 1)); done\n"
    "kill -KILL -- \"-$pid\" 2>/dev/null\n"
    "exit 0\n";

static const char make_script[] = "umask 077 && mkdir -p \"$1\"";
static const char status_script[] = "cat \"$1/status\"";
/* What of all this is in the lease's record: how it ended, and the end of what it printed. */
static const char note_script[] =
    "d=$1 status=$(cat \"$1/status\") || exit 0\n"
    "tail -c 4096 \"$d/out\"\n"
    "tail -c 4096 \"$d/err\" >&2\n"
    "[ \"$status\" != 0 ] || rm -rf \"$d\"\n" /* what failed stays for those who look into it */
    "exit \"$status\"\n";

bool work_is_variable(const char *text, struct failure *fail)
{
    size_t len = strcspn(text, "=");
    bool fine = text[len] == '=' && len > 0 && !isdigit((unsigned char)*text);

    for (size_t i = 0; i < len && fine; i++)
        fine = isalnum((unsigned char)text[i]) || text[i] == '_';
    if (!fine)
        failure_set(fail, CLI_USAGE, "a variable must read NAME=VALUE, not '%s'", text);
    return fine;
}

/* ---- starting ---- */

static char *run_text(const struct run *r, const struct work *w)
{
    auto_strbuf struct strbuf b = {0};

    strbuf_adds(&b, "PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}\n"
                    "HOME=${HOME:-/root}\nexport PATH HOME\n");
    for (const char *const *e = w->environment; e && *e; e++) {
        int len = (int)strcspn(*e, "=");

        strbuf_addf(&b, "export %.*s=", len, *e);
        job_quote(&b, *e + len + 1);
        strbuf_addc(&b, '\n');
    }
    if (w->directory) {
        auto_strbuf struct strbuf quoted = {0};

        job_quote(&quoted, w->directory);
        strbuf_addf(&b, "mkdir -p %s && cd %s || exit 125\n", quoted.data, quoted.data);
    }
    if (w->script) {
        strbuf_addf(&b, "shell=sh; command -v bash >/dev/null 2>&1 && shell=bash\n"
                        "exec $shell %s/script\n", r->dir);
        return strbuf_take(&b);
    }
    strbuf_adds(&b, "exec");
    for (const char *const *a = w->argv; *a; a++) {
        strbuf_addc(&b, ' ');
        job_quote(&b, *a);
    }
    strbuf_addc(&b, '\n');
    return strbuf_take(&b);
}

static int put(struct run *r, const char *name, FILE *file, struct failure *fail)
{
    auto_free char *path = xasprintf("files?path=%s/%s&mode=0700", r->dir, name);
    struct client_request request = {.method = "PUT", .upload = file, .timeout_s = -1};
    auto_answer struct answer a = {0};

    if (fseek(file, 0, SEEK_END) || (request.upload_size = ftell(file)) < 0)
        return failure_errno(fail, CLI_FAILED, errno, "cannot read what is to be run");
    rewind(file);
    return job_request(r->job, &request, path, &a, fail);
}

static int start(struct run *r, const struct work *w, struct failure *fail)
{
    auto_free char *text = run_text(r, w);
    auto_fclose FILE *run = tmpfile(), *script = w->script ? fopen(w->script, "rbe") : NULL;
    const char *const arguments[] = {r->dir, NULL};

    if (w->script && !script)
        return failure_errno(fail, CLI_USAGE, errno, "cannot open %s", w->script);
    if (!run || fputs(text, run) < 0 || fflush(run))
        return failure_errno(fail, CLI_FAILED, errno, "cannot make a temporary file");
    if (job_shell_check(r->job, make_script, arguments, STEP_S, fail) || put(r, "run", run, fail) ||
        (script && put(r, "script", script, fail)))
        return -1;
    return job_shell_check(r->job, start_script, arguments, STEP_S, fail);
}

/* ---- following ---- */

/* One look; *ret_news: there was output. 0 or what POLL says. */
static int look(struct run *r, bool *ret_news, struct failure *fail)
{
    char out_at[24], err_at[24];
    const char *const arguments[] = {r->dir, out_at, err_at, NULL};
    auto_answer struct answer a = {0};
    size_t out = 0, err = 0;

    snprintf(out_at, sizeof(out_at), "%llu", r->out_at);
    snprintf(err_at, sizeof(err_at), "%llu", r->err_at);
    if (job_shell(r->job, poll_script, arguments, STEP_S, &a, fail))
        return -1;
    exec_output_write(a.value, "stdout", stdout, &out);
    if (fflush(stdout))
        return failure_errno(fail, CLI_FAILED, errno, "the output cannot be written");
    exec_output_write(a.value, "stderr", stderr, &err);
    r->out_at += out;
    r->err_at += err;
    *ret_news = out || err;
    return exec_output_status(a.value);
}

static bool wants_stop(void *opaque)
{
    const struct run *r = opaque;
    struct failure ignored;

    return interrupt_signal() || clock_monotonic_ms() >= r->deadline ||
           (r->job->keeper && keeper_lost(r->job->keeper, &ignored));
}

/* Begins FOLLOW; its id, or NULL: it is not to be had now. */
static char *begin_stream(struct run *r)
{
    auto_free char *path = xasprintf("/v1/vms/%s/exec", r->job->vm), *out = NULL, *err = NULL;
    auto_value json_t *body = NULL;
    struct client_request request = {.method = "POST", .path = path, .timeout_s = STEP_S};
    auto_answer struct answer a = {0};
    struct failure fail = {0};

    out = xasprintf("%llu", r->out_at);
    err = xasprintf("%llu", r->err_at);
    body = json_pack("{s:[s, s, s, s, s, s, s], s:i, s:b, s:b, s:s}", "argv", "/bin/sh", "-c", follow_script, "sh",
                     r->dir, out, err, "timeout_seconds", FOLLOW_S, "record", 0, "stream", 1, "stdin", "");
    request.body = body;
    if (client_do(r->job->cli->client, &request, &a, &fail)) {
        r->plain = str_eq(fail.code, "agent-failed");
        return NULL;
    }
    return xstrdup(value_text(a.value, "id", ""));
}

/* Nobody reads FOLLOW's output any more. It would end with the program, unless a pipe is full. */
static void end_stream(struct run *r, const char *id)
{
    auto_free char *path = xasprintf("/v1/vms/%s/exec/%s", r->job->vm, id);
    struct client_request request = {.method = "DELETE", .path = path, .timeout_s = 5};
    auto_answer struct answer ignored = {0};
    struct failure none;

    if (interrupt_signal())
        client_interruptible(r->job->cli->client, false);
    (void)client_do(r->job->cli->client, &request, &ignored, &none);
}

/* What came until FOLLOW ended, or could not be followed any more: then a look says how things are. */
static int stream(struct run *r, struct failure *fail)
{
    auto_exec_stream struct exec_stream s = {.wants_stop = wants_stop, .opaque = r};
    auto_free char *id = r->plain || wants_stop(r) ? NULL : begin_stream(r), *path = NULL;
    struct failure why = {0};
    int rc;

    if (!id)
        return 0;
    path = xasprintf("/v1/vms/%s/exec/%s/stream", r->job->vm, id);
    rc = exec_stream_follow(r->job->cli, path, &s, &why);
    r->out_at += s.have[0];
    r->err_at += s.have[1];
    if (!s.exit)
        end_stream(r, id);
    if (rc && s.output_failed) {
        *fail = why;
        return -1;
    }
    /* Refused for good; not so by a server that has just begun, which knows nothing of it. */
    if (rc && *why.code && !str_has_word("exec-not-found unavailable shutting-down agent-unavailable", why.code))
        r->plain = true;
    return 0;
}

static int fetch_status(struct run *r, struct work_end *ret, struct failure *fail)
{
    const char *const arguments[] = {r->dir, NULL};
    auto_answer struct answer a = {0};
    auto_free char *text = NULL;
    size_t len = 0;
    uint64_t status;

    if (job_shell(r->job, status_script, arguments, STEP_S, &a, fail))
        return -1;
    text = exec_output_bytes(a.value, "stdout", &len);
    if (text && len && text[len - 1] == '\n')
        text[len - 1] = '\0';
    if (!text || !str_to_u64(text, 255, &status))
        return failure_set(fail, CLI_FAILED, "the guest does not say how the command ended");
    ret->status = (int)status;
    return 0;
}

/* The record shows what a program was started with: a comment in front says what this one was. */
static void note(struct run *r, const struct work *w)
{
    const char *const arguments[] = {r->dir, NULL};
    auto_strbuf struct strbuf script = {0};
    auto_answer struct answer ignored = {0};
    struct failure none;

    strbuf_addc(&script, '#');
    if (w->script)
        strbuf_addf(&script, " %s", w->name);
    for (const char *const *a = w->argv; a && *a; a++)
        strbuf_addf(&script, " %s", *a);
    for (char *p = script.data; *p; p++)
        *p = *p == '\n' || *p == '\r' ? ' ' : *p;
    strbuf_addf(&script, "\n%s", note_script);
    (void)job_shell_recorded(r->job, script.data, arguments, STEP_S, &ignored, &none);
}

static void end_early(struct run *r)
{
    const char *const arguments[] = {r->dir, NULL};
    auto_answer struct answer ignored = {0};
    struct failure none;
    bool news;

    client_interruptible(r->job->cli->client, false);
    (void)job_shell(r->job, kill_script, arguments, STEP_S, &ignored, &none);
    (void)look(r, &news, &none);
}

/* 1: more may come. */
static int follow_once(struct run *r, struct work_end *ret, int64_t *pause, int64_t *lost_since,
                       struct failure *fail)
{
    bool news = false;
    int rc = look(r, &news, fail);

    if (rc < 0)
        return -1;
    if (rc == POLL_OVER && !news)
        return fetch_status(r, ret, fail);
    if (rc == POLL_GONE && !news)
        return failure_set(fail, CLI_FAILED, "the command is gone: the guest restarted, or killed it");
    if (rc == 0 || rc == POLL_OVER || rc == POLL_GONE) {
        *lost_since = 0;
    } else { /* the script itself was killed, or could not start: out of memory, out of processes */
        *lost_since = *lost_since ? *lost_since : clock_monotonic_ms();
        if (clock_monotonic_ms() - *lost_since > LOST_MS)
            return failure_set(fail, CLI_FAILED, "the guest cannot be asked any more: status %d", rc);
    }
    *pause = rc == POLL_OVER || rc == POLL_GONE ? 0
             : news                             ? PAUSE_MS
             : *pause * 2 < PAUSE_MAX_MS        ? *pause * 2
                                                : PAUSE_MAX_MS;
    return 1;
}

/* It is to end before its time: 1, and *ret says why. */
static int stop_early(struct run *r, struct work_end *ret)
{
    bool late = clock_monotonic_ms() >= r->deadline;

    if (!interrupt_signal() && !late)
        return 0;
    ret->interrupted = interrupt_signal() != 0;
    ret->timed_out = !ret->interrupted;
    if (ret->timed_out)
        ret->status = EXEC_EXIT_TIMEOUT;
    end_early(r);
    return 1;
}

static int follow(struct run *r, const struct work *w, struct work_end *ret, struct failure *fail)
{
    int64_t pause = PAUSE_MS, lost_since = 0;

    r->deadline = w->timeout_s ? clock_monotonic_ms() + w->timeout_s * 1000 : INT64_MAX;
    for (;;) {
        int64_t left;
        int rc;

        if (stream(r, fail))
            return -1;
        if (stop_early(r, ret))
            return 0;
        rc = follow_once(r, ret, &pause, &lost_since, fail);
        if (rc == 0)
            note(r, w);
        if (rc == 0 || (rc < 0 && !interrupt_signal()))
            return rc;
        left = r->deadline - clock_monotonic_ms();
        if (rc > 0)
            (void)job_pause(left < pause ? left : pause);
        if (stop_early(r, ret))
            return 0;
    }
}

static struct run run_new(struct job *job)
{
    struct run r = {.job = job};
    char id[UUID_TEXT];

    uuid_new(id);
    id[8] = '\0';
    snprintf(r.dir, sizeof(r.dir), "/var/tmp/drover-%s", id);
    return r;
}

int work_start(struct job *job, const struct work *work, struct failure *fail)
{
    struct run r = run_new(job);

    return start(&r, work, fail);
}

int work_run(struct job *job, const struct work *work, struct work_end *ret, struct failure *fail)
{
    struct run r = run_new(job);

    *ret = (struct work_end){0};
    if (start(&r, work, fail) == 0)
        return follow(&r, work, ret, fail);
    if (!interrupt_signal())
        return -1;
    ret->interrupted = true;
    return 0;
}
