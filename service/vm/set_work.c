/*
 * Working off the operations of sets. Each look asks of every VM an operation is about: was it
 * taken hold of by this operation (its row says so), is it on its way, has it arrived? Then as many
 * more are taken as the wave allows. Nothing here waits; keeper thread only.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/set_internal.h"

#define ENDING_WAVE 16 /* stopping and deleting cost little, but must not fill the workers' queue */

/* ---- parameters ---- */

enum set_verb set_verb_of(const struct op *op)
{
    for (int verb = 0; verb < SET_VERB_COUNT; verb++) {
        if (str_eq(op->kind + strlen("set."), set_verb_name((enum set_verb)verb)))
            return (enum set_verb)verb;
    }
    return SET_VERB_COUNT;
}

char *set_params_text(const struct set_params *p)
{
    auto_json json_t *object = json_pack("{s:I, s:I, s:i}", "step", (json_int_t)p->step, "member",
                                         (json_int_t)p->member, "start", p->start);

    return doc_text(object);
}

void set_params_read(const struct op *op, struct set_params *ret)
{
    auto_json json_t *object = json_loads(op->params, 0, NULL);

    ret->step = json_integer_value(json_object_get(object, "step"));
    ret->member = json_integer_value(json_object_get(object, "member"));
    ret->start = (int)json_integer_value(json_object_get(object, "start"));
}

bool set_look_starts(const struct set_look *l)
{
    return l->verb != SET_VERB_STOP && l->verb != SET_VERB_DELETE && l->params.start != 0;
}

static bool makes_anew(const struct set_look *l)
{
    return l->verb == SET_VERB_REIMAGE || l->verb == SET_VERB_RESET;
}

/* ---- what is remembered of a VM while its operation is at work ---- */

static void note_key(const struct set_look *l, size_t slot, char *ret, size_t size)
{
    snprintf(ret, size, "%s/%zu", l->op->id, slot);
}

static struct set_note *note_find(struct set_keeper *k, const struct set_look *l, size_t slot)
{
    char key[sizeof(((struct set_note *)0)->key)];
    struct set_note *note;

    note_key(l, slot, key, sizeof(key));
    HASH_FIND_STR(k->notes, key, note);
    return note;
}

static struct set_note *note_get(struct set_keeper *k, const struct set_look *l, size_t slot)
{
    struct set_note *note = note_find(k, l, slot);

    if (note)
        return note;
    note = xcalloc(1, sizeof(*note));
    note_key(l, slot, note->key, sizeof(note->key));
    HASH_ADD_STR(k->notes, key, note);
    return note;
}

static void notes_drop(struct set_keeper *k, const char *op_id)
{
    struct set_note *note = k->notes, *next;

    /* The others are put back, rather than these taken out: in a way that analysers can follow. */
    HASH_CLEAR(hh, k->notes);
    for (; note; note = next) {
        next = note->hh.next;
        if (strncmp(note->key, op_id, strlen(op_id)) == 0)
            free(note);
        else
            HASH_ADD_STR(k->notes, key, note);
    }
}

/* ---- how far a VM is ---- */

static bool reached(struct core *core, const struct vm *vm, int point)
{
    if (point == WAIT_VM_READY)
        return vm->marks[VM_MARK_READY] != 0;
    return vm->marks[VM_MARK_FIRST_OUTPUT] || console_has_output(core->consoles, vm->id, "console");
}

static enum slot_state give_up(struct set_look *l, const struct vm *vm, const char *why)
{
    if (!*l->why)
        snprintf(l->why, sizeof(l->why), "%s: %s", vm->spec->name, *why ? why : vm_state_name(vm->state));
    return SLOT_FAILED;
}

/* Its operation is done; has the guest come as far as the set wants it? */
static enum slot_state look_started(struct core *core, struct set_look *l, size_t slot, struct vm *vm)
{
    const struct set_spec *spec = l->set->spec;
    struct set_note *note;
    char why[64];

    if (!set_look_starts(l) || spec->ready_when == WAIT_VM_RUNNING || reached(core, vm, spec->ready_when))
        return SLOT_DONE;
    if (vm->state == VM_STATE_STARTING || vm->state == VM_STATE_STOPPING)
        return SLOT_FLYING;
    if (vm->state != VM_STATE_RUNNING)
        return l->params.start > 0 ? give_up(l, vm, "it stopped before it was ready") : SLOT_DONE;
    note = note_get(core->sets, l, slot);
    if (!note->since_ms)
        note->since_ms = clock_boottime_ms();
    if (clock_boottime_ms() - note->since_ms < spec->boot_seconds * 1000)
        return SLOT_FLYING;
    snprintf(why, sizeof(why), "it runs, but was not ready in %lld s", (long long)spec->boot_seconds);
    return give_up(l, vm, why);
}

static enum slot_state look_taken(struct core *core, struct set_look *l, size_t slot, struct vm *vm)
{
    bool broken = vm->state == VM_STATE_FAILED || vm->state == VM_STATE_CRASHED;

