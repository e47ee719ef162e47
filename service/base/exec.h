/*
 * Running another program: the one place that does. No shell, an absolute path, a fixed
 * environment, no inherited descriptors, resource limits, a deadline after which the whole process
 * group is killed, and output that is read to the end but kept only up to a bound.
 *
 * Any thread, blocks until the program ended. Waits for its own child by pidfd alone, so it
 * neither takes nor needs anybody else's SIGCHLD handling.
 */
#ifndef DROVER_BASE_EXEC_H
#define DROVER_BASE_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"

struct exec_options {
    const char *const *argv; /* argv[0]: absolute path; ends with NULL */
    int64_t timeout_ms;      /* required, above 0 */
    size_t output_max;       /* kept of stdout and of stderr each; the rest is read and dropped */
    /* Resource limits of the program; 0 leaves the daemon's own. */
    uint64_t address_space_bytes;
    uint64_t cpu_seconds;
    uint64_t file_bytes; /* largest file it may write */
    uint64_t open_files;
    int nice; /* added to the daemon's own */
    /* The AppArmor profile it runs under, where the host's administrator has loaded it; or NULL. */
    const char *profile;
    /* Each piece of stdout as it comes; and, polled twice a second, whether to kill it. Or NULL. */
    void (*on_output)(void *opaque, const char *data, size_t len);
    bool (*should_end)(void *opaque);
    void *opaque;
};

struct exec_result {
    int status; /* exit status, -1 unless it exited by itself */
    int signal; /* that ended it, 0 if none */
    bool timed_out, truncated;
    bool ended; /* by should_end */
    char *out, *err; /* NUL-terminated, never NULL after exec_run */
    size_t out_len, err_len;
};

void exec_result_done(struct exec_result *r);
#define auto_exec_result auto_scope(exec_result_done)

/*
 * 0 when the program exited with status 0. Otherwise -1: TIMEOUT, CANCELLED (should_end), or SYSTEM with the status or
 * signal and the end of its stderr in the cause. *ret is filled in either case, must be
 * initialised with {0}, and is the caller's to clear.
 */
int exec_run(const struct exec_options *options, struct exec_result *ret, struct error *err);

/*
 * A program that stays: fds become its descriptors 3 and following, its standard error is ours. It is killed when the
 * calling thread ends. *ret_pidfd is the caller's, until exec_child_end() closes it.
 */
int exec_child(const char *const *argv, const int *fds, size_t count, int *ret_pidfd, struct error *err);
/* Waits until it ends by itself, so long at most, then kills it; reaps it. */
void exec_child_end(int pidfd, int64_t wait_ms);

/* Becomes the program, with this one's environment and descriptors: for a command that is another one's. Only
 * returns when that failed (SYSTEM), and then -1. */
int exec_replace(const char *const *argv, struct error *err);

#endif
