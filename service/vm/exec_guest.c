/*
 * A streamed program's side in the guest. The agent keeps a program's output to itself until the end,
 * so the program writes into pipes, and a small shell loop for each carries them into files of at
 * most 256 KiB, which are read while they grow. At most three of them wait for us: then the loop
 * stops reading and the program meets a full pipe. Stdin goes the other way.
 *
 * Whatever failed may have happened: numbers in the FIFOs make each step one that can be repeated.
 */
#include "service/vm/exec_run.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define PIECE       (192 * 1024)
#define INPUT_FILES 4     /* of stdin, which the guest has not read */
#define PAUSE_MIN   2     /* ms between two looks */
#define PAUSE_MAX   100
#define AGAIN_MS    250   /* after a failure */
#define GIVE_UP_MS  30000 /* of failures */
#define QUIET_MS    1000  /* after the end: children that keep the pipes open are not waited for */
#define LINGER_MS   60000 /* after the end: for a client to read the rest */
#define REACH_MS    60000 /* for a guest to find the daemon again */
#define READS       64    /* of a file of output: one of fewer bytes cannot be full */

/* ---- output ---- */

static size_t room(struct exec *e, int i)
{
    struct exec_output *o = &e->out[i];
    size_t held;

    LOCK_SCOPE(&e->lock);
    held = (size_t)(o->end - o->base);
    /* What the client has makes room, as much as is needed. */
    if (EXEC_WINDOW - held < PIECE && o->acked > o->base) {
        uint64_t most = o->base + (PIECE - (EXEC_WINDOW - held));

        o->base = o->acked < most ? o->acked : most;
        held = (size_t)(o->end - o->base);
    }
    return EXEC_WINDOW - held;
}

static void append(struct exec *e, int i, const char *data, size_t len)
{
    {
        LOCK_SCOPE(&e->lock);
        struct exec_output *o = &e->out[i];
        size_t at = (size_t)(o->end % EXEC_WINDOW), first = EXEC_WINDOW - at;

        if (!o->data)
            o->data = xcalloc(1, EXEC_WINDOW);
        if (first > len)
            first = len;
        memcpy(o->data + at, data, first);
        memcpy(o->data, data + first, len - first);
        o->end += len;
    }
    exec_tell(e);
}

/* Before the guest removes those before it: from here on an heir of ours reads. */
static void note_file(struct exec_run *r, const struct exec_pull *p, unsigned file, uint64_t start)
{
    int i = p->letter == 'o' ? EXEC_STDOUT : EXEC_STDERR;

    {
        LOCK_SCOPE(&r->exec->lock);
        r->exec->kept.file[i] = file;
        r->exec->kept.start[i] = start;
    }
    exec_keep(r->exec);
}

/* The next file has begun: this one grows no more. */
static int turn_over(struct exec_run *r, struct exec_pull *p, struct error *err)
{
    char text[16];

    note_file(r, p, p->number + 1, p->start + p->at);
    snprintf(text, sizeof(text), "%u\n", p->number + 1);
    if (exec_dir_signal(r, &p->gate, p->letter, text, err))
        return -1;
    p->start += p->at;
    exec_dir_close(r, &p->file);
    p->file = p->next;
    p->next = -1;
    p->number++;
    p->at = 0;
    return 1;
}

static int read_end(struct exec_run *r, struct exec_pull *p, struct error *err)
{
    auto_free char *text = NULL;
    int64_t handle;
    size_t len = 0;
    int rc = exec_dir_look(r, p->letter, "end", &handle, err);

    if (rc <= 0)
        return rc;
    rc = guest_file_next(r->link, handle, 16, &text, &len, err);
    exec_dir_close(r, &handle);
    if (rc)
        return -1;
    if (len) { /* it is written a moment after it is made */
        p->end_seen = true;
        p->failed = text[0] != '0';
    }
    return (int)len;
}

