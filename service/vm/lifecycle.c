/*
 * The use cases: what may be asked of a VM in which state, and the commit that records the
 * intent. The work itself is an operation (execute.c).
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"
#include "service/vm/pool.h"

#define BIT(s) (1u << VM_STATE_##s)

/* For each verb: its name and the states in which it makes sense. */
static const struct {
    const char *name;
    unsigned states;
} verbs[VM_VERB_COUNT] = {
    [VM_VERB_START] = {"start", BIT(STOPPED) | BIT(SAVED) | BIT(CRASHED) | BIT(FAILED)},
    [VM_VERB_SHUTDOWN] = {"shutdown", BIT(RUNNING)},
    [VM_VERB_STOP] = {"stop", BIT(RUNNING) | BIT(PAUSED) | BIT(STARTING) | BIT(STOPPING) |
                                  BIT(CRASHED) | BIT(SAVED) | BIT(FAILED)},
    [VM_VERB_REBOOT] = {"reboot", BIT(RUNNING)},
    [VM_VERB_RESET] = {"reset", BIT(RUNNING) | BIT(PAUSED) | BIT(STOPPING)},
    [VM_VERB_PAUSE] = {"pause", BIT(RUNNING)},
    [VM_VERB_RESUME] = {"resume", BIT(PAUSED)},
    [VM_VERB_SAVE] = {"save", BIT(RUNNING) | BIT(PAUSED)},
    [VM_VERB_DELETE] = {"delete", BIT(STOPPED) | BIT(SAVED) | BIT(CRASHED) | BIT(FAILED)},
};

const char *vm_verb_name(enum vm_verb verb)
{
    return verbs[verb].name;
}

static int require_libvirt(struct core *core, struct error *err)
{
    char reason[200];

    if (virt_is_up(core->virt, reason, sizeof(reason)))
        return 0;
    error_set(err, ERROR_HYPERVISOR_UNAVAILABLE, "libvirt cannot be reached: %s", reason);
    error_remedy(err, "Drover keeps trying to connect; send the request again later.");
    return -1;
}

/* The image named in a definition, as the id that the VM keeps. */
static int resolve_image(struct core *core, const char *project_id, const struct vm_spec *spec,
                         char ret[UUID_TEXT], bool *ret_comes, struct error *err)
{
    auto_image struct image *image = NULL;

    ret[0] = '\0';
    *ret_comes = false;
    if (!spec->image) {
        if (!spec->cmdline && !spec->root_disk_gib)
            return 0;
        return error_set_at(err, ERROR_VALIDATION_FAILED,
                            spec->cmdline ? "/cmdline" : "/root_disk_gib", "needs an image");
    }
    image = image_find(core, project_id, spec->image, err);
    if (!image) {
        error_set_at(err, ERROR_UNKNOWN_IMAGE, "/image", "there is no image %s", spec->image);
        error_remedy(err, "GET /v1/images lists the images.");
        return -1;
    }
    /* The operation that creates the VM waits for the one that imports the image. */
    *ret_comes = image->state == IMAGE_IMPORTING && image->source;
    if (image->state != IMAGE_READY && !*ret_comes) {
        error_set_at(err, ERROR_IMAGE_STATE_CONFLICT, "/image", "the image %s is %s", spec->image,
                     image_state_name(image->state));
        error_remedy(err, "Upload its content first.");
        return -1;
    }
    if (spec->cmdline && image->kind != IMAGE_KERNEL)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/cmdline", "goes with a kernel image only");
    if (spec->root_disk_gib && image->kind != IMAGE_DISK)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/root_disk_gib",
                            "goes with a disk image only");
    if (spec->root_disk_gib && !*ret_comes &&
        spec->root_disk_gib * (1LL << 30) < image->files[IMAGE_CONTENT].virtual_size_bytes) {
        error_set_at(err, ERROR_VALIDATION_FAILED, "/root_disk_gib",
                     "is smaller than the image, which has %lld bytes",
                     (long long)image->files[IMAGE_CONTENT].virtual_size_bytes);
        return -1;
    }
    memcpy(ret, image->id, UUID_TEXT);
    return 0;
}

