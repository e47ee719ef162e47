/*
 * VMs as the rest of Drover sees them: immutable snapshots in a registry in memory, replaced after
 * each commit, and the use cases that change them.
 *
 * Reads never wait for the disk or libvirt. Use cases commit before they return and may block on
 * the disk (call them on a request worker); what needs libvirt happens later, as an operation.
 */
#ifndef DROVER_VM_VM_H
#define DROVER_VM_VM_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/base/blob.h"
#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/vm/spec.h"

struct core;

enum vm_state {
#define V(sym, name) VM_STATE_##sym,
#include "service/vm/vm_states.def"
#undef V
    VM_STATE_COUNT
};

const char *vm_state_name(enum vm_state state);
enum vm_state vm_state_from_name(const char *name); /* VM_STATE_COUNT: none */

struct vm {
    _Atomic unsigned refs;
    int64_t seq;
    char id[UUID_TEXT];
    char project_id[UUID_TEXT], host_id[UUID_TEXT];
    struct vm_spec *spec;
    enum vm_state state;
    char state_reason[256];
    char acceleration[16];         /* "kvm", "emulated", "" before the first start */
    char acceleration_reason[256]; /* why not KVM, or "" */
    char image_id[UUID_TEXT];      /* or "" */
    int64_t generation, defined_generation, running_generation;
    uint32_t vsock_cid;
    char pool_id[UUID_TEXT], lease_id[UUID_TEXT]; /* or "": see lease.h */
    int64_t pool_generation;
    int64_t created_at, updated_at, started_at;
    /* The rendered JSON, filled by whoever renders first; owned by the snapshot. */
    _Atomic(struct blob *) rendered;
};

struct vm *vm_ref(struct vm *vm);
void vm_unref(struct vm *vm);
DEFINE_CLEANUP(vm, struct vm *, vm_unref);
#define auto_vm auto_scope(cleanup_vm)

/* Running or paused with a definition newer than the guest was started with. */
bool vm_has_pending_changes(const struct vm *vm);

/* ---- who asks ---- */

struct actor {
    const char *id;         /* "token:AbC…", "session:…", "socket:0", "system" */
    const char *project_id;
    const char *request_id;
};

/* An Idempotency-Key and what it was sent with; NULL pointers mean the client sent none. */
struct idem {
    const char *key;
    const char *request_sha256;
};

/* ---- reads: any thread, never block ---- */

/* By id or name within the project; a reference, or NULL with VM_NOT_FOUND. */
struct vm *vm_find(struct core *core, const char *project_id, const char *ref, struct error *err);

struct vm_filter {
    const char *project_id;
    int state; /* enum vm_state, or -1 */
    const char *name; /* exact, or NULL */
    const char *const *label_keys, *const *label_values;
    size_t label_count;
    int64_t after_seq; /* keyset: VMs younger than this; 0 from the first */
    size_t limit;
};
/* In order of creation. Caller unrefs each and frees the array; *ret_more: a next page exists. */
void vm_list(struct core *core, const struct vm_filter *filter, struct vm ***ret, size_t *ret_count,
             bool *ret_more);
size_t vm_count(struct core *core, enum vm_state state);

/* ---- use cases: request workers ---- */

struct op;

/* *ret_replayed: the key was seen before with the same request; ret_* show what it made then. */
int vm_create(struct core *core, const struct actor *actor, struct vm_spec *spec, bool start,
              const struct idem *idem, struct vm **ret, struct op **ret_op, bool *ret_replayed,
              struct error *err);
/* Merge-patch; if_generation 0: unconditional, else PRECONDITION_FAILED when it differs. */
int vm_patch(struct core *core, const struct actor *actor, const char *ref, const json_t *patch,
             int64_t if_generation, struct vm **ret, struct error *err);

enum vm_verb {
    VM_VERB_START, VM_VERB_SHUTDOWN, VM_VERB_STOP, VM_VERB_REBOOT, VM_VERB_RESET,
    VM_VERB_PAUSE, VM_VERB_RESUME, VM_VERB_SAVE, VM_VERB_DELETE, VM_VERB_COUNT
};
const char *vm_verb_name(enum vm_verb verb); /* "start" */

/*
 * Records the operation (kind "vm.start") and queues it. VM_STATE_CONFLICT when the state cannot
 * allow it; DELETE of a VM that is not stopped needs force. if_generation as above (DELETE).
 */
int vm_act(struct core *core, const struct actor *actor, const char *ref, enum vm_verb verb,
           bool force, int64_t if_generation, const struct idem *idem, struct op **ret_op,
           bool *ret_replayed, struct error *err);

#endif
