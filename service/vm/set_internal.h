/*
 * What the files about sets share; nobody else includes it.
 *
 * Locks: keeper->lock is a leaf; it is taken on the database's writer thread, so nothing is called
 * with it held. One of set_locks orders the changes of one set and is held across a commit; a VM's
 * change lock may be taken under it, never the other way round.
 */
#ifndef DROVER_VM_SET_INTERNAL_H
#define DROVER_VM_SET_INTERNAL_H

/* uthash's default hash falls through its cases in a way that clang warns of. */
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#include "db/store_set.h"
#include "service/vm/core_internal.h"
#include "service/vm/set.h"

#define SET_LOCKS 16

struct set_entry {
    struct set *set;
    char id[UUID_TEXT];
    char waits_for[256]; /* of its operation at work, or "" */
    UT_hash_handle hh;
};

/* What the keeper remembers of a VM of an operation at work; lost with the daemon, found again. */
struct set_note {
    char key[UUID_TEXT + 32]; /* operation, member, machine */
    int64_t since_ms;         /* boot clock: it runs and is not ready yet; 0: not seen so */
    bool failed;              /* it could not even be asked */
    char reason[256];
    UT_hash_handle hh;
};

struct set_keeper {
    struct core *core;
    char boot_id[UUID_TEXT];
    char *salt;
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t wake;
    /* lock: */
    bool poked, stopping, started;
    struct set_entry *sets;
    /* not lock: */
    pthread_mutex_t set_locks[SET_LOCKS];
    pthread_t thread;
    struct set_note *notes; /* keeper thread only */
};

/* ---- set_book.c: what the keeper knows, under its lock; snapshots ---- */

pthread_mutex_t *set_lock(struct set_keeper *k, const char *id);
struct set *set_copy(const struct set *set); /* one reference, mutable until published */
struct set *set_from_row(const struct set_row *row, struct error *err);
struct set *set_book_get(struct set_keeper *k, const char *id); /* a reference or NULL */
void set_book_put(struct set_keeper *k, struct set *set);
void set_book_remove(struct set_keeper *k, const char *id);
/* Oldest first; caller unrefs each and frees the array. */
void set_book_all(struct set_keeper *k, struct set ***ret, size_t *ret_count);
void set_book_wait(struct set_keeper *k, const char *id, const char *reason); /* "": goes on */
void set_book_waits(struct set_keeper *k, const char *id, char ret[256]);
void set_book_clear(struct set_keeper *k);

/* ---- set_write.c: what is committed ---- */

/* A set's new snapshot and what is accepted with it, in one transaction. */
struct set_write {
    struct core *core;
    struct set *set; /* published after the commit */
    bool insert, remove;
    struct vm *const *vms; /* new rows */
    size_t vm_count;
    struct op *op;         /* new; queued after the commit; or NULL */
    const char *event;
    json_t *event_data;    /* borrowed; or NULL */
    const struct actor *actor;
    const struct idem *idem; /* or NULL */
    const char *idem_kind;   /* "set" or "operation" */
    int idem_status;
};
int set_write(struct set_write *w, struct error *err);

/* ---- set_vm.c: VMs of a set ---- */

/* A new one as its slot has it, with its image resolved; not stored yet. */
struct vm *set_vm_new(struct core *core, const struct actor *actor, const struct set *set,
                      const struct set_slot *slot, struct error *err);

/* ---- set_work.c: operations at work ---- */

/* Their parameters. */
struct set_params {
    int64_t step;
    int64_t member; /* 0: all */
    int start;      /* 1, 0, -1: as it was */
};
enum set_verb set_verb_of(const struct op *op);
char *set_params_text(const struct set_params *p);
void set_params_read(const struct op *op, struct set_params *ret);
/* One look at every operation, oldest first; keeper thread. */
void sets_work(struct core *core);

/* How far one of its VMs is. */
enum slot_state { SLOT_PENDING, SLOT_FLYING, SLOT_DONE, SLOT_FAILED };

/* One look at an operation; keeper thread. */
struct set_look {
    struct op *op;
    struct set_params params;
    enum set_verb verb;
    struct set *set; /* NULL: gone */
    struct vm **vms; /* of the whole set */
    enum slot_state *slots;
    size_t first, end; /* of them, this operation's */
    int64_t flying, done, failed, pending;
    char why[300]; /* the first failure */
};

/* Will its VMs boot, if they do not run already? */
bool set_look_starts(const struct set_look *l);

/* ---- set_take.c ---- */

/* Takes hold of one more VM, or makes it again: its own operation is queued. */
int set_take(struct core *core, const struct set_look *l, size_t slot, struct error *err);
/* What passes by itself is waited for; anything else is this VM's failure. */
bool set_take_passes(const struct error *err);

#endif
