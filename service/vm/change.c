/*
 * The one way a stored VM changes: read the snapshot under the VM's change lock, edit a copy,
 * commit it together with its event, operation and idempotency record, then publish it.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "db/store_lease.h"
#include "service/vm/core_internal.h"
#include "service/vm/host_stop.h"
#include "service/vm/image_internal.h"
#include "service/vm/lease.h"
#include "service/vm/quota_internal.h"
#include "service/vm/set.h"

#define NAME_ID 8 /* digits of its id in the new name of a VM whose deletion failed */

const struct actor actor_system = {.id = "system", .project_id = PROJECT_DEFAULT, .request_id = ""};

struct write {
    struct core *core;
    struct vm *vm, *was; /* was: what it replaces, NULL for a new one */
    struct change *change;
    bool insert;
    int64_t now;
};

static pthread_mutex_t *change_lock(struct core *core, const char *vm_id)
{
    unsigned h = 5381;

    for (const char *p = vm_id; *p; p++)
        h = h * 33 + (unsigned char)*p;
    return &core->change_locks[h % CHANGE_LOCKS];
}

static const struct actor *change_actor(const struct change *c)
{
    return c->actor ? c->actor : &actor_system;
}

static int idem_store(struct db_tx *tx, const struct write *w, struct error *err)
{
    const struct change *c = w->change;

    return w->insert ? idem_put(tx, change_actor(c), c->idem, c->idem_status, "vm", w->vm->id, err)
           : c->op_insert
               ? idem_put(tx, change_actor(c), c->idem, c->idem_status, "operation", c->op_insert->id, err)
               : 0;
}

static int write_op(struct db_tx *tx, const struct change *c, struct error *err)
{
    struct op_row row;

    if (c->op_insert && !SEEDED_BUG(OPERATION_APART)) {
        op_to_row(c->op_insert, &row);
        if (store_op_insert(tx, &row, err))
            return -1;
    }
    if (c->op_update) {
        op_to_row(c->op_update, &row);
        if (store_op_update(tx, &row, err))
            return -1;
    }
    return 0;
}

static int put_member(struct db_tx *tx, const struct vm *vm, struct error *err)
{
    if (!*vm->pool_id)
        return 0;
    return store_pool_member_put(
        tx, &(struct pool_member_row){vm->id, vm->pool_id, vm->pool_generation}, err);
}

static int write_vm(struct db_tx *tx, struct write *w, struct error *err)
{
    auto_free char *spec_text = NULL;
    struct vm_row row;

    if (w->insert && w->vm->spec->vsock &&
        store_cid_allocate(tx, w->vm->host_id, w->vm->id, w->now, &w->vm->vsock_cid, err))
        return -1;
    vm_to_row(w->vm, &row, &spec_text);
    if (w->insert)
        return store_vm_insert(tx, &row, &w->vm->seq, err) || put_member(tx, w->vm, err) ? -1 : 0;
    if (w->change->remove) {
        row.deleted_at = w->now;
        if (store_cid_release(tx, w->vm->id, w->now, err) ||
            store_pool_member_delete(tx, w->vm->id, err) ||
            store_lease_vm_gone(tx, w->vm->id, w->now, err))
            return -1;
    } else if (w->vm->spec->vsock && !w->vm->vsock_cid) {
        if (store_cid_allocate(tx, w->vm->host_id, w->vm->id, w->now, &w->vm->vsock_cid, err))
            return -1;
        row.vsock_cid = w->vm->vsock_cid;
    }
    return store_vm_update(tx, &row, err);
}

/*
 * A deletion that failed: the VM is there still, but it had given its name back. When another has
 * that by now, this one gets a new one.
 */
static int name_again(struct db_tx *tx, struct write *w, struct error *err)
{
    struct vm *vm = w->vm;
    const char *name = vm->spec->name;
    auto_json json_t *whole = NULL;
    auto_vm_spec struct vm_spec *spec = NULL;
    char other[VM_NAME_MAX + 1];
    int rc;

    if (w->insert || w->change->remove || w->was->state != VM_STATE_DELETING ||
        vm->state == VM_STATE_DELETING)
        return 0;
    rc = store_vm_name_taken(tx, vm->project_id, name, vm->id, err);
    if (rc <= 0)
        return rc;
    snprintf(other, sizeof(other), "%.*s-%.*s", VM_NAME_MAX - NAME_ID - 1, name, NAME_ID, vm->id);
    whole = vm_spec_encode(vm->spec);
    json_object_set_new(whole, "name", json_string(other));
    if (vm_spec_decode(whole, &spec, NULL, err))
        return -1;
    vm_spec_unref(vm->spec);
    vm->spec = TAKE_PTR(spec);
    vm->generation++;
    return 0;
}

static int write_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct write *w = arg;
    struct change *c = w->change;

    if (idem_race(tx, change_actor(c), c->idem, err) ||
        (!c->remove && quota_check_vm(w->core, tx, w->vm, w->was, err)))
        return -1;
    /* The VM's row before the operation and the idempotency record, which refer to it. */
    if (name_again(tx, w, err) || write_vm(tx, w, err) || write_op(tx, c, err) || idem_store(tx, w, err))
        return -1;
    if (c->event_type && event_append(w->core, tx, w->vm->project_id, change_actor(c), c->event_type, "vm", w->vm->id,
                            w->vm->spec->name, c->event_data, err))
        return -1;
    return c->also ? c->also(tx, c->also_arg, err) : 0;
}

