/* Entries of a catalogue that are images of this server. */
#ifndef DROVER_CLI_CMD_CATALOGUE_H
#define DROVER_CLI_CMD_CATALOGUE_H

#include "service/cli/command.h"

/* Fills in what is said of the image that entry names, and where its files lie; *ret_image is the caller's. */
int catalogue_fill(struct cli *cli, json_t *entry, json_t **ret_image, struct failure *fail);
/* Are the files that were measured the image's? */
int catalogue_check(const json_t *image, const json_t *entry, struct failure *fail);

#endif
