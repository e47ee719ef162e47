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
#include "service/vm/quota_limits.h"

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
    ACCESS_KSM_READ = 1 << 10, /* exact figures of merged memory: they are a side channel */
    ACCESS_LEASE_WRITE = 1 << 11, /* ask for a VM of a pool, renew, give back */
    ACCESS_VM_EXEC = 1 << 12, /* programs and files in a guest */
    ACCESS_WEBHOOK_WRITE = 1 << 13, /* have events sent elsewhere */
    ACCESS_PROJECT_WRITE = 1 << 14, /* make projects, and act in any of them */
};
#define ACCESS_SCOPE_COUNT 15
/*
 * What concerns the host, and so everybody on it: nobody has these but in the first project. Exact
 * figures of merged memory are among them, since memory is merged across VMs.
 */
#define ACCESS_HOST_ONLY (ACCESS_HOST_WRITE | ACCESS_KSM_READ | ACCESS_PROJECT_WRITE)
const char *access_scope_name(int bit); /* 0 -> "vm:read", … in the order above */
unsigned access_role_scopes(enum access_role role);

struct principal {
    char id[48]; /* "token:ID", "session:ID", "socket:UID", "ticket:ID" (of a share link) */
    char name[64];
    char token_id[SECRET_TOKEN_ID]; /* whose rights; "" for the socket */
    char ticket_id[SECRET_TOKEN_ID]; /* with which it came in, or "" */
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
/* Nobody is told of a revocation any more. Before what on_revoked calls is gone. */
void access_stop(struct access *a);
void access_close(struct access *a);

/* UNAUTHENTICATED with the same words for "unknown", "wrong" and "expired". */
int access_by_token(struct access *a, const char *token, struct principal *ret, struct error *err);
int access_by_session(struct access *a, const char *cookie, struct principal *ret,
                      struct error *err);
/* Of somebody whose certificate an authority we trust has made out to the token of this id. */
int access_by_certificate(struct access *a, const char *name, struct principal *ret,
                          struct error *err);
void access_by_socket(struct access *a, unsigned uid, struct principal *ret);

/*
 * Goes on in another project, with the same rights; for who has project:write. The caller has looked
 * the project up, and says PROJECT_NOT_FOUND also when this fails: who may not, learns nothing.
 */
bool access_enter_project(struct principal *io, const char *project_id);
/* Is this somebody of the first project, whose the host's own things are? Also while in another. */
bool access_is_of_host(const struct principal *p);

/* FORBIDDEN names the missing scope. */
int access_require(const struct principal *p, unsigned scope, struct error *err);

struct token_info {
    char id[SECRET_TOKEN_ID];
    char name[64];
    enum access_role role;
    unsigned scopes;
    char created_by[48];
    int64_t created_at, expires_at, last_used_at; /* 0: never */
    struct quota_limits limits;
};
struct token_request {
    const char *name;
    enum access_role role;
    unsigned scopes; /* 0: all of the role */
    int64_t expires_in_seconds; /* 0: never */
    const struct quota_limits *limits; /* NULL: those of the principal's token */
};
/*
 * Never more rights, and no more of any resource, than the principal has (FORBIDDEN). The secret is
 * shown once, in ret_token.
 */
int access_token_create(struct access *a, const struct principal *by, const struct token_request *r,
                        char ret_token[SECRET_TOKEN_TEXT], struct token_info *ret,
                        struct error *err);
void access_token_list(struct access *a, const char *project_id, struct token_info **ret,
                       size_t *ret_count);
/* TOKEN_NOT_FOUND. Reads memory only. */
int access_token_get(struct access *a, const char *project_id, const char *id,
                     struct token_info *ret, struct error *err);
/* What it may use from now on; never more than the principal's own token (FORBIDDEN). */
int access_token_set_limits(struct access *a, const struct principal *by, const char *id,
                            const struct quota_limits *limits, struct token_info *ret,
                            struct error *err);
/* False when there is no such token. Any thread. */
bool access_token_limits(struct access *a, const char *id, struct quota_limits *ret);
/* Ends its sessions and tickets; on_revoked (set by the core) closes its live sockets. */
int access_token_revoke(struct access *a, const struct principal *by, const char *id,
                        struct error *err);

/*
 * What a socket was opened by, and is closed with: "token:ID", "session:ID", "ticket:ID", one or
 * more of them, separated by spaces. A session's sockets end with its token, too; those of a ticket
 * with what it was made by.
 */
#define ACCESS_RIGHT_SIZE  56
#define ACCESS_RIGHTS_SIZE 160
void access_rights(const struct principal *p, char ret[ACCESS_RIGHTS_SIZE]);
/* fn is told of each right that ends; any thread, without a lock, after it works no more. */
void access_set_on_revoked(struct access *a, void (*fn)(void *opaque, const char *right),
                           void *opaque);
/*
 * Does what the principal came in with still work? Asked after a socket is open and findable by
 * its rights: who was revoked between the check and then would else stay.
 */
bool access_is_alive(struct access *a, const struct principal *p);

/* A code for the dashboard link: one use, settings' sign_in_code_seconds. */
int access_code_create(struct access *a, const struct principal *by, char ret[SECRET_RANDOM_TEXT],
                       int64_t *ret_expires_at, struct error *err);
/* Exchanges a code, or a token, for a session cookie. SIGN_IN_FAILED. */
int access_session_create(struct access *a, const char *code_or_token,
                          char ret_cookie[SECRET_RANDOM_TEXT], struct principal *ret,
                          struct error *err);
int access_session_end(struct access *a, const char *cookie, struct error *err);

/*
 * A ticket for one stream of one VM in one mode. Short ones of a single use are a client's own, for
 * its next connection. Those that may be used more than once, have a name, or live longer than the
 * setting ticket_seconds are share links: stored (hashed), listed, and their holders appear as
 * "ticket:ID". The expiry of one that may be used more than once ends its sockets; that of a single
 * use is until when it can be used.
 */
struct ticket {
    char vm_id[UUID_TEXT];
    char stream[80]; /* "console", "channels/NAME" */
    bool control;
    /* Of no interest when it is redeemed: */
    bool multi_use;
    int64_t expires_in_seconds; /* 0: the setting ticket_seconds; cut to what its token has left */
    char name[64];              /* or "" */
};
struct ticket_info {
    char id[SECRET_TOKEN_ID];
    struct ticket to;
    char created_by[48], project_id[UUID_TEXT];
    int64_t created_at, expires_at, last_used_at; /* 0: never */
};
/* FORBIDDEN, VALIDATION_FAILED, TOO_MANY_REQUESTS. The secret is shown once. Blocks on the disk. */
int access_ticket_create(struct access *a, const struct principal *by, const struct ticket *t,
                         char ret[SECRET_RANDOM_TEXT], struct ticket_info *ret_info,
                         struct error *err);
/*
 * Uses it; TICKET_EXPIRED, in always the same words, when it is unknown, used, expired, revoked, or
 * for another VM, stream or mode. Blocks on the disk for a share link of a single use.
 */
int access_ticket_redeem(struct access *a, const char *ticket, const struct ticket *wanted,
                         struct principal *ret, struct error *err);
/* Fails as redeeming does. */
int access_ticket_refuse(struct error *err);
/* What it is for; uses nothing up. TICKET_EXPIRED as above. */
int access_ticket_lookup(struct access *a, const char *ticket, struct ticket_info *ret,
                         struct error *err);
/* Those that have not expired, oldest first; vm_id NULL: of all VMs. The caller frees. */
void access_ticket_list(struct access *a, const char *project_id, const char *vm_id,
                        struct ticket_info **ret, size_t *ret_count);
/* One's own; another's needs console:control. TICKET_NOT_FOUND. Its live sockets close. */
int access_ticket_revoke(struct access *a, const struct principal *by, const char *id,
                         struct error *err);

/* Counts a failure from an address; TOO_MANY_REQUESTS once there were too many this minute. */
int access_failure_gate(struct access *a, const char *address, struct error *err);
void access_failure_count(struct access *a, const char *address);
/*
 * What a wrong credential comes to: it is counted, and once there were too many from there this minute
 * err says so instead of what it said. Asked after the credential, not before: behind a proxy everybody
 * has one address, and who guesses must not shut out those who know. Always -1.
 */
int access_failed(struct access *a, const char *address, struct error *err);
/* Does the daemon trust whoever has this uid on the host with everything? */
bool access_uid_is_admin(unsigned uid);

#endif
