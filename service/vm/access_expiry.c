/*
 * Rights that end by themselves: what was opened with a share link or a token ends when its time is
 * up. One thread waits for the next expiry; it wakes now and then in any case, because the wall
 * clock may be set.
 */
#include "service/vm/access_internal.h"

#include <stdio.h>

#include "db/db.h"
#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define LOOK_MS  30000
#define AGAIN_MS 200 /* between the next expiry and a look, at least */

void access_tell_revoked(struct access *a, const char *right)
{
    void (*fn)(void *, const char *);
    void *opaque;

    {
        LOCK_SCOPE(&a->lock);
        fn = a->on_revoked;
        opaque = a->on_revoked_opaque;
    }
    if (fn)
        fn(opaque, right);
}

void access_set_on_revoked(struct access *a, void (*fn)(void *opaque, const char *right),
                           void *opaque)
{
    LOCK_SCOPE(&a->lock);
    a->on_revoked = fn;
    a->on_revoked_opaque = opaque;
}

void access_expiry_changed(struct access *a)
{
    pthread_cond_signal(&a->expiry_news);
}

/* A token whose time is up and that nobody was told of yet. With the lock held. */
static bool take_due_token(struct access *a, char ret_right[ACCESS_RIGHT_SIZE])
{
    struct access_token *t, *next;
    int64_t now = clock_wall_ms();

    HASH_ITER(hh, a->tokens, t, next)
    {
        if (!t->expires_at || now < t->expires_at || t->told_expired)
            continue;
        t->told_expired = true;
        snprintf(ret_right, ACCESS_RIGHT_SIZE, "token:%s", t->id);
        return true;
    }
    return false;
}

static int64_t next_token_ms(struct access *a)
{
    const struct access_token *t, *next;
    int64_t now = clock_wall_ms(), left = LOOK_MS;

    HASH_ITER(hh, a->tokens, t, next)
    {
        if (t->expires_at && !t->told_expired && t->expires_at - now < left)
            left = t->expires_at - now;
    }
    return left;
}

/* How long to sleep. With the lock held. */
static int64_t pause_ms(struct access *a)
{
    int64_t due = access_ticket_next_due(a), left = next_token_ms(a);

    if (due != INT64_MAX && due - clock_boottime_ms() < left)
        left = due - clock_boottime_ms();
    return left < AGAIN_MS ? AGAIN_MS : left;
}

static int run_prune(struct db_tx *tx, void *arg, struct error *err)
{
    return store_ticket_prune(tx, arg, clock_wall_ms(), err);
}

/* The row goes by its name: the wall clock, by which a row expires, may not be there yet. */
static bool end_due_ticket(struct access *a)
{
    char id[SECRET_TOKEN_ID], right[ACCESS_RIGHT_SIZE];
    bool multi_use;
    struct error err;

    {
        LOCK_SCOPE(&a->lock);
        if (!access_ticket_take_due(a, id, &multi_use))
            return false;
    }
    /* The expiry of one that works once is until when it can be used; who came in stays. */
    snprintf(right, sizeof(right), "ticket:%s", id);
    if (multi_use)
        access_tell_revoked(a, right);
    /* A row that stays goes with the next one. */
    if (db_write(a->db, run_prune, NULL, id, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot remove an expired ticket");
    return true;
}

static bool end_due_token(struct access *a)
{
    char right[ACCESS_RIGHT_SIZE];

    {
        LOCK_SCOPE(&a->lock);
        if (!take_due_token(a, right))
            return false;
    }
    access_tell_revoked(a, right);
    return true;
}

static void end_due(struct access *a)
{
    while (end_due_ticket(a) || end_due_token(a))
        ;
}

static void *expiry_loop(void *arg)
{
    struct access *a = arg;

    for (;;) {
        end_due(a);
        LOCK_SCOPE(&a->lock);
        if (!a->stopping)
            cond_wait_until(&a->expiry_news, &a->lock, clock_monotonic_ms() + pause_ms(a));
        if (a->stopping)
            return NULL;
    }
}

int access_expiry_start(struct access *a, struct error *err)
{
    if (thread_start(&a->expiry_thread, "access", expiry_loop, a, err))
        return -1;
    a->has_expiry_thread = true;
    return 0;
}

void access_stop(struct access *a)
{
    if (!a || !a->has_expiry_thread)
        return;
    {
        LOCK_SCOPE(&a->lock);
        a->stopping = true;
        a->on_revoked = NULL;
        pthread_cond_signal(&a->expiry_news);
    }
    pthread_join(a->expiry_thread, NULL);
    a->has_expiry_thread = false;
}
