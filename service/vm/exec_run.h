/*
 * What exec_guest.c and exec_dir.c share: one streamed program while it runs. Its task's thread only.
 */
#ifndef DROVER_VM_EXEC_RUN_H
#define DROVER_VM_EXEC_RUN_H

#include "service/vm/exec_internal.h"

#define EXEC_INPUT_FILES 4 /* of stdin, which the guest has not read */

struct exec_pull {
    char letter;
    int64_t file, next, gate; /* the agent's handles; -1: none */
    unsigned number;          /* of the file */
    uint64_t at, start;       /* in it; where in the output it begins */
    bool astray;              /* a read failed: where the file stands is not known */
    bool end_seen, done, failed;
};

struct exec_push {
    int64_t gate;
    unsigned next, oldest; /* files: to write, and not read by the guest */
    unsigned noted;        /* files that an heir of ours takes for written */
    size_t written;        /* bytes of the file `next`, which its reader is not told of */
    bool ended;
};

struct exec_run {
    struct exec *exec;
    struct guest_link *link;
    char dir[64];
    int64_t pid;
    struct exec_pull pull[EXEC_OUTPUTS];
    struct exec_push push;
    bool exited, killed;
    struct guest_status status;
    int64_t deadline, exited_at, moved_at, failing_since;
};

/* ---- exec_guest.c ---- */

void exec_run_init(struct exec_run *r, struct exec *e);
/* Asks how it is: 1: it has ended just now. */
int exec_run_status(struct exec_run *r, struct error *err);
/* To its end; SHUTTING_DOWN. */
int exec_run_watch(struct exec_run *r, struct error *err);
/* What came of that is told, and the guest tidied; or left as it is for the next daemon. Returns rc. */
int exec_run_finish(struct exec_run *r, int rc, struct error *err);

/* ---- exec_dir.c ---- */

/* Prepares the guest; AGENT_FAILED with a remedy when it has not what that takes. */
int exec_dir_make(struct exec_run *r, struct error *err);
/* Starts the program between its FIFOs. */
int exec_dir_begin(struct exec_run *r, struct error *err);
/* The directory of a program whose beginning was interrupted; "" when there is none. */
void exec_dir_find(struct exec_run *r);
/* Leaves nothing behind. */
void exec_dir_tidy(struct exec_run *r);

int exec_dir_open(struct exec_run *r, const char *name, const char *mode, int64_t *ret, struct error *err);
/* 1: it is there and open, 0: not, -1. */
int exec_dir_look(struct exec_run *r, char letter, const char *rest, int64_t *ret, struct error *err);
int exec_dir_look_number(struct exec_run *r, char letter, unsigned number, int64_t *ret, struct error *err);
void exec_dir_close(struct exec_run *r, int64_t *handle); /* and sets it to -1 */
/* A line into a FIFO that a loop of the guest's waits on. */
int exec_dir_signal(struct exec_run *r, int64_t *gate, char letter, const char *text, struct error *err);

#endif
