/*
 * What the files exec*.c share. The lock of a program is a leaf; a viewer's notify is called without
 * it.
 */
#ifndef DROVER_VM_EXEC_INTERNAL_H
#define DROVER_VM_EXEC_INTERNAL_H

#include "service/vm/exec.h"
#include "service/vm/guest_internal.h"

/* Bytes from base to end are here; those before acked are the client's. */
struct exec_output {
    char *data; /* EXEC_WINDOW, a ring; NULL: nothing yet */
    uint64_t base, end, acked;
    bool complete;
};

struct exec_waiter {
    struct exec_waiter *next;
    wait_fn *done;
    void *opaque;
};

struct exec_viewer;

/* What a daemon that comes after this one needs to take it up. */
struct exec_kept {
    char dir[64]; /* in the guest; "": not yet */
    int64_t pid;  /* 0: not yet */
    unsigned file[EXEC_OUTPUTS];  /* that is being read */
    uint64_t start[EXEC_OUTPUTS]; /* where in the output it begins */
    unsigned pushed;              /* files of stdin that the guest is told of */
    bool own_input;               /* stdin came with the request and nowhere else */
    bool input_ended, exited;
    int64_t deadline_at; /* wall */
};

struct exec {
    struct exec *next; /* hub->lock */
    _Atomic unsigned refs;
    struct guest_hub *hub;
    char id[UUID_TEXT], vm_id[UUID_TEXT], actor[48];
    struct guest_exec *x;
    bool stream;
    bool restored; /* an earlier daemon began it */
    _Atomic bool keep_failed;
    int64_t created_at, began; /* wall, monotonic */
    int wake_fd;               /* the task is to look */
    pthread_mutex_t lock;
    pthread_cond_t decided;
    /* lock: */
    enum { EXEC_UNDECIDED, EXEC_GO, EXEC_DROPPED } decision;
    bool settled, acks, killed;
    enum exec_state state;
    struct exec_waiter *waiters;
    int64_t ended_at, duration_ms;
    int exit_code, signal;
    bool timed_out, cut;
    struct error error;
    struct exec_output out[EXEC_OUTPUTS];
    char *input; /* EXEC_INPUT, from its beginning; NULL: nothing yet */
    size_t input_len;
    uint64_t input_taken; /* by the guest */
    bool input_eof;
    struct exec_kept kept;
    struct exec_viewer *viewer;
};

/* ---- exec.c ---- */

/* Takes x. */
struct exec *exec_new(struct core *core, const char *actor, const char *vm_id, struct guest_exec *x);
/* One that an earlier daemon began goes on, or is told as it ended; takes e. */
void exec_take_up(struct exec *e);
/* The daemon stops; the program does not. */
void exec_leave(struct exec *e, const struct error *err);
void exec_wake(struct exec *e);
/* It runs, or cannot: whoever waits for that is told. */
void exec_settle(struct exec *e, enum exec_state state, const struct error *err);
/* All is said; *err counts when state is EXEC_FAILED. */
void exec_finish(struct exec *e, enum exec_state state, const struct error *err);

/* ---- exec_keep.c ---- */

/* Where it stands, to the disk: without the lock. */
void exec_keep(struct exec *e);
int exec_keep_in(struct db_tx *tx, struct exec *e, struct error *err);
/* Those of a list are forgotten. */
void exec_keep_drop(struct guest_hub *hub, struct exec *list);

/* ---- exec_source.c ---- */

/* There is something new for the viewer. Without the lock. */
void exec_tell(struct exec *e);
/* Ends the viewer's stream. With the lock; tell afterwards. */
void exec_end_viewer_locked(struct exec *e, int code, const char *reason);
bool exec_viewer_has_right_locked(const struct exec *e, const char *right);

/* ---- exec_guest.c ---- */

/* From its start to its end; a guest_run_fn. */
int exec_run_streamed(struct core *core, void *exec, struct error *err);

/* ---- exec_heir.c ---- */

/* The rest of one that an earlier daemon began. */
int exec_run_restored(struct exec *e, struct error *err);

#endif
