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

/* Always the same words: who holds a bad ticket learns nothing about VMs or tickets. */
int access_ticket_refuse(struct error *err)
{
    error_set(err, ERROR_TICKET_EXPIRED,
              "the ticket is used, expired or revoked, or is for another stream or mode");
    error_remedy(err, "Ask for a new ticket.");
    return -1;
}

/* ---- in memory; all with the lock held ---- */

/* Both clocks: one that is set back must not give a link more time. */
bool access_ticket_is_due(const struct access_ticket *t)
{
    return clock_boottime_ms() >= t->until_ms || (t->stored && clock_wall_ms() >= t->expires_at);
}

void access_ticket_drop(struct access *a, struct access_ticket *t)
{
    HASH_DELETE(hh, a->tickets, t);
    HASH_DELETE(hh_id, a->tickets_by_id, t);
    free(t);
}

void access_ticket_add(struct access *a, struct access_ticket *t)
{
    HASH_ADD_STR(a->tickets, hash, t);
    HASH_ADD(hh_id, a->tickets_by_id, id[0], strlen(t->id), t);
}

struct access_ticket *access_ticket_by_id(struct access *a, const char *id)
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
            access_ticket_drop(a, t);
    }
}

void access_ticket_forget_principal(struct access *a, const char *principal_id)
{
    struct access_ticket *t, *next;

    HASH_ITER(hh, a->tickets, t, next)
    {
        if (!t->stored && str_eq(t->by.id, principal_id))
            access_ticket_drop(a, t);
    }
}

void access_ticket_clear(struct access *a)
{
    struct access_ticket *t = a->tickets;

    HASH_CLEAR(hh_id, a->tickets_by_id);
    HASH_CLEAR(hh, a->tickets);
    for (struct access_ticket *next; t; t = next) {
        next = t->hh.next;
        free(t);
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

bool access_ticket_take_due(struct access *a, char ret_id[SECRET_TOKEN_ID], bool *ret_multi_use)
{
    struct access_ticket *t, *next;

    HASH_ITER(hh, a->tickets, t, next)
    {
        if (!t->stored || !access_ticket_is_due(t))
            continue;
        str_copy_utf8(ret_id, SECRET_TOKEN_ID, t->id);
        *ret_multi_use = t->to.multi_use;
        access_ticket_drop(a, t);
        return true;
    }
    return false;
}

/* Alive, with a maker who still has the right; NULL otherwise. */
static struct access_ticket *usable(struct access *a, const char *hash)
{
    struct access_ticket *t;

    HASH_FIND_STR(a->tickets, hash, t);
    if (!t || access_ticket_is_due(t) || (!t->to.multi_use && t->last_used_at) ||
        (*t->by.token_id && !access_token_alive(a, t->by.token_id, clock_wall_ms())))
        return NULL;
    return t;
}

void access_ticket_info(const struct access_ticket *t, struct ticket_info *ret)
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
    access_ticket_add(a, t);
    TAKE_PTR(t);
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
    const struct access_ticket *used = arg;

    return store_ticket_touch(tx, used->id, used->last_used_at, err);
}

/* A single use is spent on the disk before it is granted; any other is noted when it can be. */
static int note_use(struct access *a, struct access_ticket *used, struct error *err)
{
    if (used->to.multi_use) {
        access_touch_post(a, ACCESS_TOUCH_TICKET, used->id, used->last_used_at);
        return 0;
    }
    if (db_write(a->db, run_use, NULL, used, err) == 0)
        return 0;
    if (err->code == ERROR_TICKET_NOT_FOUND) /* revoked this moment */
        return access_ticket_refuse(err);
    LOCK_SCOPE(&a->lock);
    struct access_ticket *t = access_ticket_by_id(a, used->id);
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
        return access_ticket_refuse(err);
    secret_sha256_text(ticket, SECRET_RANDOM_TEXT - 1, hash);
    {
        LOCK_SCOPE(&a->lock);
        struct access_ticket *t = usable(a, hash);

        if (t && !is_for(&t->to, wanted)) {
            if (!t->stored) /* it was shown to somebody it is not for */
                access_ticket_drop(a, t);
            t = NULL;
        }
        if (!t)
            return access_ticket_refuse(err);
        principal_fill(t, ret);
        if (t->stored) {
            int64_t now = clock_wall_ms();

            note = !t->to.multi_use || access_due_for_touch(&t->touched_at, now);
            t->last_used_at = now;
            used = *t;
        } else if (!t->to.multi_use) {
            access_ticket_drop(a, t);
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
        return access_ticket_refuse(err);
    secret_sha256_text(ticket, SECRET_RANDOM_TEXT - 1, hash);
    LOCK_SCOPE(&a->lock);
    t = usable(a, hash);
    if (!t)
        return access_ticket_refuse(err);
    access_ticket_info(t, ret);
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
    t = access_ticket_by_id(a, p->ticket_id);
    return t && (!t->to.multi_use || !access_ticket_is_due(t));
}
