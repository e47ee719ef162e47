/*
 * A streamed program that an earlier daemon began: found again in the guest, told once more what may
 * not have been said, and followed from where the row says.
 */
#include "service/vm/exec_run.h"

#include <stdio.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define REACH_MS 60000 /* for a guest to find the daemon again */
#define PAUSE_MS 250

static void restored_init(struct exec_run *r, struct exec *e)
{
    exec_run_init(r, e);
    LOCK_SCOPE(&e->lock);
    str_copy_utf8(r->dir, sizeof(r->dir), e->kept.dir);
    r->pid = e->kept.pid;
    r->deadline = clock_monotonic_ms() + (e->kept.deadline_at - clock_wall_ms());
    for (int i = 0; i < EXEC_OUTPUTS; i++) {
        r->pull[i].number = e->kept.file[i];
        r->pull[i].start = e->kept.start[i];
    }
    r->push.next = r->push.noted = e->kept.pushed;
    r->push.oldest = e->kept.pushed > EXEC_INPUT_FILES ? e->kept.pushed - EXEC_INPUT_FILES : 0;
    r->push.ended = e->kept.input_ended;
    r->exited = e->kept.exited;
    r->exited_at = r->moved_at = clock_monotonic_ms();
}

/* The agent finds the daemon again, a moment after it came back. */
static int reach(struct exec_run *r, struct guest_link **ret, struct error *err)
{
    struct guest_hub *hub = r->exec->hub;
    int64_t until = clock_monotonic_ms() + REACH_MS;

    for (;;) {
        if (guest_link_get(hub->core, r->exec->vm_id, ret, NULL, err))
            return -1;
        if (guest_reach(*ret, guest_deadline(hub->core), err) == 0)
            return 0;
        guest_link_unref(TAKE_PTR(*ret));
        if (err->code == ERROR_SHUTTING_DOWN || clock_monotonic_ms() > until || guest_pause(hub, PAUSE_MS, err))
            return -1;
    }
}

/* Whatever was noted may not have been said. */
static int say_again(struct exec_run *r, struct error *err)
{
    char text[16];

    for (int i = 0; i < EXEC_OUTPUTS; i++) {
        struct exec_pull *p = &r->pull[i];

        snprintf(text, sizeof(text), "%u\n", p->number);
        if (p->number && exec_dir_signal(r, &p->gate, p->letter, text, err))
            return -1;
    }
    snprintf(text, sizeof(text), "%u\n", r->push.next - 1);
    if (r->push.next && exec_dir_signal(r, &r->push.gate, 'i', text, err))
        return -1;
    return r->push.ended ? exec_dir_signal(r, &r->push.gate, 'i', "end\n", err) : 0;
}

static int lost(struct error *err, const char *why)
{
    error_set(err, ERROR_OUTCOME_UNKNOWN, "%s", why);
    error_remedy(err, "Look in the guest at what it did.");
    return -1;
}

/* Is it the program that is remembered, and can the agent still tell its end? */
static int recognise(struct exec_run *r, struct error *err)
{
    int64_t handle = -1;

    if (!r->pid) {
        exec_dir_find(r);
        return lost(err, "the daemon was restarted while it began the program");
    }
    if (exec_dir_open(r, "pids", "r", &handle, err))
        return err->code == ERROR_GUEST_FILE_NOT_FOUND
                   ? lost(err, "the guest was started anew while the daemon was away")
                   : -1;
    exec_dir_close(r, &handle);
    if (r->exec->kept.own_input && !r->push.ended) {
        guest_program_kill(r->link, r->pid);
        return lost(err, "the daemon was restarted before the program had its stdin, and it was killed");
    }
    if (exec_run_status(r, err) < 0)
        return err->code == ERROR_AGENT_FAILED
                   ? lost(err, "the guest's agent was started anew, and does not know how the program ended")
                   : -1;
    return say_again(r, err);
}

int exec_run_restored(struct exec *e, struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;
    struct exec_run r;
    int rc;

    restored_init(&r, e);
    if (reach(&r, &link, err)) {
        if (err->code == ERROR_SHUTTING_DOWN)
            exec_leave(e, err);
        else
            exec_finish(e, EXEC_FAILED, err);
        return -1;
    }
    r.link = link;
    rc = recognise(&r, err);
    if (rc == 0) {
        log_info("a program in a guest goes on exec=%s vm=%s", e->id, e->vm_id);
        exec_settle(e, EXEC_RUNNING, err);
        rc = exec_run_watch(&r, err);
    }
    return exec_run_finish(&r, rc, err);
}
