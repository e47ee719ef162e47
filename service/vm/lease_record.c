/*
 * What happened while a VM was handed out: times, what was run in it, what it used, the end of its
 * console. Kept with the lease when the VM is gone, and bounded, because a guest has a hand in all
 * of it.
 *
 * While the lease lives its row holds what was run; the rest is asked for when it ends.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/guest.h"
#include "service/vm/lease_internal.h"

#define EXECS_MAX    32   /* the newest */
#define COMMAND_MAX  512
#define OUTPUT_MAX   2048 /* the end of stdout and of stderr each */
#define CONSOLE_MAX  16384

/* ---- text of a guest's ---- */

static size_t character(const char *s, size_t left)
{
    for (size_t n = 1; n <= 4 && n <= left; n++) {
        if (*s && str_is_utf8(s, n))
            return n;
    }
    return 0;
}

/* Its last bytes as text, whatever they are. */
static json_t *text_of(const char *data, size_t len, size_t max)
{
    auto_strbuf struct strbuf b = {0};
    size_t n;

    if (len > max) {
        data += len - max;
        len = max;
        /* Not from the middle of a character. */
        while (len && ((unsigned char)*data & 0xc0) == 0x80) {
            data++;
            len--;
        }
    }
    for (size_t i = 0; i < len; i += n ? n : 1) {
        n = character(data + i, len - i);
        strbuf_add(&b, n ? data + i : "\xef\xbf\xbd", n ? n : 3);
    }
    return json_stringn(b.data ? b.data : "", b.len);
}

/* ---- what was run ---- */

static json_t *command_of(const struct guest_step *step)
{
    auto_strbuf struct strbuf b = {0};

    for (size_t i = 0; step->argv[i] && b.len < COMMAND_MAX; i++) {
        if (i)
            strbuf_addc(&b, ' ');
        strbuf_adds(&b, step->argv[i]);
    }
    while (b.len > COMMAND_MAX || (b.len && !str_is_utf8(b.data, b.len)))
        b.len--;
    return json_stringn(b.data ? b.data : "", b.len);
}

static json_t *exec_of(const struct guest_step *step, const struct guest_outcome *o, int64_t at)
{
    char when[CLOCK_TEXT_SIZE];

    return json_pack("{s:s, s:o, s:o, s:o, s:b, s:I, s:o, s:o}", "at", clock_format(at, when),
                     "command", command_of(step), "exit_code",
                     o->ran && !o->signal && o->exit_code >= 0 ? json_integer(o->exit_code)
                                                               : json_null(),
                     "signal", o->signal ? json_integer(o->signal) : json_null(), "timed_out",
                     o->timed_out, "duration_ms", (json_int_t)o->duration_ms, "stdout_tail",
                     text_of(o->out.data, o->out.len, OUTPUT_MAX), "stderr_tail",
                     text_of(o->err.data, o->err.len, OUTPUT_MAX));
}

void lease_note_exec(struct core *core, const char *vm_id, const struct guest_step *step,
                     const struct guest_outcome *outcome)
{
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);
    auto_lease struct lease *current = NULL, *next = NULL;
    struct lease_write write = {.core = core, .actor = &actor_system};
    auto_json json_t *record = NULL;
    json_t *list;
    struct error err;

    if (!vm || !*vm->lease_id || !core->leases)
        return;
    LOCK_SCOPE(lease_lock(core->leases, vm->lease_id));
    current = book_lease(core->leases, vm->lease_id);
    if (!current)
        return;
    next = lease_copy(current);
    record = json_loads(next->record, 0, NULL);
    list = json_object_get(record, "exec");
    if (!list) {
        list = json_array();
        json_object_set_new(record, "exec", list);
    }
    json_array_append_new(list, exec_of(step, outcome, clock_wall_ms() - outcome->duration_ms));
    while (json_array_size(list) > EXECS_MAX)
        json_array_remove(list, 0);
    free(next->record);
    next->record = doc_text(record);
    write.lease = next;
    if (lease_write_alone(&write, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store what was run for lease %s", next->id);
}

/* ---- times ---- */

static void add_time(json_t *timeline, const char *what, int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];

    if (wall_ms)
        json_array_append_new(timeline, json_pack("{s:s, s:s}", "what", what, "at",
                                                  clock_format(wall_ms, text)));
}

static int by_time(const void *a, const void *b)
{
    json_t *const *x = a, *const *y = b;
    int order = strcmp(json_string_value(json_object_get(*x, "at")),
                       json_string_value(json_object_get(*y, "at")));

    return order ? order : (x > y) - (x < y);
}

