/*
 * The registry: every living VM as an immutable snapshot, findable by id and by name, listed by
 * age. Readers take a reference under a short lock; they never wait for the disk or libvirt.
 *
 * A VM that is being deleted has given its name back: it is found by it only while no other has it.
 */
#include <string.h>
/* uthash's default hash falls through its cases in a way that clang warns of. */
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#include "service/base/str.h"
#include "service/vm/core_internal.h"

struct entry {
    struct vm *vm;
    char key[2 * UUID_TEXT + VM_NAME_MAX]; /* project/name */
    bool named;                            /* it is in names */
    UT_hash_handle by_id, by_name;
};

struct registry {
    pthread_mutex_t lock; /* leaf */
    struct entry *ids, *names;
    struct entry **order; /* ascending seq */
    size_t count, cap;
    size_t states[VM_STATE_COUNT];
};

struct registry *registry_new(void)
{
    struct registry *r = xcalloc(1, sizeof(*r));

    mutex_init(&r->lock);
    return r;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    HASH_CLEAR(by_id, r->ids);
    HASH_CLEAR(by_name, r->names);
    for (size_t i = 0; i < r->count; i++) {
        vm_unref(r->order[i]->vm);
        free(r->order[i]);
    }
    free(r->order);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void name_key(char ret[2 * UUID_TEXT + VM_NAME_MAX], const char *project_id, const char *name)
{
    snprintf(ret, 2 * UUID_TEXT + VM_NAME_MAX, "%.36s/%.63s", project_id, name);
}

struct vm *registry_get(struct registry *r, const char *id)
{
    struct entry *e;

    LOCK_SCOPE(&r->lock);
    HASH_FIND(by_id, r->ids, id, strlen(id), e);
    return e ? vm_ref(e->vm) : NULL;
}

/* The youngest that is being deleted and had the name; lock held. */
static struct entry *find_dying(const struct registry *r, const char *key)
{
    for (size_t i = r->count; i-- > 0;) {
        struct entry *e = r->order[i];

        if (e->vm->state == VM_STATE_DELETING && strcmp(e->key, key) == 0)
            return e;
    }
    return NULL;
}

struct vm *registry_find(struct registry *r, const char *project_id, const char *ref)
{
    char key[2 * UUID_TEXT + VM_NAME_MAX];
    struct entry *e;

