/*
 * What the files guest*.c share: the links to agents, and asking them something.
 *
 * A link belongs to one power-on of a VM. With the embedded driver QEMU connects to a socket we
 * listen on, so that a daemon that comes back is found again and libvirt (which connects there, too,
 * and is turned away) never owns the agent; with a libvirtd the agent is libvirt's and is asked
 * through it.
 *
 * Locks: the hub's and each link's are leaves. While a link is busy its owner alone reads and writes
 * the socket; the descriptors change under the link's lock.
 */
#ifndef DROVER_VM_GUEST_INTERNAL_H
#define DROVER_VM_GUEST_INTERNAL_H

#include <jansson.h>
/* uthash's default hash falls through its cases in a way that clang warns of. */
#undef HASH_FUNCTION
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#include "service/vm/core_internal.h"
#include "service/vm/guest.h"
#include "service/vm/guest_line.h"

#define GUEST_IN_SIZE (64 * 1024)

struct guest_link {
    struct guest_link *next; /* hub->lock */
    _Atomic unsigned refs;
    struct guest_hub *hub;
    char vm_id[UUID_TEXT];
    pthread_mutex_t lock;
    pthread_cond_t idle;
    /* lock: */
    bool busy;
    _Atomic bool ended; /* changes under it; its owner looks without */
    int listen_fd, fd; /* -1: none; both none: the agent is libvirt's */
    int64_t contact_at;
    char trouble[200]; /* since the last contact, or "" */
    uint64_t freeze;   /* counts freezes and thaws */
    /* the owner's, while busy: */
    bool dirty;        /* what arrives may not be the answer to what is asked next */
    bool sync_sent;
    uint32_t sync_id;
    int64_t sync_at;
    struct guest_line line;
    char *in; /* GUEST_IN_SIZE */
    size_t in_at, in_len;
};

struct guest_hub {
    struct core *core;
    int stop_fd; /* readable once the daemon stops */
    int thaw_fd; /* readable a moment before: what is frozen is to be thawed */
    pthread_mutex_t lock;
    pthread_cond_t fewer;
    struct guest_link *links;
    struct guest_task *tasks; /* running */
    struct exec *execs; /* newest first; a reference each */
    unsigned task_count;
    unsigned thaws; /* tasks that have promised one */
    bool stopping;
};

/* ---- guest_link.c ---- */

/*
 * The link of a VM that runs and has an agent's channel; a reference. ret_off (may be NULL) gets the
 * state when there is none.
 */
int guest_link_get(struct core *core, const char *vm_id, struct guest_link **ret,
                   enum guest_state *ret_off, struct error *err);
void guest_link_unref(struct guest_link *link);
DEFINE_CLEANUP(guest_link, struct guest_link *, guest_link_unref);
#define auto_guest_link auto_scope(cleanup_guest_link)
/* Sleeps, but not beyond the daemon's stop. */
int guest_pause(struct guest_hub *hub, int64_t ms, struct error *err);

/* ---- guest_call.c ---- */

struct guest_answer {
    json_t *value; /* what "return" held */
    bool cut;      /* one of its strings lost its end */
};
void guest_answer_done(struct guest_answer *a);
#define auto_guest_answer auto_scope(guest_answer_done)

/* Time an ordinary question may take: the setting agent_timeout_seconds. */
int64_t guest_deadline(struct core *core);
/* Asks and waits. Takes arguments (NULL: none). ret (initialised with {0}) may be NULL. */
int guest_call(struct guest_link *link, const char *execute, json_t *arguments, int64_t deadline,
               struct guest_answer *ret, struct error *err);
/* Sends what is not answered when it succeeds; an error that comes at once is told. */
int guest_tell(struct guest_link *link, const char *execute, json_t *arguments, struct error *err);
/* Waits until the agent answers at all. */
int guest_reach(struct guest_link *link, int64_t deadline, struct error *err);

/* ---- guest_reply.c: pure; what an agent says, into our structs ---- */

/*
 * A line of the agent: 0 and what it returned, or -1 with AGENT_FAILED: nonsense
 * (*ret_nonsense) or an error of its own words.
 */
int guest_reply_parse(const char *line, size_t len, json_t **ret, bool *ret_nonsense,
                      struct error *err);
/* Members of any kind are looked at with care; what is not as it should be is left out. */
void guest_reply_os(const json_t *value, struct guest_info *ret);
void guest_reply_users(const json_t *value, struct guest_info *ret);
void guest_reply_filesystems(const json_t *value, struct guest_info *ret);
void guest_reply_interfaces(const json_t *value, struct guest_interface *ret, size_t max,
                            size_t *ret_count);
/* The text of a member, made fit for a log or a page: no control characters, cut to size. */
void guest_reply_text(const json_t *object, const char *name, char *ret, size_t size);
int guest_reply_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret,
                    struct error *err);
struct guest_status {
    bool exited;
    int exit_code, signal;
    struct guest_output out, err;
};
void guest_output_done(struct guest_output *o);
int guest_reply_status(const json_t *value, bool cut, struct guest_status *ret, struct error *err);

/* ---- guest_file.c: the agent's handles ---- */

/* GUEST_FILE_NOT_FOUND among the errors. */
int guest_file_open(struct guest_link *link, const char *path, const char *mode, int64_t *ret,
                    struct error *err);
int guest_file_close(struct guest_link *link, int64_t handle, struct error *err);
/* The next bytes, at most max; the caller's; none at the end. */
int guest_file_next(struct guest_link *link, int64_t handle, size_t max, char **ret,
                    size_t *ret_len, struct error *err);
int guest_file_add(struct guest_link *link, int64_t handle, const char *data, size_t len,
                   struct error *err);

/* ---- guest_exec.c ---- */

/* Starts a program; captured: its output is kept for its status. */
int guest_program_start(struct guest_link *link, const struct guest_step *step, bool captured,
                        int64_t *ret_pid, struct error *err);
int guest_program_status(struct guest_link *link, int64_t pid, struct guest_status *ret,
                         struct error *err);
/* Kills it and its children. */
void guest_program_kill(struct guest_link *link, int64_t pid);
/* Runs one program to its end within timeout_ms. */
int guest_run_step(struct guest_link *link, const struct guest_step *step,
                   struct guest_outcome *ret, struct error *err);
/* For our own small ones: exit status 0 or AGENT_FAILED with what it wrote to stderr. */
int guest_run_simple(struct guest_link *link, const char *const *argv, struct error *err);

/* ---- exec.c ---- */

/* Forgets what ended long ago. */
void exec_sweep(struct guest_hub *hub);
void exec_forget_all(struct guest_hub *hub);

#endif
