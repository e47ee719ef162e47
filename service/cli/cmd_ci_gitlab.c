/*
 * GitLab's custom executor. Each stage of a job is a process of its own; what they share is on the
 * server: the lease, found by the job's number. What the job's author may set (CUSTOM_ENV_…) chooses
 * within what the runner's owner allows, and never whose VM it is.
 */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/cmd_ci.h"
#include "service/cli/interrupt.h"
#include "service/cli/job.h"
#include "service/cli/work.h"

#define OPTIONS_VARIABLE "DROVER_CI_OPTIONS" /* set by config for the other stages */
#define RESPONSE_MAX     (16u << 20)
#define LEASE_S          300 /* from one stage to the next nobody renews it */
#define JOB_MAX_S        604800
#define BUILD_FAILURE    1 /* where GitLab does not say */
#define SYSTEM_FAILURE   2
#define ATTEMPTS         32

struct stage {
    struct args args; /* of config, and its own */
    json_t *words;    /* those of config: args borrows from it */
    struct job_ask ask;
    int64_t boot_s, keep_s;
    char *label, *key, *prefix, *holder;
    json_t *labels;
    bool build_failed; /* the job's fault, not ours */
};

static void stage_done(struct stage *s)
{
    json_decref(s->words);
    json_decref(s->labels);
    free(s->label);
    free(s->key);
    free(s->prefix);
    free(s->holder);
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static enum cli_exit code_of(const char *name, int fallback)
{
    const char *text = variable(name);
    uint64_t code;

    return (enum cli_exit)(text && str_to_u64(text, 255, &code) && code ? (int)code : fallback);
}

/* Not the server's or ours. */
static int __attribute__((format(printf, 3, 4))) job_fault(struct stage *s, struct failure *fail,
                                                           const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    s->build_failed = true;
    return failure_set(fail, CLI_FAILED, "%s", text);
}

/* ---- settings, from config to the other stages ---- */

static const struct option_row *row_of(const char *name)
{
    for (const struct option_row *row = gitlab_options; row->name; row++) {
        if (str_eq(row->name, name))
            return row;
    }
    return NULL;
}

/* The options that config was given come first, so that a stage's own win. */
static int merge_options(struct stage *s, const struct args *own, struct failure *fail)
{
    const char *text = variable(OPTIONS_VARIABLE);
    json_t *word;
    size_t i;

    s->args = *own;
    s->words = text ? value_parse(text, strlen(text)) : json_array();
    if (!json_is_array(s->words))
        return failure_set(fail, CLI_USAGE, OPTIONS_VARIABLE " is not what config sets");
    s->args.given_count = 0;
    json_array_foreach(s->words, i, word)
    {
        const struct option_row *row = row_of(value_text(word, "name", ""));

        if (!row || s->args.given_count == ARGS_MAX)
            return failure_set(fail, CLI_USAGE, OPTIONS_VARIABLE " has an option that is unknown here");
        s->args.given[s->args.given_count].row = row;
        s->args.given[s->args.given_count++].value = value_text(word, "value", NULL);
    }
    for (int j = 0; j < own->given_count && s->args.given_count < ARGS_MAX; j++)
        s->args.given[s->args.given_count++] = own->given[j];
    return 0;
}

static json_t *option_words(const struct args *args)
{
    json_t *words = json_array();

    for (int i = 0; i < args->given_count; i++) {
        if (row_of(args->given[i].row->name))
            json_array_append_new(words, json_pack("{s:s, s:s*}", "name", args->given[i].row->name,
                                                   "value", args->given[i].value));
    }
    return words;
}

/* ---- the job ---- */

/* What GitLab itself says of the job, which its author cannot change; NULL from old runners. */
static json_t *job_response(void)
{
    const char *name = variable("JOB_RESPONSE_FILE");
    auto_free char *text = NULL;
    struct error err;
    size_t len;

    if (!name || file_read(name, RESPONSE_MAX, &text, &len, &err) <= 0)
        return NULL;
    return value_parse(text, len);
}

static int identify(struct stage *s, struct failure *fail)
{
    auto_value json_t *response = job_response();
    const char *name = args_text(&s->args, "name", "gitlab");
    const char *project = variable("CUSTOM_ENV_CI_PROJECT_PATH"), *text = variable("CUSTOM_ENV_CI_JOB_ID");
    double number = 0;
    uint64_t id;

    if (value_number(response, "id", &number) && number >= 1)
        id = (uint64_t)number;
    else if (response || !text || !str_to_u64(text, INT64_MAX, &id) || id == 0)
        return failure_set(fail, CLI_USAGE, "the job has no number: is this called by GitLab Runner?");
    s->label = xasprintf(JOB_LABEL "=%s/%llu", name, (unsigned long long)id);
    s->key = xasprintf("%s/%llu", name, (unsigned long long)id);
    s->prefix = xasprintf("%s-%llu", name, (unsigned long long)id);
    s->holder = value_number(response, "job_info.project_id", &number)
                    ? xasprintf("%s project %llu", name, (unsigned long long)number)
                    : xasprintf("%s", name);
    s->labels = json_pack("{s:s, s:s*}", JOB_LABEL, s->key, "ci.project",
                          project && strlen(project) <= 256 ? project : NULL);
    if (!s->labels)
        return failure_set(fail, CLI_USAGE, "names must be UTF-8");
    return 0;
}

/* `image:` of the job, where the runner's owner allows it; else the owner's own choice. */
static int choose_vm(struct stage *s, struct failure *fail)
{
    const char *wanted = variable("CUSTOM_ENV_CI_JOB_IMAGE"), *pattern;
    int state = 0;

    if (!wanted) {
        if (s->ask.image || s->ask.pool)
            return 0;
        return job_fault(s, fail, "the job names no image, and this runner has none of its own");
    }
    while ((pattern = args_next(&s->args, "allow-image", &state))) {
        if (fnmatch(pattern, wanted, 0))
            continue;
        s->ask.image = str_starts(wanted, "pool:") ? NULL : wanted;
        s->ask.pool = str_starts(wanted, "pool:") ? wanted + strlen("pool:") : NULL;
        return 0;
    }
    if (!args_flag(&s->args, "allow-image") && (s->ask.image || s->ask.pool))
        return 0; /* the runner has one for all */
    return job_fault(s, fail, "this runner does not allow the image %s", wanted);
}

static int choose_keep(struct stage *s, struct failure *fail)
{
    const char *text = variable("CUSTOM_ENV_DROVER_KEEP_ON_FAILURE");
    json_int_t most, wanted = 0;

    if (args_lifetime(&s->args, "keep-on-failure", 0, &most, fail))
        return -1;
    if (!text || str_eq(text, "false"))
        return 0;
    if (str_eq(text, "true"))
        wanted = most;
    else if (!args_time(text, &wanted))
        return job_fault(s, fail, "DROVER_KEEP_ON_FAILURE must be true or a time such as 30m, not '%s'",
                         text);
    s->keep_s = wanted < most ? wanted : most;
    /* What a lease was last renewed for tells whether it is kept: the two must differ. */
    if (s->keep_s == s->ask.ttl_s)
        s->keep_s++;
    return 0;
}

static int stage_read(const struct args *args, struct stage *s, struct failure *fail)
{
    if (merge_options(s, args, fail) || job_ask_read(&s->args, &s->ask, &s->boot_s, fail) ||
        identify(s, fail))
        return -1;
    if (!args_flag(&s->args, "lease"))
        s->ask.ttl_s = LEASE_S;
    if (choose_keep(s, fail))
        return -1;
    s->ask.key = s->key;
    s->ask.prefix = s->prefix;
    s->ask.holder = s->holder;
    s->ask.labels = s->labels;
    return 0;
}

/* What GitLab Runner is to make of a failure. */
static int verdict(const struct stage *s, int rc, struct failure *fail)
{
    if (rc)
        fail->exit = s->build_failed ? code_of("BUILD_FAILURE_EXIT_CODE", BUILD_FAILURE)
                                     : code_of("SYSTEM_FAILURE_EXIT_CODE", SYSTEM_FAILURE);
    return rc;
}

static int begin(struct cli *cli, const struct args *args, struct stage *s, struct failure *fail)
{
    if (stage_read(args, s, fail) || cli_connect(cli, fail))
        return -1;
    interrupt_watch();
    client_interruptible(cli->client, true);
    return 0;
}

/* ---- config ---- */

static int print_config(const struct args *args, struct stage *s, struct failure *fail)
{
    auto_value json_t *words = NULL, *config = NULL;
    auto_free char *text = NULL;

    if (stage_read(args, s, fail))
        return -1;
    words = option_words(&s->args);
    text = json_dumps(words, JSON_COMPACT);
    config = json_pack("{s:{s:s, s:s}, s:s, s:s, s:b, s:{s:s}}", "driver", "name", "drover", "version",
                       DROVER_VERSION, "builds_dir", args_text(&s->args, "builds-dir", "/builds"),
                       "cache_dir", args_text(&s->args, "cache-dir", "/cache"), "builds_dir_is_shared",
                       0, "job_env", OPTIONS_VARIABLE, text);
    if (!config)
        return failure_set(fail, CLI_USAGE, "paths must be UTF-8");
    cli_print_value(config);
    return 0;
}

int gitlab_config(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_scope(stage_done) struct stage s = {0};

    (void)cli; /* needs no server: it is asked in the next stage */
    return verdict(&s, print_config(args, &s, fail), fail);
}

/* ---- prepare ---- */

static int prepare(struct cli *cli, const struct args *args, struct stage *s, struct failure *fail)
{
    auto_job struct job job = {0};
    struct failure ignored;

    if (begin(cli, args, s, fail) || choose_vm(s, fail))
        return -1;
    if (!s->ask.pool)
        s->ask.max_s = JOB_MAX_S + s->keep_s;
    if (job_claim(cli, &s->ask, &job, fail))
        return -1;
    job_say("the job runs on %s", job.name);
    job.ttl_s = s->ask.ttl_s;
    if (job_keep(&job, fail) == 0 && job_ready(&job, s->boot_s, fail) == 0)
        return 0;
    (void)job_release(&job, &ignored); /* the next attempt gets another one */
    return -1;
}

int gitlab_prepare(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_scope(stage_done) struct stage s = {0};

    return verdict(&s, prepare(cli, args, &s, fail), fail);
}

/* ---- run ---- */

static bool is_held(const struct stage *s, const struct job *job)
{
    return s->keep_s && job->ttl_s == s->keep_s;
}

static int find(struct cli *cli, struct stage *s, struct job *ret, struct failure *fail)
{
    int rc = job_find(cli, "active", s->label, ret, fail);

    if (rc == 0)
        return failure_set(fail, CLI_FAILED, "the job's VM is gone: its time was up, or somebody gave it back");
    return rc < 0 ? -1 : 0;
}

/* Before the stages of this name all is GitLab's, after them the verdict stands. */
static bool is_the_jobs_own(const char *stage)
{
    return str_eq(stage, "build_script") || str_starts(stage, "step_");
}

static int tell_code(int status, struct failure *fail)
{
    const char *name = variable("BUILD_EXIT_CODE_FILE");
    auto_fclose FILE *file = name ? fopen(name, "we") : NULL;

    if (name && (!file || fprintf(file, "%d\n", status) < 0 || fflush(file)))
        return failure_set(fail, CLI_FAILED, "cannot write %s", name);
    return 0;
}

static int run_script(struct cli *cli, const struct args *args, struct stage *s, struct failure *fail)
{
    const char *stage = args->operand[1];
    const struct work w = {.script = args->operand[0], .name = stage};
    struct work_end end = {0};
    auto_job struct job job = {0};
    struct failure late = {0};
    bool held;

    if (begin(cli, args, s, fail) || find(cli, s, &job, fail))
        return -1;
    held = is_held(s, &job);
    job.ttl_s = held ? s->keep_s : s->ask.ttl_s;
    if (job_keep(&job, fail) || work_run(&job, &w, &end, fail))
        return -1;
    if (end.interrupted)
        return failure_set(fail, CLI_FAILED, "the stage %s was cancelled", stage);
    if (end.status == 0)
        return 0;
    if (tell_code(end.status, fail))
        return -1;
    if (s->keep_s && !held && is_the_jobs_own(stage) &&
        job_hold(&job, s->keep_s, args_flag(&s->args, "share-control"), &late))
        job_say("the VM could not be kept: %s %s", late.title, late.detail);
    s->build_failed = true;
    *fail = (struct failure){0}; /* the script has said what is wrong */
    return -1;
}

int gitlab_run(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_scope(stage_done) struct stage s = {0};

    return verdict(&s, run_script(cli, args, &s, fail), fail);
}

/* ---- cleanup ---- */

static int cleanup(struct cli *cli, const struct args *args, struct stage *s, struct failure *fail)
{
    static const char *const states[] = {"queued", "active"};

    if (stage_read(args, s, fail) || cli_connect(cli, fail))
        return -1;
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        for (int n = 0; n < ATTEMPTS; n++) {
            auto_job struct job job = {0};
            int rc = job_find(cli, states[i], s->label, &job, fail);

            if (rc < 0)
                return -1;
            if (rc == 0)
                break;
            if (is_held(s, &job)) {
                job_say("the VM %s is kept until %s", job.name, job.expires);
                break;
            }
            if (job_release(&job, fail))
                return -1;
        }
    }
    return 0;
}

int gitlab_cleanup(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_scope(stage_done) struct stage s = {0};

    return verdict(&s, cleanup(cli, args, &s, fail), fail);
}

const struct option_row gitlab_options[] = {
    JOB_VM_OPTIONS,
    {"lease", 0, "TIME", "how long the VM outlives a runner that is killed (default 5m, at least 5s)"},
    {"allow-image", 0, "PATTERN", "a job may name an image that matches (image: in .gitlab-ci.yml), or "
                                  "a pool as pool:NAME; may be repeated"},
    {"keep-on-failure", 'k', "TIME", "a job that sets DROVER_KEEP_ON_FAILURE keeps its VM when it "
                                     "fails, at most for that long"},
    {"share-control", 0, NULL, "whoever has the link to its console may type, too"},
    {"name", 'n', "NAME", "tells two GitLab servers apart (default gitlab)"},
    {"builds-dir", 0, "PATH", "where jobs are built in the VM (default /builds)"},
    {"cache-dir", 0, "PATH", "where caches are in the VM (default /cache)"},
    {0}};
