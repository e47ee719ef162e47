/* `run`: one command in a VM of its own, which is gone afterwards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/interrupt.h"
#include "service/cli/job.h"
#include "service/cli/exec_output.h"
#include "service/cli/transfer.h"
#include "service/cli/work.h"

#define OWN_FAILURE   CLI_RUN
#define DIRECTORY     "/job"
#define PAIRS_MAX     32
#define USER_DATA_MAX (256u << 10)
#define SPARE_S       3600 /* of the lease's longest life, for waiting and copying */

struct pair {
    char *from; /* owned */
    const char *to;
};

struct plan {
    struct job_ask ask;
    json_t *labels;
    int64_t boot_s, timeout_s, keep_s;
    bool may_type;
    const char *directory;
    const char *argv[ARGS_MAX + 1];
    char *environment[ARGS_MAX + 1]; /* owned */
    char *user_data;                 /* of a VM that works by itself; or NULL */
    json_t *vm;
    struct pair copies[PAIRS_MAX], fetches[PAIRS_MAX];
    int copy_count, fetch_count;
};

static void plan_done(struct plan *p)
{
    for (int i = 0; i < p->copy_count; i++)
        free(p->copies[i].from);
    for (int i = 0; i < p->fetch_count; i++)
        free(p->fetches[i].from);
    for (char **e = p->environment; *e; e++) {
        explicit_bzero(*e, strlen(*e)); /* secrets come this way */
        free(*e);
    }
    free(p->user_data);
    json_decref(p->labels);
    json_decref(p->vm);
}

/* ---- what is asked for ---- */

/* FROM[:TO], split at the last colon. */
static int read_pairs(const struct args *args, const char *option, const char *to, struct pair *ret,
                      int *ret_count, struct failure *fail)
{
    const char *text;
    int state = 0;

    while ((text = args_next(args, option, &state))) {
        const char *colon = strrchr(text, ':');

        if (*ret_count == PAIRS_MAX)
            return failure_set(fail, CLI_USAGE, "--%s may be given %d times", option, PAIRS_MAX);
        if (!colon && !to)
            return failure_set(fail, CLI_USAGE, "--%s must read PATH:FOLDER, not '%s'", option, text);
        ret[*ret_count].from = colon ? xstrndup(text, (size_t)(colon - text)) : xstrdup(text);
        ret[(*ret_count)++].to = colon ? colon + 1 : to;
        if (!*ret[*ret_count - 1].from || !*ret[*ret_count - 1].to)
            return failure_set(fail, CLI_USAGE, "--%s %s: a path is missing", option, text);
    }
    return 0;
}

static int read_labels(const struct args *args, struct plan *p, struct failure *fail)
{
    const char *text;
    int state = 0;

    p->labels = json_object();
    while ((text = args_next(args, "label", &state))) {
        const char *eq = strchr(text, '=');
        auto_free char *key = eq ? xstrndup(text, (size_t)(eq - text)) : NULL;

        if (!eq || json_object_set_new(p->labels, key, json_string(eq + 1)))
            return failure_set(fail, CLI_USAGE, "--label must read KEY=VALUE, not '%s'", text);
    }
    p->ask.labels = p->labels;
    return 0;
}

/* NAME=VALUE, or NAME alone: as it is here, which keeps secrets out of the list of processes. */
static int read_environment(const struct args *args, struct plan *p, struct failure *fail)
{
    const char *text;
    int state = 0, count = 0;

    while ((text = args_next(args, "env", &state))) {
        const char *here = strchr(text, '=') ? NULL : getenv(text);

        if (!strchr(text, '=') && !here)
            return failure_set(fail, CLI_USAGE, "--env %s: there is no such variable here", text);
        p->environment[count] = here ? xasprintf("%s=%s", text, here) : xstrdup(text);
        if (!work_is_variable(p->environment[count++], fail))
            return -1;
    }
    return 0;
}

