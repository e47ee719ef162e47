/*
 * Who looked at which console, and who took its keyboard: from the hub's notices to events. The hub
 * must not wait for a disk, so notices are kept here, bounded, and the tracker writes them, all that
 * are there in one transaction.
 */
#include <string.h>
#include <sys/queue.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"

#define ENTRIES_MAX 4096

struct entry {
    STAILQ_ENTRY(entry) link;
    const char *type;
    char vm_id[UUID_TEXT];
    char *viewer;
    json_t *data;
    int64_t at; /* of an attach; 0: it is none */
};

STAILQ_HEAD(entry_list, entry);

struct notices {
    pthread_mutex_t lock; /* leaf */
    struct entry_list entries;
    size_t count, dropped;
};

struct notices *notices_new(void)
{
    struct notices *a = xcalloc(1, sizeof(*a));

    mutex_init(&a->lock);
    STAILQ_INIT(&a->entries);
    return a;
}

static void entry_free(struct entry *e)
{
    json_decref(e->data);
    free(e->viewer);
    free(e);
}

static void entries_free(struct entry_list *list)
{
    struct entry *e;

    while ((e = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        entry_free(e);
    }
}

void notices_free(struct notices *a)
{
    if (!a)
        return;
    entries_free(&a->entries);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static struct entry *entry_new(const struct console_notice *n)
{
    static const char *const types[] = {[CONSOLE_ATTACHED] = "console.attached",
                                        [CONSOLE_DETACHED] = "console.detached",
                                        [CONSOLE_HANDED] = "console.control"};
    struct entry *e = xcalloc(1, sizeof(*e));
    const char *mode = n->mode == CONSOLE_CONTROL ? "control" : "view";

    e->type = types[n->what];
    e->at = n->what == CONSOLE_ATTACHED ? clock_wall_ms() : 0;
    str_copy_utf8(e->vm_id, sizeof(e->vm_id), n->vm_id);
    e->viewer = xstrdup(n->viewer);
    e->data = json_pack("{s:s, s:s, s:s}", "stream", n->stream, "viewer", n->viewer, "name",
                        str_is_utf8(n->name, strlen(n->name)) ? n->name : "");
    if (n->what == CONSOLE_HANDED)
        json_object_set_new(e->data, "how", json_string(n->how));
    else
        json_object_set_new(e->data, "mode", json_string(mode));
    return e;
}

bool notices_add(struct notices *a, const struct console_notice *n)
{
    struct entry *e = entry_new(n);
    bool first;

    {
        LOCK_SCOPE(&a->lock);
        first = a->count == 0;
        if (a->count < ENTRIES_MAX) {
            STAILQ_INSERT_TAIL(&a->entries, e, link);
            a->count++;
            return first;
        }
        a->dropped++;
    }
    entry_free(e);
    return false;
}

struct batch {
    struct core *core;
    struct entry_list entries;
};

static int write_batch(struct db_tx *tx, void *arg, struct error *err)
{
    struct batch *b = arg;
    const struct entry *e;

    STAILQ_FOREACH(e, &b->entries, link)
    {
        auto_vm struct vm *vm = registry_get(b->core->registry, e->vm_id);
        struct actor actor = actor_system;
        char project[UUID_TEXT] = PROJECT_DEFAULT;

        if (*e->viewer)
            actor.id = e->viewer;
        /* It may have been deleted meanwhile; what was done to it is its project's all the same. */
        if (vm)
            str_copy_utf8(project, sizeof(project), vm->project_id);
        else if (store_vm_project(tx, e->vm_id, project, err) < 0)
            return -1;
        if (event_append(b->core, tx, project, &actor, e->type, "vm", e->vm_id,
                         vm ? vm->spec->name : "", e->data, err))
            return -1;
    }
    return 0;
}

/* Those within a second of the first cost no write. */
static void note_attached(const struct batch *b)
{
    const struct entry *e;
    struct error err;

    STAILQ_FOREACH(e, &b->entries, link)
    {
        if (e->at && vm_note_attached(b->core, e->vm_id, e->at, &err) && err.code != ERROR_VM_NOT_FOUND)
            log_failure(LOG_LEVEL_WARNING, &err, "cannot store who used a console");
    }
}

void notices_write(struct notices *a, struct core *core)
{
    struct batch b = {core, STAILQ_HEAD_INITIALIZER(b.entries)};
    size_t dropped;
    struct error err;

    {
        LOCK_SCOPE(&a->lock);
        STAILQ_CONCAT(&b.entries, &a->entries);
        dropped = a->dropped;
        a->count = a->dropped = 0;
    }
    if (dropped)
        log_warning("%zu console events came too fast and were not stored", dropped);
    if (!STAILQ_EMPTY(&b.entries) && db_write(core->db, write_batch, NULL, &b, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store who used a console");
    note_attached(&b);
    entries_free(&b.entries);
}
