/* Help, completion and the machine-readable dump, all printed from the command tables. */
#ifndef DROVER_CLI_HELP_H
#define DROVER_CLI_HELP_H

#include <stdio.h>

#include "service/cli/command.h"

void help_overview(FILE *out);
void help_version(FILE *out);
/* The commands of a family such as "vm" or "ci gitlab"; of "", all. */
void help_family(const char *family, FILE *out);
void help_command(const struct command *c, FILE *out);

#endif
