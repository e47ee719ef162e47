/*
 * Typed reads and writes, one group of functions per subject. Functions that take a db_tx run
 * inside db_write(); functions that take a db read a committed snapshot from any thread and may
 * block on the disk, so hot state is read from memory instead.
 *
 * Times are UTC milliseconds since the epoch. Text in rows is UTF-8. Rows handed to a callback
 * live only during the call; the callback returns 0 to go on, anything else stops.
 */
#ifndef DROVER_DB_STORE_H
#define DROVER_DB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db/db.h"
#include "service/base/secret.h"

#define PROJECT_DEFAULT "default" /* the one project of a fresh installation */
#define HOST_LOCAL      "local"   /* the one host */

/* ---- installation ---- */

/* Drawn by the first migration's run; identifies our domains on shared hosts. */
int store_install_id(struct db *db, char ret[UUID_TEXT], struct error *err);
/* Small facts by key ("boot_id", …). 1 found (caller frees), 0 not. */
int store_meta_get(struct db *db, const char *key, char **ret, struct error *err);
int store_meta_set(struct db_tx *tx, const char *key, const char *value, struct error *err);

/* ---- VMs ---- */

struct vm_row {
    int64_t seq; /* order of creation; the keyset for pages */
    const char *id, *project_id, *host_id, *name;
    const char *spec;         /* the definition as JSON, see service/vm/spec.h */
    const char *state;        /* "stopped", "running", … */
    const char *state_reason;
    const char *acceleration; /* "kvm", "emulated" or "" before the first start */
    const char *acceleration_reason;
    const char *image_id;     /* or "" */
    int64_t generation;       /* of the definition; the ETag */
    int64_t defined_generation; /* that libvirt knows; 0: not yet defined */
    int64_t running_generation; /* that the running guest was started with; 0: not running */
    uint32_t vsock_cid;       /* 0: none */
    int64_t created_at, updated_at;
    int64_t started_at; /* last power-on, 0 never */
    int64_t deleted_at; /* tombstone; 0: alive */
    /* Of the current or last boot; 0: not (yet) seen. */
    int64_t first_output_at, kernel_at, userland_at, ready_at;
    int64_t rebooted_at;      /* by the guest, last, since started_at; 0: not */
    int64_t last_attached_at; /* to one of its consoles; 0: never */
    const char *boot_status;  /* what the guest last said about itself, or "" */
    const char *set_id, *set_name, *set_machine; /* of the set it belongs to, or "" */
    int64_t set_member;       /* from 1; 0: of no set */
    int64_t set_step;         /* of the set's operation that last took hold of it */
    int64_t reimaged;         /* how often its disks were made anew */
    const char *owner_token;  /* whose quota it counts against, or ""; may be gone */
    int64_t cpus, memory_mib, disk_bytes; /* what it counts; disks as the guest sees them */
    const char *template_id, *template_key; /* or "": see service/vm/vm.h */
    int64_t merges;           /* see enum vm_merges */
};

/* Has a VM other than id the name? 1, 0 or -1. One that is being deleted has given its name back. */
int store_vm_name_taken(struct db_tx *tx, const char *project_id, const char *name, const char *id,
                        struct error *err);
/* NAME_IN_USE when the project has another VM of that name that is not being deleted. Fills *ret_seq. */
int store_vm_insert(struct db_tx *tx, const struct vm_row *row, int64_t *ret_seq, struct error *err);
/* Everything but id, seq, project, created_at and its place in a set; VM_NOT_FOUND when gone, NAME_IN_USE as above. */
int store_vm_update(struct db_tx *tx, const struct vm_row *row, struct error *err);
/* Every living VM (deleted_at = 0), in order of seq. */
int store_vm_each(struct db *db, int (*fn)(void *, const struct vm_row *), void *arg,
                  struct error *err);
/* Whose VM it is or was; 0: there is no row of it, *ret is left alone. */
int store_vm_project(struct db_tx *tx, const char *id, char ret[37], struct error *err);
int store_vm_purge_tombstones(struct db_tx *tx, int64_t deleted_before, struct error *err);

/* A vsock CID never handed out before on this host (monotone, from 1000), bound to the VM. */
int store_cid_allocate(struct db_tx *tx, const char *host_id, const char *vm_id, int64_t now,
                       uint32_t *ret, struct error *err);
/* One that was handed out by a database that is gone; the next are drawn from well above it. */
int store_cid_restore(struct db_tx *tx, const char *host_id, const char *vm_id, uint32_t cid, int64_t now,
                      struct error *err);
int store_cid_release(struct db_tx *tx, const char *vm_id, int64_t now, struct error *err);

/* ---- operations ---- */

