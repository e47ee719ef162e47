/*
 * The use cases of sets: making, finding, asking for what is to be done, extending. The doing is
 * set_work.c.
 */
#include "service/vm/set.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/set_internal.h"

static const char *const verb_names[SET_VERB_COUNT] = {"create",  "start", "stop",
                                                       "reimage", "reset", "delete"};

const char *set_verb_name(enum set_verb verb)
{
    return verb_names[verb];
}

/* ---- finding ---- */

struct set *set_find(struct core *core, const char *project_id, const char *ref, struct error *err)
{
    struct set **all, *found = NULL;
    size_t count;

    set_book_all(core->sets, &all, &count);
    for (size_t i = 0; i < count; i++) {
        if (!found && str_eq(all[i]->project_id, project_id) &&
            (str_eq(all[i]->id, ref) || str_eq(all[i]->name, ref)))
            found = set_ref(all[i]);
        set_unref(all[i]);
    }
    free(all);
    if (!found)
        error_set(err, ERROR_SET_NOT_FOUND, "there is no set %s", ref);
    return found;
}

void set_list(struct core *core, const char *project_id, struct set ***ret, size_t *ret_count)
{
    struct set **all;
    size_t count, kept = 0;

    set_book_all(core->sets, &all, &count);
    for (size_t i = 0; i < count; i++) {
        if (str_eq(all[i]->project_id, project_id))
            all[kept++] = all[i];
        else
            set_unref(all[i]);
    }
    *ret = all;
    *ret_count = kept;
}

/* ---- making ---- */

static int check_size(struct core *core, const struct set_spec *spec, struct error *err)
{
    int64_t total = spec->count * (int64_t)spec->machine_count, max = core->settings->set_vms;

    if (total <= max)
        return 0;
    error_set_at(err, ERROR_VALIDATION_FAILED, "/count", "makes %lld VMs; a set may have %lld",
                 (long long)total, (long long)max);
    error_remedy(err, "Make several sets, or raise the setting set_vms.");
    return -1;
}

/* Whose name is taken already; the database says so, too, but one by one and late. */
static int check_names(struct core *core, const char *project_id, const char *name,
                       const struct set_plan *plan, struct error *err)
{
    struct error none;
    auto_set struct set *other = set_find(core, project_id, name, &none);

    if (other)
        return error_set_at(err, ERROR_NAME_IN_USE, "/name", "there is already a set called %s", name);
    for (size_t i = 0; i < plan->count; i++) {
        const char *vm = plan->slots[i].spec->name;

        if (registry_name_taken(core->registry, project_id, vm))
            return error_set_at(err, ERROR_NAME_IN_USE, "/name_pattern",
                                "there is already a VM called %s", vm);
    }
    return 0;
}

/* One of each machine stands for all: they differ in nothing that could be refused. */
static int check_machines(struct core *core, const struct actor *actor, const struct set *set,
                          const struct set_plan *plan, struct error *err)
{
    for (size_t i = 0; i < set->spec->machine_count && i < plan->count; i++) {
        auto_vm struct vm *vm = set_vm_new(core, actor, set, &plan->slots[i], err);

        if (!vm)
            return -1;
    }
    return 0;
}

static struct set *set_new(struct core *core, const struct actor *actor, const char *name,
                           const struct set_spec *spec)
{
    struct set *set = xcalloc(1, sizeof(*set));
    int64_t ttl_ms = spec->ttl_seconds * 1000;

    atomic_init(&set->refs, 1);
    uuid_new(set->id);
    str_copy_utf8(set->project_id, sizeof(set->project_id), actor->project_id);
    str_copy_utf8(set->host_id, sizeof(set->host_id), HOST_LOCAL);
    str_copy_utf8(set->name, sizeof(set->name), name);
    str_copy_utf8(set->actor, sizeof(set->actor), actor->id);
    str_copy_utf8(set->owner_token, sizeof(set->owner_token), actor->token_id ? actor->token_id : "");
    set->spec = set_spec_ref((struct set_spec *)(uintptr_t)spec);
    set->step = 1;
    memcpy(set->boot_id, core->sets->boot_id, sizeof(set->boot_id));
    set->created_at = set->updated_at = clock_wall_ms();
    if (ttl_ms) {
        set->expires_boot_ms = clock_boottime_ms() + ttl_ms;
        set->expires_at = set->created_at + ttl_ms;
    }
    return set;
}

int set_preview(struct core *core, const struct actor *actor, const char *name,
                const struct set_spec *spec, struct set_plan *ret, struct error *err)
{
    auto_set_plan struct set_plan plan = {0};
    auto_set struct set *set = set_new(core, actor, name, spec);

    if (check_size(core, spec, err) || set_plan_make(spec, name, core->sets->salt, &plan, err) ||
        check_names(core, actor->project_id, name, &plan, err) ||
        check_machines(core, actor, set, &plan, err))
        return -1;
    *ret = plan;
    plan = (struct set_plan){0};
    return 0;
}

