/*
 * The guest agent (QEMU's own, org.qemu.guest_agent.0) of a running VM: who is in there, running
 * programs, moving files, freezing file systems.
 *
 * The agent is the guest, so nothing it says is believed beyond its own VM: every answer is parsed
 * under bounds, every question has a deadline, and a silent or lying agent costs the one operation
 * that asked. What talks to an agent may block for as long as its deadline says; API handlers run it
 * as a task (guest_task_start) and park.
 *
 * Errors of all: VM_STATE_CONFLICT (the VM does not run), AGENT_UNAVAILABLE (no agent, or not yet),
 * AGENT_FAILED (it refused, or answered nonsense), TIMEOUT, TOO_MANY_REQUESTS, SHUTTING_DOWN.
 */
#ifndef DROVER_VM_GUEST_H
#define DROVER_VM_GUEST_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/base/source.h"
#include "service/vm/wait.h"

struct core;
struct vm;

/* ---- tasks: work that waits for a guest, each on a thread of its own ---- */

#define GUEST_TASKS_MAX    64 /* of all VMs at the same time */
#define GUEST_TASKS_PER_VM 8

struct guest_task;
typedef int guest_run_fn(struct core *core, void *arg, struct error *err);

/*
 * Runs fn(arg) on a thread. The task owns arg (arg_free runs with its last reference, also when this
 * fails). TOO_MANY_REQUESTS when the VM or the daemon has its fill of them.
 */
int guest_task_start(struct core *core, const char *vm_id, guest_run_fn *fn, void *arg,
                     void (*arg_free)(void *), struct guest_task **ret, struct error *err);
/* Does anybody wait for this guest right now? Never blocks. */
bool guest_in_use(struct core *core, const char *vm_id);
/* Calls done exactly once, when the task has ended (at once, if it has); done must not block. */
void guest_task_wait(struct guest_task *t, wait_fn *done, void *opaque);
/* After that: what fn returned, and its error. */
int guest_task_result(const struct guest_task *t, struct error *err);
void *guest_task_arg(const struct guest_task *t);
void guest_task_unref(struct guest_task *t);
/* For request_park_on and request_keep, which know no tasks. */
void guest_task_park(void *task, wait_fn *done, void *opaque);
void guest_task_drop(void *task);
DEFINE_CLEANUP(guest_task, struct guest_task *, guest_task_unref);
#define auto_guest_task auto_scope(cleanup_guest_task)

/* ---- what there is ---- */

enum guest_state { GUEST_OFF, GUEST_ABSENT, GUEST_NOT_READY, GUEST_READY, GUEST_DEGRADED, GUEST_STATE_COUNT };
const char *guest_state_name(enum guest_state state); /* "off", "absent", "not_ready", … */

#define GUEST_USERS_MAX       64
#define GUEST_FILESYSTEMS_MAX 64
#define GUEST_INTERFACES_MAX  32
#define GUEST_ADDRESSES_MAX   16

struct guest_user {
    char name[64];
    int64_t login_at; /* wall ms */
};

struct guest_filesystem {
    char mountpoint[256], type[32], device[64];
    bool has_size;
    uint64_t total_bytes, used_bytes;
};

struct guest_address {
    char address[46];
    bool ipv6;
    int64_t prefix; /* -1 unknown */
};

struct guest_interface {
    char name[32], mac[18]; /* mac "" when it has none */
    size_t address_count;
    struct guest_address addresses[GUEST_ADDRESSES_MAX];
};

/* has_ is false where the agent could not or would not say; the reason is in the problems. */
struct guest_info {
    enum guest_state state;
    char reason[200];
    int64_t contact_at; /* when it last answered, wall ms; 0: not since power-on */
    char version[32];
    bool has_os, has_hostname, has_users, has_filesystems, has_interfaces;
    struct {
        char id[64], name[128], version[64], kernel[128], arch[32];
    } os;
    char hostname[256];
    size_t user_count, filesystem_count, interface_count;
    struct guest_user users[GUEST_USERS_MAX];
    struct guest_filesystem filesystems[GUEST_FILESYSTEMS_MAX];
    struct guest_interface interfaces[GUEST_INTERFACES_MAX];
};

/* Asks for everything; an agent that does not answer is a state, not an error. Blocks. */
int guest_info_read(struct core *core, const char *vm_id, struct guest_info *ret, struct error *err);
/*
 * What the sampler keeps of a guest's own figures; immutable and shared by the snapshots. What the
 * agent would not say is absent.
 */
struct guest_figures {
    _Atomic unsigned refs;
    int64_t sampled_at; /* wall ms */
    bool has_load, has_filesystems;
    double load[3]; /* of 1, 5 and 15 minutes */
    size_t filesystem_count;
    struct guest_filesystem filesystems[];
};
/* Of an agent that answers at once; the caller owns the reference. Blocks for seconds at most. */
int guest_figures_read(struct core *core, const char *vm_id, struct guest_figures **ret,
                       struct error *err);
struct guest_figures *guest_figures_ref(struct guest_figures *f); /* NULL stays NULL */
void guest_figures_unref(struct guest_figures *f);                /* NULL is fine */
bool guest_load_parse(const char *text, double ret[3]);           /* /proc/loadavg; pure */

