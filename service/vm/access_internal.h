/*
 * What the access*.c files share. Everything is in memory under one leaf lock; the database has a
 * copy of tokens and sessions and is written first. Memory follows in committed callbacks on the
 * database's writer thread, so that it changes in the order of the commits.
 *
 * No secret is kept, only its SHA-256 (hex). Looking a hash up in a table is not constant-time and
 * need not be: who can choose hashes freely could find secrets anyway.
 */
#ifndef DROVER_VM_ACCESS_INTERNAL_H
#define DROVER_VM_ACCESS_INTERNAL_H

#include <pthread.h>

/* uthash's default falls through its cases in a way that clang warns of. The keys are hashes and
 * random ids, and a bounded number of addresses: nobody gains by choosing them. */
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#include "db/store.h"
#include "service/conf/settings.h"
#include "service/vm/access.h"

#define ACCESS_TOUCH_MS            60000 /* how often a use is written down */
#define ACCESS_TOKENS_MAX          10000
#define ACCESS_SESSIONS_MAX        10000
#define ACCESS_ONCE_MAX            4096 /* codes, and tickets, that can be used */
#define ACCESS_ONCE_MAX_PER_HOLDER 512
#define ACCESS_ADDRESSES_MAX       1024
#define ADDRESS_KEY                56 /* an IPv6 address, "/64" and room */
#define ACCESS_TOKEN_LIFE_MAX_S    (10LL * 366 * 86400)

struct access_token {
    char id[SECRET_TOKEN_ID];
    char hash[SECRET_SHA256_TEXT];
    char name[64];
    char project_id[UUID_TEXT];
    char created_by[48];
    enum access_role role;
    unsigned scopes; /* effective: never 0 for "all of the role" */
    struct quota_limits limits;
    int64_t created_at, expires_at, last_used_at;
    int64_t touched_at; /* the last use that was written down */
    bool told_expired;  /* what was opened with it was ended */
    UT_hash_handle hh;  /* by id */
};

struct access_session {
    char hash[SECRET_SHA256_TEXT];
    char token_id[SECRET_TOKEN_ID]; /* "": made over the socket by the host's administrator */
    int64_t created_at, last_used_at, touched_at;
    UT_hash_handle hh; /* by hash */
};

/* A sign-in code: works once, and is forgotten when the daemon stops. */
struct access_once {
    char hash[SECRET_SHA256_TEXT];
    struct principal by;
    int64_t until_ms;  /* CLOCK_BOOTTIME */
    UT_hash_handle hh; /* by hash; in order of making */
};

struct access_ticket {
    char id[SECRET_TOKEN_ID];
    char hash[SECRET_SHA256_TEXT];
    struct ticket to;
    struct principal by; /* its maker */
    char created_by[48];
    bool stored;                                  /* a share link: has a row */
    int64_t created_at, expires_at, last_used_at; /* wall clock, ms */
    int64_t touched_at;                           /* the last use that was written down */
    int64_t until_ms;                             /* CLOCK_BOOTTIME; the same as expires_at */
    UT_hash_handle hh;                            /* by hash */
    UT_hash_handle hh_id;
};

struct access_address {
    char key[ADDRESS_KEY];
    int64_t since_ms; /* monotonic; of the first failure counted */
    int64_t failures;
    UT_hash_handle hh;
};

struct access {
    struct db *db;
    const struct settings *settings;
    /* Held from the look whether there is room for one more to its commit; outside of `lock`. */
    pthread_mutex_t adding;
    pthread_mutex_t lock; /* leaf; guards what follows */
    struct access_token *tokens;
    struct access_session *sessions;
    struct access_once *codes;
    struct access_ticket *tickets, *tickets_by_id;
    struct access_address *addresses;
    void (*on_revoked)(void *opaque, const char *right);
    void *on_revoked_opaque;
    bool stopping;
    pthread_cond_t expiry_news;
    pthread_t expiry_thread; /* the opener's and closer's own, like the next */
    bool has_expiry_thread;
};

