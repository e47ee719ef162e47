/* API tokens: checking, making, listing, revoking. */
#include "service/vm/access_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/db.h"
#include "service/base/clock.h"
#include "service/base/str.h"

/* ---- in memory ---- */

void access_token_load(struct access *a, const struct token_row *row)
{
    struct access_token *token = xcalloc(1, sizeof(*token));

    str_copy_utf8(token->id, sizeof(token->id), row->id);
    str_copy_utf8(token->hash, sizeof(token->hash), row->hash);
    str_copy_utf8(token->name, sizeof(token->name), row->name);
    str_copy_utf8(token->project_id, sizeof(token->project_id), row->project_id);
    str_copy_utf8(token->created_by, sizeof(token->created_by), row->created_by);
    token->role = access_role_from_name(row->role);
    token->scopes = access_scopes_in(token->project_id, access_scopes_parse(token->role, row->scopes));
    token->limits = quota_limits_parse(row->quota);
    token->created_at = row->created_at;
    token->expires_at = row->expires_at;
    token->last_used_at = token->touched_at = row->last_used_at;
    LOCK_SCOPE(&a->lock);
    HASH_ADD_STR(a->tokens, id, token);
}

static bool is_expired(const struct access_token *token, int64_t now)
{
    return token->expires_at && now >= token->expires_at;
}

struct access_token *access_token_alive(struct access *a, const char *id, int64_t now)
{
    struct access_token *token;

    HASH_FIND_STR(a->tokens, id, token);
    return token && !is_expired(token, now) ? token : NULL;
}

void access_principal_fill(const struct access_token *token, struct principal *ret)
{
    *ret = (struct principal){.role = token->role, .scopes = token->scopes};
    snprintf(ret->id, sizeof(ret->id), "token:%s", token->id);
    str_copy_utf8(ret->name, sizeof(ret->name), token->name);
    str_copy_utf8(ret->token_id, sizeof(ret->token_id), token->id);
    str_copy_utf8(ret->project_id, sizeof(ret->project_id), token->project_id);
}

bool access_due_for_touch(int64_t *touched_at, int64_t now)
{
    /* A clock that stepped back is a reason to write, too. */
    if (now >= *touched_at && now - *touched_at < ACCESS_TOUCH_MS)
        return false;
    *touched_at = now;
    return true;
}

struct touch {
    enum access_touch what;
    char key[SECRET_SHA256_TEXT];
    int64_t at;
};

static int run_touch(struct db_tx *tx, void *arg, struct error *err)
{
    const struct touch *t = arg;

    switch (t->what) {
    case ACCESS_TOUCH_TOKEN:
        return store_token_touch(tx, t->key, t->at, err);
    case ACCESS_TOUCH_SESSION:
        return store_session_touch(tx, t->key, t->at, err);
    case ACCESS_TOUCH_TICKET:
        break;
    }
    return store_ticket_touch(tx, t->key, t->at, err);
}

static void touched(void *arg, int rc, const struct error *err)
{
    free(arg);
}

void access_touch_post(struct access *a, enum access_touch what, const char *key, int64_t at)
{
    struct touch *t = xcalloc(1, sizeof(*t));
    struct error ignored;

    t->what = what;
    t->at = at;
    str_copy_utf8(t->key, sizeof(t->key), key);
    if (db_post(a->db, run_touch, NULL, touched, t, &ignored))
        free(t);
}

int access_by_token(struct access *a, const char *token, struct principal *ret, struct error *err)
{
    static const char nobody[SECRET_SHA256_TEXT] =
        "0000000000000000000000000000000000000000000000000000000000000000";
    int64_t now = clock_wall_ms();
    char id[SECRET_TOKEN_ID] = "";
    char hash[SECRET_SHA256_TEXT];
    bool touch = false, good;

    if (!secret_token_id(token, id))
        return error_set(err, ERROR_UNAUTHENTICATED, "the token is not valid");
    secret_sha256_text(token, SECRET_TOKEN_TEXT - 1, hash);
    {
        LOCK_SCOPE(&a->lock);
        struct access_token *known = access_token_alive(a, id, now);

        good = str_eq_secret(hash, known ? known->hash : nobody) && known;
        if (good) {
            access_principal_fill(known, ret);
            known->last_used_at = now;
            touch = access_due_for_touch(&known->touched_at, now);
        }
    }
    if (!good)
        return error_set(err, ERROR_UNAUTHENTICATED, "the token is not valid");
    if (touch)
        access_touch_post(a, ACCESS_TOUCH_TOKEN, id, now);
    return 0;
}

