/*
 * What the files of service/vm share with each other and with nobody else.
 *
 * Lock order: a VM's change lock (core_change_lock) is taken first and may be held across a
 * database commit; the operation engine's and the admission's lock may take the registry's; the
 * tuner's `work` is held while /sys is written; every other lock is a leaf,
 * held for a few instructions. No lock is held across a call into libvirt.
 */
#ifndef DROVER_VM_CORE_INTERNAL_H
#define DROVER_VM_CORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "db/store.h"
#include "service/base/thread.h"
#include "service/conf/settings.h"
#include "service/host/host.h"
#include "service/virt/virt.h"
#include "service/vm/access.h"
#include "service/vm/admission.h"
#include "service/vm/audit_log.h"
#include "service/vm/catalogue.h"
#include "service/vm/console.h"
#include "service/vm/core.h"
#include "service/vm/event.h"
#include "service/vm/history.h"
#include "service/vm/idem.h"
#include "service/vm/image.h"
#include "service/vm/ksm_tuner.h"
#include "service/vm/op.h"
#include "service/vm/sampler.h"
#include "service/vm/stats_topic.h"
#include "service/vm/timing.h"
#include "service/vm/vm.h"
#include "service/vm/wait.h"

#define CHANGE_LOCKS 64

struct host_stop;
struct lease_keeper;
struct project_book;
struct quota_book;
struct set_keeper;
struct stream_opening;
struct webhook_hub;

struct core {
    struct settings *settings;
    char *state_dir;
    char install_id[UUID_TEXT];
    struct db *db;
    struct host *host;
    struct virt *virt;
    struct access *access;
    struct console_hub *consoles;
    struct image_registry *images;
    struct catalogue *catalogue;
    struct registry *registry;
    struct event_log *events;
    struct wait_list *waits;
    struct op_engine *ops;
    struct tracker *tracker;
    struct sampler *sampler;
    struct ksm_tuner *ksm_tuner;
    struct admission *admission;
    struct project_book *projects;
    struct quota_book *quotas;
    struct webhook_hub *webhooks;
    struct history *history;
    struct stats_topic *stats_topic;
    struct timing *timing;
    struct janitor *janitor;
    struct backups *backups;
    struct notices *notices;
    struct audit_log *audit_log;
    struct guest_hub *guests;
    struct lease_keeper *leases;
    struct set_keeper *sets;
    struct host_stop *host_stop;
    struct notifier *notifier; /* NULL: nobody listens */
    struct recorder *recorder;
    _Atomic unsigned dialling; /* vsock connections that are being made */
    _Atomic unsigned picturing; /* screenshots */
    pthread_mutex_t change_locks[CHANGE_LOCKS];
    pthread_mutex_t openings_lock;
    pthread_cond_t openings_changed;
    struct stream_opening *openings; /* track_streams.c */
};

/* ---- registry.c: every living VM, by id, name and age ---- */

struct registry *registry_new(void);
void registry_free(struct registry *r);
struct vm *registry_get(struct registry *r, const char *id); /* a reference or NULL */
struct vm *registry_find(struct registry *r, const char *project_id, const char *ref);
/* Has a VM that is not being deleted the name? */
bool registry_name_taken(struct registry *r, const char *project_id, const char *name);
void registry_put(struct registry *r, struct vm *vm); /* inserts or replaces; takes a reference of its own */
void registry_remove(struct registry *r, const char *id);
void registry_all(struct registry *r, struct vm ***ret, size_t *ret_count); /* references */
void registry_list(struct registry *r, const struct vm_filter *filter, struct vm ***ret,
                   size_t *ret_count, bool *ret_more);
size_t registry_count(struct registry *r, int state); /* -1: all */
unsigned registry_image_users(struct core *core, const char *image_id);
size_t registry_image_vms(struct core *core, const char *image_id, struct vm ***ret);

/* ---- snapshot.c: making VM snapshots ---- */

struct vm *vm_copy(const struct vm *vm); /* mutable until published; shares the spec */
struct vm *vm_from_row(const struct vm_row *row, struct error *err);
/* Fills a row that borrows from vm and from *ret_spec_text, which the caller frees. */
void vm_to_row(const struct vm *vm, struct vm_row *ret, char **ret_spec_text);

/* ---- change.c: the one way a stored VM changes ---- */

/* What is written in the same transaction as the change. */
struct change {
    const char *event_type; /* NULL: none */
    json_t *event_data;     /* borrowed; NULL: {} */
    const struct actor *actor;
    struct op *op_insert; /* a new operation, queued after the commit */
    struct op *op_update; /* a newer snapshot of a stored one */
    const struct idem *idem;
    int idem_status;
    bool quiet;  /* nobody asked for it: updated_at stays */
    bool first;  /* somebody waits for it in milliseconds: db_write_first() */
    bool remove; /* tombstone: the VM leaves the registry, its CID is released */
    /* More to write in the same transaction, and what follows it in memory; on the writer thread. */
    int (*also)(struct db_tx *tx, void *arg, struct error *err);
    void (*also_committed)(void *arg);
    void *also_arg;
};