struct op_row {
    int64_t seq;
    const char *id, *project_id, *host_id;
    const char *vm_id;    /* or "" */
    const char *image_id; /* or "" */
    const char *set_id;   /* or "" */
    const char *kind;     /* "vm.start", … */
    const char *state;    /* "pending", "running", "succeeded", "failed", "cancelled" */
    const char *params;   /* JSON object */
    const char *actor, *request_id;
    const char *error_code, *error_detail, *error_remedy, *error_pointer; /* "" unless failed */
    int64_t created_at, started_at, finished_at; /* 0: not yet */
    int64_t done_bytes, total_bytes; /* of what it copies; total 0: not known */
};

int store_op_insert(struct db_tx *tx, const struct op_row *row, struct error *err);
/* state, error_*, started_at, finished_at, bytes. */
int store_op_update(struct db_tx *tx, const struct op_row *row, struct error *err);
/* 1 found, 0 not. */
int store_op_get(struct db *db, const char *id, int (*fn)(void *, const struct op_row *), void *arg,
                 struct error *err);
/* That which made a VM; the same. */
int store_op_created(struct db *db, const char *vm_id, int (*fn)(void *, const struct op_row *), void *arg,
                     struct error *err);
struct op_filter {
    const char *project_id; /* required */
    const char *vm_id;      /* or NULL */
    const char *state;      /* or NULL */
    int64_t before_seq;     /* newest first; 0: from the newest */
    int limit;
};
int store_op_list(struct db *db, const struct op_filter *filter,
                  int (*fn)(void *, const struct op_row *), void *arg, struct error *err);
/* Those that were not finished, oldest first: what a restart resumes. */
int store_op_unfinished(struct db *db, int (*fn)(void *, const struct op_row *), void *arg,
                        struct error *err);
int store_op_prune(struct db_tx *tx, int64_t finished_before, struct error *err);

/* ---- projects, and what counts against a quota ---- */

struct project_row {
    const char *id, *name;
    const char *quota; /* as a token's */
    bool memory_merge;
    const char *merge_with; /* ids of projects, separated by spaces */
    int64_t created_at;
};
int store_project_each(struct db *db, int (*fn)(void *, const struct project_row *), void *arg,
                       struct error *err);
/* NAME_IN_USE */
int store_project_insert(struct db_tx *tx, const struct project_row *row, struct error *err);
/* Everything but id, name and created_at; PROJECT_NOT_FOUND */
int store_project_update(struct db_tx *tx, const struct project_row *row, struct error *err);
/* PROJECT_NOT_EMPTY says what is left in it. */
int store_project_delete(struct db_tx *tx, const char *id, const char *name, int64_t now,
                         struct error *err);

/* Sums over rows, those of this transaction included; owner_token NULL: of every token. */
struct quota_vms {
    int64_t count, cpus, memory_mib, disk_bytes;
};
int store_quota_vms(struct db_tx *tx, const char *project_id, const char *owner_token,
                    struct quota_vms *ret, struct error *err);
int store_quota_leases(struct db_tx *tx, const char *project_id, const char *owner_token,
                       int64_t *ret, struct error *err);

/* ---- events: one append-only log ---- */

struct event_row {
    int64_t seq; /* strictly increasing, never reused */
    int64_t at;
    const char *project_id, *host_id;
    const char *type;         /* "vm.state", "vm.created", … */
    const char *subject_kind; /* "vm", "image", "token", "host" */
    const char *subject_id, *subject_name;
    const char *actor, *request_id;
    const char *data; /* JSON object */
};

int store_event_append(struct db_tx *tx, const struct event_row *row, int64_t *ret_seq,
                       struct error *err);
int store_event_list(struct db *db, const char *project_id, int64_t since_seq, int limit,
                     int (*fn)(void *, const struct event_row *), void *arg, struct error *err);
int store_event_last(struct db *db, int64_t *ret_seq, struct error *err);
int store_event_prune(struct db_tx *tx, int64_t before, struct error *err);
int store_event_first(struct db *db, int64_t *ret_seq, struct error *err); /* 0: there is none */

/* ---- the audit log: who asked for what ---- */

struct audit_row {
    int64_t seq; /* strictly increasing, never reused */
    int64_t at;
    const char *project_id; /* need not exist any more */
    const char *principal, *name, *address, *method, *operation;
    const char *params; /* JSON object of texts */
    int status;
    const char *code, *request_id;
    int64_t duration_us;
};
struct audit_filter {
    const char *project_id; /* NULL: every project */
    int64_t before_seq;     /* 0: from the newest */
    int64_t since, until;   /* wall clock, ms; since <= at < until; until 0: no end */
    const char *principal, *operation; /* NULL: any */
    int min_status;
    int limit;
};
/* row->seq is not read; *ret_seq (or NULL) is what it became. */
int store_audit_append(struct db_tx *tx, const struct audit_row *row, int64_t *ret_seq, struct error *err);
/* Of the row with that seq, if it is still there: who asked, status, code and how long it took. */
int store_audit_answer(struct db_tx *tx, const struct audit_row *row, struct error *err);
int store_audit_list(struct db *db, const struct audit_filter *filter,
                     int (*fn)(void *, const struct audit_row *), void *arg, struct error *err);