/* At the end of what the file has now. 1: go on reading, 0: nothing more for now, -1. */
static int at_its_end(struct exec_run *r, struct exec_pull *p, struct error *err)
{
    int rc = 0;

    if (p->next >= 0)
        return turn_over(r, p, err);
    if (p->at >= READS || p->end_seen) {
        rc = exec_dir_look_number(r, p->letter, p->number + 1, &p->next, err);
        if (rc) /* what it had before the next one began is read once more */
            return rc;
    }
    if (p->end_seen) {
        p->done = true;
        return 1;
    }
    return r->exited ? read_end(r, p, err) : 0;
}

/* 1: something was read, 0: nothing for now, -1. */
static int pull(struct exec_run *r, int i, struct error *err)
{
    struct exec_pull *p = &r->pull[i];
    auto_free char *data = NULL;
    size_t max = room(r->exec, i), len;
    int rc;

    if (p->done || !max)
        return 0;
    if (p->file < 0) {
        rc = exec_dir_look_number(r, p->letter, p->number, &p->file, err);
        if (rc == 0 && p->end_seen) { /* there is an end and no file: somebody was at it */
            p->done = p->failed = true;
            return 1;
        }
        if (rc <= 0)
            return rc < 0 || !r->exited ? rc : read_end(r, p, err);
    }
    if (p->astray && guest_call(r->link, "guest-file-seek",
                                json_pack("{s:I, s:I, s:s}", "handle", (json_int_t)p->file, "offset",
                                          (json_int_t)p->at, "whence", "set"),
                                guest_deadline(r->link->hub->core), NULL, err))
        return -1;
    p->astray = true;
    if (guest_file_next(r->link, p->file, max, &data, &len, err))
        return -1;
    p->astray = false;
    if (!len)
        return at_its_end(r, p, err);
    p->at += len;
    append(r->exec, i, data, len);
    return 1;
}

/* ---- stdin ---- */

/* What is there for the next file; the caller's. */
static size_t input_copy(struct exec *e, char **ret, bool *ret_eof)
{
    size_t len;

    LOCK_SCOPE(&e->lock);
    len = e->input_len;
    *ret_eof = e->input_eof && !len;
    if (len) {
        *ret = xcalloc(1, len);
        memcpy(*ret, e->input, len);
    }
    return len;
}

/* Before the guest is told of it: `pushed` files, and len bytes more than before. */
static void note_input(struct exec_run *r, unsigned pushed, size_t len, bool ended)
{
    struct exec *e = r->exec;

    {
        LOCK_SCOPE(&e->lock);
        if (len) {
            memmove(e->input, e->input + len, e->input_len - len);
            e->input_len -= len;
        }
        e->input_taken += len;
        e->kept.pushed = pushed;
        e->kept.input_ended = ended;
    }
    exec_keep(e);
}

static int write_file(struct exec_run *r, const char *data, size_t len, struct error *err)
{
    int64_t handle;
    char name[24];
    int rc;

    snprintf(name, sizeof(name), "i.%u", r->push.next);
    if (exec_dir_open(r, name, "w", &handle, err))
        return -1;
    rc = guest_file_add(r->link, handle, data, len, err);
    if (rc == 0)
        return guest_file_close(r->link, handle, err);
    exec_dir_close(r, &handle);
    return -1;
}

/* Files that the guest has read are gone. 1: another one may come, 0: too many wait, -1. */
static int has_room(struct exec_run *r, struct error *err)
{
    struct exec_push *p = &r->push;
    int64_t handle;

    while (p->oldest < p->next) {
        int rc = exec_dir_look_number(r, 'i', p->oldest, &handle, err);

        if (rc < 0)
            return -1;
        if (rc > 0) {
            exec_dir_close(r, &handle);
            break;
        }
        p->oldest++;
    }
    return p->next - p->oldest < INPUT_FILES;
}