static int check_user_data(struct core *core, const struct vm_spec *spec, struct error *err)
{
    int64_t max = core->settings->user_data_limit_bytes;

    if (!spec->user_data || (int64_t)strlen(spec->user_data) <= max)
        return 0;
    return error_set_at(err, ERROR_VALIDATION_FAILED, "/user_data", "may have at most %lld bytes",
                        (long long)max);
}

static int replay(struct core *core, const struct actor *actor, const struct idem_found *found,
                  struct vm **ret, struct op **ret_op, struct error *err)
{
    if (str_eq(found->kind, "vm")) {
        struct error forgotten = ERROR_INIT;

        *ret = vm_find(core, actor->project_id, found->id, err);
        if (*ret)
            *ret_op = op_that_made(core, *ret, &forgotten);
        return *ret ? 0 : -1;
    }
    *ret_op = op_find(core, actor->project_id, found->id, err);
    return *ret_op ? 0 : -1;
}

int vm_check_new(struct core *core, const char *project_id, const struct vm_spec *spec,
                 char ret_image_id[UUID_TEXT], bool *ret_comes, struct error *err)
{
    if (check_user_data(core, spec, err) ||
        resolve_image(core, project_id, spec, ret_image_id, ret_comes, err))
        return -1;
    return require_libvirt(core, err);
}

int vm_create_born(struct core *core, const struct actor *actor, struct vm_spec *spec, bool start,
                   struct vm_birth *birth, struct vm **ret, struct op **ret_op, struct error *err)
{
    auto_vm struct vm *vm = xcalloc(1, sizeof(*vm));
    auto_op struct op *op = NULL;
    auto_json json_t *data = NULL;
    bool comes;

    atomic_init(&vm->refs, 1);
    vm->spec = vm_spec_ref(spec);
    if (vm_check_new(core, actor->project_id, spec, vm->image_id, &comes, err))
        return -1;
    uuid_new(vm->id);
    str_copy_utf8(vm->project_id, sizeof(vm->project_id), actor->project_id);
    str_copy_utf8(vm->host_id, sizeof(vm->host_id), HOST_LOCAL);
    str_copy_utf8(vm->pool_id, sizeof(vm->pool_id), birth->pool_id ? birth->pool_id : "");
    str_copy_utf8(vm->lease_id, sizeof(vm->lease_id), birth->lease_id ? birth->lease_id : "");
    vm->pool_generation = birth->pool_generation;
    str_copy_utf8(vm->owner_token, sizeof(vm->owner_token), actor->token_id ? actor->token_id : "");
    str_copy_utf8(vm->template_id, sizeof(vm->template_id),
                  birth->template_id ? birth->template_id : "");
    vm->state = start ? VM_STATE_STARTING : VM_STATE_STOPPED;
    str_copy_utf8(vm->state_reason, sizeof(vm->state_reason), "created");
    vm->generation = 1;
    vm->created_at = vm->updated_at = clock_wall_ms();
    if (start && admission_admit(core, vm, err))
        return -1;
    op = op_new(actor, vm, "vm.create", start ? "{\"start\":true}" : "{\"start\":false}");
    if (comes) /* after the operation that brings it */
        str_copy_utf8(op->image_id, sizeof(op->image_id), vm->image_id);
    data = json_pack("{s:s}", "state", vm_state_name(vm->state));
    birth->change->event_type = "vm.created";
    birth->change->event_data = data;
    birth->change->op_insert = op;
    if (birth->on_named)
        birth->on_named(birth->arg, vm);
    if (SEEDED_BUG(EFFECT_BEFORE_ROW) && vm_disks_ensure(core, vm, err))
        return -1;
    CRASH_POINT(CREATE_ASKED);
    if (vm_insert(core, vm, birth->change, err))
        return -1;
    *ret = TAKE_PTR(vm);
    *ret_op = TAKE_PTR(op);
    return 0;
}

int vm_create(struct core *core, const struct actor *actor, struct vm_spec *spec, bool start,
              const struct idem *idem, struct vm **ret, struct op **ret_op, bool *ret_replayed,
              struct error *err)
{
    struct change change = {.actor = actor, .idem = idem, .idem_status = 201};
    struct vm_birth birth = {.change = &change};
    struct idem_found found;
    int rc = idem_lookup(core, actor, idem, &found, err);

