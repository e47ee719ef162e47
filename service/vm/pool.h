/*
 * Pools: a template, and how many VMs made from it are kept ready to be handed out. The keeper
 * (lease_keeper.c) makes them, checks them, replaces what is too old or made from a former
 * definition, and slows down when the template does not boot.
 *
 * Snapshots are immutable. Reads never block; changes commit before they return.
 */
#ifndef DROVER_VM_POOL_H
#define DROVER_VM_POOL_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/vm/vm.h"

struct core;

/*
 * cold: nothing is kept, a VM boots when it is asked for. booted: runs, at its ready point.
 * snapshot: booted to its ready point and saved; claiming restores its memory, so that waiting
 * costs disk instead of memory. Each has booted by itself: no two share an identity.
 */
enum pool_depth { POOL_COLD, POOL_BOOTED, POOL_SNAPSHOT };
const char *pool_depth_name(int depth);

struct pool_spec {
    _Atomic unsigned refs;
    json_t *vm;           /* the template: a VM's definition without name and start */
    int depth;            /* enum pool_depth */
    int ready_when;       /* enum wait_vm: what a VM must have reached to be handed out as warm */
    int64_t ready;        /* how many to keep */
    int64_t max;          /* VMs altogether, handed out or not */
    int64_t per_holder;   /* leases of one holder at the same time; 0: max */
    int64_t boot_seconds; /* a VM that is not ready by then is replaced */
    int64_t recycle_seconds; /* a VM that waited this long is replaced; 0: never */
    int64_t ttl_seconds, max_seconds; /* of a lease that does not say; and at most */
};

struct pool {
    _Atomic unsigned refs;
    int64_t seq;
    char id[UUID_TEXT], project_id[UUID_TEXT], host_id[UUID_TEXT];
    char name[VM_NAME_MAX + 1];
    char owner_token[SECRET_TOKEN_ID]; /* who made it; waiting VMs count against its quota, or "" */
    struct pool_spec *spec;
    int64_t generation;
    int64_t created_at, updated_at;
};

struct pool *pool_ref(struct pool *pool);
void pool_unref(struct pool *pool);
DEFINE_CLEANUP(pool, struct pool *, pool_unref);
#define auto_pool auto_scope(cleanup_pool)

/* Strict, with defaults filled in; the template is checked as the VM it will be. */
int pool_spec_decode(const json_t *object, struct pool_spec **ret, struct error *err);
json_t *pool_spec_encode(const struct pool_spec *spec); /* a new reference */
struct pool_spec *pool_spec_ref(struct pool_spec *spec);
void pool_spec_unref(struct pool_spec *spec);
DEFINE_CLEANUP(pool_spec, struct pool_spec *, pool_spec_unref);
#define auto_pool_spec auto_scope(cleanup_pool_spec)

/* Of a pool of depth snapshot. */
struct pool_snapshot {
    bool shared; /* VMs begin with the template's memory; else each was saved by itself */
    char template_id[UUID_TEXT]; /* of the VM that is the template; "": it is being made */
    int64_t saved_at;            /* wall ms; 0 without one */
    uint64_t memory_bytes;       /* of the image they share */
    char reason[256]; /* why not shared, or why the last template was given up; or "" */
};

/* What a pool has right now. */
struct pool_status {
    struct pool_snapshot snapshot;
    int64_t ready, warming, leased;   /* VMs */
    uint64_t hits, misses;            /* claims since the daemon started: warm, and not */
    uint64_t failures;                /* VMs in a row that never got ready */
    int64_t retry_at;                 /* wall ms of the next try after a failure; 0: now */
    char last_error[256];             /* why the last one did not get ready; "" after a success */
    int64_t claim_us_p50, claim_us_max; /* of the last 100 warm claims; 0: none */
};

/*
 * Of its VMs that are on, handed out or not. Pages that several share are in the resident memory of
 * each, so that is what they cost before merging; without what is saved, what they cost after it.
 */
struct pool_memory {
    size_t running, sampled; /* sampled: of how many there are figures */
    uint64_t promised_bytes; /* what their definitions give them */
    uint64_t resident_bytes, merging_bytes, saved_bytes;
};
/* Of the latest sample; any thread, never blocks. */
void pool_memory_read(struct core *core, const char *pool_id, struct pool_memory *ret);

/* By id or name; a reference, or NULL with POOL_NOT_FOUND. */
struct pool *pool_find(struct core *core, const char *project_id, const char *ref,
                       struct error *err);
/* All of a project, oldest first. Caller unrefs each and frees the array. */
void pool_list(struct core *core, const char *project_id, struct pool ***ret, size_t *ret_count);
void pool_status_read(struct core *core, const char *pool_id, struct pool_status *ret);

/*
 * Makes the pool or changes its definition; *ret_created tells which. VMs of a former definition
 * that nobody holds are replaced, a few at a time.
 */
int pool_put(struct core *core, const struct actor *actor, const char *name,
             struct pool_spec *spec, int64_t if_generation, struct pool **ret, bool *ret_created,
             struct error *err);
/*
 * For those who start and delete VMs. A template that VMs stand on is not to be deleted; a template
 * whose memory could not be restored is not used again. Any thread that may wait for the disk.
 */
bool template_retire(struct core *core, const char *vm_id);
void template_spoil(struct core *core, const char *vm_id, const struct error *why);

/* Waiting VMs are deleted; those handed out stay until their lease ends. */
int pool_delete(struct core *core, const struct actor *actor, const char *ref, struct error *err);

#endif
