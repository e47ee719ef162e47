/* The commands that CI systems call, not people. Main thread only. */
#ifndef DROVER_CLI_CMD_CI_H
#define DROVER_CLI_CMD_CI_H

#include "service/cli/command.h"

extern const struct option_row gitlab_options[];
int gitlab_config(struct cli *cli, const struct args *args, struct failure *fail);
int gitlab_prepare(struct cli *cli, const struct args *args, struct failure *fail);
int gitlab_run(struct cli *cli, const struct args *args, struct failure *fail);
int gitlab_cleanup(struct cli *cli, const struct args *args, struct failure *fail);

int garm_run(struct cli *cli, const struct args *args, struct failure *fail);

#endif
