/*
 * Making, listing and revoking tickets. What access_ticket.c says of them holds here: a share
 * link's row is written first, memory follows.
 */
#include "service/vm/access_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/db.h"
#include "service/base/clock.h"
#include "service/base/str.h"

/* How many of the holder's there are; forgets expired ones that nobody else does on the way. */
static unsigned sweep(struct access *a, const struct access_ticket *like)
{
    struct access_ticket *t, *next;
    unsigned held = 0;

    HASH_ITER(hh, a->tickets, t, next)
    {
        if (!t->stored && access_ticket_is_due(t))
            access_ticket_drop(a, t);
        else if (t->stored == like->stored && (t->stored ? str_eq(t->by.token_id, like->by.token_id)
                                                         : str_eq(t->by.id, like->by.id)))
            held++;
    }
    return held;
}

static int check_room(struct access *a, const struct access_ticket *like, struct error *err)
{
    if (sweep(a, like) < ACCESS_ONCE_MAX_PER_HOLDER && HASH_COUNT(a->tickets) < ACCESS_ONCE_MAX)
        return 0;
    error_set(err, ERROR_TOO_MANY_REQUESTS, "there are too many tickets that can still be used");
    error_remedy(err, "Use or revoke those already made, or wait until they expire.");
    return -1;
}

/* ---- making ---- */

struct ticket_write {
    struct access *access;
    struct access_ticket *ticket; /* creating: the table's after the commit */
    const char *actor;
    const char *type; /* of the event; NULL: none */
    int64_t at;
};

static int append_event(struct db_tx *tx, const struct ticket_write *w, struct error *err)
{
    const struct access_ticket *t = w->ticket;
    auto_free char *data =
        xasprintf("{\"vm_id\":\"%s\",\"mode\":\"%s\",\"single_use\":%s}", t->to.vm_id,
                  t->to.control ? "control" : "view", !t->to.multi_use ? "true" : "false");
    struct event_row row = {.at = w->at,
                            .project_id = t->by.project_id,
                            .host_id = HOST_LOCAL,
                            .type = w->type,
                            .subject_kind = "ticket",
                            .subject_id = t->id,
                            .subject_name = t->to.name,
                            .actor = w->actor,
                            .request_id = "",
                            .data = data};
    int64_t seq;

    return store_event_append(tx, &row, &seq, err);
}

static int run_create(struct db_tx *tx, void *arg, struct error *err)
{
    const struct ticket_write *w = arg;
    const struct access_ticket *t = w->ticket;
    struct ticket_row row = {.id = t->id,
                             .hash = t->hash,
                             .project_id = t->by.project_id,
                             .vm_id = t->to.vm_id,
                             .stream = t->to.stream,
                             .mode = t->to.control ? "control" : "view",
                             .single_use = !t->to.multi_use,
                             .name = t->to.name,
                             .token_id = t->by.token_id,
                             .created_by = t->created_by,
                             .maker_name = t->by.name,
                             .created_at = t->created_at,
                             .expires_at = t->expires_at};

    return store_ticket_insert(tx, &row, err) || append_event(tx, w, err) ? -1 : 0;
}

static void created(void *arg)
{
    struct ticket_write *w = arg;
    struct access *a = w->access;

    LOCK_SCOPE(&a->lock);
    access_ticket_add(a, w->ticket);
    access_expiry_changed(a);
}

static bool name_ok(const char *name)
{
    if (!str_is_utf8(name, strlen(name)))
        return false;
    for (; *name; name++) {
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return false;
    }
    return true;
}

static unsigned needed_scope(const struct ticket *t)
{
    if (str_starts(t->stream, "exec/"))
        return ACCESS_VM_EXEC;
    return t->control ? ACCESS_CONSOLE_CONTROL : ACCESS_CONSOLE_VIEW;
}

static int check_request(struct access *a, const struct principal *by, const struct ticket *t,
                         struct error *err)
{
    int64_t max = a->settings->ticket_max_seconds;

    if (access_require(by, needed_scope(t), err))
        return -1;
    if (t->expires_in_seconds < 0 || t->expires_in_seconds > max) {
        error_set_at(err, ERROR_VALIDATION_FAILED, "/expires_in_seconds",
                     "must be a whole number from 1 to %lld", (long long)max);
        error_remedy(err, "Ask for less, or raise the setting ticket_max_seconds.");
        return -1;
    }
    if (!name_ok(t->name))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/name",
                            "must have no control characters");
    return 0;
}

/* With the lock held. A link ends with the token that made it, and says so. */
static int clip_to_token(struct access *a, struct access_ticket *t, struct error *err)
{
    const struct access_token *token;
    int64_t left;

    if (!*t->by.token_id)
        return 0;
    token = access_token_alive(a, t->by.token_id, t->created_at);
    if (!token)
        return error_set(err, ERROR_UNAUTHENTICATED, "the token is not valid");
    if (token->expires_at && token->expires_at < t->expires_at) {
        left = token->expires_at - t->created_at;
        t->until_ms -= t->expires_at - t->created_at - left;
        t->expires_at = token->expires_at;
    }
    return 0;
}