    if (rc < 0)
        return -1;
    *ret_replayed = rc > 0;
    *ret_op = NULL;
    if (rc > 0)
        return replay(core, actor, &found, ret, ret_op, err);
    if (vm_create_born(core, actor, spec, start, &birth, ret, ret_op, err)) {
        *ret_replayed = idem_again(core, actor, idem, &found, err);
        return *ret_replayed ? replay(core, actor, &found, ret, ret_op, err) : -1;
    }
    return 0;
}

struct patch {
    const struct actor *actor;
    const json_t *patch;
    int64_t if_generation;
};

static int check_generation(const struct vm *vm, int64_t if_generation, struct error *err)
{
    if (!if_generation || if_generation == vm->generation)
        return 0;
    error_set_at(err, ERROR_PRECONDITION_FAILED, "If-Match", "the VM's etag is now \"%lld\"",
                 (long long)vm->generation);
    error_remedy(err, "Read the VM again and repeat the change on what you find.");
    return -1;
}

static int patch_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                        struct error *err)
{
    const struct patch *p = arg;
    auto_json json_t *old = vm_spec_encode(next->spec), *merged = doc_merge_patch(old, p->patch);
    auto_vm_spec struct vm_spec *spec = NULL;
    char image_id[UUID_TEXT];
    bool comes;

    (void)change;
    if (vm_refuse_waiting(next, err) || check_generation(next, p->if_generation, err) ||
        vm_spec_decode(merged, &spec, NULL, err) || check_user_data(core, spec, err))
        return -1;
    if (next->state == VM_STATE_DELETING)
        return error_set(err, ERROR_VM_STATE_CONFLICT, "the VM is being deleted");
    if (!str_eq(spec->image, next->spec->image)) {
        error_set_at(err, ERROR_VALIDATION_FAILED, "/image", "cannot be changed");
        error_remedy(err, "Create a new VM from the other image.");
        return -1;
    }
    if (spec->root_disk_gib != next->spec->root_disk_gib)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/root_disk_gib", "cannot be changed");
    if (spec->disk_count < next->spec->disk_count)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/disks", "disks can only be added at the end");
    for (size_t i = 0; i < next->spec->disk_count; i++) {
        if (spec->disks[i].size_gib != next->spec->disks[i].size_gib)
            return error_set_at(err, ERROR_VALIDATION_FAILED, "/disks", "disks can only be added at the end");
    }
    if (!str_eq(spec->cmdline, next->spec->cmdline) &&
        resolve_image(core, p->actor->project_id, spec, image_id, &comes, err))
        return -1;
    auto_json json_t *now = vm_spec_encode(spec);
    if (json_equal(old, now))
        return 1;
    /* What the running guest does not notice is not a pending change of it. */
    if (next->running_generation == next->generation && !vm_spec_needs_stop(next->spec, spec))
        next->running_generation++;
    next->generation++;
    vm_spec_unref(next->spec);
    next->spec = TAKE_PTR(spec);
    return 0;
}

/* What goes into an event, which many may read. */
static json_t *without_secrets(const json_t *patch)
{
    json_t *copy = json_deep_copy(patch);

    if (json_is_string(json_object_get(copy, "user_data")))
        json_object_set_new(copy, "user_data", json_string("(not shown)"));
    return copy;
}

int vm_patch(struct core *core, const struct actor *actor, const char *ref, const json_t *patch,
             int64_t if_generation, struct vm **ret, struct error *err)
{
    auto_vm struct vm *vm = vm_find(core, actor->project_id, ref, err);
    struct patch p = {.actor = actor, .patch = patch, .if_generation = if_generation};
    auto_json json_t *data = json_pack("{s:o}", "patch", without_secrets(patch));
    struct change change = {.event_type = "vm.changed", .event_data = data, .actor = actor};

    if (!vm)
        return -1;
    if (!json_is_object(patch))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "", "must be an object");
    return vm_change(core, vm->id, patch_mutate, &p, &change, ret, err);
}

struct act {
    const struct actor *actor;
    enum vm_verb verb;
    bool force;
    int64_t if_generation;
};