static int push(struct exec_run *r, struct error *err)
{
    struct exec_push *p = &r->push;
    auto_free char *data = NULL;
    char text[16];
    bool eof;
    size_t len = input_copy(r->exec, &data, &eof);

    if (r->exited || p->ended || (!len && !eof && !p->written))
        return 0;
    if (p->next - p->oldest >= INPUT_FILES) {
        int rc = has_room(r, err);

        if (rc <= 0)
            return rc;
    }
    if (eof && !p->written) {
        note_input(r, p->next, 0, true);
        if (exec_dir_signal(r, &p->gate, 'i', "end\n", err))
            return -1;
        p->ended = true;
        return 1;
    }
    if (!p->written) {
        if (write_file(r, data, len, err))
            return -1;
        p->written = len;
    }
    /* Once it is noted it may have been read: what fails now is only said again. */
    if (p->noted == p->next) {
        note_input(r, p->next + 1, p->written, false);
        p->noted = p->next + 1;
    }
    snprintf(text, sizeof(text), "%u\n", p->next);
    if (exec_dir_signal(r, &p->gate, 'i', text, err))
        return -1;
    p->written = 0;
    p->next++;
    exec_tell(r->exec);
    return 1;
}

/* ---- the program ---- */

static bool is_to_die(struct exec_run *r, int64_t now)
{
    LOCK_SCOPE(&r->exec->lock);
    if (r->killed || r->exited || (!r->exec->killed && now < r->deadline))
        return false;
    r->exec->timed_out = !r->exec->killed;
    return true;
}

static int see_status(struct exec_run *r, struct error *err)
{
    if (r->exited)
        return 0;
    if (guest_program_status(r->link, r->pid, &r->status, err))
        return -1;
    if (!r->status.exited)
        return 0;
    r->exited = true;
    r->exited_at = r->moved_at = clock_monotonic_ms();
    {
        LOCK_SCOPE(&r->exec->lock);
        r->exec->exit_code = r->status.signal ? -1 : r->status.exit_code;
        r->exec->signal = r->status.signal;
        r->exec->duration_ms = clock_wall_ms() - r->exec->created_at;
        r->exec->kept.exited = true;
    }
    exec_keep(r->exec); /* the agent tells it once */
    return 1;
}

/* One look at everything: how many things moved, or -1. */
static int turn(struct exec_run *r, struct error *err)
{
    int moved = 0, rc;

    for (int i = 0; i < EXEC_OUTPUTS; i++) {
        rc = pull(r, i, err);
        if (rc < 0)
            return -1;
        moved += rc;
    }
    rc = push(r, err);
    if (rc < 0)
        return -1;
    moved += rc;
    if (is_to_die(r, clock_monotonic_ms())) {
        guest_program_kill(r->link, r->pid);
        r->killed = true;
    }
    if (moved)
        return moved;
    return see_status(r, err);
}

static bool is_full(struct exec_run *r)
{
    return !room(r->exec, EXEC_STDOUT) || !room(r->exec, EXEC_STDERR);
}

/* All of it is read, or what is left will not be. */
static bool is_over(struct exec_run *r, int64_t now)
{
    if (!r->exited)
        return false;
    if (r->pull[EXEC_STDOUT].done && r->pull[EXEC_STDERR].done)
        return true;
    return now - r->moved_at > (is_full(r) ? LINGER_MS : QUIET_MS);
}

/* Until the time has passed or somebody wakes us; SHUTTING_DOWN. */
static int rest(struct exec_run *r, int64_t ms, struct error *err)
{
    struct pollfd fds[] = {{.fd = r->link->hub->stop_fd, .events = POLLIN},
                           {.fd = r->exec->wake_fd, .events = POLLIN}};
    uint64_t times;

    (void)poll(fds, 2, (int)ms);
    if (fds[0].revents)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    if (fds[1].revents && read(r->exec->wake_fd, &times, sizeof(times)) < 0)
        return 0; /* somebody's byte, gone already */
    return 0;
}

/* An agent may be busy, or frozen for a snapshot; a VM that is off is not. */
static bool may_pass(struct exec_run *r, const struct error *err, int64_t now)
{
    if (err->code != ERROR_TIMEOUT && err->code != ERROR_AGENT_FAILED && err->code != ERROR_AGENT_UNAVAILABLE)
        return false;
    if (!r->failing_since)
        r->failing_since = now;
    return now - r->failing_since < GIVE_UP_MS;
}

