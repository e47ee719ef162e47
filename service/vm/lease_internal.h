/*
 * What the files about leases and pools share; nobody else includes it.
 *
 * Locks: keeper->lock is a leaf; it is taken on the database's writer thread and the console
 * thread, so nothing is called with it held. One of lease_locks orders the changes of one lease and
 * is held across a commit; a VM's change lock may be taken under it, never the other way round.
 */
#ifndef DROVER_VM_LEASE_INTERNAL_H
#define DROVER_VM_LEASE_INTERNAL_H

/* uthash's default hash falls through its cases in a way that clang warns of. */
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#include "db/store_lease.h"
#include "service/vm/core_internal.h"
#include "service/vm/lease.h"

#define LEASE_LOCKS        32
#define POOL_CLAIM_SAMPLES 100
#define POOL_BACKOFF_MS    1000   /* after the first failure; doubled with each */
#define POOL_BACKOFF_MAX   300000
#define LEAVING_RETRY_MS   5000

enum member_phase {
    MEMBER_WARMING, /* on its way to the ready point */
    MEMBER_SAVING,  /* reached it, its memory is being written (POOL_SNAPSHOT) */
    MEMBER_READY,
    MEMBER_TAKEN,   /* claimed, or being claimed */
    MEMBER_LEAVING, /* to be deleted */
};

struct member {
    char vm_id[UUID_TEXT], pool_id[UUID_TEXT];
    int64_t generation;
    enum member_phase phase;
    int64_t since_ms; /* boot clock: in this phase */
    UT_hash_handle hh;
};

struct pool_state {
    struct pool *pool;
    char id[UUID_TEXT];
    int64_t reserved; /* places taken by VMs that are about to be inserted */
    int64_t retry_ms; /* boot clock: no VM is made before */
    bool held; /* by its owner's quota, and that was said */
    struct pool_status status;
    int64_t claims_us[POOL_CLAIM_SAMPLES];
    unsigned claim_count;
    UT_hash_handle hh;
};

struct lease_entry {
    struct lease *lease;
    char id[UUID_TEXT];
    int64_t busy_ms;  /* boot clock: it was last seen in use */
    bool held; /* it waits because of its own quota, so nobody waits behind it */
    bool has_usage;
    double cpu_seconds;
    uint64_t peak_resident_bytes, merging_bytes;
    UT_hash_handle hh;
};

struct lease_keeper {
    struct core *core;
    char boot_id[UUID_TEXT];
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t wake;
    /* lock: */
    bool poked, stopping, started;
    struct lease_entry *leases;
    struct member *members;
    struct pool_state *pools;
    struct lease_counts counts;
    /* not lock: */
    pthread_mutex_t lease_locks[LEASE_LOCKS];
    pthread_t thread;
    int64_t sampled_ms; /* keeper thread only */
};

/* ---- lease_row.c: snapshots ---- */

struct lease *lease_copy(const struct lease *lease); /* one reference, mutable until published */
struct lease *lease_from_row(const struct lease_row *row);
void lease_to_row(const struct lease *lease, struct lease_row *ret); /* borrows */
struct pool *pool_from_row(const struct pool_row *row, struct error *err);

/* ---- lease_book.c: what the keeper knows, under its lock ---- */

pthread_mutex_t *lease_lock(struct lease_keeper *k, const char *id);
struct lease *book_lease(struct lease_keeper *k, const char *id); /* living; a reference or NULL */
void book_put(struct lease_keeper *k, struct lease *lease); /* an ended one leaves the book */
/* Living leases in order of asking; caller unrefs each and frees the array. */
void book_leases(struct lease_keeper *k, struct lease ***ret, size_t *ret_count);
struct pool *book_pool(struct lease_keeper *k, const char *id);
void book_pool_put(struct lease_keeper *k, struct pool *pool);
void book_pool_remove(struct lease_keeper *k, const char *id);
/* All pools, oldest first; as book_leases. */
void book_pools(struct lease_keeper *k, struct pool ***ret, size_t *ret_count);
void book_members(struct lease_keeper *k, struct member **ret, size_t *ret_count); /* copies */
/* Only if it is still in the phase `from`. */
bool book_member_move(struct lease_keeper *k, const char *vm_id, enum member_phase from,
                      enum member_phase to);
/* Takes a ready VM of the pool for whoever asks; false: there is none. */
bool book_take_ready(struct lease_keeper *k, const char *pool_id, char ret_vm_id[UUID_TEXT]);
/* A place for one more VM within max; given back with book_unreserve once it is in the book. */
bool book_reserve(struct lease_keeper *k, const char *pool_id);
void book_unreserve(struct lease_keeper *k, const char *pool_id);
bool book_others_wait(struct lease_keeper *k, const char *pool_id);
void book_hold(struct lease_keeper *k, const char *id, bool held);
unsigned book_holder_leases(struct lease_keeper *k, const char *pool_id, const char *holder);
void book_claimed(struct lease_keeper *k, const struct lease *lease);

/* ---- lease_write.c: what is committed ---- */

/* One lease's new snapshot, alone or with its VM's change. */
struct lease_write {
    struct core *core;
    struct lease *lease; /* borrowed; published after the commit */
    bool insert;
    bool leaves_pool; /* its VM is an ordinary one from now on */
    const char *event;
    const struct actor *actor;
    const struct idem *idem; /* or NULL */
    int64_t asked_ns;        /* clock_monotonic_ns() of the request; 0: not a claim */
};
/* Fills in what a VM's change commits besides. */
void lease_write_with(struct lease_write *w, struct change *change);
int lease_write_alone(struct lease_write *w, struct error *err);
/* State, times and reason of a lease that ends now; the record, too. */
void lease_close(struct core *core, struct lease *lease, const char *reason);

/* ---- lease_claim.c ---- */

/* Gives the lease a VM; 1: there is none to be had now. The lease is edited and published. */
int lease_serve(struct core *core, struct lease *lease, struct vm_spec *spec,
                struct lease_write *write, struct error *err);
/* A VM of the pool's template under a name of its own. */
int pool_vm_spec(const struct pool *pool, struct vm_spec **ret, struct error *err);

/* ---- lease_end.c ---- */

/* Ends it for the reason, with what on_expiry says or, with erase, deleting the VM. */
int lease_end(struct core *core, const struct actor *actor, const char *id, const char *reason,
              bool erase, struct error *err);

/* ---- pool_fill.c: one look at every waiting VM and every pool; keeper thread ---- */

void pools_look(struct core *core);
void pools_fill(struct core *core);
/* Deletes a VM that nobody holds; a claim that was faster wins. */
int member_delete(struct core *core, const char *vm_id, struct error *err);

#endif
