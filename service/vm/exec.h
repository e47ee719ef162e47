/*
 * Programs in guests that somebody comes back to: those whose output is streamed while they run, and
 * those that were asked for with an Idempotency-Key. A few minutes after its end a program is forgotten;
 * one that is not streamed also when the daemon restarts. A streamed one goes on in the guest meanwhile
 * and is taken up by the next daemon, with all output that its client has not acknowledged.
 *
 * A streamed program's output waits in the guest until there is room for it in a window of the
 * daemon's, and the window moves when the client has what was in it: who does not read stops the
 * program like a pipe does. One client is connected at a time; another one takes its place.
 */
#ifndef DROVER_VM_EXEC_H
#define DROVER_VM_EXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/base/source.h"
#include "service/vm/exec_v1.h"
#include "service/vm/guest.h"
#include "service/vm/vm.h"
#include "service/vm/wait.h"

#define EXEC_WINDOW  (256 * 1024) /* of stdout and of stderr each */
#define EXEC_INPUT   (64 * 1024)  /* of stdin, on its way */
#define EXEC_KEEP_MS (10 * 60 * 1000)

enum exec_state { EXEC_STARTING, EXEC_RUNNING, EXEC_ENDED, EXEC_FAILED };
const char *exec_state_name(enum exec_state state);

struct exec;
void exec_unref(struct exec *e);
DEFINE_CLEANUP(exec, struct exec *, exec_unref);
#define auto_exec auto_scope(cleanup_exec)

/*
 * Begins x (owned by this in any case). With a key that was seen before with the same request: the
 * one of then, and nothing is run twice; OUTCOME_UNKNOWN when that one is forgotten. Blocks on the
 * disk when there is a key.
 */
int exec_begin(struct core *core, const struct actor *actor, const struct vm *vm,
               struct guest_exec *x, const struct idem *idem, struct exec **ret, bool *ret_replayed,
               struct error *err);
/* At the start, once the guests can be asked: what the database remembers. */
int exec_restore(struct core *core, struct error *err);
/* EXEC_NOT_FOUND. */
int exec_find(struct core *core, const char *vm_id, const char *id, struct exec **ret,
              struct error *err);
/* Those of a VM, newest first, at most max; the caller unrefs each. */
size_t exec_list(struct core *core, const char *vm_id, struct exec **ret, size_t max);
#define EXEC_LIST_MAX 128

/*
 * A park_arm_fn: done is called once it is known whether a streamed program could be started, or
 * when one that is not streamed has ended.
 */
void exec_park(void *exec, wait_fn *done, void *opaque);
/* After that: why it could not be started or watched. */
int exec_result(struct exec *e, struct error *err);
/* What came of one that is not streamed; NULL of a streamed one. */
const struct guest_exec *exec_outcomes(const struct exec *e);

struct exec_info {
    char id[UUID_TEXT], vm_id[UUID_TEXT], actor[48];
    const struct guest_step *step; /* its first; lives as long as the exec */
    bool stream;
    enum exec_state state;
    int exit_code, signal;
    bool timed_out, cut, attached;
    int64_t created_at, ended_at; /* wall ms */
    int64_t duration_ms;
    uint64_t total[EXEC_OUTPUTS], input;
    struct error error; /* code NONE: none */
};
void exec_info_read(struct exec *e, struct exec_info *ret);

/* Has it killed, if it still runs. Does not wait. */
void exec_kill(struct exec *e);
/*
 * Its stream for one client, who takes the place of an earlier one. from (or NULL: from what is
 * remembered) is what that client has already. rights: as in struct console_attach.
 * INVALID_ARGUMENT: from is beyond the end; STREAM_NOT_FOUND: it is not streamed.
 */
int exec_attach(struct exec *e, const char *rights, const uint64_t from[EXEC_OUTPUTS],
                struct source **ret, struct error *err);

#endif
