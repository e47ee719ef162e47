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
#define POOL_YIELD_MS    300 /* after a claim, while an eighth is there: see wave_now() */
#define LEAVING_RETRY_MS   5000

enum member_phase {
    MEMBER_WARMING, /* on its way to the ready point */
    MEMBER_SAVING,  /* reached it, its memory is being written (POOL_SNAPSHOT) */
    MEMBER_READY,
    MEMBER_TAKEN,   /* claimed, or being claimed */
    MEMBER_LEAVING, /* to be deleted */
    MEMBER_TEMPLATE, /* others begin with its memory */
};

struct member {
    char vm_id[UUID_TEXT], pool_id[UUID_TEXT];
    int64_t generation;
    enum member_phase phase;
    int64_t since_ms; /* boot clock: in this phase */
    bool stale;       /* MEMBER_TEMPLATE, MEMBER_READY: not what the pool or the host is now */
    unsigned makings; /* MEMBER_TEMPLATE: VMs that are about to stand on it */
    UT_hash_handle hh;
};

struct pool_state {
    struct pool *pool;
    char id[UUID_TEXT];
    int64_t reserved; /* places taken by VMs that are about to be inserted */
    int64_t retry_ms; /* boot clock: no VM is made before */
    int64_t claimed_ms; /* boot clock: of the last claim */
    bool held; /* by its owner's quota, and that was said */
    struct pool_status status;
    int64_t claims_us[POOL_CLAIM_SAMPLES];
    unsigned claim_count;
    UT_hash_handle hh;
};

struct lease_entry {
    struct lease *lease;
    char id[UUID_TEXT];
    int64_t busy_ms;  /* monotonic clock: it was last seen in use */
    bool held; /* it waits because of its own quota, so nobody waits behind it */
    bool has_usage;
    double cpu_seconds;
    uint64_t peak_resident_bytes, merging_bytes;
    UT_hash_handle hh;
};

struct lease_keeper {
    struct core *core;
    char boot_id[UUID_TEXT], kernel[64], processor[96];
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
/* Takes a ready VM of the pool for whoever asks, one that is to be replaced last; false: there is none. */
bool book_take_ready(struct lease_keeper *k, const char *pool_id, char ret_vm_id[UUID_TEXT]);
/* The template of that generation, kept from being retired until it is given back. */
bool book_template_take(struct lease_keeper *k, const char *pool_id, int64_t generation,
                        char ret_vm_id[UUID_TEXT]);
void book_template_give(struct lease_keeper *k, const char *vm_id);
void book_member_stale(struct lease_keeper *k, const char *vm_id, bool stale);
bool book_stands_on_stale(struct lease_keeper *k, const struct vm *vm); /* its template */
/* From MEMBER_TEMPLATE to MEMBER_LEAVING, unless somebody has taken it. */
bool book_template_retire(struct lease_keeper *k, const char *vm_id);
/* A place for one more VM within max; given back with book_unreserve once it is in the book. */
bool book_reserve(struct lease_keeper *k, const char *pool_id);
void book_unreserve(struct lease_keeper *k, const char *pool_id);
/* Does anybody wait who asked before? Not counting those whom only their own quota holds up. */
bool book_others_wait(struct lease_keeper *k, const char *pool_id, int64_t before_seq);
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
    const char *event; /* NULL: none */
    const struct actor *actor;
    const struct idem *idem; /* or NULL */
    int64_t asked_ns;        /* clock_monotonic_ns() of the request; 0: not a claim */
};
/* Fills in what a VM's change commits besides. */
void lease_write_with(struct lease_write *w, struct change *change);
int lease_write_alone(struct lease_write *w, struct error *err);

/* ---- lease_record.c ---- */

/* State, times and reason of a lease that ends now; the record, too. Reads the console's log. */
void lease_close(struct core *core, struct lease *lease, const char *reason);

/* ---- lease_keeper.c ---- */

/* The newest figures of its VM. */
void lease_sample(struct core *core, const struct lease *l);

/* ---- lease_claim.c ---- */

/* Gives the lease a VM; 1: there is none to be had now. The lease is edited and published. */
int lease_serve(struct core *core, struct lease *lease, struct vm_spec *spec,
                struct lease_write *write, struct error *err);
/* A VM of the pool under a name of its own; with a template: with that one's addresses. */
int pool_vm_spec(const struct pool *pool, const struct vm *template, struct vm_spec **ret,
                 struct error *err);

/* ---- lease_end.c ---- */

/* Ends it for the reason, with what on_expiry says or, with erase, deleting the VM. */
int lease_end(struct core *core, const struct actor *actor, const char *id, const char *reason,
              bool erase, struct error *err);

/* ---- pool_fill.c: one look at every waiting VM and every pool; keeper thread ---- */

void pools_look(struct core *core);
void pools_fill(struct core *core);
/* Made from what the pool is now? An image's name may have moved on to another build. */
bool member_is_current(struct core *core, const struct pool *pool, const struct member *m,
                       const struct vm *vm);
bool member_is_old(const struct pool *pool, const struct member *m);
/* A VM of the pool did not get ready: the next one is made later and later. */
void pool_note_failure(struct core *core, const struct pool *pool, const char *reason);
/* Deletes a VM that nobody holds; a claim that was faster wins. */
int member_delete(struct core *core, const char *vm_id, struct error *err);

/* ---- pool_template.c ---- */

/* ret_why: "" or a sentence for people. */
bool template_is_shareable(struct core *core, const struct pool *pool, char *ret_why, size_t size);
/* What saved memory must find again when it is restored; false: not known yet. */
bool template_key(struct core *core, char *ret, size_t size);
bool template_in_use(struct core *core, const char *vm_id);
enum template_fit { TEMPLATE_FITS, TEMPLATE_STALE, TEMPLATE_UNKNOWN };
enum template_fit template_fits(struct core *core, const struct pool *pool, const struct member *m,
                                const struct vm *vm, char *ret_why, size_t size);
/* The pool's, or NULL; given back once the VM that stands on it is in the registry. */
struct vm *template_take(struct core *core, const struct pool *pool);
void template_give(struct core *core, struct vm *vm); /* NULL is fine */
/* The saved VM is a template from now on. */
int template_keep(struct core *core, const char *vm_id, struct error *err);
/* template: NULL while there is none. */
void template_report(struct core *core, const struct pool *pool, bool shared, const char *why,
                     const struct vm *template);

#endif
