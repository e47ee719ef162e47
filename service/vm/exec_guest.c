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
#include "service/base/str.h"
#include "service/vm/lease.h"

#define PIECE       (192 * 1024)
#define PAUSE_MIN   2     /* ms between two looks */
#define PAUSE_MAX   100
#define AGAIN_MS    250   /* after a failure */
#define GIVE_UP_MS  30000 /* of failures */
#define QUIET_MS    1000  /* after the end: children that keep the pipes open are not waited for */
#define LINGER_MS   60000 /* after the end: for a client to read the rest */
#define RECORDED    4096  /* of each output, at most */
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
    return p->next - p->oldest < EXEC_INPUT_FILES;
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
    if (p->next - p->oldest >= EXEC_INPUT_FILES) {
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

int exec_run_status(struct exec_run *r, struct error *err)
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
    return exec_run_status(r, err);
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

int exec_run_watch(struct exec_run *r, struct error *err)
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

/* The end of an output, which is here whether a client has it or not. Caller frees. */
static struct guest_output tail_of(struct exec *e, int i)
{
    struct guest_output ret = {0};
    struct exec_output *o = &e->out[i];

    LOCK_SCOPE(&e->lock);
    ret.len = (size_t)(o->end - o->base);
    if (ret.len > RECORDED)
        ret.len = RECORDED;
    if (!ret.len)
        return ret;
    ret.data = xcalloc(1, ret.len);
    for (size_t n = 0; n < ret.len; n++)
        ret.data[n] = o->data[(o->end - ret.len + n) % EXEC_WINDOW];
    return ret;
}

/* Before anybody hears of its end, so that who does finds it in the lease's record. */
static void note_in_record(struct core *core, const struct exec_run *r)
{
    struct exec *e = r->exec;
    struct guest_outcome o = {.ran = true, .timed_out = e->timed_out, .exit_code = e->exit_code, .signal = e->signal,
                              .duration_ms = e->duration_ms};

    if (!r->exited || !e->x->steps[0].recorded)
        return;
    o.out = tail_of(e, EXEC_STDOUT);
    o.err = tail_of(e, EXEC_STDERR);
    lease_note_exec(core, e->vm_id, &e->x->steps[0], &o);
    free(o.out.data);
    free(o.err.data);
}

void exec_run_init(struct exec_run *r, struct exec *e)
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

int exec_run_finish(struct exec_run *r, int rc, struct error *err)
{
    if (rc && err->code == ERROR_SHUTTING_DOWN) {
        exec_leave(r->exec, err);
        return -1;
    }
    if (*r->dir)
        exec_dir_tidy(r);
    note_cut(r);
    note_in_record(r->exec->hub->core, r);
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

    exec_run_init(&r, e);
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
    return exec_run_finish(&r, exec_run_watch(&r, err), err);
}