/* Takes *t when that is only in memory. */
static int check_and_add(struct access *a, struct access_ticket **t, struct ticket_info *ret_info, struct error *err)
{
    LOCK_SCOPE(&a->lock);
    if (clip_to_token(a, *t, err) || check_room(a, *t, err))
        return -1;
    access_ticket_info(*t, ret_info); /* once it is in the table, others may change or even free it */
    if (!(*t)->stored)
        access_ticket_add(a, TAKE_PTR(*t));
    return 0;
}

static int add_stored(struct access *a, struct ticket_write *w, struct ticket_info *ret_info, struct error *err)
{
    LOCK_SCOPE(&a->adding);
    return check_and_add(a, &w->ticket, ret_info, err) || db_write(a->db, run_create, created, w, err) ? -1 : 0;
}

int access_ticket_create(struct access *a, const struct principal *by, const struct ticket *to,
                         char ret[SECRET_RANDOM_TEXT], struct ticket_info *ret_info,
                         struct error *err)
{
    auto_free struct access_ticket *t = xcalloc(1, sizeof(*t));
    struct ticket_write w = {.access = a, .ticket = t, .actor = by->id, .type = "ticket.created"};
    char secret[SECRET_RANDOM_TEXT], id[SECRET_RANDOM_TEXT];
    struct ticket_info info;
    int64_t life_ms;

    if (check_request(a, by, to, err))
        return -1;
    t->to = *to;
    t->by = *by;
    /* Who holds a ticket is no page that a browser could be tricked into being. */
    t->by.by_cookie = false;
    str_copy_utf8(t->created_by, sizeof(t->created_by), by->id);
    life_ms =
        (to->expires_in_seconds ? to->expires_in_seconds : a->settings->ticket_seconds) * 1000;
    t->created_at = w.at = clock_wall_ms();
    t->expires_at = t->created_at + life_ms;
    t->until_ms = clock_boottime_ms() + life_ms;
    t->stored = to->multi_use || *to->name || life_ms > a->settings->ticket_seconds * 1000;
    secret_random_text(secret);
    secret_random_text(id);
    memcpy(t->id, id, sizeof(t->id) - 1);
    secret_sha256_text(secret, SECRET_RANDOM_TEXT - 1, t->hash);
    if (t->stored ? add_stored(a, &w, &info, err) : check_and_add(a, &t, &info, err))
        return -1;
    TAKE_PTR(t); /* the table's */
    *ret_info = info;
    memcpy(ret, secret, sizeof(secret));
    explicit_bzero(secret, sizeof(secret));
    return 0;
}

/* ---- listing and revoking ---- */

static int by_age(const void *x, const void *y)
{
    const struct ticket_info *a = x, *b = y;

    if (a->created_at != b->created_at)
        return a->created_at < b->created_at ? -1 : 1;
    return strcmp(a->id, b->id);
}

void access_ticket_list(struct access *a, const char *project_id, const char *vm_id,
                        struct ticket_info **ret, size_t *ret_count)
{
    struct access_ticket *t, *next;
    size_t n = 0;

    LOCK_SCOPE(&a->lock);
    *ret = xcalloc(HASH_COUNT(a->tickets) + 1, sizeof(**ret));
    HASH_ITER(hh, a->tickets, t, next)
    {
        if (!access_ticket_is_due(t) && str_eq(t->by.project_id, project_id) &&
            (!vm_id || str_eq(t->to.vm_id, vm_id)))
            access_ticket_info(t, &(*ret)[n++]);
    }
    qsort(*ret, n, sizeof(**ret), by_age);
    *ret_count = n;
}

static int run_revoke(struct db_tx *tx, void *arg, struct error *err)
{
    const struct ticket_write *w = arg;

    if (w->ticket->stored && store_ticket_delete(tx, w->ticket->id, err))
        return -1;
    return append_event(tx, w, err);
}

static void revoked(void *arg)
{
    const struct ticket_write *w = arg;
    struct access *a = w->access;
    struct access_ticket *t;

    LOCK_SCOPE(&a->lock);
    t = access_ticket_by_id(a, w->ticket->id);
    if (t)
        access_ticket_drop(a, t);
}

int access_ticket_revoke(struct access *a, const struct principal *by, const char *id,
                         struct error *err)
{
    struct access_ticket copy;
    struct ticket_write w = {.access = a,
                             .ticket = &copy,
                             .actor = by->id,
                             .type = "ticket.revoked",
                             .at = clock_wall_ms()};
    char right[ACCESS_RIGHT_SIZE];
    bool own;

    {
        LOCK_SCOPE(&a->lock);
        const struct access_ticket *t = access_ticket_by_id(a, id);

        if (!t || access_ticket_is_due(t) || !str_eq(t->by.project_id, by->project_id)) {
            error_set(err, ERROR_TICKET_NOT_FOUND, "there is no such ticket");
            error_remedy(err, "Take the id, not the secret, from GET /v1/tickets.");
            return -1;
        }
        copy = *t;
        own = *by->token_id ? str_eq(t->by.token_id, by->token_id) : str_eq(t->by.id, by->id);
    }
    if (!own && access_require(by, ACCESS_CONSOLE_CONTROL, err))
        return -1;
    if (db_write(a->db, run_revoke, revoked, &w, err))
        return -1;
    snprintf(right, sizeof(right), "ticket:%s", copy.id);
    access_tell_revoked(a, right);
    return 0;
}