/* Those before a time, and all but the newest `keep`. */
int store_audit_prune(struct db_tx *tx, int64_t before, int64_t keep, struct error *err);

/* ---- tokens and browser sessions; only SHA-256 hex of a secret is ever stored ---- */

struct token_row {
    const char *id; /* the 12 public characters */
    const char *project_id, *name, *role, *scopes; /* scopes: space-separated, "" = all of the role */
    const char *hash;
    const char *created_by;
    int64_t created_at, expires_at, last_used_at; /* expires_at 0: never */
    const char *quota; /* like 'vms=10 cpus=20', "" none */
};
int store_token_insert(struct db_tx *tx, const struct token_row *row, struct error *err);
/* TOKEN_NOT_FOUND when there is none; also ends the sessions made with it. */
int store_token_delete(struct db_tx *tx, const char *id, struct error *err);
int store_token_touch(struct db_tx *tx, const char *id, int64_t last_used_at, struct error *err);
int store_token_each(struct db *db, int (*fn)(void *, const struct token_row *), void *arg,
                     struct error *err);

/* TOKEN_NOT_FOUND */
int store_token_set_quota(struct db_tx *tx, const char *id, const char *quota, struct error *err);

struct session_row {
    const char *hash;     /* of the cookie */
    const char *token_id; /* whose rights it has */
    int64_t created_at, last_used_at;
};
int store_session_insert(struct db_tx *tx, const struct session_row *row, struct error *err);
int store_session_delete(struct db_tx *tx, const char *hash, struct error *err);
int store_session_touch(struct db_tx *tx, const char *hash, int64_t last_used_at, struct error *err);
int store_session_each(struct db *db, int (*fn)(void *, const struct session_row *), void *arg,
                       struct error *err);
int store_session_prune(struct db_tx *tx, int64_t created_before, int64_t used_before,
                        struct error *err);

/* ---- share links: tickets that outlive a moment; again only hashes ---- */

struct ticket_row {
    const char *id;   /* the 12 public characters */
    const char *hash; /* of the secret */
    const char *project_id, *vm_id, *stream;
    const char *mode; /* "view" or "control" */
    bool single_use;
    const char *name;
    const char *token_id; /* whose rights it has; "": made over the socket */
    const char *created_by, *maker_name;
    int64_t created_at, expires_at, last_used_at;
};
/* TOKEN_NOT_FOUND when its token has been revoked. */
int store_ticket_insert(struct db_tx *tx, const struct ticket_row *row, struct error *err);
/* TICKET_NOT_FOUND, both. */
int store_ticket_delete(struct db_tx *tx, const char *id, struct error *err);
int store_ticket_touch(struct db_tx *tx, const char *id, int64_t last_used_at, struct error *err);
int store_ticket_each(struct db *db, int (*fn)(void *, const struct ticket_row *), void *arg,
                      struct error *err);
/* That one, and all that have expired by the wall clock. */
int store_ticket_prune(struct db_tx *tx, const char *id, int64_t expired_before, struct error *err);

/* ---- streamed programs ---- */

struct exec_row {
    const char *id, *vm_id, *actor;
    const char *note; /* JSON, the use case's own */
};
int store_exec_put(struct db_tx *tx, const struct exec_row *row, struct error *err);
int store_exec_delete(struct db_tx *tx, const char *id, struct error *err); /* fine when it is gone */
int store_exec_each(struct db *db, int (*fn)(void *, const struct exec_row *), void *arg,
                    struct error *err);

/* ---- the last shutdown of the host's guests ---- */

struct guest_shutdown_row {
    const char *vm_id, *operation_id, *project_id, *name;
    const char *action;  /* "shutdown", "save", "leave", "stop" */
    const char *outcome; /* "": not known yet */
    const char *detail;
    int64_t seconds, started_at, finished_at;
    bool forced;
    int restart; /* 1: it ran; 2: to be started again */
};
int store_guest_shutdown_put(struct db_tx *tx, const struct guest_shutdown_row *row, struct error *err);
int store_guest_shutdown_clear(struct db_tx *tx, struct error *err);
/* due: those that ran are to be started again. Whose outcome is not known has failed now. */
int store_guest_shutdown_settle(struct db_tx *tx, bool due, int64_t now, struct error *err);
int store_guest_shutdown_each(struct db *db, int (*fn)(void *, const struct guest_shutdown_row *), void *arg,
                              struct error *err);

/* ---- recordings ---- */

