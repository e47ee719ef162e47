/*
 * Who may do what: tokens, browser sessions, one-time sign-in codes, console tickets. Checks read
 * memory only and compare in constant time; making and revoking commit first.
 */
#ifndef DROVER_VM_ACCESS_H
#define DROVER_VM_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/base/secret.h"

struct access;
struct db;
struct settings;

enum access_role { ACCESS_VIEWER, ACCESS_OPERATOR, ACCESS_ADMIN, ACCESS_ROLE_COUNT };
const char *access_role_name(enum access_role role);
/* ACCESS_ROLE_COUNT: none. */
enum access_role access_role_from_name(const char *name);

/* What a token may do at most; a role without scopes has all that its role has. */
enum access_scope {
    ACCESS_VM_READ = 1 << 0,
    ACCESS_VM_WRITE = 1 << 1,
    ACCESS_CONSOLE_VIEW = 1 << 2,
    ACCESS_CONSOLE_CONTROL = 1 << 3,
    ACCESS_IMAGE_READ = 1 << 4,
    ACCESS_IMAGE_WRITE = 1 << 5,
    ACCESS_HOST_READ = 1 << 6,
    ACCESS_HOST_WRITE = 1 << 7,
    ACCESS_METRICS_READ = 1 << 8,
    ACCESS_TOKEN_WRITE = 1 << 9,
    ACCESS_VM_EXEC = 1 << 10, /* programs and files in a guest */
};
#define ACCESS_SCOPE_COUNT 11
const char *access_scope_name(int bit); /* 0 -> "vm:read", … in the order above */
unsigned access_role_scopes(enum access_role role);

struct principal {
    char id[48]; /* "token:ID", "session:ID", "socket:UID" */
    char name[64];
    char token_id[SECRET_TOKEN_ID]; /* whose rights; "" for the socket */
    char project_id[UUID_TEXT];
    enum access_role role;
    unsigned scopes;
    bool by_cookie; /* then Origin and Sec-Fetch-Site must agree, and only JSON is taken */
};

/*
 * Loads tokens and sessions. On the first start of an installation it makes the admin token and
 * writes it to STATE_DIR/admin.token (0600).
 */
int access_open(struct db *db, const struct settings *settings, const char *state_dir,
                struct access **ret, struct error *err);
void access_close(struct access *a);

/* UNAUTHENTICATED with the same words for "unknown", "wrong" and "expired". */
int access_by_token(struct access *a, const char *token, struct principal *ret, struct error *err);
int access_by_session(struct access *a, const char *cookie, struct principal *ret,
                      struct error *err);
void access_by_socket(struct access *a, unsigned uid, struct principal *ret);

/* FORBIDDEN names the missing scope. */
int access_require(const struct principal *p, unsigned scope, struct error *err);

struct token_info {
    char id[SECRET_TOKEN_ID];
    char name[64];
    enum access_role role;
    unsigned scopes;
    char created_by[48];
    int64_t created_at, expires_at, last_used_at; /* 0: never */
};
struct token_request {
    const char *name;
    enum access_role role;
    unsigned scopes; /* 0: all of the role */
    int64_t expires_in_seconds; /* 0: never */
};
/* Never more rights than the principal has (FORBIDDEN). The secret is shown once, in ret_token. */
int access_token_create(struct access *a, const struct principal *by, const struct token_request *r,
                        char ret_token[SECRET_TOKEN_TEXT], struct token_info *ret,
                        struct error *err);
void access_token_list(struct access *a, const char *project_id, struct token_info **ret,
                       size_t *ret_count);
/* Ends its sessions; on_revoked (set by the core) closes its live sockets. */
int access_token_revoke(struct access *a, const struct principal *by, const char *id,
                        struct error *err);
void access_set_on_revoked(struct access *a, void (*fn)(void *opaque, const char *token_id),
                           void *opaque);

/* A code for the dashboard link: one use, settings' sign_in_code_seconds. */
int access_code_create(struct access *a, const struct principal *by, char ret[SECRET_RANDOM_TEXT],
                       int64_t *ret_expires_at, struct error *err);
/* Exchanges a code, or a token, for a session cookie. SIGN_IN_FAILED. */
int access_session_create(struct access *a, const char *code_or_token,
                          char ret_cookie[SECRET_RANDOM_TEXT], struct principal *ret,
                          struct error *err);
int access_session_end(struct access *a, const char *cookie, struct error *err);

/* A ticket for one stream of one VM in one mode: one use, 30 seconds. */
struct ticket {
    char vm_id[UUID_TEXT];
    char stream[80]; /* "console", "channels/NAME" */
    bool control;
};
int access_ticket_create(struct access *a, const struct principal *by, const struct ticket *t,
                         char ret[SECRET_RANDOM_TEXT], int64_t *ret_expires_at, struct error *err);
/* Consumes it; TICKET_EXPIRED when used, expired, or for another VM, stream or mode. */
int access_ticket_redeem(struct access *a, const char *ticket, const struct ticket *wanted,
                         struct principal *ret, struct error *err);

/* Counts a failure from an address; TOO_MANY_REQUESTS once there were too many this minute. */
int access_failure_gate(struct access *a, const char *address, struct error *err);
void access_failure_count(struct access *a, const char *address);

#endif
