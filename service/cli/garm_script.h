/* What makes a VM a GitHub Actions runner for one job. Main thread only. */
#ifndef DROVER_CLI_GARM_SCRIPT_H
#define DROVER_CLI_GARM_SCRIPT_H

#include "service/cli/failure.h"
#include "service/cli/value.h"

/*
 * A shell script from GARM's bootstrap document, for cloud-init's user data or for an agent. folder:
 * where the runner is in the image, or is unpacked to. NULL and *fail when the document lacks
 * something. Caller frees; it holds the instance's token.
 */
char *garm_script(const json_t *bootstrap, const char *folder, const char *user, struct failure *fail);

#endif