static void committed_fn(void *arg)
{
    struct write *w = arg;

    if (w->change->remove)
        registry_remove(w->core->registry, w->vm->id);
    else
        registry_put(w->core->registry, w->vm);
    /* Here, in the order of the commits: who sees a new VM may delete it before its creator goes on. */
    if (w->change->op_insert)
        op_enqueue(w->core->ops, w->change->op_insert);
    if (w->change->also_committed)
        w->change->also_committed(w->change->also_arg);
    lease_keeper_on_vm(w->core->leases, w->vm, w->change->remove);
    if (*w->vm->place.set_id || host_stop_holds(w->core))
        set_keeper_poke(w->core->sets);
}

static int commit(struct write *w, struct error *err)
{
    bool first = w->change->first;

    quota_measure(w->core, w->vm);
    if (SEEDED_BUG(CHANGE_IN_MEMORY) && !w->insert && str_eq(w->change->event_type, "vm.changed")) {
        committed_fn(w);
        return 0;
    }
    if (first ? db_write_first(w->core->db, write_fn, committed_fn, w, err)
              : db_write(w->core->db, write_fn, committed_fn, w, err))
        return -1;
    if (w->insert)
        CRASH_POINT(CREATE_INTENT);
    else if (w->change->remove)
        CRASH_POINT(DELETE_STORED);
    else if (w->vm->state == VM_STATE_DELETING)
        CRASH_POINT(DELETE_INTENT);
    wait_wake_vm(w->core->waits, w->vm->id);
    return 0;
}

int vm_write_new(struct core *core, struct db_tx *tx, struct vm *vm, const struct actor *actor,
                 struct error *err)
{
    auto_json json_t *data = json_pack("{s:s}", "state", vm_state_name(vm->state));
    struct change change = {0};
    struct write w = {.core = core, .vm = vm, .change = &change, .insert = true, .now = vm->created_at};

    return write_vm(tx, &w, err) || event_append(core, tx, vm->project_id, actor, "vm.created", "vm", vm->id,
                                                 vm->spec->name, data, err)
               ? -1
               : 0;
}

void vm_publish_new(struct core *core, struct vm *vm)
{
    registry_put(core->registry, vm);
    lease_keeper_on_vm(core->leases, vm, false);
}

int vm_insert(struct core *core, struct vm *vm, struct change *change, struct error *err)
{
    struct write w = {.core = core, .vm = vm, .change = change, .insert = true, .now = vm->created_at};

    return commit(&w, err);
}

int vm_change(struct core *core, const char *vm_id, mutate_fn *mutate, void *arg,
              struct change *change, struct vm **ret, struct error *err)
{
    struct change none = {0};
    struct write w = {.core = core, .change = change ? change : &none, .now = clock_wall_ms()};
    auto_vm struct vm *current = NULL, *next = NULL;
    int rc;

    LOCK_SCOPE(change_lock(core, vm_id));
    current = registry_get(core->registry, vm_id);
    if (!current)
        return error_set(err, ERROR_VM_NOT_FOUND, "there is no VM %s", vm_id);
    next = vm_copy(current);
    rc = mutate(core, next, w.change, arg, err);
    if (rc < 0)
        return -1;
    if (rc > 0) {
        if (ret)
            *ret = vm_ref(current);
        return 0;
    }
    if (!w.change->quiet)
        next->updated_at = w.now;
    w.vm = next;
    w.was = current;
    if (commit(&w, err))
        return -1;
    if (ret)
        *ret = TAKE_PTR(next);
    return 0;
}

struct op_write {
    struct core *core;
    struct op *op;
};

static int op_write_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct op_write *w = arg;
    struct op *op = w->op;
    bool finished = op_is_finished(op);
    auto_json json_t *data = json_pack("{s:s, s:s, s:s}", "operation_id", op->id, "kind", op->kind,
                                       "state", op_state_name(op->state));
    struct actor actor = {.id = op->actor, .project_id = op->project_id, .request_id = op->request_id};
    struct change c = {.op_update = op};
    auto_vm struct vm *vm = *op->vm_id ? registry_get(w->core->registry, op->vm_id) : NULL;
    struct error ignored;

    if (op->state == OP_FAILED)
        json_object_set_new(data, "error_code", json_string(error_slug(op->error.code)));
    if (write_op(tx, &c, err))
        return -1;
    if (*op->set_id) {
        auto_set struct set *set = set_find(w->core, op->project_id, op->set_id, &ignored);

        return event_append(w->core, tx, NULL, &actor, finished ? "operation.finished" : "operation.started",
                            "set", op->set_id, set ? set->name : "", data, err);
    }
    if (!*op->vm_id && !*op->image_id)
        return event_append(w->core, tx, NULL, &actor, finished ? "operation.finished" : "operation.started",
                            "host", op->host_id, "", data, err);
    if (!*op->vm_id) {
        auto_image struct image *image = image_registry_stored(w->core->images, op->image_id);

        return event_append(w->core, tx, NULL, &actor, finished ? "operation.finished" : "operation.started",
                            "image", op->image_id, image ? image->name : "", data, err);
    }
    return event_append(w->core, tx, NULL, &actor, finished ? "operation.finished" : "operation.started",
                        "vm", op->vm_id, vm ? vm->spec->name : "", data, err);
}

int op_commit(struct core *core, struct op *op, struct error *err)
{
    struct op_write w = {.core = core, .op = op};

    return db_write(core->db, op_write_fn, NULL, &w, err);
}