static int read_user_data(const struct args *args, struct plan *p, struct failure *fail)
{
    const char *name = args_text(args, "user-data", NULL);
    struct error err;
    size_t len;
    int rc;

    if (!name)
        return args->count ? 0 : failure_set(fail, CLI_USAGE, "there is no COMMAND (or --user-data)");
    if (args->count || p->copy_count || p->fetch_count || *p->environment)
        return failure_set(fail, CLI_USAGE, "with --user-data the VM works by itself: it takes no "
                                            "COMMAND, --copy, --fetch or --env");
    if (!p->ask.image)
        return failure_set(fail, CLI_USAGE, "--user-data needs --image: VMs of a pool have booted before");
    rc = file_read(name, USER_DATA_MAX + 1, &p->user_data, &len, &err);
    if (rc <= 0)
        return rc < 0 ? failure_from_error(fail, &err)
                      : failure_set(fail, CLI_USAGE, "there is no file %s", name);
    if (len > USER_DATA_MAX)
        return failure_set(fail, CLI_USAGE, "%s is larger than 256 KiB", name);
    p->vm = json_pack("{s:s}", "user_data", p->user_data);
    p->ask.vm = p->vm;
    return p->vm ? 0 : failure_set(fail, CLI_USAGE, "%s must be UTF-8", name);
}

static int plan_read(const struct args *args, struct plan *p, struct failure *fail)
{
    json_int_t timeout, keep;

    if (job_ask_read(args, &p->ask, &p->boot_s, fail) ||
        args_lifetime(args, "timeout", 0, &timeout, fail) ||
        args_lifetime(args, "keep-on-failure", 0, &keep, fail) || read_labels(args, p, fail) ||
        read_pairs(args, "copy", DIRECTORY, p->copies, &p->copy_count, fail) ||
        read_pairs(args, "fetch", NULL, p->fetches, &p->fetch_count, fail))
        return -1;
    if (!p->ask.pool && !p->ask.image)
        return failure_set(fail, CLI_USAGE, "--image or --pool must be given");
    if (read_environment(args, p, fail) || read_user_data(args, p, fail))
        return -1;
    for (int i = 0; i < args->count; i++)
        p->argv[i] = args->operand[i];
    p->timeout_s = timeout;
    p->keep_s = keep;
    p->may_type = args_flag(args, "share-control");
    p->directory = args_text(args, "workdir", DIRECTORY);
    p->ask.holder = args_text(args, "holder", NULL);
    p->ask.prefix = "run";
    /* A pool has its own longest time; a VM of one's own is to last as long as the command may. */
    if (!p->ask.pool)
        p->ask.max_s = (timeout ? timeout + p->boot_s : 86400) + SPARE_S + keep;
    if (*p->directory != '/')
        return failure_set(fail, CLI_USAGE, "--workdir must be absolute, not '%s'", p->directory);
    for (int i = 0; i < p->copy_count; i++) {
        if (*p->copies[i].to != '/')
            return failure_set(fail, CLI_USAGE, "--copy FOLDER:PATH: the path in the VM must be "
                                                "absolute, not '%s'", p->copies[i].to);
    }
    return 0;
}

/* ---- doing it ---- */

static int fetch_all(struct job *job, const struct plan *p, struct failure *fail)
{
    int rc = 0;

    for (int i = 0; i < p->fetch_count; i++) {
        struct failure one = {0};

        if (transfer_out(job, p->directory, p->fetches[i].from, p->fetches[i].to, &one) == 0)
            continue;
        job_say("cannot fetch %s: %s %s", p->fetches[i].from, one.title, one.detail);
        *fail = one;
        rc = -1;
    }
    return rc;
}

static int work(struct job *job, const struct plan *p, struct work_end *ret, struct failure *fail)
{
    const struct work w = {.argv = p->argv,
                           .directory = p->directory,
                           .environment = (const char *const *)p->environment,
                           .timeout_s = p->timeout_s};

    if (job_keep(job, fail))
        return -1;
    if (p->user_data) {
        if (job_watch(job, p->timeout_s, &ret->timed_out, fail))
            return -1;
        ret->status = ret->timed_out ? EXEC_EXIT_TIMEOUT : 0;
        return 0;
    }
    if (job_ready(job, p->boot_s, fail))
        return -1;
    for (int i = 0; i < p->copy_count; i++) {
        if (transfer_in(job, p->copies[i].from, p->copies[i].to, fail))
            return -1;
    }
    return work_run(job, &w, ret, fail);
}