/* ---- access.c: words for roles and scopes ---- */

/* The scopes a token row has: its list, or all of its role; never more than the role. */
unsigned access_scopes_parse(enum access_role role, const char *text);
/* What is left of them in a project: see ACCESS_HOST_ONLY. */
unsigned access_scopes_in(const char *project_id, unsigned scopes);
/* "" when scopes are all of the role; caller frees. */
char *access_scopes_text(enum access_role role, unsigned scopes);

/* ---- access_token.c ---- */

void access_token_load(struct access *a, const struct token_row *row);
/* Inserts a new token and its event; in `extra` (may be NULL) more for the same transaction. */
int access_token_store(struct access *a, struct access_token *token,
                       int (*extra)(struct db_tx *tx, const struct access_token *token,
                                    struct error *err),
                       struct error *err);
/* With the lock held: alive, or NULL. */
struct access_token *access_token_alive(struct access *a, const char *id, int64_t now);
void access_principal_fill(const struct access_token *token, struct principal *ret);
/* With the lock held. True when this use is to be written down. */
bool access_due_for_touch(int64_t *touched_at, int64_t now);
enum access_touch { ACCESS_TOUCH_TOKEN, ACCESS_TOUCH_SESSION, ACCESS_TOUCH_TICKET };
/* Without the lock. Best effort: a full queue forgets it. */
void access_touch_post(struct access *a, enum access_touch what, const char *key, int64_t at);

/* ---- access_session.c ---- */

void access_session_load(struct access *a, const struct session_row *row);
/* With the lock held, when a token is revoked. */
void access_session_forget_token(struct access *a, const char *token_id);
/* With the lock held: has a session this principal's id, and has it not ended? */
bool access_session_known(struct access *a, const char *principal_id);

/* ---- access_once.c; all with the lock held ---- */

/* Draws a secret; TOO_MANY_REQUESTS when too many wait. */
int access_once_put(struct access_once **table, const struct access_once *value, char *ret_secret,
                    struct error *err);
/* Removes and returns it (caller frees), expired or not; NULL: there is none. */
struct access_once *access_once_take(struct access_once **table, const char *secret);
bool access_once_is_due(const struct access_once *once); /* has expired */
void access_once_forget_token(struct access_once **table, const char *token_id);
void access_once_forget_principal(struct access_once **table, const char *principal_id);
void access_once_clear(struct access_once **table);

/* ---- access_ticket.c; all but load with the lock held ---- */

bool access_ticket_is_due(const struct access_ticket *t);
void access_ticket_add(struct access *a, struct access_ticket *t);
void access_ticket_drop(struct access *a, struct access_ticket *t); /* frees it */
struct access_ticket *access_ticket_by_id(struct access *a, const char *id);
void access_ticket_info(const struct access_ticket *t, struct ticket_info *ret);

void access_ticket_load(struct access *a, const struct ticket_row *row);
void access_ticket_forget_token(struct access *a, const char *token_id);
/* Those a session drew for itself; the links it shared stay. */
void access_ticket_forget_principal(struct access *a, const char *principal_id);
void access_ticket_clear(struct access *a);
/* CLOCK_BOOTTIME of the next expiry of a share link, INT64_MAX for none. */
int64_t access_ticket_next_due(struct access *a);
/* Forgets a share link that has expired. RET_MULTI_USE: what was opened with it ends as well. */
bool access_ticket_take_due(struct access *a, char ret_id[SECRET_TOKEN_ID], bool *ret_multi_use);

/* ---- access_expiry.c ---- */

int access_expiry_start(struct access *a, struct error *err);
void access_expiry_changed(struct access *a); /* something expires earlier than before */
/* Without the lock, once the right is gone from memory. */
void access_tell_revoked(struct access *a, const char *right);

/* ---- access_gate.c ---- */

void access_gate_clear(struct access *a);

#endif
