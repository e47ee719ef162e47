/*
 * A process shuts itself in, for good. What the kernel does not know it does without: each is one more wall. Before
 * either nothing secret is done; neither can be undone.
 */
#ifndef DROVER_BASE_SANDBOX_H
#define DROVER_BASE_SANDBOX_H

#include "service/base/error.h"

/*
 * From now on no file can be opened but these, and those beneath those of them that are folders (ended by
 * NULL), and for reading only. For the calling thread and those that it starts. Landlock; a kernel without it is told
 * of in the log, and then sandbox_calls() leaves no file at all.
 */
int sandbox_files(const char *const *paths, struct error *err);
/*
 * From now on the process, with all its threads, can do what serving the connections that it has needs, and nothing
 * else: no new socket or connection, program, process, thread, signal to another, memory that is run, mount or module.
 * What is not allowed fails with EPERM. seccomp; nothing under a sanitizer, whose own calls are not known.
 */
int sandbox_calls(struct error *err);

#endif