static int watch(struct exec_run *r, struct error *err)
{
    int64_t pause = PAUSE_MIN;

    for (;;) {
        int64_t now;
        int moved;

        moved = turn(r, err);
        now = clock_monotonic_ms();
        if (moved < 0) {
            if (!may_pass(r, err, now) || rest(r, AGAIN_MS, err))
                return -1;
            continue;
        }
        r->failing_since = 0;
        if (moved) {
            r->moved_at = now;
            pause = PAUSE_MIN;
        }
        if (is_over(r, now))
            return 0;
        if (rest(r, moved ? 0 : pause, err))
            return -1;
        if (!moved)
            pause = pause * 2 < PAUSE_MAX ? pause * 2 : PAUSE_MAX;
    }
}

static void note_cut(struct exec_run *r)
{
    LOCK_SCOPE(&r->exec->lock);
    for (int i = 0; i < EXEC_OUTPUTS; i++)
        r->exec->cut = r->exec->cut || !r->pull[i].done || r->pull[i].failed;
}

static void run_init(struct exec_run *r, struct exec *e)
{
    const struct guest_step *step = &e->x->steps[0];

    *r = (struct exec_run){.exec = e, .push.gate = -1};
    for (int i = 0; i < EXEC_OUTPUTS; i++)
        r->pull[i] = (struct exec_pull){.letter = i == EXEC_STDOUT ? 'o' : 'e', .file = -1, .next = -1, .gate = -1};
    r->deadline = clock_monotonic_ms() + step->timeout_ms;
    if (step->input) { /* it is all there is */
        LOCK_SCOPE(&e->lock);
        e->input_eof = true;
        e->input = step->input_len ? xcalloc(1, step->input_len) : NULL;
        e->input_len = step->input_len;
        if (e->input)
            memcpy(e->input, step->input, step->input_len);
    }
}

static int finish(struct exec_run *r, int rc, struct error *err)
{
    if (rc && err->code == ERROR_SHUTTING_DOWN) {
        exec_leave(r->exec, err);
        return -1;
    }
    if (*r->dir)
        exec_dir_tidy(r);
    note_cut(r);
    exec_finish(r->exec, rc ? EXEC_FAILED : EXEC_ENDED, err);
    return rc;
}

static int begin(struct exec_run *r, struct error *err)
{
    if (exec_dir_make(r, err))
        return -1;
    if (exec_dir_begin(r, err)) {
        exec_dir_tidy(r);
        return -1;
    }
    {
        LOCK_SCOPE(&r->exec->lock);
        str_copy_utf8(r->exec->kept.dir, sizeof(r->exec->kept.dir), r->dir);
        r->exec->kept.pid = r->pid;
    }
    exec_keep(r->exec);
    return 0;
}

int exec_run_streamed(struct core *core, void *arg, struct error *err)
{
    struct exec *e = arg;
    auto_guest_link struct guest_link *link = NULL;
    struct exec_run r;

    run_init(&r, e);
    if (guest_link_get(core, e->vm_id, &link, NULL, err)) {
        exec_finish(e, EXEC_FAILED, err);
        return -1;
    }
    r.link = link;
    if (begin(&r, err)) {
        exec_finish(e, EXEC_FAILED, err);
        return -1;
    }
    exec_settle(e, EXEC_RUNNING, err);
    return finish(&r, watch(&r, err), err);
}

/* ---- what an earlier daemon began ---- */

static void restored_init(struct exec_run *r, struct exec *e)
{
    run_init(r, e);
    LOCK_SCOPE(&e->lock);
    str_copy_utf8(r->dir, sizeof(r->dir), e->kept.dir);
    r->pid = e->kept.pid;
    r->deadline = clock_monotonic_ms() + (e->kept.deadline_at - clock_wall_ms());
    for (int i = 0; i < EXEC_OUTPUTS; i++) {
        r->pull[i].number = e->kept.file[i];
        r->pull[i].start = e->kept.start[i];
    }
    r->push.next = r->push.noted = e->kept.pushed;
    r->push.oldest = e->kept.pushed > INPUT_FILES ? e->kept.pushed - INPUT_FILES : 0;
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
        if (err->code == ERROR_SHUTTING_DOWN || clock_monotonic_ms() > until || guest_pause(hub, AGAIN_MS, err))
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
    if (see_status(r, err) < 0)
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
        rc = watch(&r, err);
    }
    return finish(&r, rc, err);
}
