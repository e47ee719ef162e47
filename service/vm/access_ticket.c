/*
 * Tickets: one stream of one VM in one mode for who holds the secret. Most are drawn by a client
 * for its next connection: one use, seconds, in memory only. One that may be used again, lives
 * longer or has a name is a share link: its row is written first, as a hash, and it outlives the
 * daemon and its maker's browser session, but never its maker's token.
 */
#include "service/vm/access_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/db.h"
#include "service/base/clock.h"
#include "service/base/str.h"

/* The same words whatever is wrong: a holder of a bad ticket learns nothing about VMs or tickets.
 */
static int refuse(struct error *err)
{
    error_set(err, ERROR_TICKET_EXPIRED,
              "the ticket is used, expired or revoked, or is for another stream or mode");
    error_remedy(err, "Ask for a new ticket.");
    return -1;
}

int access_ticket_refuse(struct error *err)
{
    return refuse(err);
}

/* ---- in memory; all with the lock held ---- */

/* Both clocks: one that is set back must not give a link more time. */
static bool is_due(const struct access_ticket *t)
{
    return clock_boottime_ms() >= t->until_ms || (t->stored && clock_wall_ms() >= t->expires_at);
}

static void drop(struct access *a, struct access_ticket *t)
{
    HASH_DELETE(hh, a->tickets, t);
    HASH_DELETE(hh_id, a->tickets_by_id, t);
    free(t);
}

static void add(struct access *a, struct access_ticket *t)
{
    HASH_ADD_STR(a->tickets, hash, t);
    HASH_ADD(hh_id, a->tickets_by_id, id[0], strlen(t->id), t);
}

static struct access_ticket *find_by_id(struct access *a, const char *id)
{
    struct access_ticket *t;

    HASH_FIND(hh_id, a->tickets_by_id, id, strlen(id), t);
    return t;
}

void access_ticket_forget_token(struct access *a, const char *token_id)
{
    struct access_ticket *t, *next;

    HASH_ITER(hh, a->tickets, t, next)
    {
        if (str_eq(t->by.token_id, token_id))
            drop(a, t);
    }
}

void access_ticket_forget_principal(struct access *a, const char *principal_id)
{
    struct access_ticket *t, *next;

    HASH_ITER(hh, a->tickets, t, next)
    {
        if (!t->stored && str_eq(t->by.id, principal_id))
            drop(a, t);
    }
}

void access_ticket_clear(struct access *a)
{
    struct access_ticket *t, *next;

    HASH_ITER(hh, a->tickets, t, next)
    {
        drop(a, t);
    }
}

int64_t access_ticket_next_due(struct access *a)
{
    const struct access_ticket *t, *next;
    int64_t due = INT64_MAX;

    HASH_ITER(hh, a->tickets, t, next)
    {
        if (t->stored && t->until_ms < due)
            due = t->until_ms;
    }
    return due;
}

bool access_ticket_take_due(struct access *a, char ret_right[ACCESS_RIGHT_SIZE])
{
    struct access_ticket *t, *next;

    HASH_ITER(hh, a->tickets, t, next)
    {
        if (!t->stored || !is_due(t))
            continue;
        /* The expiry of one that works once is until when it can be used; who came in stays. */
        snprintf(ret_right, ACCESS_RIGHT_SIZE, "ticket:%s", !t->to.multi_use ? "" : t->id);
        drop(a, t);
        return true;
    }
    return false;
}

