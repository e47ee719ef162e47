/*
 * Where streamed programs stand, for a daemon that comes after this one: their rows, and taking them
 * up again. A row is written before what it tells happens in the guest, so a step that the row knows
 * may have to be repeated, and none is missed.
 */
#include "service/vm/exec_run.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define ROWS_MAX   1024
#define TAIL_BYTES 65536

/* ---- as JSON ---- */

static json_t *argv_of(const struct exec *e)
{
    json_t *argv = json_array();

    for (char *const *p = e->x->steps[0].argv; *p; p++)
        json_array_append_new(argv, json_string(*p));
    return argv;
}

/*
 * What the next daemon cannot read from the guest again and its client may not have: all that is not
 * acknowledged; of one that never acknowledges, the last of what it was sent.
 */
static json_t *output_of(const struct exec *e, int i)
{
    const struct exec_output *o = &e->out[i];
    uint64_t end = e->ended_at ? o->end : e->kept.start[i];
    uint64_t from = o->acked;
    auto_free char *bytes = NULL;
    size_t len, at, first;
    json_t *held;

    if (!e->acks && from > end)
        from = end;
    if (!e->acks)
        from -= from < TAIL_BYTES ? from : TAIL_BYTES;
    if (from < o->base)
        from = o->base;
    len = end > from ? (size_t)(end - from) : 0;
    at = (size_t)(from % EXEC_WINDOW);
    first = len < EXEC_WINDOW - at ? len : EXEC_WINDOW - at;
    bytes = xcalloc(1, len + 1);
    if (len) {
        memcpy(bytes, o->data + at, first);
        memcpy(bytes + first, o->data, len - first);
    }
    held = guest_base64(bytes, len);
    return json_pack("{s:I, s:I, s:o}", "file", (json_int_t)e->kept.file[i], "start", (json_int_t)end, "held", held);
}

static char *note_new(struct exec *e)
{
    json_t *note;
    char *text;

    LOCK_SCOPE(&e->lock);
    note = json_pack("{s:o, s:I, s:I, s:I, s:s, s:o, s:o, s:I, s:I}", "argv", argv_of(e), "created_at",
                     (json_int_t)e->created_at, "deadline_at", (json_int_t)e->kept.deadline_at, "pid",
                     (json_int_t)e->kept.pid, "dir", e->kept.dir, "stdout", output_of(e, EXEC_STDOUT), "stderr",
                     output_of(e, EXEC_STDERR), "pushed", (json_int_t)e->kept.pushed, "input_taken",
                     (json_int_t)e->input_taken);
    json_object_update_new(note, json_pack("{s:b, s:b, s:b, s:b, s:i, s:i, s:b, s:b, s:b, s:b, s:I, s:I, s:s, s:s}",
                                           "recorded", (int)e->x->steps[0].recorded,
                                           "input_ended", (int)e->kept.input_ended, "own_input",
                                           (int)e->kept.own_input, "exited", (int)e->kept.exited, "exit_code",
                                           e->exit_code, "signal", e->signal, "timed_out", (int)e->timed_out, "cut",
                                           (int)e->cut, "killed", (int)e->killed, "acks", (int)e->acks, "ended_at",
                                           (json_int_t)e->ended_at, "duration_ms", (json_int_t)e->duration_ms,
                                           "problem", e->error.code == ERROR_NONE ? "" : error_slug(e->error.code),
                                           "detail", e->error.detail));
    text = json_dumps(note, JSON_COMPACT);
    json_decref(note);
    if (!text)
        abort();
    return text;
}

/* ---- writing ---- */

int exec_keep_in(struct db_tx *tx, struct exec *e, struct error *err)
{
    auto_free char *note = note_new(e); /* here, so that of two writers the last has the newest */

    return store_exec_put(tx, &(struct exec_row){e->id, e->vm_id, e->actor, note}, err);
}

static int keep_fn(struct db_tx *tx, void *arg, struct error *err)
{
    return exec_keep_in(tx, arg, err);
}

void exec_keep(struct exec *e)
{
    struct error err = ERROR_INIT;

    /* A full disk stops no program: only a daemon that comes after could not take it up. */
    if (db_write(e->hub->core->db, keep_fn, NULL, e, &err) && !atomic_exchange(&e->keep_failed, true))
        log_failure(LOG_LEVEL_WARNING, &err, "a program in a guest would not outlive the daemon");
}

static int drop_fn(struct db_tx *tx, void *arg, struct error *err)
{
    for (const struct exec *e = arg; e; e = e->next) {
        if (e->stream && store_exec_delete(tx, e->id, err))
            return -1;
    }
    return 0;
}