struct batch {
    struct vm **vms;
    size_t count;
};

static void batch_done(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        vm_unref(b->vms[i]);
    free(b->vms);
}

static int make_all(struct core *core, const struct actor *actor, const struct set *set,
                    const struct set_plan *plan, struct batch *ret, struct error *err)
{
    ret->vms = xcalloc(plan->count, sizeof(struct vm *));
    for (size_t i = 0; i < plan->count; i++) {
        ret->vms[i] = set_vm_new(core, actor, set, &plan->slots[i], err);
        if (!ret->vms[i])
            return -1;
        ret->count++;
    }
    return 0;
}

static struct op *op_new_set(const struct actor *actor, const struct set *set, enum set_verb verb,
                             const struct set_params *p)
{
    auto_free char *kind = xasprintf("set.%s", verb_names[verb]);
    auto_free char *params = set_params_text(p);

    return op_new_for_set(actor, set->id, kind, params);
}

static int replay(struct core *core, const struct actor *actor, const struct idem_found *found,
                  struct set **ret, struct op **ret_op, struct error *err)
{
    if (str_eq(found->kind, "set") && ret) {
        *ret = set_find(core, actor->project_id, found->id, err);
        return *ret ? 0 : -1;
    }
    *ret_op = op_find(core, actor->project_id, found->id, err);
    return *ret_op ? 0 : -1;
}

static int create(struct core *core, const struct actor *actor, const char *name,
                  struct set_spec *spec, const struct idem *idem, struct set **ret,
                  struct op **ret_op, struct error *err)
{
    auto_set_plan struct set_plan plan = {0};
    auto_scope(batch_done) struct batch batch = {0};
    auto_set struct set *set = NULL;
    auto_op struct op *op = NULL;
    auto_json json_t *data = NULL;
    const struct set_params params = {.step = 1, .start = spec->start};

    if (set_preview(core, actor, name, spec, &plan, err))
        return -1;
    set = set_new(core, actor, name, spec);
    if (make_all(core, actor, set, &plan, &batch, err))
        return -1;
    op = op_new_set(actor, set, SET_VERB_CREATE, &params);
    data = json_pack("{s:I, s:I, s:s}", "members", (json_int_t)spec->count, "vms",
                     (json_int_t)batch.count, "operation_id", op->id);
    struct set_write w = {.core = core, .set = set, .insert = true, .vms = batch.vms,
                          .vm_count = batch.count, .op = op, .event = "set.created",
                          .event_data = data, .actor = actor, .idem = idem, .idem_kind = "set",
                          .idem_status = 201};
    if (set_write(&w, err))
        return -1;
    *ret = TAKE_PTR(set);
    *ret_op = TAKE_PTR(op);
    return 0;
}

int set_create(struct core *core, const struct actor *actor, const char *name,
               struct set_spec *spec, const struct idem *idem, struct set **ret, struct op **ret_op,
               bool *ret_replayed, struct error *err)
{
    struct idem_found found;
    int rc = idem_lookup(core, actor, idem, &found, err);

    *ret_op = NULL;
    if (rc == 0) {
        rc = create(core, actor, name, spec, idem, ret, ret_op, err);
        *ret_replayed = false;
        if (rc == 0)
            return 0;
        if (!idem_again(core, actor, idem, &found, err))
            return -1;
    } else if (rc < 0) {
        return -1;
    }
    *ret_replayed = true;
    return replay(core, actor, &found, ret, ret_op, err);
}

/* ---- asking ---- */

static int check_ask(const struct set *set, const struct set_ask *ask, struct error *err)
{
    if (ask->verb != SET_VERB_DELETE && set->deleting) {
        error_set(err, ERROR_SET_STATE_CONFLICT, "the set %s is being deleted", set->name);
        return -1;
    }
    if (ask->verb == SET_VERB_RESET && (ask->member < 1 || ask->member > set->spec->count))
        return error_set(err, ERROR_NOT_FOUND, "set %s has members 1 to %lld", set->name,
                         (long long)set->spec->count);
    return 0;
}

