/*
 * The template of a pool of depth snapshot: one of its VMs, booted to its ready point and saved,
 * whose memory and disks all others begin with. It is never handed out, and is kept for as long as
 * the disks of any VM stand on its own.
 *
 * Sharing needs the saved image as a file (the embedded driver) and a network in which many guests
 * may have the same address (user mode: each has its own). Otherwise each VM of the pool is booted
 * and saved by itself.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/lease_internal.h"

bool template_is_shareable(struct core *core, const struct pool *pool, char *ret_why, size_t size)
{
    const json_t *network;
    const char *mode;
    size_t i;

    *ret_why = '\0';
    if (!virt_can_clone(core->virt)) {
        str_copy_utf8(ret_why, size, "each VM is saved by itself: only the embedded libvirt driver's "
                                     "saved memory can be shared");
        return false;
    }
    json_array_foreach(json_object_get(pool->spec->vm, "networks"), i, network) {
        mode = json_string_value(json_object_get(network, "mode"));
        if (mode && strcmp(mode, "user") != 0) {
            snprintf(ret_why, size,
                     "each VM is saved by itself: in a network of mode %s guests that share their "
                     "memory would have the same address",
                     mode);
            return false;
        }
    }
    return true;
}

bool template_key(struct core *core, char *ret, size_t size)
{
    struct virt_host host;
    struct error ignored;

    if (virt_host_info(core->virt, &host, &ignored))
        return false;
    snprintf(ret, size, "QEMU %s, libvirt %s, Linux %s, processor %s", host.qemu_version,
             host.libvirt_version, core->leases->kernel, core->leases->processor);
    return true;
}

/* ---- which one ---- */

static bool stands_on(const struct vm *vm, const char *template_id)
{
    return str_eq(vm->template_id, template_id);
}

bool template_in_use(struct core *core, const char *vm_id)
{
    struct vm **all;
    bool found = false;
    size_t count;

    registry_all(core->registry, &all, &count);
    for (size_t i = 0; i < count; i++) {
        found |= stands_on(all[i], vm_id);
        vm_unref(all[i]);
    }
    free(all);
    return found;
}

bool template_retire(struct core *core, const char *vm_id)
{
    if (!book_template_retire(core->leases, vm_id))
        return false;
    if (!template_in_use(core, vm_id))
        return true;
    (void)book_member_move(core->leases, vm_id, MEMBER_LEAVING, MEMBER_TEMPLATE);
    return false;
}

enum template_fit template_fits(struct core *core, const struct pool *pool, const struct member *m,
                                const struct vm *vm, char *ret_why, size_t size)
{
    char key[sizeof(vm->template_key)];

    *ret_why = '\0';
    if (!member_is_current(core, pool, m, vm)) {
        str_copy_utf8(ret_why, size, "the pool's definition or image has changed");
        return TEMPLATE_STALE;
    }
    if (member_is_old(pool, m)) {
        str_copy_utf8(ret_why, size, "it was too old");
        return TEMPLATE_STALE;
    }
    if (!template_key(core, key, sizeof(key)))
        return TEMPLATE_UNKNOWN;
    if (str_eq(key, vm->template_key))
        return TEMPLATE_FITS;
    snprintf(ret_why, size, "it was saved under %.110s; now there is %.110s", vm->template_key, key);
    return TEMPLATE_STALE;
}

struct vm *template_take(struct core *core, const struct pool *pool)
{
    char vm_id[UUID_TEXT];
    struct vm *vm;

    if (!book_template_take(core->leases, pool->id, pool->generation, vm_id))
        return NULL;
    vm = registry_get(core->registry, vm_id);
    if (!vm)
        book_template_give(core->leases, vm_id);
    return vm;
}

void template_give(struct core *core, struct vm *vm)
{
    if (!vm)
        return;
    book_template_give(core->leases, vm->id);
    vm_unref(vm);
}

/* ---- how one begins and ends ---- */

static int keep_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                       struct error *err)
{
    const char *key = arg;

    (void)core;
    (void)err;
    if (*next->lease_id || next->state != VM_STATE_SAVED || str_eq(next->template_key, key))
        return 1;
    str_copy_utf8(next->template_key, sizeof(next->template_key), key);
    str_copy_utf8(next->state_reason, sizeof(next->state_reason), "its pool's template");
    change->event_type = "vm.template";
    change->event_data = json_pack("{s:s, s:s}", "pool_id", next->pool_id, "saved_under", key);
    return 0;
}

int template_keep(struct core *core, const char *vm_id, struct error *err)
{
    struct change change = {.actor = &actor_system};
    char key[sizeof(((struct vm *)NULL)->template_key)];
    int rc;

    if (!template_key(core, key, sizeof(key)))
        return error_set(err, ERROR_HYPERVISOR_UNAVAILABLE, "what QEMU is there is not known yet");
    rc = vm_change(core, vm_id, keep_mutate, key, &change, NULL, err);
    CRASH_POINT(POOL_TEMPLATE);
    json_decref(change.event_data);
    return rc;
}

static int spoil_mutate(struct core *core, struct vm *next, struct change *change, void *arg,
                        struct error *err)
{
    (void)core;
    (void)change;
    (void)err;
    if (!*next->template_key)
        return 1;
    snprintf(next->template_key, sizeof(next->template_key), "something else, for it failed: %s",
             (const char *)arg);
    return 0;
}

void template_spoil(struct core *core, const char *vm_id, const struct error *why)
{
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);
    auto_pool struct pool *pool = vm ? book_pool(core->leases, vm->pool_id) : NULL;
    struct error err;
    char detail[200];

    log_failure(LOG_LEVEL_WARNING, why, "the saved memory of template %s cannot be restored", vm_id);
    str_copy_utf8(detail, sizeof(detail), why->detail);
    if (vm_change(core, vm_id, spoil_mutate, detail, NULL, NULL, &err) &&
        err.code != ERROR_VM_NOT_FOUND)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot give up template %s", vm_id);
    if (pool)
        pool_note_failure(core, pool, detail);
}

/* ---- what is told ---- */

void template_report(struct core *core, const struct pool *pool, bool shared, const char *why,
                     const struct vm *template)
{
    uint64_t bytes = template ? virt_saved_bytes(core->virt, template->spec->name) : 0;
    struct lease_keeper *k = core->leases;
    struct pool_state *p;

    LOCK_SCOPE(&k->lock);
    HASH_FIND_STR(k->pools, pool->id, p);
    if (!p)
        return;
    p->status.snapshot.shared = shared;
    p->status.snapshot.saved_at = template ? template->updated_at : 0;
    p->status.snapshot.memory_bytes = bytes;
    str_copy_utf8(p->status.snapshot.template_id, sizeof(p->status.snapshot.template_id),
                  template ? template->id : "");
    /* Why a new one is being made stays until it is there. */
    if (template || *why)
        str_copy_utf8(p->status.snapshot.reason, sizeof(p->status.snapshot.reason), why);
}