int access_by_certificate(struct access *a, const char *name, struct principal *ret,
                          struct error *err)
{
    int64_t now = clock_wall_ms();
    bool touch = false, known = false;

    {
        LOCK_SCOPE(&a->lock);
        struct access_token *token = access_token_alive(a, name, now);

        if (token) {
            known = true;
            access_principal_fill(token, ret);
            token->last_used_at = now;
            touch = access_due_for_touch(&token->touched_at, now);
        }
    }
    if (!known) {
        error_set(err, ERROR_UNAUTHENTICATED, "the certificate's name is not the id of a token");
        error_remedy(err, "Make a token, and have a certificate made out to its id.");
        return -1;
    }
    if (touch)
        access_touch_post(a, ACCESS_TOUCH_TOKEN, name, now);
    return 0;
}

/* ---- making ---- */

static int append_event(struct db_tx *tx, const char *type, const struct access_token *token,
                        const char *actor, int64_t at, struct error *err)
{
    struct event_row row = {.at = at,
                            .project_id = token->project_id,
                            .host_id = HOST_LOCAL,
                            .type = type,
                            .subject_kind = "token",
                            .subject_id = token->id,
                            .subject_name = token->name,
                            .actor = actor,
                            .request_id = "",
                            .data = "{}"};
    int64_t seq;

    return store_event_append(tx, &row, &seq, err);
}

struct create {
    struct access *access;
    struct access_token *token;
    int (*extra)(struct db_tx *tx, const struct access_token *token, struct error *err);
};

static int run_create(struct db_tx *tx, void *arg, struct error *err)
{
    const struct create *c = arg;
    const struct access_token *t = c->token;
    auto_free char *scopes = access_scopes_text(t->role, t->scopes);
    char quota[QUOTA_TEXT_SIZE];
    struct token_row row = {.id = t->id,
                            .project_id = t->project_id,
                            .name = t->name,
                            .role = access_role_name(t->role),
                            .scopes = scopes,
                            .hash = t->hash,
                            .created_by = t->created_by,
                            .created_at = t->created_at,
                            .expires_at = t->expires_at,
                            .quota = quota};

    quota_limits_text(&t->limits, quota);
    if (store_token_insert(tx, &row, err) || (c->extra && c->extra(tx, t, err)))
        return -1;
    return append_event(tx, "token.created", t, t->created_by, t->created_at, err);
}

static void created(void *arg)
{
    struct create *c = arg;

    LOCK_SCOPE(&c->access->lock);
    HASH_ADD_STR(c->access->tokens, id, c->token);
    access_expiry_changed(c->access);
}

int access_token_store(struct access *a, struct access_token *token,
                       int (*extra)(struct db_tx *tx, const struct access_token *token,
                                    struct error *err),
                       struct error *err)
{
    struct create c = {.access = a, .token = token, .extra = extra};

    return db_write(a->db, run_create, created, &c, err);
}

static bool name_ok(const char *name)
{
    size_t len = name ? strlen(name) : 0;

    if (len < 1 || len > 63 || !str_is_utf8(name, len))
        return false;
    for (; *name; name++) {
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return false;
    }
    return true;
}

static int check_request(const struct token_request *r, struct error *err)
{
    if (!name_ok(r->name))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/name",
                            "name must have 1 to 63 bytes and no control characters");
    if ((unsigned)r->role >= ACCESS_ROLE_COUNT)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/role",
                            "role must be viewer, operator or admin");
    if (r->scopes & ~access_role_scopes(r->role))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/scopes",
                            "the role %s does not have all of these scopes",
                            access_role_name(r->role));
    if (r->expires_in_seconds < 0 || r->expires_in_seconds > ACCESS_TOKEN_LIFE_MAX_S)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/expires_in_seconds",
                            "expires_in_seconds must be from 0 to %lld",
                            (long long)ACCESS_TOKEN_LIFE_MAX_S);
    return 0;
}

static int refuse_beyond(const struct quota_limits *limits, const struct quota_limits *own,
                         struct error *err)
{
    int resource = quota_limits_beyond(limits, own);

    error_set(err, ERROR_FORBIDDEN, "your own token has %s=%lld, and nobody gives more than that",
              quota_resource_name(resource), (long long)own->max[resource]);
    error_remedy(err, "Send a smaller quota, or use a token that has no such limit.");
    return -1;
}

