/* Browser sessions and the codes that start them. */
#include "service/vm/access_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/db.h"
#include "service/base/clock.h"
#include "service/base/str.h"

void access_session_load(struct access *a, const struct session_row *row)
{
    struct access_session *session = xcalloc(1, sizeof(*session));

    str_copy_utf8(session->hash, sizeof(session->hash), row->hash);
    str_copy_utf8(session->token_id, sizeof(session->token_id), row->token_id);
    session->created_at = row->created_at;
    session->last_used_at = session->touched_at = row->last_used_at;
    LOCK_SCOPE(&a->lock);
    HASH_ADD_STR(a->sessions, hash, session);
}

void access_session_forget_token(struct access *a, const char *token_id)
{
    struct access_session *session, *next;

    HASH_ITER(hh, a->sessions, session, next)
    {
        if (str_eq(session->token_id, token_id)) {
            HASH_DEL(a->sessions, session);
            free(session);
        }
    }
}

/* Sessions started or used before these are over. */
static int64_t oldest_start(const struct access *a, int64_t now)
{
    return now - a->settings->session_max_seconds * 1000;
}

static int64_t oldest_use(const struct access *a, int64_t now)
{
    return now - a->settings->session_idle_seconds * 1000;
}

static bool is_over(const struct access *a, const struct access_session *session, int64_t now)
{
    return session->created_at <= oldest_start(a, now) ||
           session->last_used_at <= oldest_use(a, now);
}

/* "session:" and the first characters of the hash: tells sessions apart, opens nothing. */
static void session_principal_id(const char *hash, char *ret, size_t size)
{
    snprintf(ret, size, "session:%.16s", hash);
}

/* With the lock held. False when the token it was made with is gone or expired. */
static bool fill_from_session(struct access *a, const struct access_session *session, int64_t now,
                              struct principal *ret)
{
    if (*session->token_id) {
        struct access_token *token = access_token_alive(a, session->token_id, now);

        if (!token)
            return false;
        access_principal_fill(token, ret);
    } else {
        access_by_socket(a, 0, ret);
    }
    session_principal_id(session->hash, ret->id, sizeof(ret->id));
    ret->by_cookie = true;
    return true;
}

bool access_session_known(struct access *a, const char *principal_id)
{
    struct access_session *session, *next;
    int64_t now = clock_wall_ms();
    char id[48];

    HASH_ITER(hh, a->sessions, session, next)
    {
        session_principal_id(session->hash, id, sizeof(id));
        if (str_eq(id, principal_id))
            return !is_over(a, session, now);
    }
    return false;
}

static bool secret_form_ok(const char *text)
{
    return strlen(text) == SECRET_RANDOM_TEXT - 1;
}

int access_by_session(struct access *a, const char *cookie, struct principal *ret,
                      struct error *err)
{
    int64_t now = clock_wall_ms();
    char hash[SECRET_SHA256_TEXT];
    bool good = false, touch = false;

    if (secret_form_ok(cookie)) {
        struct access_session *session;

        secret_sha256_text(cookie, SECRET_RANDOM_TEXT - 1, hash);
        LOCK_SCOPE(&a->lock);
        HASH_FIND_STR(a->sessions, hash, session);
        good = session && !is_over(a, session, now) && fill_from_session(a, session, now, ret);
        if (good) {
            session->last_used_at = now;
            touch = access_due_for_touch(&session->touched_at, now);
        }
    }
    if (!good) {
        error_set(err, ERROR_UNAUTHENTICATED, "the session has ended");
        error_remedy(err, "Sign in again.");
        return -1;
    }
    if (touch)
        access_touch_post(a, ACCESS_TOUCH_SESSION, hash, now);
    return 0;
}

int access_code_create(struct access *a, const struct principal *by, char ret[SECRET_RANDOM_TEXT],
                       int64_t *ret_expires_at, struct error *err)
{
    int64_t life_ms = a->settings->sign_in_code_seconds * 1000;
    struct access_once code = {.by = *by, .until_ms = clock_boottime_ms() + life_ms};

    /* Without a token the session has all rights: only who has them may hand them on. */
    if (!*by->token_id && access_require(by, access_role_scopes(ACCESS_ADMIN), err))
        return -1;
    LOCK_SCOPE(&a->lock);
    if (access_once_put(&a->codes, &code, ret, err))
        return -1;
    *ret_expires_at = clock_wall_ms() + life_ms;
    return 0;
}

/* ---- starting ---- */

struct start {
    struct access *access;
    struct access_session *session;
};

static int run_start(struct db_tx *tx, void *arg, struct error *err)
{
    const struct start *s = arg;
    const struct access_session *session = s->session;
    struct session_row row = {.hash = session->hash,
                              .token_id = session->token_id,
                              .created_at = session->created_at,
                              .last_used_at = session->last_used_at};

    /* Each new one sweeps up those that are over: the table stays as large as its use. */
    if (store_session_prune(tx, oldest_start(s->access, session->created_at),
                            oldest_use(s->access, session->created_at), err))
        return -1;
    return store_session_insert(tx, &row, err);
}

