/*
 * Roles and scopes, loading, and the first token. Tokens, sessions, one-time secrets and the
 * failure gate have a file each.
 */
#include "service/vm/access_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "db/db.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define META_ADMIN_TOKEN "admin_token"

static const char *const role_names[ACCESS_ROLE_COUNT] = {
    [ACCESS_VIEWER] = "viewer",
    [ACCESS_OPERATOR] = "operator",
    [ACCESS_ADMIN] = "admin",
};

static const char *const scope_names[ACCESS_SCOPE_COUNT] = {
    "vm:read",     "vm:write",  "console:view", "console:control", "image:read",
    "image:write", "host:read", "host:write",   "metrics:read",    "token:write",
    "ksm:read",    "lease:write", "vm:exec",     "webhook:write", "project:write",
};

#define VIEWER_SCOPES                                                                              \
    (ACCESS_VM_READ | ACCESS_CONSOLE_VIEW | ACCESS_IMAGE_READ | ACCESS_HOST_READ |                 \
     ACCESS_METRICS_READ)
#define OPERATOR_SCOPES                                                                            \
    (VIEWER_SCOPES | ACCESS_VM_WRITE | ACCESS_CONSOLE_CONTROL | ACCESS_IMAGE_WRITE |               \
     ACCESS_KSM_READ | ACCESS_LEASE_WRITE | ACCESS_VM_EXEC)
#define ADMIN_SCOPES ((1U << ACCESS_SCOPE_COUNT) - 1)

const char *access_role_name(enum access_role role)
{
    return role_names[role];
}

enum access_role access_role_from_name(const char *name)
{
    for (int i = 0; i < ACCESS_ROLE_COUNT; i++) {
        if (str_eq(role_names[i], name))
            return (enum access_role)i;
    }
    return ACCESS_ROLE_COUNT;
}

const char *access_scope_name(int bit)
{
    return scope_names[bit];
}

unsigned access_role_scopes(enum access_role role)
{
    switch (role) {
    case ACCESS_VIEWER:
        return VIEWER_SCOPES;
    case ACCESS_OPERATOR:
        return OPERATOR_SCOPES;
    case ACCESS_ADMIN:
        return ADMIN_SCOPES;
    case ACCESS_ROLE_COUNT:
        break;
    }
    return 0;
}

static unsigned scope_from_name(const char *name, size_t len)
{
    for (int i = 0; i < ACCESS_SCOPE_COUNT; i++) {
        if (strlen(scope_names[i]) == len && memcmp(scope_names[i], name, len) == 0)
            return 1U << i;
    }
    return 0;
}

unsigned access_scopes_parse(enum access_role role, const char *text)
{
    unsigned scopes = 0;

    if (!*text)
        return access_role_scopes(role);
    /* A name we do not know gives nothing, and above all not everything. */
    while (*text) {
        size_t len = strcspn(text, " ");

        scopes |= scope_from_name(text, len);
        text += len + (text[len] == ' ');
    }
    return scopes & access_role_scopes(role);
}

unsigned access_scopes_in(const char *project_id, unsigned scopes)
{
    return str_eq(project_id, PROJECT_DEFAULT) ? scopes : scopes & ~(unsigned)ACCESS_HOST_ONLY;
}

char *access_scopes_text(enum access_role role, unsigned scopes)
{
    auto_strbuf struct strbuf b = {0};

    if (scopes == access_role_scopes(role))
        return xstrdup("");
    for (int i = 0; i < ACCESS_SCOPE_COUNT; i++) {
        if (scopes & (1U << i))
            strbuf_addf(&b, "%s%s", b.len ? " " : "", scope_names[i]);
    }
    return strbuf_take(&b);
}

int access_require(const struct principal *p, unsigned scope, struct error *err)
{
    unsigned missing = scope & ~p->scopes;

    for (int i = 0; i < ACCESS_SCOPE_COUNT; i++) {
        if (!(missing & (1U << i)))
            continue;
        error_set(err, ERROR_FORBIDDEN, "this needs the scope %s", scope_names[i]);
        error_remedy(err, "Use a token whose role and scopes include %s.", scope_names[i]);
        return -1;
    }
    return 0;
}

bool access_is_of_host(const struct principal *p)
{
    return str_eq(p->project_id, PROJECT_DEFAULT) || p->scopes & ACCESS_PROJECT_WRITE;
}

bool access_enter_project(struct principal *io, const char *project_id)
{
    if (str_eq(io->project_id, project_id))
        return true;
    if (!(io->scopes & ACCESS_PROJECT_WRITE))
        return false;
    str_copy_utf8(io->project_id, sizeof(io->project_id), project_id);
    return true;
}

void access_rights(const struct principal *p, char ret[ACCESS_RIGHTS_SIZE])
{
    bool shared = str_starts(p->id, "ticket:");

    snprintf(ret, ACCESS_RIGHTS_SIZE, "%s%s%s%s%s%s", *p->token_id ? "token:" : "", p->token_id,
             *p->token_id ? " " : "", shared || str_starts(p->id, "token:") ? "" : p->id,
             *p->ticket_id ? " ticket:" : "", p->ticket_id);
}

