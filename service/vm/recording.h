/*
 * Recordings: what a console prints, with its timing, in a file (asciicast v2). Made at somebody's
 * wish, or of every boot of a VM with `record_console`. What is typed is not recorded: passwords
 * are. Each is bounded in size, all are bounded together, and by age.
 *
 * A recorder is one more reader of the console's ring, so it costs the guest nothing and needs no
 * queue of its own; what it cannot keep up with is missing from the recording and marked there. One
 * thread writes all of them. After a crash of the daemon they are closed and marked at its next
 * start.
 */
#ifndef DROVER_VM_RECORDING_H
#define DROVER_VM_RECORDING_H

#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/base/source.h"

struct actor;
struct core;
struct vm;

enum recording_state { RECORDING_RUNNING, RECORDING_FINISHED, RECORDING_FAILED };
const char *recording_state_name(enum recording_state state); /* "recording", … */

struct recording {
    int64_t seq; /* the keyset of pages */
    char id[UUID_TEXT], project_id[UUID_TEXT], vm_id[UUID_TEXT];
    char vm_name[64], stream[80], actor[48];
    enum recording_state state;
    char state_reason[160];
    int64_t started_at, finished_at; /* wall clock, ms; 0: not yet */
    int64_t duration_ms, size_bytes; /* of one that is being made: so far */
    unsigned rows, cols;             /* at its beginning */
};

/*
 * Begins with what the guest prints next. STREAM_UNAVAILABLE, RECORDING_STATE_CONFLICT (there is
 * one of the stream), INSUFFICIENT_STORAGE. Blocks on the disk.
 */
int recording_start(struct core *core, const struct actor *actor, const struct vm *vm,
                    const char *stream, struct recording *ret, struct error *err);
/* Waits until it is finished. RECORDING_NOT_FOUND, RECORDING_STATE_CONFLICT. */
int recording_stop(struct core *core, const struct actor *actor, const char *id,
                   struct recording *ret, struct error *err);
/* RECORDING_NOT_FOUND, all three; delete also RECORDING_STATE_CONFLICT. */
int recording_get(struct core *core, const char *project_id, const char *id, struct recording *ret,
                  struct error *err);
int recording_delete(struct core *core, const struct actor *actor, const char *id,
                     struct error *err);
/*
 * A source of the file's bytes; of one that is being made, of what there is now. Whoever pulls it
 * waits for no disk. Close code 1000 at its end, any other: it could not be read.
 */
int recording_read(struct core *core, const char *project_id, const char *id, struct source **ret,
                   struct error *err);
/* Newest first, at most limit, below before_seq (0: all); vm_id NULL: of all VMs. The caller frees.
 */
int recording_list(struct core *core, const char *project_id, const char *vm_id, int64_t before_seq,
                   size_t limit, struct recording **ret, size_t *ret_count, struct error *err);

#endif
