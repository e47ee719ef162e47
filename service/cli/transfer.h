/*
 * Folders into a leased VM and out of it: as a tar archive where the guest has tar, else file by
 * file. Main thread only.
 */
#ifndef DROVER_CLI_TRANSFER_H
#define DROVER_CLI_TRANSFER_H

#include "service/cli/job.h"

/* What is in the folder here into the folder there, which is made. */
int transfer_in(struct job *job, const char *folder, const char *to, struct failure *fail);
/*
 * What is in the folder there, or the one file, into the folder here, which is made. from: absolute,
 * or relative to the folder `directory`. CLI_NOT_FOUND: the guest has no such thing.
 */
int transfer_out(struct job *job, const char *directory, const char *from, const char *to,
                 struct failure *fail);

#endif
