/*
 * What is known of the sets in memory: snapshots by id, and why one does not go on. Everything here
 * is a short look under one lock; nothing blocks or calls out.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/set_internal.h"

/* ---- snapshots ---- */

struct set *set_ref(struct set *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void set_unref(struct set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    set_spec_unref(set->spec);
    free(set);
}

struct set *set_copy(const struct set *set)
{
    struct set *copy = xcopy_behind(set, offsetof(struct set, seq), sizeof(*copy));

    atomic_init(&copy->refs, 1);
    set_spec_ref(copy->spec);
    return copy;
}

struct set *set_from_row(const struct set_row *row, struct error *err)
{
    auto_set struct set *set = xcalloc(1, sizeof(*set));
    auto_json json_t *definition = json_loads(row->definition, 0, NULL);

    atomic_init(&set->refs, 1);
    if (!definition) {
        error_set(err, ERROR_INTERNAL, "a stored definition is damaged");
        return NULL;
    }
    if (set_spec_decode(definition, &set->spec, NULL, err))
        return NULL;
    set->seq = row->seq;
    str_copy_utf8(set->id, sizeof(set->id), row->id);
    str_copy_utf8(set->project_id, sizeof(set->project_id), row->project_id);
    str_copy_utf8(set->host_id, sizeof(set->host_id), row->host_id);
    str_copy_utf8(set->name, sizeof(set->name), row->name);
    str_copy_utf8(set->actor, sizeof(set->actor), row->actor);
    str_copy_utf8(set->owner_token, sizeof(set->owner_token), row->owner_token);
    set->step = row->step;
    set->deleting = row->deleting;
    str_copy_utf8(set->boot_id, sizeof(set->boot_id), row->boot_id);
    set->expires_boot_ms = row->expires_boot_ms;
    set->expires_at = row->expires_at;
    set->created_at = row->created_at;
    set->updated_at = row->updated_at;
    return TAKE_PTR(set);
}

/* ---- the book ---- */

pthread_mutex_t *set_lock(struct set_keeper *k, const char *id)
{
    unsigned h = 5381;

    for (const char *p = id; *p; p++)
        h = h * 33 + (unsigned char)*p;
    return &k->set_locks[h % SET_LOCKS];
}

static struct set_entry *find(struct set_keeper *k, const char *id)
{
    struct set_entry *e;

    HASH_FIND_STR(k->sets, id, e);
    return e;
}

struct set *set_book_get(struct set_keeper *k, const char *id)
{
    struct set_entry *e;

    LOCK_SCOPE(&k->lock);
    e = find(k, id);
    return e ? set_ref(e->set) : NULL;
}

void set_book_put(struct set_keeper *k, struct set *set)
{
    struct set *old = NULL;
    struct set_entry *e;

    {
        LOCK_SCOPE(&k->lock);
        e = find(k, set->id);
        if (!e) {
            e = xcalloc(1, sizeof(*e));
            memcpy(e->id, set->id, sizeof(e->id));
            HASH_ADD_STR(k->sets, id, e);
        }
        old = e->set;
        e->set = set_ref(set);
    }
    set_unref(old);
}

void set_book_remove(struct set_keeper *k, const char *id)
{
    struct set_entry *e;

    {
        LOCK_SCOPE(&k->lock);
        e = find(k, id);
        if (e)
            HASH_DEL(k->sets, e);
    }
    if (e)
        set_unref(e->set);
    free(e);
}

static int by_age(const void *a, const void *b)
{
    const struct set *x = *(struct set *const *)a, *y = *(struct set *const *)b;

    return (x->seq > y->seq) - (x->seq < y->seq);
}

void set_book_all(struct set_keeper *k, struct set ***ret, size_t *ret_count)
{
    struct set **all;
    size_t n = 0;

    {
        LOCK_SCOPE(&k->lock);
        all = xcalloc(HASH_COUNT(k->sets) + 1, sizeof(struct set *));
        for (struct set_entry *e = k->sets; e; e = e->hh.next)
            all[n++] = set_ref(e->set);
    }
    qsort(all, n, sizeof(struct set *), by_age);
    *ret = all;
    *ret_count = n;
}

void set_book_wait(struct set_keeper *k, const char *id, const char *reason)
{
    struct set_entry *e;

    LOCK_SCOPE(&k->lock);
    e = find(k, id);
    if (e)
        str_copy_utf8(e->waits_for, sizeof(e->waits_for), reason);
}

void set_book_waits(struct set_keeper *k, const char *id, char ret[256])
{
    struct set_entry *e;

    LOCK_SCOPE(&k->lock);
    e = find(k, id);
    str_copy_utf8(ret, 256, e ? e->waits_for : "");
}

void set_book_clear(struct set_keeper *k)
{
    struct set_entry *e = k->sets, *next;

    HASH_CLEAR(hh, k->sets);
    for (; e; e = next) {
        next = e->hh.next;
        set_unref(e->set);
        free(e);
    }
}
