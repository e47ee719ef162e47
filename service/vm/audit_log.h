/*
 * The audit log: who asked for what, from where, and how it ended. What a request changes takes the
 * request's entry with it, in the same transaction: what was done is never missing. Whoever answers a
 * request says so here, too, and how it ended; a thread of its own stores it, all that came within a second
 * in one transaction, so that the log costs a write its bytes and not a commit. A daemon that is killed may
 * lose that second: refusals, streams that were opened, and how what was done was answered.
 */
#ifndef DROVER_VM_AUDIT_LOG_H
#define DROVER_VM_AUDIT_LOG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db/db.h"
#include "service/base/error.h"

#define AUDIT_UNANSWERED 102 /* the status until the answer's is stored, if ever */

struct audit_log;
struct core;

/* The texts are borrowed for the call. */
struct audit_entry {
    int64_t seq; /* where it is added: of the entry that went with what was changed, or 0 */
    int64_t at;  /* wall clock, ms */
    const char *project_id, *principal, *name, *address;
    const char *method, *operation; /* the contract's operationId */
    json_t *params;                 /* of the path: an object of texts */
    int status;                     /* HTTP */
    const char *code;               /* of the problem, or "" */
    const char *request_id;
    int64_t duration_us;
};

int audit_log_start(struct core *core, struct audit_log **ret, struct error *err);
/* Stores what is there; NULL is fine. Nobody adds any more. */
void audit_log_stop(struct audit_log *a);

/*
 * Any thread, never blocks; takes e->params. What comes too fast to be stored is counted, and so are
 * refusals of people whom nobody knows beyond some a second: a flood must not push out the rest. Nor may
 * one of requests that fail, by somebody who is known: what succeeded has room of its own.
 */
void audit_log_add(struct audit_log *a, const struct audit_entry *e);
uint64_t audit_log_skipped(struct audit_log *a); /* since the start */

/*
 * One request's work on this thread: between the two calls the entry goes with the first change that is
 * stored (db_accompany). Takes e->params; status, code and duration are not read. The second returns the
 * entry's seq, which audit_log_add() is then to be told, or 0 when nothing was changed.
 */
struct audit_ride {
    struct db_companion with;
    struct entry *entry; /* audit_log.c's own */
    int64_t seq;
};
void audit_ride_begin(struct audit_ride *r, const struct audit_entry *e);
int64_t audit_ride_end(struct audit_ride *r);

struct audit_log_filter {
    const char *project_id; /* NULL: every project */
    int64_t before_seq;     /* 0: from the newest */
    int64_t since, until;   /* since <= at < until; until 0: no end */
    const char *principal, *operation; /* NULL: any */
    bool failed; /* only what was refused or went wrong */
    int limit;
};
typedef void audit_log_fn(void *arg, const struct audit_entry *e); /* e->params is borrowed */
/* Newest first, whatever was added before the call included. Blocks on the disk. */
int audit_log_read(struct core *core, const struct audit_log_filter *filter, audit_log_fn *fn, void *arg,
                   struct error *err);

#endif