    if (op_vm_busy(core->ops, vm->id))
        return SLOT_FLYING;
    if (l->verb == SET_VERB_DELETE)
        return give_up(l, vm, vm->state_reason); /* it should be gone */
    if (broken)
        return give_up(l, vm, vm->state_reason);
    if (l->verb == SET_VERB_STOP)
        return vm->state == VM_STATE_STOPPED ? SLOT_DONE : give_up(l, vm, vm->state_reason);
    return look_started(core, l, slot, vm);
}

/* Not taken hold of yet: is there anything to do? */
static enum slot_state look_untaken(struct core *core, const struct set_look *l, const struct vm *vm)
{
    bool busy = op_vm_busy(core->ops, vm->id);

    if (vm->state == VM_STATE_DELETING)
        return busy ? SLOT_FLYING : SLOT_PENDING;
    if (l->verb == SET_VERB_START)
        return vm->state == VM_STATE_RUNNING && !busy ? SLOT_DONE : SLOT_PENDING;
    if (l->verb == SET_VERB_STOP)
        return vm->state == VM_STATE_STOPPED && !busy ? SLOT_DONE : SLOT_PENDING;
    return SLOT_PENDING;
}

static enum slot_state look_slot(struct core *core, struct set_look *l, size_t slot)
{
    const struct set_note *note = note_find(core->sets, l, slot);
    struct vm *vm = l->vms[slot];

    if (note && note->failed) {
        if (!*l->why)
            str_copy_utf8(l->why, sizeof(l->why), note->reason);
        return SLOT_FAILED;
    }
    if (!vm) /* somebody deleted it; only what makes VMs anew makes this one again */
        return makes_anew(l) ? SLOT_PENDING : SLOT_DONE;
    if (vm->place.step > l->params.step)
        return SLOT_DONE; /* a later operation has it */
    return vm->place.step == l->params.step ? look_taken(core, l, slot, vm)
                                            : look_untaken(core, l, vm);
}

/* ---- waiting ---- */

static int waiting_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct set_look *l = arg;
    const struct actor actor = {l->op->actor, l->op->project_id, l->op->request_id};
    auto_json json_t *data = json_pack("{s:s, s:s}", "operation_id", l->op->id, "reason", l->why);

    return event_append(NULL, tx, NULL, &actor, "set.waiting", "set", l->set->id, l->set->name, data, err);
}