extern const struct actor actor_system;

/* mutate edits a private copy: 0 write it, 1 nothing to do, -1 refuse. Runs under the VM's change lock. */
typedef int mutate_fn(struct core *core, struct vm *next, struct change *change, void *arg,
                      struct error *err);
/* *ret (may be NULL) is the VM as it is afterwards; VM_NOT_FOUND. Blocks on the disk. */
int vm_change(struct core *core, const char *vm_id, mutate_fn *mutate, void *arg,
              struct change *change, struct vm **ret, struct error *err);
/* A new VM; fills seq and CID. */
int vm_insert(struct core *core, struct vm *vm, struct change *change, struct error *err);
/* A new VM as lifecycle.c makes it, with what else is born with it; idem is looked up by the caller. */
struct vm_birth {
    const char *lease_id, *pool_id; /* or NULL */
    int64_t pool_generation;
    const char *template_id; /* or NULL */
    struct change *change; /* actor, idem and also are the caller's */
    void (*on_named)(void *arg, const struct vm *vm); /* its id is drawn, nothing is written; or NULL */
    void *arg;
};
int vm_create_born(struct core *core, const struct actor *actor, struct vm_spec *spec, bool start,
                   struct vm_birth *birth, struct vm **ret, struct op **ret_op, struct error *err);
/*
 * May such a VM be made? Fills the image it will stand on; *ret_comes: it is being imported. Asks
 * memory only.
 */
int vm_check_new(struct core *core, const char *project_id, const struct vm_spec *spec,
                 char ret_image_id[UUID_TEXT], bool *ret_comes, struct error *err);
/* Within a write: one more new VM, its CID and its event; after the commit it is published. */
int vm_write_new(struct core *core, struct db_tx *tx, struct vm *vm, const struct actor *actor,
                 struct error *err);
void vm_publish_new(struct core *core, struct vm *vm);
/* Only the operation and events. */
int op_commit(struct core *core, struct op *op, struct error *err);

/* ---- op.c ---- */

struct op_engine *op_engine_new(struct core *core);
int op_engine_load(struct op_engine *e, struct error *err); /* queues what an earlier daemon left unfinished */
int op_engine_start(struct op_engine *e, struct error *err);
void op_engine_stop(struct op_engine *e);
void op_engine_free(struct op_engine *e);
struct op *op_new(const struct actor *actor, const struct vm *vm, const char *kind, const char *params);
struct op *op_new_for_set(const struct actor *actor, const char *set_id, const char *kind,
                          const char *params);
struct op *op_new_for_host(const struct actor *actor, const char *kind, const char *params);
struct op *op_new_image(const struct actor *actor, const char *image_id, const char *kind,
                        const char *params);
void op_progress_unref(struct op_progress *p); /* NULL is fine */
void op_enqueue(struct op_engine *e, struct op *op); /* after its commit */
struct op *op_of_image(struct op_engine *e, const char *image_id); /* its oldest unfinished one */
bool op_vm_busy(struct op_engine *e, const char *vm_id); /* one is running right now */
bool op_vm_active(struct op_engine *e, const char *vm_id); /* a worker has one in its hands */
bool op_vm_starts(struct op_engine *e, const char *vm_id); /* and that one starts it */
struct op *op_in_memory(struct op_engine *e, const char *id); /* a reference or NULL */
/* Those of a kind that begins so, worked off by the sets' keeper and not finished, oldest first; caller unrefs each
 * and frees the array. */
void op_driven(struct op_engine *e, const char *kind, struct op ***ret, size_t *ret_count);
/* Says that it runs; -1: the disk does not take it, or it is gone. */
int op_driven_start(struct op_engine *e, const char *id);
/* Its end; why: with OP_FAILED and OP_CANCELLED. Nothing happens when it is gone. */
void op_driven_finish(struct op_engine *e, const char *id, enum op_state state,
                      const struct error *why);
/* The VM's state changed, or libvirt came back: look at what waits. */
void op_engine_poke(struct op_engine *e);
struct op *op_from_row(const struct op_row *row);
void op_to_row(const struct op *op, struct op_row *ret);

/* ---- execute.c: what an operation does; runs on an operation worker ---- */

