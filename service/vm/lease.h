/*
 * Leases: a VM with a death date. Asking, renewing, giving back and expiring each are one
 * transaction with the VM's own change, so that no crash leaves a VM that nobody will end, or hands
 * one out twice. Deadlines count on the boot clock: neither a clock step nor suspend ends a lease
 * early or keeps it for ever.
 *
 * Snapshots are immutable. Use cases run on request workers and block on the disk only.
 */
#ifndef DROVER_VM_LEASE_H
#define DROVER_VM_LEASE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/vm/pool.h"
#include "service/vm/vm.h"

struct core;
struct op;

enum lease_state { LEASE_QUEUED, LEASE_ACTIVE, LEASE_ENDED };
const char *lease_state_name(int state);
/* What becomes of the VM when time is up. Giving it back always deletes it. */
enum lease_expiry { LEASE_DELETE, LEASE_STOP, LEASE_PAUSE };
const char *lease_expiry_name(int expiry);
extern const char *const lease_expiry_names[]; /* ends with NULL */

#define LEASE_HOLDER_MAX  128
#define LEASE_SECONDS_MAX 2592000 /* thirty days */

struct lease {
    _Atomic unsigned refs;
    int64_t seq;
    char id[UUID_TEXT], project_id[UUID_TEXT], host_id[UUID_TEXT];
    char pool_id[UUID_TEXT], pool_name[VM_NAME_MAX + 1]; /* or "" */
    char vm_id[UUID_TEXT], vm_name[VM_NAME_MAX + 1];     /* or "" */
    char holder[LEASE_HOLDER_MAX + 1];
    char *labels; /* JSON object */
    char actor[80];
    char owner_token[SECRET_TOKEN_ID]; /* whose quota it counts against, or "" */
    int state, on_expiry;
    char end_reason[64]; /* released, expired, idle, vm-deleted, vm-failed, not-served, … */
    bool warm;
    int64_t claim_us;
    int64_t ttl_seconds, max_seconds, idle_seconds;
    char boot_id[UUID_TEXT];
    int64_t expires_boot_ms, limit_boot_ms; /* clock_boottime_ms() of this boot */
    int64_t expires_at, limit_at;           /* wall, for people */
    int64_t created_at, claimed_at, renewed_at, ended_at;
    char *record; /* JSON object, once it has ended */
};

struct lease *lease_ref(struct lease *lease);
void lease_unref(struct lease *lease);
DEFINE_CLEANUP(lease, struct lease *, lease_unref);
#define auto_lease auto_scope(cleanup_lease)

struct lease_request {
    const char *pool;        /* name or id; or NULL with */
    struct vm_spec *spec;    /* a definition of its own (borrowed) */
    int64_t ttl_seconds;     /* 0: the pool's, or an hour */
    int64_t max_seconds;     /* 0: the pool's, or a day */
    int64_t idle_seconds;    /* 0: may idle */
    int64_t queue_seconds;   /* wait this long when the pool is exhausted or the host full; 0: do not */
    int on_expiry;           /* enum lease_expiry */
    const char *holder;      /* NULL: the actor */
    const json_t *labels;    /* of strings, or NULL */
};

/*
 * Active at once from a pool that has a warm VM, or with a VM that is just being made; queued, when
 * the pool is exhausted and queue_seconds allow. POOL_EXHAUSTED, QUOTA_EXCEEDED (per_holder).
 * *ret_op (may be NULL afterwards): the operation that makes or restores the VM.
 */
int lease_create(struct core *core, const struct actor *actor, const struct lease_request *request,
                 const struct idem *idem, struct lease **ret, bool *ret_replayed,
                 struct error *err);

/* Living ones come from memory; LEASE_NOT_FOUND. */
struct lease *lease_find(struct core *core, const char *project_id, const char *id,
                         struct error *err);
/* Those that have not ended; token_id NULL: of the whole project. Never blocks. */
int64_t lease_count(struct core *core, const char *project_id, const char *token_id);
/* One based; 0: not queued. */
int64_t lease_queue_position(struct core *core, const struct lease *lease);

struct lease_filter {
    const char *project_id;
    const char *state;  /* or NULL */
    const char *pool_id; /* or NULL */
    const json_t *labels; /* only those with all of these; or NULL */
    int64_t before_seq;
    int limit;
};
int lease_list(struct core *core, const struct lease_filter *filter, struct lease ***ret,
               size_t *ret_count, struct error *err);

/* ttl_seconds from now, never beyond the maximum. LEASE_STATE_CONFLICT when it has ended. */
int lease_renew(struct core *core, const struct actor *actor, const char *id, int64_t ttl_seconds,
                struct lease **ret, struct error *err);
/* Gives it back and deletes the VM; again: the same answer. */
int lease_release(struct core *core, const struct actor *actor, const char *id, struct lease **ret,
                  struct error *err);

/* Its guest is asked for something: if the VM is handed out, it is in use. Never blocks. */
void lease_touch(struct core *core, const char *vm_id);

struct guest_step;
struct guest_outcome;
/* A program was run in the VM: if that is handed out, its record says so. Blocks on the disk. */
void lease_note_exec(struct core *core, const char *vm_id, const struct guest_step *step,
                     const struct guest_outcome *outcome);

/* What happened to it, as JSON (see LeaseRecord in openapi.yaml); a new reference. */
json_t *lease_record(struct core *core, const struct lease *lease);

/* ---- the keeper's life ---- */

struct lease_keeper;
struct vm;

/* Loads pools, members (into the registry's VMs) and living leases; no thread yet. */
int lease_keeper_open(struct core *core, struct lease_keeper **ret, struct error *err);
int lease_keeper_start(struct lease_keeper *k, struct error *err);
void lease_keeper_stop(struct lease_keeper *k);
void lease_keeper_free(struct lease_keeper *k);
/* After each commit that changed a VM; on the writer thread, must not block. */
void lease_keeper_on_vm(struct lease_keeper *k, const struct vm *vm, bool removed);
/* Something a waiting VM is measured by may have come true. Any thread, never blocks. */
void lease_keeper_poke(struct lease_keeper *k);
/* For /metrics. */
struct lease_counts {
    size_t active, queued, pools;
    uint64_t claims_warm, claims_cold, expired, released;
};
void lease_counts_read(struct core *core, struct lease_counts *ret);

#endif
