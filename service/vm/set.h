/*
 * Sets: the same machines for many people (a course: fifty students, three machines each), made,
 * started, stopped, put back to their images and deleted as one. The set's row is the intent; its
 * keeper (set_keeper.c) works it off VM by VM, a few at a time, and goes on after a crash where it
 * was, because each VM's row says which of the set's operations took hold of it last.
 *
 * Snapshots are immutable. Reads never block; changes commit before they return.
 */
#ifndef DROVER_VM_SET_H
#define DROVER_VM_SET_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/vm/vm.h"

#define SET_MEMBERS_MAX  1000
#define SET_MACHINES_MAX 16
#define SET_SECONDS_MAX  31536000 /* a year */

struct core;
struct op;

enum set_expiry { SET_EXPIRY_DELETE, SET_EXPIRY_STOP };

struct set_spec {
    _Atomic unsigned refs;
    int64_t count;        /* members, numbered from 1 */
    char *name_pattern;   /* of the VMs: {set}, {n}, {n:02}, {machine} */
    json_t *machines;     /* of each member: VM definitions whose name is the machine's */
    size_t machine_count;
    json_t *labels;       /* every VM gets them */
    bool start;
    int ready_when;       /* enum wait_vm: what a VM must reach before the next one starts */
    int64_t boot_seconds; /* it is not waited for longer */
    int64_t wave;         /* VMs on their way at the same time; 0: the setting */
    char *subnet;         /* of the first network card's addresses; NULL: no address plan */
    int64_t first_host, gateway_host; /* gateway_host 0: none */
    json_t *nameservers;
    int64_t ttl_seconds;  /* 0: it does not end by itself */
    int on_expiry;        /* enum set_expiry */
};

struct set_spec *set_spec_ref(struct set_spec *spec);
void set_spec_unref(struct set_spec *spec);
DEFINE_CLEANUP(set_spec, struct set_spec *, set_spec_unref);
#define auto_set_spec auto_scope(cleanup_set_spec)

/*
 * Strict, with defaults filled in; each machine is decoded as the VM it will be. The member `name`
 * is the set's own: *ret_name (caller frees; NULL: it is refused).
 */
int set_spec_decode(const json_t *object, struct set_spec **ret, char **ret_name, struct error *err);
/* whole: as stored; else without user data. A new reference. */
json_t *set_spec_encode(const struct set_spec *spec, bool whole);

/* ---- the VMs it stands for ---- */

struct set_slot {
    int64_t member;
    size_t machine; /* its index in machines */
    struct vm_spec *spec;
};

/* salt: what makes addresses of cards differ between installations. Caller unrefs the spec. */
int set_slot_make(const struct set_spec *spec, const char *name, const char *salt,
                  struct set_slot *slot, struct error *err);

struct set_plan {
    struct set_slot *slots; /* by member, then machine */
    size_t count;
};
void set_plan_done(struct set_plan *plan);
#define auto_set_plan auto_scope(set_plan_done)
/* All of them, checked against each other; VALIDATION_FAILED says which member of the body is at fault. */
int set_plan_make(const struct set_spec *spec, const char *name, const char *salt,
                  struct set_plan *ret, struct error *err);
const char *set_machine_name(const struct set_spec *spec, size_t machine);

/* ---- sets ---- */

struct set {
    _Atomic unsigned refs;
    int64_t seq;
    char id[UUID_TEXT], project_id[UUID_TEXT], host_id[UUID_TEXT];
    char name[VM_NAME_MAX + 1];
    struct set_spec *spec;
    char actor[80];
    char owner_token[SECRET_TOKEN_ID]; /* whose quota its VMs count against, or "" */
    int64_t step; /* of the operation accepted last */
    bool deleting;
    char boot_id[UUID_TEXT];
    int64_t expires_boot_ms, expires_at; /* expires_at 0: never */
    int64_t created_at, updated_at;
};