/* The machines' other images become part of the definition, so that a VM made anew has them, too. */
static int put_images(struct core *core, struct set *set, const json_t *images, struct error *err)
{
    auto_json json_t *definition = set_spec_encode(set->spec, true);
    json_t *machines = json_object_get(definition, "machines"), *value;
    struct set_spec *spec = NULL;
    const char *name;
    char at[160];

    json_object_foreach((json_t *)(uintptr_t)images, name, value)
    {
        auto_image struct image *image = NULL;
        json_t *machine = NULL;

        doc_pointer(at, sizeof(at), "/images", name);
        for (size_t i = 0; i < json_array_size(machines); i++) {
            if (str_eq(set_machine_name(set->spec, i), name))
                machine = json_array_get(machines, i);
        }
        if (!machine)
            return error_set_at(err, ERROR_VALIDATION_FAILED, at, "is no machine of this set");
        if (!json_is_string(value))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at, "must be the name of an image");
        image = image_find(core, set->project_id, json_string_value(value), err);
        if (!image) {
            error_set_at(err, ERROR_UNKNOWN_IMAGE, at, "there is no image %s",
                         json_string_value(value));
            return error_remedy(err, "GET /v1/images lists the images."), -1;
        }
        json_object_set(machine, "image", value);
    }
    if (set_spec_decode(definition, &spec, NULL, err))
        return -1;
    set_spec_unref(set->spec);
    set->spec = spec;
    return 0;
}

static int accept(struct core *core, const struct actor *actor, const struct set *current,
                  const struct set_ask *ask, const struct idem *idem, struct op **ret_op,
                  struct error *err)
{
    auto_set struct set *next = set_copy(current);
    auto_op struct op *op = NULL;
    auto_json json_t *data = NULL;
    struct set_params params = {.step = ++next->step, .member = ask->member, .start = ask->start};

    next->updated_at = clock_wall_ms();
    if (ask->verb == SET_VERB_DELETE)
        next->deleting = true;
    /* What comes at its end has come; stopped, it stays until somebody says otherwise. */
    if (str_eq(actor->id, actor_system.id) || next->deleting)
        next->expires_at = next->expires_boot_ms = 0;
    if (ask->images && put_images(core, next, ask->images, err))
        return -1;
    op = op_new_set(actor, next, ask->verb, &params);
    data = json_pack("{s:s, s:s}", "operation_id", op->id, "verb", verb_names[ask->verb]);
    if (ask->member)
        json_object_set_new(data, "member", json_integer(ask->member));
    struct set_write w = {.core = core, .set = next, .op = op, .event = "set.asked",
                          .event_data = data, .actor = actor, .idem = idem,
                          .idem_kind = "operation", .idem_status = 202};
    if (set_write(&w, err))
        return -1;
    *ret_op = TAKE_PTR(op);
    return 0;
}

static int act_anew(struct core *core, const struct actor *actor, const char *ref,
                    const struct set_ask *ask, const struct idem *idem, struct op **ret_op,
                    struct error *err)
{
    auto_set struct set *set = set_find(core, actor->project_id, ref, err), *current = NULL;

    if (!set)
        return -1;
    LOCK_SCOPE(set_lock(core->sets, set->id));
    current = set_book_get(core->sets, set->id);
    if (!current)
        return error_set(err, ERROR_SET_NOT_FOUND, "there is no set %s any more", ref);
    if (check_ask(current, ask, err))
        return -1;
    return accept(core, actor, current, ask, idem, ret_op, err);
}

int set_act(struct core *core, const struct actor *actor, const char *ref,
            const struct set_ask *ask, const struct idem *idem, struct op **ret_op,
            bool *ret_replayed, struct error *err)
{
    struct idem_found found;
    int rc = idem_lookup(core, actor, idem, &found, err);

    if (rc < 0)
        return -1;
    *ret_replayed = rc > 0;
    if (rc > 0)
        return replay(core, actor, &found, NULL, ret_op, err);
    if (act_anew(core, actor, ref, ask, idem, ret_op, err) == 0)
        return 0;
    *ret_replayed = idem_again(core, actor, idem, &found, err);
    return *ret_replayed ? replay(core, actor, &found, NULL, ret_op, err) : -1;
}

int set_extend(struct core *core, const struct actor *actor, const char *ref, int64_t ttl_seconds,
               struct set **ret, struct error *err)
{
    auto_set struct set *set = set_find(core, actor->project_id, ref, err), *current = NULL;
    auto_set struct set *next = NULL;
    auto_json json_t *data = NULL;
    int64_t now = clock_wall_ms();

    if (!set)
        return -1;
    LOCK_SCOPE(set_lock(core->sets, set->id));
    current = set_book_get(core->sets, set->id);
    if (!current || current->deleting)
        return error_set(err, ERROR_SET_STATE_CONFLICT, "the set %s is being deleted", set->name);
    next = set_copy(current);
    next->updated_at = now;
    memcpy(next->boot_id, core->sets->boot_id, sizeof(next->boot_id));
    next->expires_at = ttl_seconds ? now + ttl_seconds * 1000 : 0;
    next->expires_boot_ms = ttl_seconds ? clock_boottime_ms() + ttl_seconds * 1000 : 0;
    data = json_pack("{s:I}", "ttl_seconds", (json_int_t)ttl_seconds);
    struct set_write w = {.core = core, .set = next, .event = "set.changed", .event_data = data,
                          .actor = actor};
    if (set_write(&w, err))
        return -1;
    *ret = TAKE_PTR(next);
    return 0;
}