enum execute_result {
    EXECUTE_DONE,
    EXECUTE_FAILED,
    EXECUTE_WAITS,
    EXECUTE_AGAIN,
    EXECUTE_CANCELLED,
};
/*
 * EXECUTE_WAITS: a shutdown was asked for; done when the VM is off or the deadline passes.
 * EXECUTE_AGAIN: libvirt went away, the disk refuses or the daemon stops; to be done anew later.
 * EXECUTE_CANCELLED: it was asked to end while it copied bytes, and has cleaned up.
 * tries: how often it came to EXECUTE_AGAIN before.
 */
enum execute_result op_execute(struct core *core, const struct op *op, unsigned tries, struct error *err);

/* What the engine has to know of a kind before it runs. */
enum op_traits {
    OP_COPIES = 1 << 0,  /* takes long, reports bytes, can be cancelled while it runs */
    OP_OFFLINE = 1 << 1, /* needs no libvirt */
    OP_DRIVEN = 1 << 2,  /* worked off by the sets' keeper, VM by VM; no worker takes it */
    OP_STARTS = 1 << 3,  /* a VM is on afterwards, if its parameters say so or it has none */
};
unsigned op_kind_traits(const char *kind);

/* ---- domain.c: from a definition to what libvirt is told ---- */

char *vm_dir(struct core *core, const char *vm_id); /* STATE_DIR/vms/ID */
char *vm_root_disk(struct core *core, const char *vm_id);
/* Where its QEMU listens for "console" or "channels/NAME"; NULL: the path is too long for a socket. */
char *vm_stream_socket(struct core *core, const char *vm_id, const char *stream);
/* Creates missing disks. Idempotent. */
int vm_disks_ensure(struct core *core, const struct vm *vm, struct error *err);
int vm_disks_remove(struct core *core, const char *vm_id, struct error *err);
/* Chooses the acceleration and defines the domain when libvirt does not know this generation. */
struct vm_domain_choice {
    bool kvm;
    char reason[256]; /* why not KVM, or "" */
};
int vm_domain_define(struct core *core, const struct vm *vm, enum vm_merges merges,
                     struct vm_domain_choice *ret, struct error *err);

/* Restores the defined domain, paused, from its template's memory. */
int vm_domain_clone(struct core *core, const struct vm *vm, struct error *err);

/* ---- track.c: libvirt's truth into ours ---- */

struct tracker *tracker_new(struct core *core);
int tracker_start(struct tracker *t, struct error *err);
void tracker_stop(struct tracker *t);
void tracker_free(struct tracker *t);
void tracker_on_event(void *tracker, const struct virt_event *event);
void tracker_on_link(void *tracker, enum virt_link link, const char *reason);
void tracker_on_stream_ended(void *tracker, const char *vm_id, const char *stream);
/* Not known to the database yet: this boot of the host. False also when nobody can tell. */
bool vm_host_was_booted(struct core *core);
/* Starts what the host's boot should start, once for each boot. */
void vm_autostart_after_boot(struct core *core);
/* Starts some of those that wait; false: nobody does. The sets keeper's thread. */
bool vm_autostart_work(struct core *core);
/* The console showed how far the boot came. */
void tracker_on_mark(void *tracker, const char *vm_id, enum vm_mark mark, int64_t at);
void tracker_on_console_notice(void *core, const struct console_notice *notice);
bool tracker_is_reconciled(struct tracker *t);
/* Until all VMs were compared for the first time after a boot of the host: who is off then ended with it. */
bool tracker_is_after_boot(struct tracker *t);
/* Asks libvirt for one VM's state and stores it; opens its streams when it runs. Blocks. */
int vm_sync(struct core *core, const char *vm_id, const char *reason, struct error *err);
/* The same for who does not work on the VM: a start that is under way says itself what came of it. */
int vm_sync_beside(struct core *core, const char *vm_id, const char *reason, struct error *err);
/* Looks at the VM again soon, and for as long as it is on and its streams cannot be opened. Any thread. */
void tracker_look_again(struct tracker *t, const char *vm_id);

/* ---- track_streams.c ---- */

/* Opens what the VM's definition promises: the console and every channel. fresh: it just started. */
void vm_streams_open(struct core *core, const struct vm *vm, bool fresh);

/* ---- boot.c: how far a guest's boot came ---- */

/* A new boot begins: what is known of the last one goes. */
int vm_boot_begin(struct core *core, const char *vm_id, struct error *err);
/* The guest rebooted. */
void vm_boot_again(struct core *core, const struct vm *vm);
/* The console showed a mark. */
/* What libvirt says (NULL: it does not know it) as a state of the VM. */
enum vm_state vm_state_seen(const struct vm *vm, const struct virt_info *info);
void vm_boot_shown(struct core *core, const char *vm_id, enum vm_mark mark, int64_t at);
/* What the guest says about itself; at most once a second. */
int vm_boot_status(struct core *core, const char *vm_id, const char *status, struct error *err);
/* Has the console looked through for what is not known of this boot yet. */
void vm_boot_watch(struct core *core, const struct vm *vm, bool fresh);
/* Somebody uses a console of the VM; once a second is enough. */
int vm_note_attached(struct core *core, const char *vm_id, int64_t at, struct error *err);