/* A guest_run_fn: measures for `seconds`, then fills in the rest. Needs no agent. */
struct guest_dirty {
    char vm_id[UUID_TEXT];
    int64_t seconds, measured_at;
    uint64_t bytes_per_second;
};
int guest_dirty_rate(struct core *core, void *arg, struct error *err);

/* Only the network; *ret_count of at most max. Blocks. */
int guest_interfaces_read(struct core *core, const char *vm_id, struct guest_interface *ret,
                          size_t max, size_t *ret_count, struct error *err);
/* Waits until the agent answers. Blocks. TIMEOUT says in which state it is. */
int guest_wait_contact(struct core *core, const char *vm_id, int64_t deadline_monotonic_ms,
                       struct error *err);

/* ---- programs ---- */

#define GUEST_ARGV_MAX    256
#define GUEST_ENV_MAX     128
#define GUEST_STEPS_MAX   32
#define GUEST_OUTPUT_MAX  (1024 * 1024) /* kept of stdout and of stderr each */
#define GUEST_STDIN_MAX   (256 * 1024)

struct guest_step {
    char *argv[GUEST_ARGV_MAX + 1];        /* ends with NULL */
    char *environment[GUEST_ENV_MAX + 1];  /* "NAME=value"; none: the agent's own */
    char *input;                           /* stdin, or NULL */
    size_t input_len;
    int64_t timeout_ms;
    bool recorded; /* in the record of the VM's lease */
};

struct guest_output {
    char *data; /* NULL: empty */
    size_t len;
    bool truncated;
};

struct guest_outcome {
    bool ran;       /* false: an earlier step failed, or this one could not be started (error) */
    bool timed_out; /* it was killed because its time was up */
    int exit_code;  /* -1: a signal ended it */
    int signal;     /* 0: none */
    int64_t duration_ms;
    struct guest_output out, err;
    struct error error; /* code NONE: none */
};

struct guest_exec {
    char vm_id[UUID_TEXT];
    size_t step_count;
    bool has_steps;  /* it was asked for as a list, also of one */
    bool keep_going; /* also after a step that failed */
    bool stream;     /* its output as it comes; one step */
    struct guest_step steps[GUEST_STEPS_MAX];
    struct guest_outcome outcomes[GUEST_STEPS_MAX];
};

struct guest_exec *guest_exec_new(void);
void guest_exec_free(void *exec);
/* A guest_run_fn. Fails only when the first step cannot be started; the outcomes tell the rest. */
int guest_exec_run(struct core *core, void *exec, struct error *err);

/* ---- files ---- */

/*
 * A file out of the guest as a source of bytes (close code 1000 at its end, 1011 with a reason when
 * it broke off). guest_read_run is a guest_run_fn that opens the file; the reading then goes on, on
 * a task of its own, as fast as the source is read.
 */
struct guest_read {
    char vm_id[UUID_TEXT];
    char *path;
    struct source *source; /* of an opened file; take it and set this to NULL */
};
struct guest_read *guest_read_new(const char *vm_id, const char *path);
void guest_read_free(void *read);
int guest_read_run(struct core *core, void *read, struct error *err);

/* A file into the guest, from an unlinked temporary file of the host. */
struct guest_write {
    char vm_id[UUID_TEXT];
    char *path;
    int fd; /* owned; read from its beginning */
    int64_t mode; /* -1: as the agent makes it */
    uint64_t written;
};
struct guest_write *guest_write_new(struct core *core, const char *vm_id, const char *path,
                                    struct error *err);
void guest_write_free(void *write);
int guest_write_run(struct core *core, void *write, struct error *err);
/* Room for more below the state directory? Called while the bytes arrive. */
int guest_write_add(struct core *core, struct guest_write *write, const void *data, size_t len,
                    struct error *err);

/* ---- the rest; all block ---- */

/* Asks for a clean end of the guest; the agent does not answer that. */
int guest_shutdown(struct core *core, const char *vm_id, bool reboot, struct error *err);
/* *ret_count file systems are frozen, for at most seconds: then they are thawed by themselves. */
int guest_freeze(struct core *core, const char *vm_id, int64_t seconds, int64_t *ret_count,
                 struct error *err);
/* Has its agent ever answered since power-on? Does not block. */
bool guest_was_heard(struct core *core, const char *vm_id);
int guest_thaw(struct core *core, const char *vm_id, int64_t *ret_count, struct error *err);
/* Sets the guest's clock to the host's. */
int guest_set_time(struct core *core, const char *vm_id, struct error *err);
/* crypted: the password is a crypt(3) hash. */
int guest_set_password(struct core *core, const char *vm_id, const char *user, const char *password,
                       bool crypted, struct error *err);
/* Adds to (or, with replace, becomes) the user's authorized_keys. */
int guest_set_ssh_keys(struct core *core, const char *vm_id, const char *user,
                       const char *const *keys, size_t count, bool replace, struct error *err);

/* ---- bytes in JSON ---- */

/* base64 of at most max bytes; *ret is the caller's. */
int guest_reply_bytes(const json_t *text, size_t max, char **ret, size_t *ret_len,
                      struct error *err);
/* The other way. */
json_t *guest_base64(const void *data, size_t len);

#endif
