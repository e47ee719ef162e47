/*
 * A leased VM that works for this program: asked for, waited for, kept, given back. What CI systems
 * want of a VM, in the order in which they want it.
 *
 * Main thread only. What the server or the way to it refuses for the moment is tried again for a
 * minute; a signal (interrupt.h) ends every wait.
 */
#ifndef DROVER_CLI_JOB_H
#define DROVER_CLI_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "service/cli/command.h"
#include "service/cli/keeper.h"

#define JOB_LABEL "ci.job" /* on the lease and, if it is made for it, the VM: whose it is */

struct job_ask {
    const char *pool;      /* or NULL, and */
    const char *image;     /* a VM of one's own from this image */
    const char *prefix;    /* how the name of that VM begins; at a key's second attempt ends another way */
    int64_t cpus, memory_mib, disk_gib; /* of that VM; 0: the server's defaults */
    json_t *vm;            /* further members of its definition, borrowed; or NULL */
    int64_t ttl_s;         /* the lease's, between two renewals */
    int64_t max_s;         /* 0: the pool's, or a day */
    int64_t queue_s;       /* how long to wait in line */
    const char *holder;    /* or NULL */
    const json_t *labels;  /* or NULL */
    const char *key;       /* Idempotency-Key: asking again finds what was got before */
};

struct job {
    struct cli *cli;
    char lease[64], vm[64], name[80]; /* vm: its id */
    int64_t ttl_s;    /* as the lease was last asked to last */
    char expires[40]; /* and when that is over */
    bool own_vm;      /* made for this lease, not taken from a pool */
    struct keeper *keeper;
};

/* ---- asking ---- */

/* What CI commands take alike, for their tables. */
#define JOB_VM_OPTIONS                                                                             \
    {"image", 'i', "IMAGE", "a VM of one's own, started from this image"},                         \
        {"pool", 'p', "POOL", "or a VM of this pool"},                                             \
        {"cpus", 'c', "N", "CPUs of a VM of one's own"},                                           \
        {"memory", 'm', "MIB", "its memory"}, {"disk", 'd', "GIB", "its root disk"},               \
        {"queue", 'q', "TIME", "how long to wait in line for a VM (default 10m)"},                 \
    {                                                                                              \
        "boot-timeout", 0, "TIME", "how long its guest agent may take to answer (default 5m)"      \
    }

/* Reads them and "lease"; *ret borrows from args. */
int job_ask_read(const struct args *args, struct job_ask *ret, int64_t *ret_boot_s,
                 struct failure *fail);

/*
 * A VM, waited for in line if need be. On failure nothing is left, or it ends by itself within the
 * lease's time.
 */
int job_claim(struct cli *cli, const struct job_ask *ask, struct job *ret, struct failure *fail);
/* The newest lease in this state with this label "key=value": 1, 0: there is none, -1. */
int job_find(struct cli *cli, const char *state, const char *label, struct job *ret,
             struct failure *fail);

/* ---- having ---- */

/* Renewed in the background from here on. */
int job_keep(struct job *job, struct failure *fail);
/* Until its guest agent answers. */
int job_ready(struct job *job, int64_t seconds, struct failure *fail);
/* A request again and again while it fails for a passing reason. path: below the VM's address. */
int job_request(struct job *job, struct client_request *r, const char *path, struct answer *ret,
                struct failure *fail);
/* A shell script with arguments in the guest, which must be harmless when it runs twice. */
int job_shell(struct job *job, const char *script, const char *const *arguments, int64_t timeout_s,
              struct answer *ret, struct failure *fail);
/* The same, to be seen in the lease's record, unlike all the others. */
int job_shell_recorded(struct job *job, const char *script, const char *const *arguments,
                       int64_t timeout_s, struct answer *ret, struct failure *fail);
/* The same; fails with what it printed unless it ends with 0. */
int job_shell_check(struct job *job, const char *script, const char *const *arguments,
                    int64_t timeout_s, struct failure *fail);

/*
 * Shows its console until it powers off, or the time is up (0: never). -1: it crashed, or nobody
 * knows.
 */
int job_watch(struct job *job, int64_t timeout_s, bool *ret_timed_out, struct failure *fail);

/* ---- ending ---- */

/* Gives the VM back, whatever signal came; a lease that has ended is fine. */
int job_release(struct job *job, struct failure *fail);
/* No longer renewed in the background; ends in this many seconds, or when the pool says. */
int job_renew(struct job *job, int64_t seconds, struct failure *fail);
/* The same, and tells people on stderr where to look. */
int job_hold(struct job *job, int64_t seconds, bool may_type, struct failure *fail);
/* Frees what is here; the lease stays as it is. */
void job_done(struct job *job);
#define auto_job auto_scope(job_done)

/* ---- telling ---- */

/* "drover: …" on stderr. */
void job_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Waits; false when a signal came. */
bool job_pause(int64_t ms);
/* text in single quotes for a shell. */
struct strbuf;
void job_quote(struct strbuf *b, const char *text);

#endif