struct set *set_ref(struct set *set);
void set_unref(struct set *set);
DEFINE_CLEANUP(set, struct set *, set_unref);
#define auto_set auto_scope(cleanup_set)

enum set_state {
    SET_CREATING, SET_STARTING, SET_STOPPING, SET_REIMAGING, SET_RESETTING, SET_DELETING, /* at work */
    SET_RUNNING, SET_STOPPED, SET_MIXED, /* at rest, every VM there */
    SET_INCOMPLETE, /* at rest, but VMs are missing or have failed */
    SET_STATE_COUNT
};
const char *set_state_name(enum set_state state);

struct set_status {
    enum set_state state;
    char reason[256];                /* why it is incomplete, or what it waits for */
    int64_t total, missing;          /* VMs that should be there; that are not */
    int64_t counts[VM_STATE_COUNT];
    char operation_id[UUID_TEXT];    /* the one at work, or "" */
    int64_t done, failed, of;        /* how far it is, in VMs */
    char waits_for[256];             /* why it does not go on right now, or "" */
};

/* By id or name; SET_NOT_FOUND. */
struct set *set_find(struct core *core, const char *project_id, const char *ref, struct error *err);
/* All of a project, oldest first. Caller unrefs each and frees the array. */
void set_list(struct core *core, const char *project_id, struct set ***ret, size_t *ret_count);
void set_status_read(struct core *core, const struct set *set, struct set_status *ret);
/* Its VMs, by member and machine as in the plan; NULL where one is missing. Caller unrefs and frees. */
struct vm **set_vms(struct core *core, const struct set *set);

/* What POST makes, without making it. Checks what set_create() checks. */
int set_preview(struct core *core, const struct actor *actor, const char *name,
                const struct set_spec *spec, struct set_plan *ret, struct error *err);
/* All rows or none; the VMs start in waves. */
int set_create(struct core *core, const struct actor *actor, const char *name,
               struct set_spec *spec, const struct idem *idem, struct set **ret, struct op **ret_op,
               bool *ret_replayed, struct error *err);

enum set_verb { SET_VERB_CREATE, SET_VERB_START, SET_VERB_STOP, SET_VERB_REIMAGE, SET_VERB_RESET,
                SET_VERB_DELETE, SET_VERB_COUNT };
const char *set_verb_name(enum set_verb verb); /* "start" */

struct set_ask {
    enum set_verb verb;
    int64_t member;       /* RESET: which; else 0 */
    int start;            /* REIMAGE, RESET: 1 start afterwards, 0 do not, -1 as it was */
    const json_t *images; /* REIMAGE: machine name to image, or NULL */
};
/*
 * Records the operation (kind "set.start") and hands it to the keeper. It takes over from earlier
 * ones on the same members. SET_STATE_CONFLICT when the set is being deleted.
 */
int set_act(struct core *core, const struct actor *actor, const char *ref,
            const struct set_ask *ask, const struct idem *idem, struct op **ret_op,
            bool *ret_replayed, struct error *err);
/* Its end, counted from now; 0: none. */
int set_extend(struct core *core, const struct actor *actor, const char *ref, int64_t ttl_seconds,
               struct set **ret, struct error *err);

/* ---- the keeper's life ---- */

struct set_keeper;

/* Loads the sets; no thread yet. */
int set_keeper_open(struct core *core, struct set_keeper **ret, struct error *err);
int set_keeper_start(struct set_keeper *k, struct error *err);
void set_keeper_stop(struct set_keeper *k);
void set_keeper_free(struct set_keeper *k);
/* Something a set may wait for has come true. Any thread, never blocks. */
void set_keeper_poke(struct set_keeper *k);
/* For /metrics: sets in each state, and their VMs in each state. */
struct set_counts {
    int64_t sets[SET_STATE_COUNT];
    int64_t vms[VM_STATE_COUNT];
};
void set_counts_read(struct core *core, struct set_counts *ret);

#endif
