/*
 * Autostart belongs to the host's boot, not to the daemon's start: what the tracker does once it has
 * seen everything for the first time.
 */
#include <string.h>

#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"

static void autostart(struct core *core)
{
    auto_free struct vm **vms = NULL;
    size_t count = 0;

    registry_all(core->registry, &vms, &count);
    for (size_t i = 0; i < count; i++) {
        auto_op struct op *op = NULL;
        bool replayed;
        struct error err;

        if (vms[i]->spec->autostart && (vms[i]->state == VM_STATE_STOPPED || vms[i]->state == VM_STATE_SAVED) &&
            vm_act(core, &actor_system, vms[i]->id, VM_VERB_START, false, 0, NULL, &op, &replayed, &err))
            log_failure(LOG_LEVEL_WARNING, &err, "cannot start VM %s after the boot", vms[i]->spec->name);
        vm_unref(vms[i]);
    }
}

static int store_boot(struct db_tx *tx, void *arg, struct error *err)
{
    return store_meta_set(tx, "boot_id", arg, err);
}

void vm_autostart_after_boot(struct core *core)
{
    auto_free char *known = NULL;
    char boot_id[UUID_TEXT];
    struct error err;

    if (host_boot_id(core->host, boot_id, &err) ||
        store_meta_get(core->db, "boot_id", &known, &err) < 0) {
        log_failure(LOG_LEVEL_WARNING, &err, "cannot tell whether the host was booted");
        return;
    }
    if (known && strcmp(known, boot_id) == 0)
        return;
    if (known)
        autostart(core);
    if (db_write(core->db, store_boot, NULL, boot_id, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store the boot id");
}