struct recording_row {
    int64_t seq;
    const char *id, *project_id, *vm_id, *vm_name, *stream;
    const char *state; /* "recording", "finished", "failed" */
    const char *state_reason, *actor;
    int64_t started_at, finished_at, duration_ms, size_bytes;
    int64_t rows, cols;
};
typedef int store_recording_fn(void *arg, const struct recording_row *row);
/* RECORDING_STATE_CONFLICT when the stream is being recorded already. */
int store_recording_insert(struct db_tx *tx, const struct recording_row *row, struct error *err);
/* state, state_reason, finished_at, duration_ms, size_bytes; RECORDING_NOT_FOUND. */
int store_recording_finish(struct db_tx *tx, const struct recording_row *row, struct error *err);
/* Only a finished one; RECORDING_NOT_FOUND. */
int store_recording_delete(struct db_tx *tx, const char *id, struct error *err);
/* 1 found, 0 not. */
int store_recording_get(struct db *db, const char *id, store_recording_fn *fn, void *arg,
                        struct error *err);
/* Newest first; vm_id NULL: of all. before_seq 0: from the newest. */
int store_recording_list(struct db *db, const char *project_id, const char *vm_id,
                         int64_t before_seq, int limit, store_recording_fn *fn, void *arg,
                         struct error *err);
/* Those that are being made. */
int store_recording_open(struct db *db, store_recording_fn *fn, void *arg, struct error *err);
/* Finished ones, those that ended first at the head. */
int store_recording_oldest(struct db *db, int64_t finished_before, int limit,
                           store_recording_fn *fn, void *arg, struct error *err);
int store_recording_bytes(struct db *db, int64_t *ret, struct error *err);

/* ---- images ---- */

struct image_row {
    int64_t seq;
    const char *id, *project_id, *host_id, *name;
    const char *kind;    /* "disk", "kernel", "iso" */
    const char *format;  /* "qcow2", "raw" or "" */
    const char *cmdline; /* kernel images */
    const char *description;
    const char *state;   /* "empty", "importing", "ready", "failed", "deleting" */
    const char *state_reason;
    const char *source; /* JSON, or "" */
    const char *card;   /* JSON, or "" */
    const char *screenshot; /* base64, or "" */
    int64_t revision;
    int64_t created_at, updated_at;
};
struct image_file_row {
    const char *image_id;
    const char *role; /* "content", "kernel", "initrd" */
    const char *sha256;
    int64_t size_bytes;
    int64_t virtual_size_bytes; /* disk: what the guest sees */
    int64_t verified_at;        /* the bytes were last compared with sha256; 0: never since */
    int64_t damaged_at;         /* they did not agree; 0: whole, as far as known */
};
struct image_label_row {
    const char *project_id, *name;
    int64_t version; /* the highest of a name is where it points */
    const char *image_id;
    int64_t keep; /* versions that stay; 0: all */
    int64_t created_at;
};
/* NAME_IN_USE: by another image, or by a label. */
int store_image_insert(struct db_tx *tx, const struct image_row *row, int64_t *ret_seq,
                       struct error *err);
int store_image_update(struct db_tx *tx, const struct image_row *row, struct error *err);
int store_image_delete(struct db_tx *tx, const char *id, struct error *err); /* files too */
int store_image_file_put(struct db_tx *tx, const struct image_file_row *row, struct error *err);
int store_image_each(struct db *db, int (*fn)(void *, const struct image_row *), void *arg,
                     struct error *err);
int store_image_file_each(struct db *db, int (*fn)(void *, const struct image_file_row *), void *arg,
                          struct error *err);

/* NAME_IN_USE: an image has the label's name. */
int store_image_label_put(struct db_tx *tx, const struct image_label_row *row, struct error *err);
/* Every version up to this one. */
int store_image_label_delete(struct db_tx *tx, const char *project_id, const char *name,
                             int64_t version, struct error *err);
int store_image_label_each(struct db *db, int (*fn)(void *, const struct image_label_row *),
                           void *arg, struct error *err);

/* ---- Idempotency-Key: written in the transaction of the effect it names ---- */

struct idem_row {
    const char *actor, *key;
    const char *request_sha256; /* of method, path and body */
    int status;                 /* of the answer */
    const char *resource_kind, *resource_id; /* what the answer shows: "vm", "operation", … */
    int64_t created_at;
};
/* 1 found, 0 not; inside the transaction, so that two equal requests cannot both pass. */
int store_idem_get(struct db_tx *tx, const char *actor, const char *key,
                   int (*fn)(void *, const struct idem_row *), void *arg, struct error *err);
int store_idem_put(struct db_tx *tx, const struct idem_row *row, struct error *err);
int store_idem_prune(struct db_tx *tx, int64_t created_before, struct error *err);

#endif
