/* What is kept for nobody goes: retired images without VMs, label versions beyond their number. */
#include "service/vm/image_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "service/vm/project.h"

static void collect_labels(struct core *core)
{
    auto_free struct project *projects = NULL;
    size_t project_count;

    project_list(core, &projects, &project_count);
    for (size_t p = 0; p < project_count; p++) {
        const struct actor actor = {actor_system.id, projects[p].id, "", NULL};
        struct image_label *labels;
        size_t count;

        image_label_list(core, actor.project_id, &labels, &count);
        for (size_t i = 0; i < count; i++) {
            image_label_prune(core, &actor, labels[i].name);
            image_label_done(&labels[i]);
        }
        free(labels);
    }
}

void image_collect(struct core *core)
{
    struct image_registry *r = core->images;
    char(*ids)[UUID_TEXT] = NULL, (*projects)[UUID_TEXT] = NULL;
    size_t count = 0;
    struct error err = ERROR_INIT;

    collect_labels(core);
    {
        LOCK_SCOPE(&r->lock);
        ids = xcalloc(r->count + 1, sizeof(*ids));
        projects = xcalloc(r->count + 1, sizeof(*projects));
        for (size_t i = 0; i < r->count; i++) {
            const struct image *image = r->entries[i].stored;

            if (image->state != IMAGE_RETIRED)
                continue;
            memcpy(projects[count], image->project_id, UUID_TEXT);
            memcpy(ids[count++], image->id, UUID_TEXT);
        }
    }
    for (size_t i = 0; i < count; i++) {
        const struct actor actor = {actor_system.id, projects[i], "", NULL};

        if (registry_image_users(core, ids[i]) == 0 &&
            image_delete(core, &actor, ids[i], true, &err))
            log_debug("a retired image stays for now: %s", err.detail);
    }
    free(ids);
    free(projects);
}