void exec_keep_drop(struct guest_hub *hub, struct exec *list)
{
    struct error ignored; /* they are old then, and the next start drops them */

    if (list)
        (void)db_write(hub->core->db, drop_fn, NULL, list, &ignored);
}

/* ---- the next daemon ---- */

static int64_t number(const json_t *note, const char *name)
{
    return json_integer_value(json_object_get(note, name));
}

static bool truth(const json_t *note, const char *name)
{
    return json_is_true(json_object_get(note, name));
}

static const char *text(const json_t *note, const char *name)
{
    const char *s = json_string_value(json_object_get(note, name));

    return s ? s : "";
}

static void read_output(struct exec *e, int i, const json_t *note)
{
    struct exec_output *o = &e->out[i];
    size_t len = 0;
    auto_free unsigned char *held = secret_from_base64(text(note, "held"), &len);

    e->kept.file[i] = (unsigned)number(note, "file");
    e->kept.start[i] = o->end = o->base = o->acked = (uint64_t)number(note, "start");
    if (!held || !len || len > EXEC_WINDOW || len > o->end)
        return;
    o->base -= len;
    o->acked = o->base;
    o->data = xcalloc(1, EXEC_WINDOW);
    for (size_t n = 0; n < len; n++)
        o->data[(o->base + n) % EXEC_WINDOW] = (char)held[n];
}

static void read_note(struct exec *e, const json_t *note)
{
    const json_t *argv = json_object_get(note, "argv"), *item;
    size_t i;

    json_array_foreach(argv, i, item) {
        if (i < GUEST_ARGV_MAX && json_is_string(item))
            e->x->steps[0].argv[i] = xstrdup(json_string_value(item));
    }
    e->x->steps[0].recorded = truth(note, "recorded");
    e->created_at = number(note, "created_at");
    e->began = clock_monotonic_ms() - (clock_wall_ms() - e->created_at);
    e->kept.deadline_at = number(note, "deadline_at");
    e->kept.pid = number(note, "pid");
    str_copy_utf8(e->kept.dir, sizeof(e->kept.dir), text(note, "dir"));
    read_output(e, EXEC_STDOUT, json_object_get(note, "stdout"));
    read_output(e, EXEC_STDERR, json_object_get(note, "stderr"));
    e->kept.pushed = (unsigned)number(note, "pushed");
    e->input_taken = (uint64_t)number(note, "input_taken");
    e->kept.input_ended = e->input_eof = truth(note, "input_ended");
    e->kept.own_input = truth(note, "own_input");
    e->kept.exited = truth(note, "exited");
    e->exit_code = (int)number(note, "exit_code");
    e->signal = (int)number(note, "signal");
    e->timed_out = truth(note, "timed_out");
    e->cut = truth(note, "cut");
    e->killed = truth(note, "killed");
    e->acks = truth(note, "acks");
    e->ended_at = number(note, "ended_at");
    e->duration_ms = number(note, "duration_ms");
    if (*text(note, "problem") && e->ended_at)
        error_set(&e->error, error_from_slug(text(note, "problem")), "%s", text(note, "detail"));
}

struct restore {
    struct core *core;
    struct exec *found, *old;
    unsigned count;
};

static int restore_row(void *arg, const struct exec_row *row)
{
    struct restore *r = arg;
    auto_vm struct vm *vm = registry_get(r->core->registry, row->vm_id);
    struct guest_exec *x = guest_exec_new();
    json_t *note = json_loads(row->note, 0, NULL);
    struct exec *e;

    x->stream = true;
    x->step_count = 1;
    str_copy_utf8(x->vm_id, sizeof(x->vm_id), row->vm_id);
    e = exec_new(r->core, row->actor, row->vm_id, x);
    str_copy_utf8(e->id, sizeof(e->id), row->id);
    e->restored = true;
    read_note(e, note);
    json_decref(note);
    e->decision = EXEC_GO;
    if (e->ended_at) {
        e->state = e->error.code == ERROR_NONE ? EXEC_ENDED : EXEC_FAILED;
        e->settled = true;
    }
    if (!vm || ++r->count > ROWS_MAX || (e->ended_at && clock_wall_ms() - e->ended_at > EXEC_KEEP_MS)) {
        e->next = r->old;
        r->old = e;
    } else {
        e->next = r->found;
        r->found = e;
    }
    return 0;
}

int exec_restore(struct core *core, struct error *err)
{
    struct restore r = {.core = core};
    int rc = store_exec_each(core->db, restore_row, &r, err);

    exec_keep_drop(core->guests, r.old);
    while (r.old) {
        struct exec *next = r.old->next;

        exec_unref(r.old);
        r.old = next;
    }
    while (r.found) {
        struct exec *next = r.found->next;

        exec_take_up(r.found);
        r.found = next;
    }
    return rc;
}