static void started(void *arg)
{
    struct start *s = arg;
    struct access *a = s->access;
    struct access_session *session, *next;
    int64_t now = s->session->created_at;

    LOCK_SCOPE(&a->lock);
    HASH_ITER(hh, a->sessions, session, next)
    {
        if (is_over(a, session, now)) {
            HASH_DEL(a->sessions, session);
            free(session);
        }
    }
    HASH_ADD_STR(a->sessions, hash, s->session);
}

static int sign_in_failed(struct error *err)
{
    error_set(err, ERROR_SIGN_IN_FAILED, "the code or token is not valid any more");
    error_remedy(err, "Ask for a new sign-in link, or sign in with a token.");
    return -1;
}

/* Whose rights the session gets: *ret_token_id. A code is taken out and returned in *ret_code. */
static int accept_code_or_token(struct access *a, const char *text,
                                char ret_token_id[SECRET_TOKEN_ID], struct access_once **ret_code,
                                struct error *err)
{
    auto_free struct access_once *code = NULL;

    if (str_starts(text, "drover_")) {
        struct principal p;

        if (access_by_token(a, text, &p, err))
            return sign_in_failed(err);
        str_copy_utf8(ret_token_id, SECRET_TOKEN_ID, p.token_id);
        return 0;
    }
    if (!secret_form_ok(text))
        return sign_in_failed(err);
    LOCK_SCOPE(&a->lock);
    code = access_once_take(&a->codes, text);
    if (!code || access_once_is_due(code) ||
        (*code->by.token_id && !access_token_alive(a, code->by.token_id, clock_wall_ms())))
        return sign_in_failed(err);
    str_copy_utf8(ret_token_id, SECRET_TOKEN_ID, code->by.token_id);
    *ret_code = TAKE_PTR(code);
    return 0;
}

static int start_session(struct access *a, const char *token_id,
                         char ret_cookie[SECRET_RANDOM_TEXT], struct principal *ret,
                         struct error *err)
{
    auto_free struct access_session *session = xcalloc(1, sizeof(*session));
    struct start s = {.access = a, .session = session};
    int64_t now = clock_wall_ms();
    char cookie[SECRET_RANDOM_TEXT];
    struct principal p;

    secret_random_text(cookie);
    secret_sha256_text(cookie, SECRET_RANDOM_TEXT - 1, session->hash);
    str_copy_utf8(session->token_id, sizeof(session->token_id), token_id);
    session->created_at = session->last_used_at = session->touched_at = now;
    LOCK_SCOPE(&a->adding);
    {
        LOCK_SCOPE(&a->lock);
        if (HASH_COUNT(a->sessions) >= ACCESS_SESSIONS_MAX)
            return error_set(err, ERROR_TOO_MANY_REQUESTS, "there are too many sessions");
        if (!fill_from_session(a, session, now, &p))
            return sign_in_failed(err);
    }
    if (db_write(a->db, run_start, started, &s, err))
        return err->code == ERROR_TOKEN_NOT_FOUND ? sign_in_failed(err) : -1;
    TAKE_PTR(session); /* the table's now */
    memcpy(ret_cookie, cookie, sizeof(cookie));
    *ret = p;
    return 0;
}

int access_session_create(struct access *a, const char *code_or_token,
                          char ret_cookie[SECRET_RANDOM_TEXT], struct principal *ret,
                          struct error *err)
{
    auto_free struct access_once *code = NULL;
    char token_id[SECRET_TOKEN_ID];

    if (accept_code_or_token(a, code_or_token, token_id, &code, err))
        return -1;
    if (start_session(a, token_id, ret_cookie, ret, err) == 0)
        return 0;
    /* A disk that was full for a moment must not cost the user the link. */
    if (code && err->code != ERROR_SIGN_IN_FAILED) {
        LOCK_SCOPE(&a->lock);
        HASH_ADD_STR(a->codes, hash, code);
        code = NULL;
    }
    return -1;
}

/* ---- ending ---- */

struct end {
    struct access *access;
    char hash[SECRET_SHA256_TEXT];
};

static int run_end(struct db_tx *tx, void *arg, struct error *err)
{
    const struct end *e = arg;

    return store_session_delete(tx, e->hash, err);
}

static void ended(void *arg)
{
    const struct end *e = arg;
    struct access *a = e->access;
    struct access_session *session;
    char principal_id[48];

    session_principal_id(e->hash, principal_id, sizeof(principal_id));
    LOCK_SCOPE(&a->lock);
    HASH_FIND_STR(a->sessions, e->hash, session);
    if (session) {
        HASH_DEL(a->sessions, session);
        free(session);
    }
    access_once_forget_principal(&a->codes, principal_id);
    access_ticket_forget_principal(a, principal_id);
}

int access_session_end(struct access *a, const char *cookie, struct error *err)
{
    struct end e = {.access = a};
    struct access_session *session;
    char right[ACCESS_RIGHT_SIZE];

    if (!secret_form_ok(cookie))
        return 0;
    secret_sha256_text(cookie, SECRET_RANDOM_TEXT - 1, e.hash);
    {
        LOCK_SCOPE(&a->lock);
        HASH_FIND_STR(a->sessions, e.hash, session);
    }
    if (!session)
        return 0;
    if (db_write(a->db, run_end, ended, &e, err))
        return -1;
    session_principal_id(e.hash, right, sizeof(right));
    access_tell_revoked(a, right);
    return 0;
}