    LOCK_SCOPE(&r->lock);
    HASH_FIND(by_id, r->ids, ref, strlen(ref), e);
    if (e && strcmp(e->vm->project_id, project_id) == 0)
        return vm_ref(e->vm);
    name_key(key, project_id, ref);
    HASH_FIND(by_name, r->names, key, strlen(key), e);
    if (!e && r->states[VM_STATE_DELETING])
        e = find_dying(r, key);
    return e ? vm_ref(e->vm) : NULL;
}

bool registry_name_taken(struct registry *r, const char *project_id, const char *name)
{
    char key[2 * UUID_TEXT + VM_NAME_MAX];
    struct entry *e;

    name_key(key, project_id, name);
    LOCK_SCOPE(&r->lock);
    HASH_FIND(by_name, r->names, key, strlen(key), e);
    return e != NULL;
}

/* The position of the first entry younger than seq. */
static size_t position(const struct registry *r, int64_t seq)
{
    size_t lo = 0, hi = r->count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (r->order[mid]->vm->seq <= seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void hash_add(struct registry *r, struct entry *e, struct vm *vm)
{
    e->vm = vm_ref(vm);
    name_key(e->key, vm->project_id, vm->spec->name);
    HASH_ADD_KEYPTR(by_id, r->ids, e->vm->id, strlen(e->vm->id), e);
    e->named = vm->state != VM_STATE_DELETING;
    if (e->named)
        HASH_ADD_KEYPTR(by_name, r->names, e->key, strlen(e->key), e);
}

static void hash_remove(struct registry *r, struct entry *e)
{
    HASH_DELETE(by_id, r->ids, e);
    if (e->named)
        HASH_DELETE(by_name, r->names, e);
}

static void insert(struct registry *r, struct vm *vm)
{
    struct entry *e = xcalloc(1, sizeof(*e));
    size_t at = position(r, vm->seq);

    if (r->count == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 64;
        r->order = xrealloc_array(r->order, r->cap, sizeof(*r->order));
    }
    memmove(r->order + at + 1, r->order + at, (r->count - at) * sizeof(*r->order));
    r->order[at] = e;
    r->count++;
    hash_add(r, e, vm);
    r->states[vm->state]++;
}

void registry_put(struct registry *r, struct vm *vm)
{
    struct vm *old = NULL;
    struct entry *e;

    {
        LOCK_SCOPE(&r->lock);
        HASH_FIND(by_id, r->ids, vm->id, strlen(vm->id), e);
        if (!e) {
            insert(r, vm);
            return;
        }
        old = e->vm;
        r->states[old->state]--;
        r->states[vm->state]++;
        /* The id key points into the snapshot, so it moves with it. */
        hash_remove(r, e);
        hash_add(r, e, vm);
    }
    vm_unref(old);
}

void registry_remove(struct registry *r, const char *id)
{
    struct entry *e;

    {
        LOCK_SCOPE(&r->lock);
        HASH_FIND(by_id, r->ids, id, strlen(id), e);
        if (!e)
            return;
        size_t at = position(r, e->vm->seq) - 1;

        memmove(r->order + at, r->order + at + 1, (r->count - at - 1) * sizeof(*r->order));
        r->count--;
        r->states[e->vm->state]--;
        hash_remove(r, e);
    }
    vm_unref(e->vm);
    free(e);
}

void registry_all(struct registry *r, struct vm ***ret, size_t *ret_count)
{
    LOCK_SCOPE(&r->lock);
    *ret = xcalloc(r->count, sizeof(**ret));
    *ret_count = r->count;
    for (size_t i = 0; i < r->count; i++)
        (*ret)[i] = vm_ref(r->order[i]->vm);
}

static bool matches(const struct vm *vm, const struct vm_filter *f)
{
    if (strcmp(vm->project_id, f->project_id) != 0)
        return false;
    if (f->state >= 0 && (int)vm->state != f->state)
        return false;
    if (f->name && strcmp(vm->spec->name, f->name) != 0)
        return false;
    if (f->set && (!*vm->place.set_id || (strcmp(vm->place.set_id, f->set) != 0 &&
                                          strcmp(vm->place.set_name, f->set) != 0)))
        return false;
    for (size_t i = 0; i < f->label_count; i++) {
        if (!str_eq(vm_spec_label(vm->spec, f->label_keys[i]), f->label_values[i]))
            return false;
    }
    return true;
}

void registry_list(struct registry *r, const struct vm_filter *filter, struct vm ***ret,
                   size_t *ret_count, bool *ret_more)
{
    struct vm **list;
    size_t n = 0;

    *ret_more = false;
    LOCK_SCOPE(&r->lock);
    list = xcalloc(filter->limit < r->count ? filter->limit : r->count, sizeof(*list));
    for (size_t i = position(r, filter->after_seq); i < r->count; i++) {
        if (!matches(r->order[i]->vm, filter))
            continue;
        if (n == filter->limit) {
            *ret_more = true;
            break;
        }
        list[n++] = vm_ref(r->order[i]->vm);
    }
    *ret = list;
    *ret_count = n;
}

size_t registry_count(struct registry *r, int state)
{
    LOCK_SCOPE(&r->lock);
    return state < 0 ? r->count : r->states[state];
}

unsigned registry_image_users(struct core *core, const char *image_id)
{
    struct registry *r = core->registry;
    unsigned n = 0;

    LOCK_SCOPE(&r->lock);
    for (size_t i = 0; i < r->count; i++)
        n += strcmp(r->order[i]->vm->image_id, image_id) == 0;
    return n;
}

struct vm *vm_find(struct core *core, const char *project_id, const char *ref, struct error *err)
{
    struct vm *vm = registry_find(core->registry, project_id, ref);

    if (!vm)
        error_set(err, ERROR_VM_NOT_FOUND, "there is no VM %s", ref);
    return vm;
}

void vm_list(struct core *core, const struct vm_filter *filter, struct vm ***ret, size_t *ret_count,
             bool *ret_more)
{
    registry_list(core->registry, filter, ret, ret_count, ret_more);
}

size_t vm_count(struct core *core, enum vm_state state)
{
    return registry_count(core->registry, (int)state);
}
