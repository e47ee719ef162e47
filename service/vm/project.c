/*
 * See project.h. The book is in memory and follows each commit; what a change takes away is taken
 * before it is committed, so that no VM starts by a trust that is about to end.
 */
#include "service/vm/project_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"
#include "service/vm/lease.h"

#define FRIENDS_TEXT (PROJECT_FRIENDS_MAX * UUID_TEXT + 1)

/* ---- in memory ---- */

static void friends_parse(const char *text, struct project_trust *ret)
{
    while (*text && ret->friend_count < PROJECT_FRIENDS_MAX) {
        size_t len = strcspn(text, " ");

        if (len && len < UUID_TEXT) {
            memcpy(ret->friends[ret->friend_count], text, len);
            ret->friends[ret->friend_count++][len] = '\0';
        }
        text += len + (text[len] == ' ');
    }
}

static void friends_text(const struct project_trust *trust, char ret[FRIENDS_TEXT])
{
    size_t len = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < trust->friend_count; i++)
        len += (size_t)snprintf(ret + len, FRIENDS_TEXT - len, "%s%s", i ? " " : "",
                                trust->friends[i]);
}

static int load_project(void *arg, const struct project_row *row)
{
    struct project_book *book = arg;
    struct project *p = &book->projects[book->count++];

    str_copy_utf8(p->id, sizeof(p->id), row->id);
    str_copy_utf8(p->name, sizeof(p->name), row->name);
    p->created_at = row->created_at;
    p->limits = quota_limits_parse(row->quota);
    p->trust.memory_merge = row->memory_merge;
    friends_parse(row->merge_with, &p->trust);
    return book->count == PROJECTS_MAX;
}

int project_open(struct core *core, struct project_book **ret, struct error *err)
{
    struct project_book *book = xcalloc(1, sizeof(*book));

    mutex_init(&book->lock);
    mutex_init(&book->change);
    *ret = book; /* the caller closes it, also after a failure */
    return store_project_each(core->db, load_project, book, err);
}

void project_close(struct project_book *book)
{
    if (!book)
        return;
    pthread_mutex_destroy(&book->change);
    pthread_mutex_destroy(&book->lock);
    free(book->claims);
    free(book);
}

struct project *project_in_book(struct project_book *book, const char *ref)
{
    for (size_t i = 0; i < book->count; i++) {
        if (str_eq(book->projects[i].id, ref) || str_eq(book->projects[i].name, ref))
            return &book->projects[i];
    }
    return NULL;
}

int project_find(struct core *core, const char *ref, struct project *ret, struct error *err)
{
    LOCK_SCOPE(&core->projects->lock);
    const struct project *p = project_in_book(core->projects, ref);

    if (!p)
        return error_set(err, ERROR_PROJECT_NOT_FOUND, "there is no project %s", ref);
    *ret = *p;
    return 0;
}

bool project_merges(struct core *core, const char *id)
{
    LOCK_SCOPE(&core->projects->lock);
    const struct project *p = project_in_book(core->projects, id);

    return p && p->trust.memory_merge;
}

void project_name(struct core *core, const char *id, char ret[PROJECT_NAME_SIZE])
{
    LOCK_SCOPE(&core->projects->lock);
    const struct project *p = project_in_book(core->projects, id);

    str_copy_utf8(ret, PROJECT_NAME_SIZE, p ? p->name : "");
}

static int by_age(const void *x, const void *y)
{
    const struct project *a = x, *b = y;

    if (a->created_at != b->created_at)
        return a->created_at < b->created_at ? -1 : 1;
    return strcmp(a->id, b->id);
}

void project_list(struct core *core, struct project **ret, size_t *ret_count)
{
    struct project_book *book = core->projects;

    LOCK_SCOPE(&book->lock);
    *ret = xcalloc(book->count + 1, sizeof(**ret));
    memcpy(*ret, book->projects, book->count * sizeof(**ret));
    *ret_count = book->count;
    qsort(*ret, book->count, sizeof(**ret), by_age);
}

/* ---- what is asked for ---- */

static int take_friends(struct core *core, const struct project_request *r, struct project *p,
                        struct error *err)
{
    struct project_trust *t = &p->trust;
    char at[64];

