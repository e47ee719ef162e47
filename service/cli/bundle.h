/*
 * Folders as tar archives, and back. The only place that speaks libarchive. What is unpacked came
 * from a guest and is not believed: nothing lands outside of the folder it is meant for, nothing but
 * files, folders and links comes into being, and not more than a given size.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_BUNDLE_H
#define DROVER_CLI_BUNDLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "service/cli/failure.h"

struct bundle_visit {
    /* path: relative to the folder, never "" or with a "/" at its end. -1 ends the walk. */
    int (*file)(void *opaque, const char *path, const char *whole, unsigned mode, struct failure *fail);
    int (*folder)(void *opaque, const char *path, unsigned mode, struct failure *fail);
    int (*link)(void *opaque, const char *path, const char *target, struct failure *fail);
    void *opaque;
};

/* Calls visit for all below folder, a folder before what is in it; what is neither is passed over. */
int bundle_walk(const char *folder, const struct bundle_visit *visit, struct failure *fail);

/* All below folder into out, which is rewound; owners and times of access are left out. */
int bundle_pack(const char *folder, bool gzip, FILE *out, struct failure *fail);
/*
 * A tar archive, compressed with gzip or not, into folder, which must exist. Permissions are cut to
 * 0777, owner is who runs this. Above max_bytes of content it fails; what is there stays.
 */
int bundle_unpack(FILE *in, const char *folder, uint64_t max_bytes, struct failure *fail);

/* Whether a name that a guest chose stays below the folder it is put into. */
bool bundle_name_is_safe(const char *path);

#endif