static int refuse(const struct vm *vm, enum vm_verb verb, struct error *err)
{
    error_set(err, ERROR_VM_STATE_CONFLICT, "the VM %s is %s", vm->spec->name,
              vm_state_name(vm->state));
    if (verb == VM_VERB_DELETE)
        error_remedy(err, "Stop it first, or delete it with force=true.");
    else if (verb == VM_VERB_START && vm->state == VM_STATE_PAUSED)
        error_remedy(err, "Resume it.");
    return -1;
}

static int act_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                      struct error *err)
{
    const struct act *a = arg;
    bool allowed = verbs[a->verb].states & (1u << next->state);
    char kind[32];

    if (a->verb == VM_VERB_DELETE && a->force)
        allowed = next->state != VM_STATE_DELETING;
    if (check_generation(next, a->if_generation, err) ||
        (a->verb != VM_VERB_DELETE && a->actor != &actor_system && vm_refuse_waiting(next, err)))
        return -1;
    if (!allowed)
        return refuse(next, a->verb, err);
    if (a->verb == VM_VERB_DELETE && *next->template_key && !template_retire(core, next->id)) {
        error_set(err, ERROR_VM_STATE_CONFLICT,
                  "the disks of other VMs stand on those of the template %s", next->spec->name);
        error_remedy(err, "Delete those VMs first; their pool then deletes the template.");
        return -1;
    }
    snprintf(kind, sizeof(kind), "vm.%s", verbs[a->verb].name);
    change->op_insert = op_new(a->actor, next, kind, a->force ? "{\"force\":true}" : "{}");
    /* The intent shows at once; an operation that does not come to it puts the state back. */
    if (a->verb == VM_VERB_START || a->verb == VM_VERB_DELETE) {
        enum vm_state state = a->verb == VM_VERB_START ? VM_STATE_STARTING : VM_STATE_DELETING;

        change->event_type = "vm.state";
        change->event_data = json_pack("{s:s, s:s, s:s}", "state", vm_state_name(state), "previous",
                                       vm_state_name(next->state), "reason", "requested");
        next->state = state;
        str_copy_utf8(next->state_reason, sizeof(next->state_reason), "requested");
    }
    (void)core;
    return 0;
}

static int act_anew(struct core *core, const struct act *a, const char *ref, const struct idem *idem,
                    struct op **ret_op, struct error *err)
{
    const struct actor *actor = a->actor;
    struct act own = *a;
    struct change change = {.actor = actor, .idem = idem, .idem_status = 202};
    auto_vm struct vm *vm = NULL;
    int rc;

    /* Drover itself looks after VMs of every project, and names them by id. */
    vm = actor == &actor_system ? registry_get(core->registry, ref)
                                : vm_find(core, actor->project_id, ref, err);
    if (!vm)
        return actor == &actor_system ? error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone") : -1;
    if (require_libvirt(core, err))
        return -1;
    if (a->verb == VM_VERB_START && verbs[a->verb].states & (1u << vm->state) &&
        admission_admit(core, vm, err))
        return -1;
    rc = vm_change(core, vm->id, act_mutate, &own, &change, NULL, err);
    json_decref(change.event_data);
    if (rc) {
        op_unref(change.op_insert);
        return -1;
    }
    *ret_op = change.op_insert;
    return 0;
}

int vm_act(struct core *core, const struct actor *actor, const char *ref, enum vm_verb verb,
           bool force, int64_t if_generation, const struct idem *idem, struct op **ret_op,
           bool *ret_replayed, struct error *err)
{
    struct act a = {.actor = actor, .verb = verb, .force = force, .if_generation = if_generation};
    struct vm *unused = NULL;
    struct idem_found found;
    int rc = idem_lookup(core, actor, idem, &found, err);

    if (rc < 0)
        return -1;
    *ret_replayed = false;
    if (rc == 0 && act_anew(core, &a, ref, idem, ret_op, err) == 0)
        return 0;
    *ret_replayed = rc > 0 || idem_again(core, actor, idem, &found, err);
    return *ret_replayed ? replay(core, actor, &found, &unused, ret_op, err) : -1;
}
