/* What is kept for nobody goes: retired images without VMs, label versions beyond their number. */
#include "service/vm/image_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"

static void collect_labels(struct core *core)
{
    struct image_label *labels;
    size_t count;

    image_label_list(core, actor_system.project_id, &labels, &count);
    for (size_t i = 0; i < count; i++) {
        image_label_prune(core, &actor_system, labels[i].name);
        image_label_done(&labels[i]);
    }
    free(labels);
}

void image_collect(struct core *core)
{
    struct image_registry *r = core->images;
    char(*ids)[UUID_TEXT] = NULL;
    size_t count = 0;
    struct error err = ERROR_INIT;

    collect_labels(core);
    {
        LOCK_SCOPE(&r->lock);
        ids = xcalloc(r->count + 1, sizeof(*ids));
        for (size_t i = 0; i < r->count; i++) {
            if (r->entries[i].stored->state == IMAGE_RETIRED)
                memcpy(ids[count++], r->entries[i].stored->id, UUID_TEXT);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (registry_image_users(core, ids[i]) == 0 &&
            image_delete(core, &actor_system, ids[i], true, &err))
            log_debug("a retired image stays for now: %s", err.detail);
    }
    free(ids);
}
