/*
 * Giving a lease its VM: one that waits, or one that is made for it. The VM's change and the
 * lease's are one transaction, so a VM is never handed out twice and none is made for nobody.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/host_stop.h"
#include "service/vm/lease_internal.h"

#define NAME_RANDOM 6

/* The lease runs from here. */
static void start_clock(struct lease_keeper *k, struct lease *l)
{
    int64_t wall = clock_wall_ms(), boot = clock_boottime_ms();

    memcpy(l->boot_id, k->boot_id, sizeof(l->boot_id));
    l->claimed_at = wall;
    l->limit_at = wall + l->max_seconds * 1000;
    l->limit_boot_ms = boot + l->max_seconds * 1000;
    l->expires_at = wall + l->ttl_seconds * 1000;
    l->expires_boot_ms = boot + l->ttl_seconds * 1000;
    l->state = LEASE_ACTIVE;
}

static void take_vm(struct lease *l, const struct vm *vm)
{
    memcpy(l->vm_id, vm->id, sizeof(l->vm_id));
    str_copy_utf8(l->vm_name, sizeof(l->vm_name), vm->spec->name);
}

static void give_vm_back(struct lease *l)
{
    l->vm_id[0] = l->vm_name[0] = '\0';
    l->warm = false;
    l->claimed_at = 0;
    l->state = LEASE_QUEUED;
}

/* ---- a VM that waits ---- */

struct claim {
    struct lease *lease;
    struct lease_write *write;
};

static int claim_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                        struct error *err)
{
    struct claim *c = arg;
    struct lease *l = c->lease;
    bool saved = next->state == VM_STATE_SAVED;

    if ((*next->lease_id && !SEEDED_BUG(HAND_OUT_TWICE)) || !str_eq(next->pool_id, l->pool_id) ||
        (!saved && next->state != VM_STATE_RUNNING))
        return error_set(err, ERROR_VM_STATE_CONFLICT, "the VM %s does not wait any more",
                         next->spec->name);
    if (saved && admission_admit(core, next, err)) /* it will need its memory again */
        return -1;
    take_vm(l, next);
    l->warm = true;
    start_clock(core->leases, l);
    memcpy(next->lease_id, l->id, sizeof(next->lease_id));
    /* Who uses it pays for it, and the pool may make another one. */
    memcpy(next->owner_token, l->owner_token, sizeof(next->owner_token));
    lease_write_with(c->write, change);
    if (!saved)
        return 0;
    change->op_insert = op_new(c->write->actor, next, "vm.start", "{}");
    change->event_type = "vm.state";
    change->event_data = json_pack("{s:s, s:s, s:s}", "state", "starting", "previous", "saved",
                                   "reason", "claimed");
    next->state = VM_STATE_STARTING;
    str_copy_utf8(next->state_reason, sizeof(next->state_reason), "claimed");
    return 0;
}

static int claim(struct core *core, const char *vm_id, struct claim *c, struct error *err)
{
    struct change change = {.first = true};
    int rc = vm_change(core, vm_id, claim_mutate, c, &change, NULL, err);

    json_decref(change.event_data);
    op_unref(change.op_insert);
    return rc;
}

/* 1: none waits. */
static int serve_warm(struct core *core, struct lease *lease, struct lease_write *write,
                      struct error *err)
{
    struct claim c = {lease, write};
    char vm_id[UUID_TEXT];

    while (book_take_ready(core->leases, lease->pool_id, vm_id)) {
        if (claim(core, vm_id, &c, err) == 0)
            return 0;
        give_vm_back(lease);
        /* The keeper looks at it again: it may have stopped a moment ago. */
        (void)book_member_move(core->leases, vm_id, MEMBER_TAKEN,
                               err->code == ERROR_QUOTA_EXCEEDED ? MEMBER_READY : MEMBER_WARMING);
        if (err->code != ERROR_VM_STATE_CONFLICT && err->code != ERROR_VM_NOT_FOUND)
            return -1;
    }
    return 1;
}

/* ---- a VM that is made ---- */

int pool_vm_spec(const struct pool *pool, const struct vm *template, struct vm_spec **ret,
                 struct error *err)
{
    auto_json json_t *whole = json_copy(pool->spec->vm), *networks = NULL;
    char random[UUID_TEXT], name[VM_NAME_MAX + 1];

    /* The guest has them in its memory: whatever we wrote down, it would use these. */
    if (template && template->spec->network_count) {
        auto_json json_t *theirs = vm_spec_encode(template->spec);

        networks = json_deep_copy(json_object_get(theirs, "networks"));
        json_object_set(whole, "networks", networks);
    }

    uuid_new(random);
    snprintf(name, sizeof(name), "%.*s-%.*s", VM_NAME_MAX - NAME_RANDOM - 1, pool->name, NAME_RANDOM,
             random);
    json_object_set_new(whole, "name", json_string(name));
    return vm_spec_decode(whole, ret, NULL, err);
}

struct cold {
    struct core *core;
    struct lease *lease;
};

static void on_named(void *arg, const struct vm *vm)
{
    struct cold *c = arg;

    take_vm(c->lease, vm);
    start_clock(c->core->leases, c->lease);
}

static int make(struct core *core, struct lease *lease, struct vm_spec *spec, int64_t generation,
                const struct vm *template, struct lease_write *write, struct error *err)
{
    struct cold cold = {core, lease};
    struct change change = {.first = true};
    struct vm_birth birth = {.lease_id = lease->id,
                             .pool_id = lease->pool_id,
                             .pool_generation = generation,
                             .template_id = template ? template->id : NULL,
                             .change = &change,
                             .on_named = on_named,
                             .arg = &cold};
    auto_vm struct vm *vm = NULL;
    auto_op struct op *op = NULL;

    lease_write_with(write, &change);
    if (vm_create_born(core, write->actor, spec, true, &birth, &vm, &op, err) == 0)
        return 0;
    give_vm_back(lease);
    return -1;
}

static int serve_cold(struct core *core, const struct pool *pool, struct lease *lease,
                      struct lease_write *write, struct error *err)
{
    struct vm *template = pool->spec->depth == POOL_SNAPSHOT ? template_take(core, pool) : NULL;
    auto_vm_spec struct vm_spec *spec = NULL;
    int rc = 1;

    if (book_reserve(core->leases, pool->id)) {
        rc = pool_vm_spec(pool, template, &spec, err);
        if (rc == 0)
            rc = make(core, lease, spec, pool->generation, template, write, err);
        book_unreserve(core->leases, pool->id);
    }
    template_give(core, template);
    return rc;
}

int lease_serve(struct core *core, struct lease *lease, struct vm_spec *spec,
                struct lease_write *write, struct error *err)
{
    auto_pool struct pool *pool = NULL;
    int rc;

    if (host_stop_refuses(core, err))
        return -1;
    if (spec)
        return make(core, lease, spec, 0, NULL, write, err);
    if (!tracker_is_reconciled(core->tracker))
        return error_set(err, ERROR_HYPERVISOR_UNAVAILABLE,
                         "what runs has not been compared with what is stored yet");
    pool = book_pool(core->leases, lease->pool_id);
    if (!pool)
        return error_set(err, ERROR_POOL_NOT_FOUND, "the pool %s is gone", lease->pool_name);
    rc = serve_warm(core, lease, write, err);
    return rc > 0 ? serve_cold(core, pool, lease, write, err) : rc;
}
