/* What a server has of a definition (manifest.h). Main thread only. */
#ifndef DROVER_CLI_MANIFEST_SERVER_H
#define DROVER_CLI_MANIFEST_SERVER_H

#include "service/cli/command.h"
#include "service/cli/manifest.h"

/* The text of the object's hidden member; *ret stays NULL when there is none, else the caller's. */
int definition_secret(struct cli *cli, const char *path, const json_t *object, char **ret,
                      struct failure *fail);
/*
 * The spec that the server has of this definition, and its etag, both the caller's; *ret_have stays
 * NULL when it has none. whole: with what is hidden, too, because it will be sent back.
 */
int definition_get(struct cli *cli, const struct definition *d, bool whole, json_t **ret_have,
                   char **ret_etag, struct failure *fail);

#endif
