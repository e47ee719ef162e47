/*
 * Operations: persisted records of work on VMs, executed by a small pool, one at a time per VM in
 * the order they were accepted. A restart resumes what was unfinished; every step is idempotent.
 */
#ifndef DROVER_VM_OP_H
#define DROVER_VM_OP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"
#include "service/base/secret.h"

struct core;
struct vm;

enum op_state { OP_PENDING, OP_RUNNING, OP_SUCCEEDED, OP_FAILED, OP_CANCELLED, OP_STATE_COUNT };
const char *op_state_name(enum op_state state);

/*
 * How far an operation that copies bytes is, shared by all its snapshots; and what is asked of it
 * while it runs. Any thread.
 */
struct op_progress {
    _Atomic unsigned refs;
    const char *_Atomic stage;               /* static text: "downloading", …; or NULL */
    _Atomic int64_t done_bytes, total_bytes; /* of the stage; total 0: not known; a set's: VMs */
    _Atomic int64_t failed;                  /* a set's: VMs that did not get there */
    atomic_bool cancel;                      /* somebody wants it to end */
    atomic_bool stop;                        /* the daemon stops; it goes on after the next start */
};

/* An immutable snapshot, but for its progress. */
struct op {
    _Atomic unsigned refs;
    struct op_progress *progress;
    int64_t seq;
    char id[UUID_TEXT];
    char project_id[UUID_TEXT], host_id[UUID_TEXT];
    char vm_id[UUID_TEXT], image_id[UUID_TEXT], set_id[UUID_TEXT]; /* or "" */
    char kind[32];
    enum op_state state;
    char params[128]; /* JSON object */
    char actor[80], request_id[40];
    struct error error; /* when failed: code, detail, remedy */
    int64_t created_at, started_at, finished_at;
};

struct op *op_ref(struct op *op);
void op_unref(struct op *op);
DEFINE_CLEANUP(op, struct op *, op_unref);
#define auto_op auto_scope(cleanup_op)

bool op_is_finished(const struct op *op);
bool op_should_end(const struct op *op); /* cancelled, or the daemon stops */

/* Unfinished ones come from memory, finished ones from the database (request workers only). */
struct op *op_find(struct core *core, const char *project_id, const char *id, struct error *err);
/* The one that made a VM, finished or not; NULL when it is forgotten or cannot be read. Waits for the disk. */
struct op *op_that_made(struct core *core, const struct vm *vm, struct error *err);
struct op_list_filter {
    const char *project_id;
    const char *vm_id; /* or NULL */
    const char *state; /* or NULL */
    int64_t before_seq;
    int limit;
};
/* Newest first; caller unrefs each and frees the array. */
int op_list(struct core *core, const struct op_list_filter *filter, struct op ***ret,
            size_t *ret_count, struct error *err);
/*
 * A pending operation is cancelled at once, and so is a set's, whose VMs stay as far as they are;
 * one that copies bytes is asked to end, and *ret is still running. OPERATION_STATE_CONFLICT otherwise.
 */
int op_cancel(struct core *core, const char *project_id, const char *id, struct op **ret,
              struct error *err);

#endif
