/*
 * Labels: names that point at an image and can be moved to another. Each move is a version; older
 * versions beyond what a label keeps are let go of, and their images with them.
 */
#include "service/vm/image_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/vm.h"

#define KEEP_MAX 1000

/* ---- in memory ---- */

static int compare(const void *a, const void *b)
{
    const struct image_label_entry *x = a, *y = b;
    int rc = strcmp(x->project_id, y->project_id);

    if (rc == 0)
        rc = strcmp(x->name, y->name);
    return rc ? rc : (x->version > y->version) - (x->version < y->version);
}

/* Under `lock`. The same version again replaces the first. */
static void put(struct image_registry *r, const struct image_label_row *row)
{
    struct image_label_entry e = {
        .version = row->version, .keep = row->keep, .created_at = row->created_at};

    str_copy_utf8(e.project_id, sizeof(e.project_id), row->project_id);
    str_copy_utf8(e.name, sizeof(e.name), row->name);
    str_copy_utf8(e.image_id, sizeof(e.image_id), row->image_id);
    for (size_t i = 0; i < r->label_count; i++) {
        if (compare(&r->labels[i], &e) == 0) {
            r->labels[i] = e;
            return;
        }
    }
    if (r->label_count == r->label_cap) {
        r->label_cap = r->label_cap ? 2 * r->label_cap : 16;
        r->labels = xrealloc_array(r->labels, r->label_cap, sizeof(*r->labels));
    }
    r->labels[r->label_count++] = e;
    qsort(r->labels, r->label_count, sizeof(*r->labels), compare);
}

static int load_one(void *arg, const struct image_label_row *row)
{
    put(arg, row);
    return 0;
}

int image_labels_load(struct core *core, struct image_registry *r, struct error *err)
{
    return store_image_label_each(core_db(core), load_one, r, err);
}

static bool is_of(const struct image_label_entry *e, const char *project_id, const char *name)
{
    return str_eq(e->project_id, project_id) && str_eq(e->name, name);
}

/* The last version is where a label points. */
static bool is_current(const struct image_registry *r, size_t i)
{
    return i + 1 == r->label_count ||
           !is_of(&r->labels[i + 1], r->labels[i].project_id, r->labels[i].name);
}

bool image_label_target(struct image_registry *r, const char *project_id, const char *name,
                        char ret[UUID_TEXT])
{
    for (size_t i = 0; i < r->label_count; i++) {
        if (is_of(&r->labels[i], project_id, name) && is_current(r, i)) {
            memcpy(ret, r->labels[i].image_id, UUID_TEXT);
            return true;
        }
    }
    return false;
}

void image_label_of(struct image_registry *r, const char *image_id, char ret[VM_NAME_MAX + 1])
{
    LOCK_SCOPE(&r->lock);
    ret[0] = '\0';
    for (size_t i = 0; i < r->label_count && !*ret; i++) {
        if (strcmp(r->labels[i].image_id, image_id) == 0 && is_current(r, i))
            str_copy_utf8(ret, VM_NAME_MAX + 1, r->labels[i].name);
    }
}

static bool is_labelled(struct image_registry *r, const char *image_id)
{
    LOCK_SCOPE(&r->lock);
    for (size_t i = 0; i < r->label_count; i++) {
        if (strcmp(r->labels[i].image_id, image_id) == 0)
            return true;
    }
    return false;
}

/* Under `lock`: removes what fits. */
static void drop(struct image_registry *r, const char *image_id, const char *project_id,
                 const char *name, int64_t version)
{
    size_t n = 0;

    for (size_t i = 0; i < r->label_count; i++) {
        const struct image_label_entry *e = &r->labels[i];
        bool gone = image_id ? strcmp(e->image_id, image_id) == 0
                             : is_of(e, project_id, name) && e->version <= version;

        if (!gone)
            r->labels[n++] = *e;
    }
    r->label_count = n;
}

void image_labels_forget(struct image_registry *r, const char *image_id)
{
    LOCK_SCOPE(&r->lock);
    drop(r, image_id, NULL, NULL, 0);
}

/* ---- reading ---- */

void image_label_done(struct image_label *l)
{
    free(l->versions);
    *l = (struct image_label){0};
}

/* Under `lock`: the label whose first version is at *i, which moves behind its last. */
static void gather(const struct image_registry *r, size_t *i, struct image_label *ret)
{
    const struct image_label_entry *first = &r->labels[*i];
    size_t count = 1;

    while (*i + count < r->label_count && is_of(first + count, first->project_id, first->name))
        count++;
    *ret = (struct image_label){.keep = first[count - 1].keep, .count = count};
    str_copy_utf8(ret->name, sizeof(ret->name), first->name);
    ret->versions = xcalloc(count, sizeof(*ret->versions));
    for (size_t v = 0; v < count; v++) {
        ret->versions[v].version = first[v].version;
        ret->versions[v].created_at = first[v].created_at;
        memcpy(ret->versions[v].image_id, first[v].image_id, UUID_TEXT);
    }
    *i += count;
}

void image_label_list(struct core *core, const char *project_id, struct image_label **ret,
                      size_t *ret_count)
{
    struct image_registry *r = core_images(core);
    LOCK_SCOPE(&r->lock);

    *ret = xcalloc(r->label_count + 1, sizeof(**ret));
    *ret_count = 0;
    for (size_t i = 0; i < r->label_count;) {
        bool own = strcmp(r->labels[i].project_id, project_id) == 0;
        struct image_label one;

        gather(r, &i, &one);
        if (own)
            (*ret)[(*ret_count)++] = one;
        else
            image_label_done(&one);
    }
}

