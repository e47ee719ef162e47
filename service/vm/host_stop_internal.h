/* What the files of host_stop share; see host_stop.h. */
#ifndef DROVER_VM_HOST_STOP_INTERNAL_H
#define DROVER_VM_HOST_STOP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
/* uthash's default hash falls through its cases in a way that clang warns of. */
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#include "service/vm/core_internal.h"
#include "service/vm/host_stop.h"

#define HOST_STOP_KIND "host.shutdown-guests"
/* A deadline has passed: no older operation of the VM is waited for. */
#define OP_OVERTAKES   "{\"overtakes\":true}"

struct host_stop_entry {
    struct host_stop_vm v;
    int64_t began_ms; /* boot clock; a daemon that comes back tells it by the wall clock */
    int64_t asked_ms; /* boot clock; 0: not by this daemon */
    UT_hash_handle hh;
};

struct host_stop {
    pthread_mutex_t lock; /* a leaf */
    struct host_stop_entry *vms; /* by id, in the order they began */
    char op_id[UUID_TEXT];   /* of this boot, or "" */
    char boot_id[UUID_TEXT]; /* this one's */
    bool beginning;
    atomic_bool holds;
};

/* Loads what is stored; *ret is to be freed also on failure. */
int host_stop_open(struct core *core, struct host_stop **ret, struct error *err);
void host_stop_free(struct host_stop *s);

/* Within a write, and after its commit. */
int host_stop_put(struct db_tx *tx, const struct host_stop_entry *entry, struct error *err);
void host_stop_publish(struct host_stop *s, const struct host_stop_entry *entry);
bool host_stop_get(struct host_stop *s, const char *vm_id, struct host_stop_entry *ret);
/* A copy of all; caller frees. */
struct host_stop_entry *host_stop_all(struct host_stop *s, size_t *ret_count);

/* host_stop_work.c: one look, on the sets keeper's thread. */
void host_stop_work(struct core *core);
/* Its operation was cancelled. Blocks on the disk. */
void host_stop_on_cancelled(struct core *core);

/* Within the write that says that this boot was dealt with, and after it. due: those that ran start again. */
int host_stop_forget(struct db_tx *tx, bool due, struct error *err);
void host_stop_forgotten(struct host_stop *s, bool due);
/*
 * Is the VM to be started again? Kept in the database until it was: what its state says of it may be
 * overwritten by operations that were under way when the host went down.
 */
bool host_stop_is_due(struct core *core, const char *vm_id);
/* It is on again, or cannot be started. Blocks on the disk. */
void host_stop_settled(struct core *core, const char *vm_id);
/* Was there one that no boot was dealt with after? */
bool host_stop_is_recorded(struct core *core);

#endif