/* Not in what it may do, and not in how long. */
static int check_not_above(struct access *a, const struct principal *by,
                           const struct access_token *token, struct error *err)
{
    int64_t limit = 0;

    if (access_require(by, ACCESS_TOKEN_WRITE, err))
        return -1;
    if (token->role > by->role)
        return error_set(err, ERROR_FORBIDDEN,
                         "a token of the role %s cannot make one of the role %s",
                         access_role_name(by->role), access_role_name(token->role));
    if (access_require(by, token->scopes, err))
        return -1;
    LOCK_SCOPE(&a->lock);
    if (HASH_COUNT(a->tokens) >= ACCESS_TOKENS_MAX) {
        error_set(err, ERROR_FORBIDDEN, "there are already %d tokens", ACCESS_TOKENS_MAX);
        error_remedy(err, "Revoke tokens that nobody uses.");
        return -1;
    }
    if (*by->token_id) {
        struct access_token *own;

        HASH_FIND_STR(a->tokens, by->token_id, own);
        if (!own)
            return error_set(err, ERROR_UNAUTHENTICATED, "the token is not valid");
        limit = own->expires_at;
        if (quota_limits_beyond(&token->limits, &own->limits) < QUOTA_COUNT)
            return refuse_beyond(&token->limits, &own->limits, err);
    }
    if (limit && (!token->expires_at || token->expires_at > limit)) {
        error_set(err, ERROR_FORBIDDEN, "a token cannot make one that outlives it");
        error_remedy(err,
                     "Send a smaller expires_in_seconds, or use a token that does not expire.");
        return -1;
    }
    return 0;
}

static void info_fill(const struct access_token *token, struct token_info *ret)
{
    *ret = (struct token_info){.role = token->role,
                               .scopes = token->scopes,
                               .created_at = token->created_at,
                               .expires_at = token->expires_at,
                               .last_used_at = token->last_used_at,
                               .limits = token->limits};
    str_copy_utf8(ret->id, sizeof(ret->id), token->id);
    str_copy_utf8(ret->name, sizeof(ret->name), token->name);
    str_copy_utf8(ret->created_by, sizeof(ret->created_by), token->created_by);
}

int access_token_create(struct access *a, const struct principal *by, const struct token_request *r,
                        char ret_token[SECRET_TOKEN_TEXT], struct token_info *ret,
                        struct error *err)
{
    auto_free struct access_token *token = xcalloc(1, sizeof(*token));
    char text[SECRET_TOKEN_TEXT];
    struct token_info info;

    if (check_request(r, err))
        return -1;
    str_copy_utf8(token->name, sizeof(token->name), r->name);
    str_copy_utf8(token->project_id, sizeof(token->project_id), by->project_id);
    str_copy_utf8(token->created_by, sizeof(token->created_by), by->id);
    token->role = r->role;
    token->limits = r->limits ? *r->limits : quota_limits_parse("");
    if (!r->limits && *by->token_id)
        (void)access_token_limits(a, by->token_id, &token->limits);
    token->scopes = r->scopes ? r->scopes : access_scopes_in(by->project_id, access_role_scopes(r->role));
    if (token->scopes != access_scopes_in(by->project_id, token->scopes)) {
        error_set_at(err, ERROR_VALIDATION_FAILED, "/scopes",
                     "host:write, ksm:read and project:write are for tokens of the project default");
        return -1;
    }
    token->created_at = clock_wall_ms();
    if (r->expires_in_seconds)
        token->expires_at = token->created_at + r->expires_in_seconds * 1000;
    LOCK_SCOPE(&a->adding);
    if (check_not_above(a, by, token, err))
        return -1;
    secret_token_new(text, token->id);
    secret_sha256_text(text, SECRET_TOKEN_TEXT - 1, token->hash);
    info_fill(token, &info); /* once it is stored, others may change or even free it */
    if (access_token_store(a, token, NULL, err))
        return -1;
    TAKE_PTR(token);
    *ret = info;
    memcpy(ret_token, text, sizeof(text));
    explicit_bzero(text, sizeof(text));
    return 0;
}

/* ---- listing and revoking ---- */

static int by_age(const void *x, const void *y)
{
    const struct token_info *a = x, *b = y;

    if (a->created_at != b->created_at)
        return a->created_at < b->created_at ? -1 : 1;
    return strcmp(a->id, b->id);
}

void access_token_list(struct access *a, const char *project_id, struct token_info **ret,
                       size_t *ret_count)
{
    struct access_token *token, *next;
    size_t n = 0;

    LOCK_SCOPE(&a->lock);
    *ret = xcalloc(HASH_COUNT(a->tokens), sizeof(**ret));
    HASH_ITER(hh, a->tokens, token, next)
    {
        if (str_eq(token->project_id, project_id))
            info_fill(token, &(*ret)[n++]);
    }
    qsort(*ret, n, sizeof(**ret), by_age);
    *ret_count = n;
}