/* Shown as long as it lasts, told once. */
static void wait_for(struct core *core, const struct set_look *l, const char *reason)
{
    char before[256];
    struct set_look told = *l;
    struct error err;

    set_book_waits(core->sets, l->set->id, before);
    set_book_wait(core->sets, l->set->id, reason);
    atomic_store(&l->op->progress->stage, "waiting");
    if (*before)
        return;
    str_copy_utf8(told.why, sizeof(told.why), reason);
    if (db_write(core->db, waiting_fn, NULL, &told, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store that set %s waits", l->set->name);
}

static void fail_slot(struct core *core, struct set_look *l, size_t slot, const struct error *err)
{
    struct set_note *note = note_get(core->sets, l, slot);
    const struct set_spec *spec = l->set->spec;

    note->failed = true;
    snprintf(note->reason, sizeof(note->reason), "%s of member %zu: %.180s",
             set_machine_name(spec, slot % spec->machine_count), slot / spec->machine_count + 1,
             err->detail);
}

/* Takes as many as may be on their way at once; *boots: those of all sets that are booting. */
static void take_more(struct core *core, struct set_look *l, int64_t *boots)
{
    static const char *const stages[SET_VERB_COUNT] = {"creating",  "starting",  "stopping",
                                                       "reimaging", "resetting", "deleting"};
    bool ends = l->verb == SET_VERB_STOP || l->verb == SET_VERB_DELETE;
    int64_t wave = ends ? ENDING_WAVE : l->set->spec->wave;
    int64_t most = core->settings->set_wave;
    struct error err;

    if (!wave || (!ends && wave > most))
        wave = most;
    atomic_store(&l->op->progress->stage, stages[l->verb]);
    for (size_t i = l->first; i < l->end && l->flying < wave && (ends || *boots < most); i++) {
        if (l->slots[i] != SLOT_PENDING)
            continue;
        if (set_take(core, l, i, &err)) {
            if (set_take_passes(&err)) {
                wait_for(core, l, err.detail);
                return;
            }
            fail_slot(core, l, i, &err);
            set_keeper_poke(core->sets);
            continue;
        }
        l->flying++;
        *boots += !ends;
    }
    set_book_wait(core->sets, l->set->id, "");
}

/* ---- one operation ---- */

static void look_free(struct set_look *l)
{
    size_t total = l->set ? (size_t)l->set->spec->count * l->set->spec->machine_count : 0;

    for (size_t i = 0; l->vms && i < total; i++)
        vm_unref(l->vms[i]);
    free(l->vms);
    free(l->slots);
    set_unref(l->set);
    op_unref(l->op);
}

static void look_at(struct core *core, struct set_look *l)
{
    size_t machines = l->set->spec->machine_count, total = (size_t)l->set->spec->count * machines;

    l->vms = set_vms(core, l->set);
    l->slots = xcalloc(total, sizeof(*l->slots));
    l->first = l->params.member ? (size_t)(l->params.member - 1) * machines : 0;
    l->end = l->params.member ? l->first + machines : total;
    for (size_t i = l->first; i < l->end; i++) {
        l->slots[i] = look_slot(core, l, i);
        l->flying += l->slots[i] == SLOT_FLYING;
        l->done += l->slots[i] == SLOT_DONE;
        l->failed += l->slots[i] == SLOT_FAILED;
        l->pending += l->slots[i] == SLOT_PENDING;
    }
    atomic_store(&l->op->progress->done_bytes, l->done);
    atomic_store(&l->op->progress->failed, l->failed);
    atomic_store(&l->op->progress->total_bytes, (int64_t)(l->end - l->first));
}

static void finish(struct core *core, struct set_look *l, enum op_state state, const struct error *why)
{
    notes_drop(core->sets, l->op->id);
    if (l->set)
        set_book_wait(core->sets, l->set->id, "");
    op_driven_finish(core->ops, l->op->id, state, why);
}

/* The last VM has gone; now the set. Its name is free with this commit. */
static int bury(struct core *core, const struct set_look *l, struct error *err)
{
    const struct actor actor = {l->op->actor, l->op->project_id, l->op->request_id};
    struct set_write w = {.core = core, .set = l->set, .remove = true, .event = "set.deleted",
                          .actor = &actor};

    return set_write(&w, err);
}

static void conclude(struct core *core, struct set_look *l)
{
    struct error err;

    if (l->failed) {
        error_set(&err, ERROR_SET_INCOMPLETE, "%lld of %zu VMs: %s", (long long)l->failed,
                  l->end - l->first, l->why);
        error_remedy(&err, "Look at the VMs, then ask for the same again: what is as it should be "
                           "is left alone.");
        finish(core, l, OP_FAILED, &err);
    } else if (l->verb == SET_VERB_DELETE && bury(core, l, &err)) {
        log_failure(LOG_LEVEL_WARNING, &err, "cannot delete set %s", l->set->name);
    } else {
        finish(core, l, OP_SUCCEEDED, NULL);
    }
}

/* A later operation that covers all that this one is about takes over. */
static const struct set_look *successor(const struct set_look *looks, size_t count, const struct set_look *l)
{
    for (size_t i = 0; i < count; i++) {
        const struct set_look *other = &looks[i];

        if (str_eq(other->op->set_id, l->op->set_id) && other->params.step > l->params.step &&
            (!other->params.member || other->params.member == l->params.member))
            return other;
    }
    return NULL;
}

/* What a later operation on one member has claimed but not taken yet is not touched any more. */
static void leave_to_others(const struct set_look *looks, size_t count, struct set_look *l)
{
    size_t machines = l->set->spec->machine_count;

    for (size_t i = 0; i < count; i++) {
        const struct set_look *other = &looks[i];

        if (!str_eq(other->op->set_id, l->op->set_id) || other->params.step <= l->params.step)
            continue;
        for (size_t s = l->first; s < l->end; s++) {
            if (other->params.member == (int64_t)(s / machines) + 1 && l->slots[s] == SLOT_PENDING) {
                l->slots[s] = SLOT_DONE;
                l->pending--;
                l->done++;
            }
        }
    }
}

/* Is there anything left of it to work on? */
static bool open_look(struct core *core, struct set_look *looks, size_t count, struct set_look *l)
{
    const struct set_look *later = successor(looks, count, l);
    struct error err;

    l->set = set_book_get(core->sets, l->op->set_id);
    if (later) {
        error_set(&err, ERROR_CANCELLED, "%s took over", later->op->kind);
        finish(core, l, OP_CANCELLED, &err);
        return false;
    }
    if (!l->set) {
        error_set(&err, ERROR_SET_NOT_FOUND, "the set is gone");
        finish(core, l, l->verb == SET_VERB_DELETE ? OP_SUCCEEDED : OP_FAILED, &err);
        return false;
    }
    if (l->op->state == OP_PENDING && op_driven_start(core->ops, l->op->id))
        return false;
    look_at(core, l);
    leave_to_others(looks, count, l);
    return true;
}

void sets_work(struct core *core)
{
    struct set_look *looks;
    struct op **ops;
    int64_t boots = 0;
    size_t count;

    op_driven(core->ops, "set.", &ops, &count);
    looks = xcalloc(count + 1, sizeof(*looks));
    for (size_t i = 0; i < count; i++) {
        looks[i].op = ops[i];
        looks[i].verb = set_verb_of(ops[i]);
        set_params_read(ops[i], &looks[i].params);
    }
    for (size_t i = 0; i < count; i++) {
        if (open_look(core, looks, count, &looks[i]) && set_look_starts(&looks[i]))
            boots += looks[i].flying;
    }
    for (size_t i = 0; i < count; i++) {
        if (!looks[i].vms)
            continue;
        if (looks[i].pending)
            take_more(core, &looks[i], &boots);
        else if (!looks[i].flying)
            conclude(core, &looks[i]);
    }
    for (size_t i = 0; i < count; i++)
        look_free(&looks[i]);
    free(looks);
    free(ops);
}