    if (!r->merge_with)
        return 0;
    if (r->merge_with_count > PROJECT_FRIENDS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/merge_with", "may name at most %d projects",
                            PROJECT_FRIENDS_MAX);
    t->friend_count = 0;
    for (size_t i = 0; i < r->merge_with_count; i++) {
        struct project friend;
        struct error none;

        snprintf(at, sizeof(at), "/merge_with/%zu", i);
        if (project_find(core, r->merge_with[i], &friend, &none))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at, "there is no project %s",
                                r->merge_with[i]);
        if (str_eq(friend.id, p->id))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "a project trusts itself without being named");
        for (size_t k = 0; k < t->friend_count; k++) {
            if (str_eq(t->friends[k], friend.id))
                return error_set_at(err, ERROR_VALIDATION_FAILED, at, "is named twice");
        }
        memcpy(t->friends[t->friend_count++], friend.id, UUID_TEXT);
    }
    return 0;
}

static int apply(struct core *core, const struct project_request *r, struct project *p,
                 struct error *err)
{
    if (r->limits)
        p->limits = *r->limits;
    if (r->memory_merge >= 0)
        p->trust.memory_merge = r->memory_merge;
    return take_friends(core, r, p, err);
}

/* ---- committing ---- */

struct write {
    struct core *core;
    const struct actor *actor;
    const struct idem *idem;
    const char *event;
    struct project project; /* as it will be */
};

static int append(struct db_tx *tx, const struct write *w, struct error *err)
{
    char quota[QUOTA_TEXT_SIZE], friends[FRIENDS_TEXT];
    auto_json json_t *data = NULL;

    quota_limits_text(&w->project.limits, quota);
    friends_text(&w->project.trust, friends);
    data = json_pack("{s:s, s:b, s:s}", "quota", quota, "memory_merge",
                     w->project.trust.memory_merge, "merge_with", friends);
    /* Who looks after projects reads of them in his own. */
    return event_append(w->core, tx, PROJECT_DEFAULT, w->actor, w->event, "project", w->project.id,
                        w->project.name, data, err);
}

static int write_row(struct db_tx *tx, const struct write *w, bool insert, struct error *err)
{
    char quota[QUOTA_TEXT_SIZE], friends[FRIENDS_TEXT];
    const struct project_row row = {.id = w->project.id,
                                    .name = w->project.name,
                                    .quota = quota,
                                    .memory_merge = w->project.trust.memory_merge,
                                    .merge_with = friends,
                                    .created_at = w->project.created_at};

    quota_limits_text(&w->project.limits, quota);
    friends_text(&w->project.trust, friends);
    return insert ? store_project_insert(tx, &row, err) : store_project_update(tx, &row, err);
}

static int create_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct write *w = arg;

    if (idem_race(tx, w->actor, w->idem, err))
        return -1;
    {
        LOCK_SCOPE(&w->core->projects->lock);
        if (w->core->projects->count == PROJECTS_MAX) {
            error_set(err, ERROR_FORBIDDEN, "there are already %d projects", PROJECTS_MAX);
            error_remedy(err, "Delete one that nobody needs.");
            return -1;
        }
    }
    return write_row(tx, w, true, err) ||
                   idem_put(tx, w->actor, w->idem, 201, "project", w->project.id, err) ||
                   append(tx, w, err)
               ? -1
               : 0;
}

static void created_fn(void *arg)
{
    const struct write *w = arg;
    struct project_book *book = w->core->projects;

    LOCK_SCOPE(&book->lock);
    book->projects[book->count++] = w->project;
}

static int change_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct write *w = arg;

    return write_row(tx, w, false, err) || append(tx, w, err) ? -1 : 0;
}

static void changed_fn(void *arg)
{
    const struct write *w = arg;
    struct project_book *book = w->core->projects;

    {
        LOCK_SCOPE(&book->lock);
        struct project *p = project_in_book(book, w->project.id);

        if (p)
            *p = w->project;
    }
    lease_keeper_poke(w->core->leases); /* pools and leases that were held up */
}

static int delete_fn(struct db_tx *tx, void *arg, struct error *err)
{
    const struct write *w = arg;

    return store_project_delete(tx, w->project.id, w->project.name, clock_wall_ms(), err) ||
                   append(tx, w, err)
               ? -1
               : 0;
}