int image_label_get(struct core *core, const char *project_id, const char *name,
                    struct image_label *ret, struct error *err)
{
    struct image_registry *r = core_images(core);
    LOCK_SCOPE(&r->lock);

    for (size_t i = 0; i < r->label_count; i++) {
        if (is_of(&r->labels[i], project_id, name)) {
            gather(r, &i, ret);
            return 0;
        }
    }
    error_set(err, ERROR_LABEL_NOT_FOUND, "there is no label %s", name);
    error_remedy(err, "GET /v1/image-labels lists the labels.");
    return -1;
}

/* ---- changing; under `change` ---- */

struct label_write {
    struct image_registry *registry;
    const struct actor *actor;
    struct image_label_row row;
    const struct image *image; /* NULL: versions up to row.version go */
};

static int label_write(struct db_tx *tx, void *arg, struct error *err)
{
    const struct label_write *w = arg;

    if (!w->image)
        return store_image_label_delete(tx, w->row.project_id, w->row.name, w->row.version, err);
    if (store_image_label_put(tx, &w->row, err))
        return -1;
    return image_event(tx, w->actor, w->image, "image.labelled", err);
}

static void label_committed(void *arg)
{
    const struct label_write *w = arg;
    LOCK_SCOPE(&w->registry->lock);

    if (w->image)
        put(w->registry, &w->row);
    else
        drop(w->registry, NULL, w->row.project_id, w->row.name, w->row.version);
}

static int write_label(struct core *core, struct label_write *w, struct error *err)
{
    return db_write(core_db(core), label_write, label_committed, w, err);
}

static int check_target(const struct image *i, const char *name, struct error *err)
{
    if (i->state == IMAGE_READY)
        return 0;
    error_set_at(err, ERROR_IMAGE_STATE_CONFLICT, "/image", "the image %s is %s", i->name,
                 image_state_name((int)i->state));
    error_remedy(err, "The label %s stays where it is until an image is ready for it.", name);
    return -1;
}

static int set(struct core *core, const struct actor *actor, const char *name, const char *image_ref,
               int64_t keep, struct error *err)
{
    struct image_registry *r = core_images(core);
    auto_image struct image *image = NULL;
    auto_image_label struct image_label old = {0};
    const struct image_label_version *last = NULL;
    struct error ignored;
    LOCK_SCOPE(&r->change);

    image = image_registry_find(r, actor->project_id, image_ref);
    if (!image)
        return error_set_at(err, ERROR_UNKNOWN_IMAGE, "/image", "there is no image %s", image_ref);
    if (check_target(image, name, err))
        return -1;
    if (image_label_get(core, actor->project_id, name, &old, &ignored) == 0)
        last = &old.versions[old.count - 1];
    if (keep < 0)
        keep = last ? old.keep : 0;
    bool moves = !last || strcmp(last->image_id, image->id) != 0;
    if (!moves && keep == old.keep)
        return 0;
    struct label_write w = {
        .registry = r,
        .actor = actor,
        .image = image,
        .row = {.project_id = actor->project_id,
                .name = name,
                .version = (last ? last->version : 0) + moves,
                .image_id = image->id,
                .keep = keep,
                .created_at = moves ? clock_wall_ms() : last->created_at},
    };
    return write_label(core, &w, err);
}

/* Versions beyond what is kept go, and images that no label knows any more with them. */
void image_label_prune(struct core *core, const struct actor *actor, const char *name)
{
    auto_image_label struct image_label l = {0};
    struct image_registry *r = core_images(core);
    struct error ignored;

    if (image_label_get(core, actor->project_id, name, &l, &ignored) || l.keep == 0)
        return;
    for (size_t i = 0; i + (size_t)l.keep < l.count; i++) {
        struct label_write w = {.registry = r,
                                .actor = actor,
                                .row = {.project_id = actor->project_id,
                                        .name = name,
                                        .version = l.versions[i].version}};

        {
            LOCK_SCOPE(&r->change);
            if (write_label(core, &w, &ignored))
                return; /* tried again by the janitor */
        }
        if (!is_labelled(r, l.versions[i].image_id))
            (void)image_delete(core, actor, l.versions[i].image_id, true, &ignored);
    }
}

int image_label_set(struct core *core, const struct actor *actor, const char *name,
                    const char *image_ref, int64_t keep, struct image_label *ret, struct error *err)
{
    if (!vm_spec_name_ok(name))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "label",
                            "is not 1 to 63 lower-case letters, digits and inner hyphens");
    if (keep > KEEP_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/keep", "is larger than %d", KEEP_MAX);
    if (set(core, actor, name, image_ref, keep, err))
        return -1;
    image_label_prune(core, actor, name);
    return image_label_get(core, actor->project_id, name, ret, err);
}

int image_label_delete(struct core *core, const struct actor *actor, const char *name,
                       struct error *err)
{
    struct image_registry *r = core_images(core);
    auto_image_label struct image_label l = {0};
    LOCK_SCOPE(&r->change);

    if (image_label_get(core, actor->project_id, name, &l, err))
        return -1;
    struct label_write w = {
        .registry = r,
        .actor = actor,
        .row = {.project_id = actor->project_id, .name = name, .version = INT64_MAX}};
    return write_label(core, &w, err);
}