/* Root, and whoever runs the daemon, could read the database itself. Nobody else has a say. */
bool access_uid_is_admin(unsigned uid)
{
    return uid == 0 || uid == geteuid();
}

void access_by_socket(struct access *a, unsigned uid, struct principal *ret)
{
    bool admin = access_uid_is_admin(uid);

    *ret = (struct principal){.role = admin ? ACCESS_ADMIN : ACCESS_VIEWER,
                              .scopes = admin ? ADMIN_SCOPES : 0};
    snprintf(ret->id, sizeof(ret->id), "socket:%u", uid);
    if (uid == 0)
        str_copy_utf8(ret->name, sizeof(ret->name), "root");
    else
        snprintf(ret->name, sizeof(ret->name), "user %u", uid);
    str_copy_utf8(ret->project_id, sizeof(ret->project_id), PROJECT_DEFAULT);
}

/* ---- the first token ---- */

static int note_admin_token(struct db_tx *tx, const struct access_token *token, struct error *err)
{
    return store_meta_set(tx, META_ADMIN_TOKEN, token->id, err);
}

/*
 * The file first, the row second. A crash between the two leaves a file whose token was never
 * valid and no note that there was one, so the next start does both again and replaces the file.
 * The note (the fact `admin_token`) is in the row's transaction: once it is there, the file was
 * complete, and no start ever makes another token, whatever became of the file or the token.
 */
static int make_admin_token(struct access *a, const char *state_dir, struct error *err)
{
    auto_free char *path = xasprintf("%s/admin.token", state_dir);
    auto_free struct access_token *token = xcalloc(1, sizeof(*token));
    char text[SECRET_TOKEN_TEXT + 1];
    int rc;

    secret_token_new(text, token->id);
    secret_sha256_text(text, SECRET_TOKEN_TEXT - 1, token->hash);
    str_copy_utf8(token->name, sizeof(token->name), "admin");
    str_copy_utf8(token->project_id, sizeof(token->project_id), PROJECT_DEFAULT);
    str_copy_utf8(token->created_by, sizeof(token->created_by), "system");
    token->role = ACCESS_ADMIN;
    token->limits = quota_limits_parse("");
    token->scopes = ADMIN_SCOPES;
    token->created_at = clock_wall_ms();
    memcpy(text + SECRET_TOKEN_TEXT - 1, "\n", 2);
    rc = file_write_atomic(path, text, SECRET_TOKEN_TEXT, 0600, err);
    explicit_bzero(text, sizeof(text));
    if (rc || access_token_store(a, token, note_admin_token, err))
        return -1;
    TAKE_PTR(token); /* the table's now */
    log_info("access: the first token is in %s", path);
    return 0;
}

static int on_token(void *opaque, const struct token_row *row)
{
    access_token_load(opaque, row);
    return 0;
}

static int on_session(void *opaque, const struct session_row *row)
{
    access_session_load(opaque, row);
    return 0;
}

static int on_ticket(void *opaque, const struct ticket_row *row)
{
    access_ticket_load(opaque, row);
    return 0;
}

static int load(struct access *a, const char *state_dir, struct error *err)
{
    auto_free char *noted = NULL;
    int rc;

    if (store_token_each(a->db, on_token, a, err) ||
        store_session_each(a->db, on_session, a, err) ||
        store_ticket_each(a->db, on_ticket, a, err))
        return -1;
    rc = store_meta_get(a->db, META_ADMIN_TOKEN, &noted, err);
    return rc == 0 ? make_admin_token(a, state_dir, err) : rc < 0 ? -1 : 0;
}

int access_open(struct db *db, const struct settings *settings, const char *state_dir,
                struct access **ret, struct error *err)
{
    struct access *a = xcalloc(1, sizeof(*a));

    a->db = db;
    a->settings = settings;
    mutex_init(&a->adding);
    mutex_init(&a->lock);
    cond_init(&a->expiry_news);
    if (load(a, state_dir, err) || access_expiry_start(a, err)) {
        access_close(a);
        return -1;
    }
    *ret = a;
    return 0;
}

void access_close(struct access *a)
{
    struct access_token *token, *next_token;
    struct access_session *session, *next_session;

    if (!a)
        return;
    access_stop(a);
    HASH_ITER(hh, a->tokens, token, next_token)
    {
        HASH_DEL(a->tokens, token);
        free(token);
    }
    HASH_ITER(hh, a->sessions, session, next_session)
    {
        HASH_DEL(a->sessions, session);
        free(session);
    }
    access_once_clear(&a->codes);
    access_ticket_clear(a);
    access_gate_clear(a);
    pthread_cond_destroy(&a->expiry_news);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->adding);
    free(a);
}