/* A name that nobody has any more is nobody's friend: ids are never given out twice. */
static void deleted_fn(void *arg)
{
    const struct write *w = arg;
    struct project_book *book = w->core->projects;

    LOCK_SCOPE(&book->lock);
    struct project *p = project_in_book(book, w->project.id);

    if (p)
        *p = book->projects[--book->count];
}

/* ---- the use cases ---- */

static int replay(struct core *core, const struct idem_found *found, struct project *ret,
                  bool *ret_replayed, struct error *err)
{
    *ret_replayed = true;
    return project_find(core, found->id, ret, err);
}

int project_create(struct core *core, const struct actor *actor, const struct project_request *r,
                   const struct idem *idem, struct project *ret, bool *ret_replayed,
                   struct error *err)
{
    struct write w = {.core = core, .actor = actor, .idem = idem, .event = "project.created"};
    struct idem_found found;
    int rc = idem_lookup(core, actor, idem, &found, err);

    *ret_replayed = false;
    if (rc)
        return rc < 0 ? -1 : replay(core, &found, ret, ret_replayed, err);
    uuid_new(w.project.id);
    str_copy_utf8(w.project.name, sizeof(w.project.name), r->name);
    w.project.created_at = clock_wall_ms();
    w.project.limits = quota_limits_parse("");
    if (apply(core, r, &w.project, err))
        return -1;
    /* One at a time: the book has room for so many, and follows only after the commit. */
    LOCK_SCOPE(&core->projects->change);
    if (db_write(core->db, create_fn, created_fn, &w, err)) {
        if (idem_again(core, actor, idem, &found, err))
            return replay(core, &found, ret, ret_replayed, err);
        return -1;
    }
    *ret = w.project;
    return 0;
}

/* Trust that ends, ends now; refused while pages of both are merged, which nothing else parts. */
static int take_trust(struct core *core, const struct project *next, struct project *ret_was,
                      struct error *err)
{
    struct project_book *book = core->projects;
    char a[PROJECT_NAME_SIZE], b[PROJECT_NAME_SIZE];
    struct project_trust kept;
    struct project *p;

    LOCK_SCOPE(&book->lock);
    p = project_in_book(book, next->id);
    if (!p)
        return error_set(err, ERROR_PROJECT_NOT_FOUND, "there is no project %s", next->name);
    *ret_was = *p;
    kept = p->trust;
    p->trust = next->trust;
    if (!project_distrust_merges(core, a, b))
        return 0;
    p->trust = kept;
    error_set_at(err, ERROR_PROJECT_IN_USE, "/merge_with",
                 "VMs of %s and of %s merge their memory on this host now", a, b);
    error_remedy(err, "Stop the VMs of one of them first; what the kernel has merged stays merged "
                      "until then.");
    return -1;
}

static void give_back(struct core *core, const struct project *was)
{
    LOCK_SCOPE(&core->projects->lock);
    struct project *p = project_in_book(core->projects, was->id);

    if (p)
        p->trust = was->trust;
}

int project_change(struct core *core, const struct actor *actor, const char *id,
                   const struct project_request *r, struct project *ret, struct error *err)
{
    struct write w = {.core = core, .actor = actor, .event = "project.changed"};
    struct project was;

    /* One change at a time: what one takes, another must not give back. */
    LOCK_SCOPE(&core->projects->change);
    if (project_find(core, id, &w.project, err) || apply(core, r, &w.project, err) ||
        take_trust(core, &w.project, &was, err))
        return -1;
    if (db_write(core->db, change_fn, changed_fn, &w, err)) {
        give_back(core, &was);
        return -1;
    }
    *ret = w.project;
    return 0;
}

int project_delete(struct core *core, const struct actor *actor, const char *id, struct error *err)
{
    struct write w = {.core = core, .actor = actor, .event = "project.deleted"};

    LOCK_SCOPE(&core->projects->change);
    if (project_find(core, id, &w.project, err))
        return -1;
    if (str_eq(w.project.id, PROJECT_DEFAULT)) {
        error_set(err, ERROR_FORBIDDEN, "the project default stays");
        error_remedy(err, "Delete what is in it instead.");
        return -1;
    }
    return db_write(core->db, delete_fn, deleted_fn, &w, err);
}
