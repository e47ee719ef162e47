/*
 * Shutting down the guests of the host, each as its definition says (on_host_shutdown): asked to shut
 * down, saved to disk, or left alone, all beside each other and each with a deadline of its own, after
 * which its plug is pulled. One operation, "host.shutdown-guests", worked off by the sets' keeper; a daemon
 * that is killed goes on with it. From its begin on no VM starts, until host_stop_end(), the next boot of
 * the host, or the operation's cancellation.
 *
 * What ran and was shut down or saved starts again then (or goes on), whether it has `autostart` or not:
 * a host that was shut down in order is to come back as it was.
 */
#ifndef DROVER_VM_HOST_STOP_H
#define DROVER_VM_HOST_STOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/vm/vm.h"

struct core;
struct op;

/* STOP: nothing is asked; for VMs that wait in a pool and hold nothing of anybody's. */
enum host_stop_action { HOST_STOP_SHUTDOWN, HOST_STOP_SAVE, HOST_STOP_LEAVE, HOST_STOP_STOP, HOST_STOP_ACTIONS };
enum host_stop_outcome {
    HOST_STOP_PENDING,
    HOST_STOP_WAS_SHUT_DOWN,
    HOST_STOP_WAS_SAVED,
    HOST_STOP_WAS_STOPPED, /* its plug was pulled, or it went with its VM */
    HOST_STOP_WAS_LEFT,
    HOST_STOP_WAS_CANCELLED,
    HOST_STOP_HAS_FAILED, /* it is on although its plug was pulled */
    HOST_STOP_OUTCOMES
};
const char *host_stop_action_name(enum host_stop_action action);
const char *host_stop_outcome_name(enum host_stop_outcome outcome); /* "" while pending */

/* RAN: it will be DUE when VMs may start again. DUE: to be started. Numbers are those of the database. */
enum host_stop_restart { HOST_STOP_STAYS, HOST_STOP_RAN, HOST_STOP_DUE };

struct host_stop_vm {
    char vm_id[UUID_TEXT], op_id[UUID_TEXT], project_id[UUID_TEXT], name[VM_NAME_MAX + 1];
    enum host_stop_action action; /* what is tried now */
    enum host_stop_outcome outcome;
    char detail[256]; /* why it came differently than its definition says, or "" */
    int64_t seconds, started_at, finished_at; /* wall clock ms; the difference is of the boot clock */
    bool forced;
    enum host_stop_restart restart;
};

struct host_stop_status {
    bool refuses_starts;
    char op_id[UUID_TEXT]; /* the last one of this boot, or "" */
    struct host_stop_vm *vms; /* of the last shutdown, also of one before the boot; in the order they began */
    size_t count;
};
void host_stop_status_done(struct host_stop_status *status);
#define auto_host_stop_status auto_scope(host_stop_status_done)
/* Any thread; never blocks. */
void host_stop_read(struct core *core, struct host_stop_status *ret);

/*
 * Begins, and answers with the operation; with the one that is under way when there is one.
 * HYPERVISOR_UNAVAILABLE; REQUEST_IN_PROGRESS when another request begins it in this moment. Blocks on the
 * disk.
 */
int host_stop_begin(struct core *core, const struct actor *actor, const struct idem *idem, struct op **ret,
                    bool *ret_replayed, struct error *err);
/*
 * The host stays up: VMs may start again, and those that were taken down are marked to be started, in the
 * waves of autostart. Nothing to do is success. HOST_SHUTTING_DOWN while the operation is under way.
 */
int host_stop_end(struct core *core, struct error *err);

/* HOST_SHUTTING_DOWN while nothing may start. Any thread; never blocks. */
int host_stop_refuses(struct core *core, struct error *err);
bool host_stop_holds(struct core *core);

#endif