int access_token_get(struct access *a, const char *project_id, const char *id,
                     struct token_info *ret, struct error *err)
{
    struct access_token *token;

    LOCK_SCOPE(&a->lock);
    HASH_FIND_STR(a->tokens, id, token);
    if (!token || !str_eq(token->project_id, project_id))
        return error_set(err, ERROR_TOKEN_NOT_FOUND, "there is no such token");
    info_fill(token, ret);
    return 0;
}

bool access_token_limits(struct access *a, const char *id, struct quota_limits *ret)
{
    struct access_token *token;

    LOCK_SCOPE(&a->lock);
    HASH_FIND_STR(a->tokens, id, token);
    if (token)
        *ret = token->limits;
    return token;
}

/* ---- what it may use ---- */

struct limit {
    struct access *access;
    struct access_token token; /* a copy */
    const char *actor;
};

static int run_limit(struct db_tx *tx, void *arg, struct error *err)
{
    const struct limit *l = arg;
    char quota[QUOTA_TEXT_SIZE];

    quota_limits_text(&l->token.limits, quota);
    if (store_token_set_quota(tx, l->token.id, quota, err))
        return -1;
    return append_event(tx, "token.changed", &l->token, l->actor, clock_wall_ms(), err);
}

static void limited(void *arg)
{
    const struct limit *l = arg;
    struct access_token *token;

    LOCK_SCOPE(&l->access->lock);
    HASH_FIND_STR(l->access->tokens, l->token.id, token);
    if (token)
        token->limits = l->token.limits;
}

int access_token_set_limits(struct access *a, const struct principal *by, const char *id,
                            const struct quota_limits *limits, struct token_info *ret,
                            struct error *err)
{
    struct limit l = {.access = a, .actor = by->id};
    struct quota_limits own;

    if (access_require(by, ACCESS_TOKEN_WRITE, err))
        return -1;
    if (*by->token_id && access_token_limits(a, by->token_id, &own) &&
        quota_limits_beyond(limits, &own) < QUOTA_COUNT)
        return refuse_beyond(limits, &own, err);
    {
        LOCK_SCOPE(&a->lock);
        struct access_token *token;

        HASH_FIND_STR(a->tokens, id, token);
        if (!token || !str_eq(token->project_id, by->project_id))
            return error_set(err, ERROR_TOKEN_NOT_FOUND, "there is no such token");
        l.token = *token;
    }
    l.token.limits = *limits;
    if (db_write(a->db, run_limit, limited, &l, err))
        return -1;
    info_fill(&l.token, ret);
    return 0;
}

struct revoke {
    struct access *access;
    struct access_token token; /* a copy: the one in the table may go first */
    const char *actor;
};

static int run_revoke(struct db_tx *tx, void *arg, struct error *err)
{
    const struct revoke *r = arg;

    if (store_token_delete(tx, r->token.id, err))
        return -1;
    return append_event(tx, "token.revoked", &r->token, r->actor, clock_wall_ms(), err);
}

static void revoked(void *arg)
{
    const struct revoke *r = arg;
    struct access *a = r->access;
    struct access_token *token;

    LOCK_SCOPE(&a->lock);
    HASH_FIND_STR(a->tokens, r->token.id, token);
    if (token) {
        HASH_DEL(a->tokens, token);
        free(token);
    }
    access_session_forget_token(a, r->token.id);
    access_once_forget_token(&a->codes, r->token.id);
    access_ticket_forget_token(a, r->token.id);
}

int access_token_revoke(struct access *a, const struct principal *by, const char *id,
                        struct error *err)
{
    struct revoke r = {.access = a, .actor = by->id};
    char right[ACCESS_RIGHT_SIZE];

    if (access_require(by, ACCESS_TOKEN_WRITE, err))
        return -1;
    {
        LOCK_SCOPE(&a->lock);
        struct access_token *token;

        HASH_FIND_STR(a->tokens, id, token);
        if (!token || !str_eq(token->project_id, by->project_id))
            return error_set(err, ERROR_TOKEN_NOT_FOUND, "there is no such token");
        r.token = *token;
    }
    if (db_write(a->db, run_revoke, revoked, &r, err))
        return -1;
    snprintf(right, sizeof(right), "token:%s", r.token.id);
    access_tell_revoked(a, right);
    return 0;
}