/* -1 with what this program is to end with; *fail is printed unless it is empty. */
static int give_back(struct job *job, const struct plan *p, bool keep, struct failure *fail)
{
    struct failure late = {0};
    int rc = keep ? job_hold(job, p->keep_s, p->may_type, &late) : job_release(job, &late);

    if (rc == 0)
        return 0;
    job_say("the VM %s could not be %s: %s %s; it ends by itself in %lld s", job->name,
            keep ? "kept" : "given back", late.title, late.detail, (long long)job->ttl_s);
    (void)fail;
    return -1;
}

static int finish(struct job *job, const struct plan *p, int rc, const struct work_end *end,
                  struct failure *fail)
{
    bool stopped = end->interrupted || interrupt_signal(), failed = rc || end->status;

    if (rc == 0 && !stopped && fetch_all(job, p, fail) && !failed) {
        (void)give_back(job, p, false, fail);
        fail->exit = OWN_FAILURE;
        return -1;
    }
    if (end->timed_out)
        job_say("the command took longer than %lld s and was killed", (long long)p->timeout_s);
    (void)give_back(job, p, failed && p->keep_s && !stopped, fail);
    if (stopped) {
        *fail = (struct failure){.exit = (enum cli_exit)(EXEC_EXIT_SIGNAL + interrupt_signal())};
        return -1;
    }
    if (rc)
        return -1;
    *fail = (struct failure){.exit = (enum cli_exit)end->status};
    return end->status ? -1 : 0;
}

static int run(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_scope(plan_done) struct plan p = {0};
    auto_job struct job job = {0};
    struct work_end end = {0};
    int rc;

    if (plan_read(args, &p, fail) || cli_connect(cli, fail))
        return -1;
    interrupt_watch();
    client_interruptible(cli->client, true);
    if (job_claim(cli, &p.ask, &job, fail)) {
        if (interrupt_signal())
            *fail = (struct failure){.exit = (enum cli_exit)(EXEC_EXIT_SIGNAL + interrupt_signal())};
        return -1;
    }
    if (!args_flag(args, "quiet"))
        job_say("running on %s", job.name);
    rc = work(&job, &p, &end, fail);
    return finish(&job, &p, rc, &end, fail);
}

static const struct option_row options[] = {
    JOB_VM_OPTIONS,
    {"lease", 0, "TIME", "how long the VM outlives this program if that is killed (default 1m, at "
                         "least 5s)"},
    {"copy", 0, "FOLDER[:PATH]", "copy what is in this folder into the VM, to " DIRECTORY
                                 " unless told otherwise; may be repeated"},
    {"fetch", 0, "PATH:FOLDER", "afterwards copy a file or folder of the VM into this folder here; "
                                "may be repeated"},
    {"env", 'e', "NAME[=VALUE]", "a variable of the command, with the value it has here unless told "
                                 "otherwise; may be repeated"},
    {"workdir", 'w', "PATH", "where the command runs (default " DIRECTORY ")"},
    {"user-data", 0, "FILE", "instead of a COMMAND, for cloud-init: the VM works by itself, its console "
                             "is shown, and it is done when it powers off; needs no guest agent"},
    {"timeout", 0, "TIME", "kill the command after this time, exit status 124"},
    {"keep-on-failure", 'k', "TIME", "keep the VM for that long when the command fails, and print a "
                                     "link to its console"},
    {"share-control", 0, NULL, "whoever has that link may type, too"},
    {"holder", 0, "NAME", "who holds the VM, in your words"},
    {"label", 'l', "KEY=VALUE", "a label of the lease and the VM; may be repeated"},
    {"quiet", 0, NULL, "print only what the command prints, and failures"},
    {0}};

const struct command run_commands[] = {
    {"run", "-- COMMAND [ARG...]", 0, ARGS_MAX, "run a command in a VM of its own", options, run,
     "Leases a VM, waits until its guest agent answers, copies in, runs the command with its output "
     "here as it comes, copies out, and gives the VM back: also on Ctrl-C or a hang-up, and when "
     "this program is killed, because the lease ends by itself a minute later. The exit status is "
     "the command's; 124: it took too long; 125: the VM, the server or the way to it failed; 126 "
     "and 127: the guest cannot run it; 128 and more: a signal.",
     OWN_FAILURE},
    {0}};
