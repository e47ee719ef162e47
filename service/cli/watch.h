/*
 * --watch: a list or a thing shown again whenever something about it changed. The event stream says
 * when; between two events nothing is asked.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_WATCH_H
#define DROVER_CLI_WATCH_H

#include <stdbool.h>

#include "service/cli/command.h"

/* The event types (their beginnings, separated by spaces) that change what a command shows, or NULL. Pure. */
const char *watch_events(const char *words);
/* Whether an event of this type is one of those. Pure. */
bool watch_matches(const char *events, const char *type);

/*
 * Runs the command again and again; ends with its failure, or when the output cannot be written. On a
 * terminal the screen is cleared before; elsewhere only what differs from the last time is printed.
 */
int watch_run(struct cli *cli, const struct args *args, struct failure *fail);

#endif