/* How many of the holder's there are; forgets expired ones that nobody else does on the way. */
static unsigned sweep(struct access *a, const struct access_ticket *like)
{
    struct access_ticket *t, *next;
    unsigned held = 0;

    HASH_ITER(hh, a->tickets, t, next)
    {
        if (!t->stored && is_due(t))
            drop(a, t);
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

/* Alive, with a maker who still has the right; NULL otherwise. */
static struct access_ticket *usable(struct access *a, const char *hash)
{
    struct access_ticket *t;

    HASH_FIND_STR(a->tickets, hash, t);
    if (!t || is_due(t) || (!t->to.multi_use && t->last_used_at) ||
        (*t->by.token_id && !access_token_alive(a, t->by.token_id, clock_wall_ms())))
        return NULL;
    return t;
}

static void info_fill(const struct access_ticket *t, struct ticket_info *ret)
{
    *ret = (struct ticket_info){.to = t->to,
                                .created_at = t->created_at,
                                .expires_at = t->expires_at,
                                .last_used_at = t->last_used_at};
    str_copy_utf8(ret->id, sizeof(ret->id), t->id);
    str_copy_utf8(ret->created_by, sizeof(ret->created_by), t->created_by);
    str_copy_utf8(ret->project_id, sizeof(ret->project_id), t->by.project_id);
}

void access_ticket_load(struct access *a, const struct ticket_row *row)
{
    auto_free struct access_ticket *t = xcalloc(1, sizeof(*t));
    int64_t now = clock_wall_ms();
    const struct access_token *token;

    str_copy_utf8(t->id, sizeof(t->id), row->id);
    str_copy_utf8(t->hash, sizeof(t->hash), row->hash);
    str_copy_utf8(t->to.vm_id, sizeof(t->to.vm_id), row->vm_id);
    str_copy_utf8(t->to.stream, sizeof(t->to.stream), row->stream);
    str_copy_utf8(t->to.name, sizeof(t->to.name), row->name);
    str_copy_utf8(t->created_by, sizeof(t->created_by), row->created_by);
    t->to.control = str_eq(row->mode, "control");
    t->to.multi_use = !row->single_use;
    t->stored = true;
    t->created_at = row->created_at;
    t->expires_at = row->expires_at;
    t->last_used_at = row->last_used_at;
    t->until_ms = clock_boottime_ms() + (row->expires_at > now ? row->expires_at - now : 0);
    LOCK_SCOPE(&a->lock);
    if (*row->token_id) {
        HASH_FIND_STR(a->tokens, row->token_id, token);
        if (!token)
            return;
        access_principal_fill(token, &t->by);
    } else {
        access_by_socket(a, 0, &t->by);
        str_copy_utf8(t->by.project_id, sizeof(t->by.project_id), row->project_id);
    }
    str_copy_utf8(t->by.id, sizeof(t->by.id), row->created_by);
    str_copy_utf8(t->by.name, sizeof(t->by.name), row->maker_name);
    add(a, t);
    TAKE_PTR(t);
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
    add(a, w->ticket);
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

static int check_request(struct access *a, const struct principal *by, const struct ticket *t,
                         struct error *err)
{
    int64_t max = a->settings->ticket_max_seconds;

    if (access_require(by, t->control ? ACCESS_CONSOLE_CONTROL : ACCESS_CONSOLE_VIEW, err))
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
    {
        LOCK_SCOPE(&a->lock);
        if (clip_to_token(a, t, err) || check_room(a, t, err))
            return -1;
        info_fill(t, &info); /* once it is in the table, others may change or even free it */
        if (!t->stored)
            add(a, TAKE_PTR(t));
    }
    if (t) {
        if (db_write(a->db, run_create, created, &w, err))
            return -1;
        TAKE_PTR(t);
    }
    *ret_info = info;
    memcpy(ret, secret, sizeof(secret));
    explicit_bzero(secret, sizeof(secret));
    return 0;
}

/* ---- using ---- */

static bool is_for(const struct ticket *have, const struct ticket *wanted)
{
    return str_eq(have->vm_id, wanted->vm_id) && str_eq(have->stream, wanted->stream) &&
           have->control == wanted->control;
}

/* Who comes in with it: the client itself, or with a share link somebody else. */
static void principal_fill(const struct access_ticket *t, struct principal *ret)
{
    *ret = t->by;
    str_copy_utf8(ret->ticket_id, sizeof(ret->ticket_id), t->id);
    if (!t->stored)
        return;
    snprintf(ret->id, sizeof(ret->id), "ticket:%s", t->id);
    if (*t->to.name)
        str_copy_utf8(ret->name, sizeof(ret->name), t->to.name);
    else
        snprintf(ret->name, sizeof(ret->name), "guest of %.52s", t->by.name);
}

static int run_use(struct db_tx *tx, void *arg, struct error *err)
{
    const struct ticket_write *w = arg;

    return store_ticket_touch(tx, w->ticket->id, w->at, err);
}

/* A single use must be spent on the disk before it is granted; any other is noted when it can be.
 */
static int note_use(struct access *a, struct access_ticket *used, struct error *err)
{
    struct ticket_write w = {.access = a, .ticket = used, .at = used->last_used_at};

    if (used->to.multi_use) {
        access_touch_post(a, ACCESS_TOUCH_TICKET, used->id, used->last_used_at);
        return 0;
    }
    if (db_write(a->db, run_use, NULL, &w, err) == 0)
        return 0;
    if (err->code == ERROR_TICKET_NOT_FOUND) /* revoked this moment */
        return refuse(err);
    LOCK_SCOPE(&a->lock);
    struct access_ticket *t = find_by_id(a, used->id);
    if (t)
        t->last_used_at = 0; /* a full disk must not cost the holder the link */
    return -1;
}

int access_ticket_redeem(struct access *a, const char *ticket, const struct ticket *wanted,
                         struct principal *ret, struct error *err)
{
    struct access_ticket used = {0};
    char hash[SECRET_SHA256_TEXT];
    bool note = false;

    if (strlen(ticket) != SECRET_RANDOM_TEXT - 1)
        return refuse(err);
    secret_sha256_text(ticket, SECRET_RANDOM_TEXT - 1, hash);
    {
        LOCK_SCOPE(&a->lock);
        struct access_ticket *t = usable(a, hash);

        if (t && !is_for(&t->to, wanted)) {
            if (!t->stored) /* it was shown to somebody it is not for */
                drop(a, t);
            t = NULL;
        }
        if (!t)
            return refuse(err);
        principal_fill(t, ret);
        if (t->stored) {
            int64_t now = clock_wall_ms();

            note = !t->to.multi_use || access_due_for_touch(&t->touched_at, now);
            t->last_used_at = now;
            used = *t;
        } else if (!t->to.multi_use) {
            drop(a, t);
        }
    }
    return note ? note_use(a, &used, err) : 0;
}

int access_ticket_lookup(struct access *a, const char *ticket, struct ticket_info *ret,
                         struct error *err)
{
    char hash[SECRET_SHA256_TEXT];
    const struct access_ticket *t;

    if (strlen(ticket) != SECRET_RANDOM_TEXT - 1)
        return refuse(err);
    secret_sha256_text(ticket, SECRET_RANDOM_TEXT - 1, hash);
    LOCK_SCOPE(&a->lock);
    t = usable(a, hash);
    if (!t)
        return refuse(err);
    info_fill(t, ret);
    return 0;
}

bool access_is_alive(struct access *a, const struct principal *p)
{
    const struct access_ticket *t;

    LOCK_SCOPE(&a->lock);
    if (*p->token_id && !access_token_alive(a, p->token_id, clock_wall_ms()))
        return false;
    if (str_starts(p->id, "session:"))
        return access_session_known(a, p->id);
    if (!str_starts(p->id, "ticket:"))
        return true;
    t = find_by_id(a, p->ticket_id);
    return t && (!t->to.multi_use || !is_due(t));
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
        if (!is_due(t) && str_eq(t->by.project_id, project_id) &&
            (!vm_id || str_eq(t->to.vm_id, vm_id)))
            info_fill(t, &(*ret)[n++]);
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
    t = find_by_id(a, w->ticket->id);
    if (t)
        drop(a, t);
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
        const struct access_ticket *t = find_by_id(a, id);

        if (!t || is_due(t) || !str_eq(t->by.project_id, by->project_id)) {
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
