/* Secrets that work once. */
#include "service/vm/access_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"

bool access_once_is_due(const struct access_once *once)
{
    return clock_boottime_ms() >= once->until_ms;
}

static void drop(struct access_once **table, struct access_once *once)
{
    HASH_DEL(*table, once);
    free(once);
}

/* How many of the holder's wait; forgets the expired ones on the way. */
static unsigned sweep(struct access_once **table, const char *principal_id)
{
    struct access_once *once, *next;
    unsigned held = 0;

    HASH_ITER(hh, *table, once, next)
    {
        if (access_once_is_due(once))
            drop(table, once);
        else if (str_eq(once->by.id, principal_id))
            held++;
    }
    return held;
}

int access_once_put(struct access_once **table, const struct access_once *value, char *ret_secret,
                    struct error *err)
{
    struct access_once *once;

    if (sweep(table, value->by.id) >= ACCESS_ONCE_MAX_PER_HOLDER ||
        HASH_COUNT(*table) >= ACCESS_ONCE_MAX) {
        error_set(err, ERROR_TOO_MANY_REQUESTS, "too many of these wait to be used");
        error_remedy(err, "Use those already made, or wait until they expire.");
        return -1;
    }
    once = xcalloc(1, sizeof(*once));
    *once = *value;
    secret_random_text(ret_secret);
    secret_sha256_text(ret_secret, SECRET_RANDOM_TEXT - 1, once->hash);
    HASH_ADD_STR(*table, hash, once);
    return 0;
}

struct access_once *access_once_take(struct access_once **table, const char *secret)
{
    char hash[SECRET_SHA256_TEXT];
    struct access_once *once;

    secret_sha256_text(secret, strlen(secret), hash);
    HASH_FIND_STR(*table, hash, once);
    if (once)
        HASH_DEL(*table, once);
    return once;
}

void access_once_forget_token(struct access_once **table, const char *token_id)
{
    struct access_once *once, *next;

    HASH_ITER(hh, *table, once, next)
    {
        if (str_eq(once->by.token_id, token_id))
            drop(table, once);
    }
}

void access_once_forget_principal(struct access_once **table, const char *principal_id)
{
    struct access_once *once, *next;

    HASH_ITER(hh, *table, once, next)
    {
        if (str_eq(once->by.id, principal_id))
            drop(table, once);
    }
}

void access_once_clear(struct access_once **table)
{
    struct access_once *once, *next;

    HASH_ITER(hh, *table, once, next)
    {
        drop(table, once);
    }
}