/* One time format and zone, so the order of the texts is that of the times. */
static json_t *sorted(json_t *timeline)
{
    size_t count = json_array_size(timeline);
    auto_free json_t **items = xcalloc(count + 1, sizeof(json_t *));
    json_t *out = json_array();

    for (size_t i = 0; i < count; i++)
        items[i] = json_array_get(timeline, i);
    qsort(items, count, sizeof(json_t *), by_time);
    for (size_t i = 0; i < count; i++)
        json_array_append(out, items[i]);
    json_decref(timeline);
    return out;
}

static json_t *timeline_of(const struct lease *l, const struct vm *vm, const json_t *execs)
{
    json_t *timeline = json_array(), *item;
    size_t i;

    add_time(timeline, "asked", l->created_at);
    if (vm) {
        add_time(timeline, "vm-created", vm->created_at);
        add_time(timeline, "vm-started", vm->started_at);
        add_time(timeline, "first-output", vm->marks[VM_MARK_FIRST_OUTPUT]);
        add_time(timeline, "ready", vm->marks[VM_MARK_READY]);
    }
    add_time(timeline, "claimed", l->claimed_at);
    add_time(timeline, "renewed", l->renewed_at);
    json_array_foreach((json_t *)(uintptr_t)execs, i, item)
        json_array_append_new(timeline, json_pack("{s:s, s:O}", "what", "exec", "at",
                                                  json_object_get(item, "at")));
    return sorted(timeline);
}

/* ---- figures, and the console ---- */

static json_t *usage(struct lease_keeper *k, const char *id)
{
    struct lease_entry *e;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->leases, id, e);
    if (!e || !e->has_usage)
        return json_object();
    return json_pack("{s:f, s:I, s:I}", "cpu_seconds", e->cpu_seconds, "peak_resident_bytes",
                     (json_int_t)e->peak_resident_bytes, "merging_bytes",
                     (json_int_t)e->merging_bytes);
}

static json_t *console_end_of(struct core *core, const char *vm_id)
{
    struct console_log log = {0};
    struct error ignored;
    uint64_t from;
    json_t *text;

    if (!*vm_id || console_log_read(core->consoles, vm_id, "console", 0, 1, &log, &ignored))
        return json_string("");
    free(log.data);
    from = log.next > CONSOLE_MAX ? log.next - CONSOLE_MAX : 0;
    log = (struct console_log){0};
    if (console_log_read(core->consoles, vm_id, "console", from, CONSOLE_MAX, &log, &ignored))
        return json_string("");
    text = text_of(log.data, log.len, CONSOLE_MAX);
    free(log.data);
    return text;
}

/* ---- together ---- */

/* When its VM went is written into it later, by whoever removed that. */
static json_t *ended_record(const struct lease *l)
{
    json_t *record = json_loads(l->record, 0, NULL);

    if (!record)
        return json_object();
    add_time(json_object_get(record, "timeline"), "vm-gone",
             json_integer_value(json_object_get(record, "gone_at")));
    json_object_del(record, "gone_at");
    /* Those of former versions have less. */
    if (!json_object_get(record, "exec"))
        json_object_set_new(record, "exec", json_array());
    if (!json_object_get(record, "console_tail"))
        json_object_set_new(record, "console_tail", json_string(""));
    return record;
}

json_t *lease_record(struct core *core, const struct lease *l)
{
    auto_vm struct vm *vm = *l->vm_id ? registry_get(core->registry, l->vm_id) : NULL;
    auto_json json_t *kept = NULL;
    json_t *execs;

    if (l->state == LEASE_ENDED)
        return ended_record(l);
    kept = json_loads(l->record, 0, NULL);
    execs = json_object_get(kept, "exec");
    execs = execs ? json_incref(execs) : json_array();
    return json_pack("{s:o, s:o, s:o, s:o}", "timeline", timeline_of(l, vm, execs), "usage",
                     usage(core->leases, l->id), "exec", execs, "console_tail",
                     console_end_of(core, l->vm_id));
}

void lease_close(struct core *core, struct lease *lease, const char *reason)
{
    auto_json json_t *record = NULL;

    lease_sample(core, lease);
    record = lease_record(core, lease);
    lease->ended_at = clock_wall_ms();
    add_time(json_object_get(record, "timeline"), "ended", lease->ended_at);
    free(lease->record);
    lease->record = doc_text(record);
    lease->state = LEASE_ENDED;
    str_copy_utf8(lease->end_reason, sizeof(lease->end_reason), reason);
}
