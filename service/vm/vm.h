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
/* Of a VM that was on when its host lost power or was booted. The contract names it. */
#define VM_REASON_HOST_DOWN "the host went down"

enum vm_state vm_state_from_name(const char *name); /* VM_STATE_COUNT: none */

/* How far a boot came. */
enum vm_mark {
    VM_MARK_FIRST_OUTPUT, /* the console's first byte */
    VM_MARK_KERNEL,       /* a kernel printed something on the console */
    VM_MARK_USERLAND,     /* so did what the kernel starts first, or it reported to us */
    VM_MARK_READY,        /* it said so, over vsock or with ready_pattern, or its agent answers */
    VM_MARK_COUNT
};

/* Was its QEMU started with its memory offered to KSM? Numbers are those of the database. */
enum vm_merges {
    VM_MERGES_NO,       /* its definition or its project does not want it, or it never started */
    VM_MERGES_YES,
    VM_MERGES_DISTRUST, /* a project that its own does not trust merged on this host */
};

/* Which machine of which set's member a VM is; set_id "" for one that belongs to no set. */
struct vm_place {
    char set_id[UUID_TEXT], set_name[VM_NAME_MAX + 1], machine[VM_NAME_MAX + 1];
    int64_t member; /* from 1 */
    int64_t step;   /* of the set's operation that last took hold of it */
};

struct vm {
    /* First what changes under readers: a copy begins at seq. */
    _Atomic unsigned refs;
    /* The rendered JSON, filled by whoever renders first; owned by the snapshot. */
    _Atomic(struct blob *) rendered;
    int64_t seq;
    char id[UUID_TEXT];
    char project_id[UUID_TEXT], host_id[UUID_TEXT];
    struct vm_spec *spec;
    enum vm_state state;
    char state_reason[256];        /* libvirt's word, an operation's, or one of VM_REASON_* */
    char acceleration[16];         /* "kvm", "emulated", "" before the first start */
    char acceleration_reason[256]; /* why not KVM, or "" */
    char image_id[UUID_TEXT];      /* or "" */
    int64_t generation, defined_generation, running_generation;
    uint32_t vsock_cid;
    char pool_id[UUID_TEXT], lease_id[UUID_TEXT]; /* or "": see lease.h */
    int64_t pool_generation;
    struct vm_place place;
    int64_t reimaged; /* how often its disks were made anew */
    char owner_token[SECRET_TOKEN_ID]; /* whose quota it counts against, or ""; may be gone */
    int64_t root_disk_bytes; /* as the guest sees it; 0: none, or its image has not come yet */
    char template_id[UUID_TEXT]; /* whose saved memory and disks it began with, or "" */
    char template_key[256]; /* not "": it is a template; what its memory was saved under */
    enum vm_merges merges;
    int64_t created_at, updated_at, started_at;
    /* Of the current or last boot, see boot.c; 0: not (yet) seen. */
    int64_t marks[VM_MARK_COUNT];
    int64_t rebooted_at;    /* by the guest, since started_at */
    int64_t boot_began_at;  /* since when marks count; not stored: 0 after a restart of the daemon */
    char boot_status[128];  /* what the guest last said about itself */
    int64_t last_attached_at; /* somebody to one of its consoles */
};

struct vm *vm_ref(struct vm *vm);
void vm_unref(struct vm *vm);
DEFINE_CLEANUP(vm, struct vm *, vm_unref);
#define auto_vm auto_scope(cleanup_vm)

/* All its disks together, as the guest sees them. */
int64_t vm_disk_bytes(const struct vm *vm);

/* Its memory is still its template's: it is "saved", and its first start restores that. */
bool vm_is_unborn(const struct vm *vm);

/* Running or paused with a definition newer than the guest was started with. */
bool vm_has_pending_changes(const struct vm *vm);

/* ---- who asks ---- */

struct actor {
    const char *id;         /* "token:AbC…", "session:…", "socket:0", "system" */
    const char *project_id;
    const char *request_id;
    const char *token_id; /* whose quota counts what is made; NULL or "": nobody's but the project's */
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
    const char *set;  /* id or name of the set it belongs to, or NULL */
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

/*
 * Puts a stopped VM's root disk onto another image, or (image_ref NULL) on none. The operation
 * reports the bytes it copied.
 */
int vm_rebase(struct core *core, const struct actor *actor, const char *vm_ref, const char *image_ref,
              const struct idem *idem, struct op **ret_op, bool *ret_replayed, struct error *err);
/* *ret_replayed: the key was seen before with the same request; ret_* show what it made then. */
int vm_create(struct core *core, const struct actor *actor, struct vm_spec *spec, bool start,
              const struct idem *idem, struct vm **ret, struct op **ret_op, bool *ret_replayed,
              struct error *err);
/* Merge-patch; if_generation 0: unconditional, else PRECONDITION_FAILED when it differs. */
int vm_patch(struct core *core, const struct actor *actor, const char *ref, const json_t *patch,
             int64_t if_generation, struct vm **ret, struct error *err);

/*
 * Marks that the running guest came so far, once for each boot; what is known already, and a guest
 * that is off, are left alone. at: wall clock; how (for VM_MARK_READY): "notify", "console", "agent".
 * VM_MARK_READY is an event vm.ready and ends the waits for it. Blocks on the disk.
 */
int vm_mark(struct core *core, const char *vm_id, enum vm_mark mark, const char *how, int64_t at,
            struct error *err);

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

/* VM_STATE_CONFLICT for a VM that waits in a pool: it must be clean when it is handed out. */
int vm_refuse_waiting(const struct vm *vm, struct error *err);

#endif
