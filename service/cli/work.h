/*
 * A program in a leased VM, with its output here while it runs. It runs on its own in the guest and
 * writes into files there; what they grow by is streamed, and where the guest cannot do that, fetched
 * again and again. So it takes as long and prints as much as it likes, and neither a connection that
 * breaks nor a daemon that restarts loses it.
 *
 * Main thread only. The guest needs a POSIX shell, tail, head and wc; for streams mkfifo and dd.
 */
#ifndef DROVER_CLI_WORK_H
#define DROVER_CLI_WORK_H

#include "service/cli/job.h"

struct work {
    const char *const *argv;        /* ends with NULL; or NULL, and */
    const char *script;             /* the path here of a script, run by bash if the guest has it, */
    const char *name;               /* and what to call it */
    const char *directory;          /* made if it is not there; NULL: / */
    const char *const *environment; /* "NAME=value", ends with NULL; or NULL */
    int64_t timeout_s;              /* 0: none */
};

struct work_end {
    int status; /* as a shell shows it */
    bool timed_out;
    bool interrupted; /* by a signal to this program; it was killed */
};

/*
 * Runs it to its end, one way or another. -1: nobody knows how it ended (*fail). What it printed is
 * on stdout and stderr either way.
 */
int work_run(struct job *job, const struct work *work, struct work_end *ret, struct failure *fail);

/* Only starts it: nobody follows it, and nothing of it is fetched. */
int work_start(struct job *job, const struct work *work, struct failure *fail);

/* False, and *fail, when it does not read NAME=value with a name that a shell takes. */
bool work_is_variable(const char *text, struct failure *fail);

#endif
