/* Definitions from the files that a command names with --file. Main thread only. */
#ifndef DROVER_CLI_MANIFEST_FILE_H
#define DROVER_CLI_MANIFEST_FILE_H

#include <stddef.h>

#include "service/base/cleanup.h"
#include "service/cli/command.h"
#include "service/cli/manifest.h"

struct files {
    json_t *documents;
    struct definition *definition; /* borrow from documents; in the order in which they need one another */
    size_t count;
};

/* All files are read and understood before anything is asked of a server. On failure, too: files_done. */
int files_read(const struct args *args, struct files *ret, struct failure *fail);
void files_done(struct files *f);
#define auto_files auto_scope(files_done)

#endif