/* ---- stream_open.c ---- */

/* STREAM_UNAVAILABLE unless the running guest is the one that has the VM's CID. Asks libvirt. */
int vm_require_vsock(struct core *core, const struct vm *vm, struct error *err);

/* ---- notify.c: guests that say so themselves ---- */

struct notifier;
/* *ret NULL when this host has no vsock or the setting is off: nobody is listened to. */
int notifier_start(struct core *core, struct notifier **ret, struct error *err);
void notifier_stop(struct notifier *n);
uint32_t notifier_port(const struct notifier *n); /* 0: nobody listens */

/* ---- wait.c ---- */

struct wait_list *wait_list_new(struct core *core, struct error *err);
void wait_list_stop(struct wait_list *w); /* ends all with WAIT_STOPPING */
void wait_list_free(struct wait_list *w);
void wait_wake_op(struct wait_list *w, const char *op_id);
void wait_wake_vm(struct wait_list *w, const char *vm_id);
void wait_wake_lease(struct wait_list *w, const char *lease_id);

/* ---- event.c ---- */

int event_log_new(struct core *core, struct event_log **ret, struct error *err);
void event_log_stop(struct event_log *log); /* ends subscriptions */
void event_log_free(struct event_log *log);
void event_log_revoke(struct event_log *log, const char *right); /* ends subscriptions that came by it */
void event_log_publish(void *log, const struct event_row *row); /* the database's event hook */
/* Appends within a transaction; data may be NULL. */
int event_append(struct core *core, struct db_tx *tx, const char *project_id,
                 const struct actor *actor, const char *type,
                 const char *subject_kind, const char *subject_id, const char *subject_name,
                 const json_t *data, struct error *err);
/* One event in a transaction of its own. */
int event_write(struct core *core, const char *project_id, const char *type, const char *subject_kind,
                const char *subject_id, const json_t *data, struct error *err);

/* ---- guest_link.c, guest_task.c ---- */

#define GUEST_STREAM "channels/org.qemu.guest_agent.0"
int guest_hub_new(struct core *core, struct guest_hub **ret, struct error *err);
/* Ends every task, and returns when none is left. */
void guest_hub_stop(struct guest_hub *hub);
void guest_hub_free(struct guest_hub *hub);
/*
 * QEMU will come, or come back, to where we listen from now on. Does nothing when we listen already,
 * and where libvirt has the agent.
 */
int guest_listen(struct core *core, const struct vm *vm, struct error *err);
void guest_end(struct core *core, const char *vm_id); /* the VM is off */
void guest_rebooted(struct core *core, const char *vm_id);
/* The daemon is back: a guest that it had frozen is thawed. */
void guest_thaw_left(struct core *core, const char *vm_id);
/* Ends the streams of programs that have this among their rights. */
void exec_revoke(struct core *core, const char *right);
/* It stood still and its clock is late: set when the agent answers, in the background. */
void guest_clock_after_pause(struct core *core, const char *vm_id);
/* It has another's memory: besides, its kernel is given a host name and fresh randomness. */
void guest_refresh_clone(struct core *core, const char *vm_id);

/* ---- notices.c ---- */

struct notices *notices_new(void);
void notices_free(struct notices *a);
/* True when there was none: somebody should call notices_write() now. Never blocks. */
bool notices_add(struct notices *a, const struct console_notice *notice);
void notices_write(struct notices *a, struct core *core);

/* ---- janitor.c ---- */

int janitor_start(struct core *core, struct janitor **ret, struct error *err);
void janitor_stop(struct janitor *j);

/* ---- recorder.c ---- */

struct recorder;
/* *ret is to be stopped also on failure. */
int recorder_start(struct core *core, struct recorder **ret, struct error *err);
/* Finishes what is being recorded. After nobody begins another, before the hub goes. */
void recorder_stop(struct recorder *r);
/* The VM's console was opened: records it if the VM wants each boot recorded. Blocks on the disk. */
void recording_of_boot(struct core *core, const struct vm *vm, bool fresh);
/* Removes finished ones that are older than the moment. Blocks on the disk. */
int recordings_prune(struct core *core, int64_t finished_before, struct error *err);

struct image_registry *core_images(struct core *core);
int image_registry_open(struct core *core, struct image_registry **ret, struct error *err);
void image_registry_close(struct image_registry *r);

#endif
