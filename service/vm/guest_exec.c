/*
 * Running programs in a guest, one after the other.
 */
#include "service/vm/guest_internal.h"

#include <stdio.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/lease.h"

/* Programs that end at once are asked about at once; those that take long, less and less often. */
#define POLL_FIRST_MS 1
#define POLL_MAX_MS   200
#define KILL_MS       10000

struct guest_exec *guest_exec_new(void)
{
    return xcalloc(1, sizeof(struct guest_exec));
}

static void step_done(struct guest_step *s)
{
    for (char **p = s->argv; *p; p++)
        free(*p);
    for (char **p = s->environment; *p; p++)
        free(*p);
    free(s->input);
}

void guest_exec_free(void *arg)
{
    struct guest_exec *x = arg;

    for (size_t i = 0; x && i < GUEST_STEPS_MAX; i++) {
        step_done(&x->steps[i]);
        guest_output_done(&x->outcomes[i].out);
        guest_output_done(&x->outcomes[i].err);
    }
    free(x);
}

static json_t *strings(char *const *items)
{
    json_t *array = json_array();

    for (; *items; items++) {
        if (json_array_append_new(array, json_string(*items)))
            abort(); /* UTF-8, the decoder saw to it */
    }
    return array;
}

int guest_program_start(struct guest_link *link, const struct guest_step *step, bool captured,
                        int64_t *ret_pid, struct error *err)
{
    auto_guest_answer struct guest_answer answer = {0};
    json_t *arguments = json_pack("{s:s, s:b}", "path", step->argv[0], "capture-output",
                                  (int)captured);

    if (step->argv[1])
        json_object_set_new(arguments, "arg", strings(step->argv + 1));
    if (step->environment[0])
        json_object_set_new(arguments, "env", strings(step->environment));
    if (step->input)
        json_object_set_new(arguments, "input-data", guest_base64(step->input, step->input_len));
    return guest_call(link, "guest-exec", arguments, guest_deadline(link->hub->core), &answer, err) ||
                   guest_reply_int(answer.value, "pid", 1, INT64_MAX, ret_pid, err)
               ? -1
               : 0;
}

int guest_program_status(struct guest_link *link, int64_t pid, struct guest_status *ret,
                         struct error *err)
{
    auto_guest_answer struct guest_answer answer = {0};

    *ret = (struct guest_status){0};
    if (guest_call(link, "guest-exec-status", json_pack("{s:I}", "pid", (json_int_t)pid),
                   guest_deadline(link->hub->core), &answer, err))
        return -1;
    if (guest_reply_status(answer.value, answer.cut, ret, err)) {
        guest_output_done(&ret->out);
        guest_output_done(&ret->err);
        return -1;
    }
    return 0;
}

/* 1: it ended, 0: the deadline passed, -1. */
static int await(struct guest_link *link, int64_t pid, int64_t deadline, struct guest_status *ret,
                 struct error *err)
{
    int64_t pause = POLL_FIRST_MS;

    for (;;) {
        int64_t left;

        if (guest_program_status(link, pid, ret, err))
            return -1;
        if (ret->exited)
            return 1;
        left = deadline - clock_monotonic_ms();
        if (left <= 0)
            return 0;
        if (guest_pause(link->hub, pause < left ? pause : left, err))
            return -1;
        pause = pause * 2 < POLL_MAX_MS ? pause * 2 : POLL_MAX_MS;
    }
}

/*
 * The agent knows no way to end a program. It is held, lest it notice that its children die; they
 * would otherwise keep its pipes open, and the agent waits for those.
 */
void guest_program_kill(struct guest_link *link, int64_t pid)
{
    char number[24], shell[] = "/bin/sh", flag[] = "-c", zero[] = "sh";
    char script[] = "kill -STOP \"$1\"; for p in $(cat /proc/\"$1\"/task/*/children); do kill -KILL $p; done; "
                    "kill -KILL \"$1\"";
    struct guest_step step = {.argv = {shell, flag, script, zero, number, NULL}};
    struct guest_status ignored = {0};
    struct error err;
    int64_t killer;

    snprintf(number, sizeof(number), "%lld", (long long)pid);
    if (guest_program_start(link, &step, true, &killer, &err) == 0 &&
        await(link, killer, clock_monotonic_ms() + KILL_MS, &ignored, &err) > 0) {
        guest_output_done(&ignored.out);
        guest_output_done(&ignored.err);
    }
}

static int finish(struct guest_link *link, const struct guest_step *step, int64_t pid,
                  struct guest_outcome *ret, struct error *err)
{
    struct guest_status s = {0};
    int rc = await(link, pid, clock_monotonic_ms() + step->timeout_ms, &s, err);

    if (rc == 0) {
        ret->timed_out = true;
        guest_program_kill(link, pid);
        rc = await(link, pid, clock_monotonic_ms() + KILL_MS, &s, err);
        if (rc == 0)
            return error_set(err, ERROR_TIMEOUT,
                             "the program did not end in time, and could not be killed");
    }
    if (rc < 0)
        return -1;
    ret->exit_code = s.signal ? -1 : s.exit_code;
    ret->signal = s.signal;
    ret->out = s.out;
    ret->err = s.err;
    return 0;
}

int guest_run_step(struct guest_link *link, const struct guest_step *step,
                   struct guest_outcome *ret, struct error *err)
{
    int64_t started = clock_monotonic_ms(), pid;

    if (guest_program_start(link, step, true, &pid, err) || finish(link, step, pid, ret, err)) {
        ret->error = *err;
        return -1;
    }
    ret->ran = true;
    ret->duration_ms = clock_monotonic_ms() - started;
    return 0;
}

static bool succeeded(const struct guest_outcome *o)
{
    return o->ran && !o->timed_out && o->exit_code == 0;
}

int guest_exec_run(struct core *core, void *arg, struct error *err)
{
    struct guest_exec *x = arg;
    auto_guest_link struct guest_link *link = NULL;

    if (guest_link_get(core, x->vm_id, &link, NULL, err))
        return -1;
    for (size_t i = 0; i < x->step_count; i++) {
        int rc = guest_run_step(link, &x->steps[i], &x->outcomes[i], err);

        if (x->outcomes[i].ran && x->steps[i].recorded)
            lease_note_exec(core, x->vm_id, &x->steps[i], &x->outcomes[i]);
        if (rc && i == 0)
            return -1;
        if (!succeeded(&x->outcomes[i]) && !x->keep_going)
            break;
    }
    return 0;
}

int guest_run_simple(struct guest_link *link, const char *const *argv, struct error *err)
{
    struct guest_step step = {.timeout_ms = KILL_MS};
    struct guest_outcome outcome = {0};
    int rc;

    for (size_t i = 0; argv[i]; i++)
        step.argv[i] = xstrdup(argv[i]);
    rc = guest_run_step(link, &step, &outcome, err);
    if (rc == 0 && !succeeded(&outcome))
        rc = error_set(err, ERROR_AGENT_FAILED, "%s failed in the guest with status %d", argv[0],
                       outcome.exit_code);
    step_done(&step);
    guest_output_done(&outcome.out);
    guest_output_done(&outcome.err);
    return rc;
}
