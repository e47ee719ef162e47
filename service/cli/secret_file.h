/* A secret from a file or standard input: where it goes neither into ps nor into a shell's history. */
#ifndef DROVER_CLI_SECRET_FILE_H
#define DROVER_CLI_SECRET_FILE_H

#include "service/cli/failure.h"

/* The first line of the file, "-" being standard input; on a terminal it is typed unseen. The caller frees it. */
int secret_file_read(const char *path, char **ret, struct failure *fail);

#endif
