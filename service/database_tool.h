/*
 * droverd --database ACTION: looking after the database file without serving it. Main thread only.
 */
#ifndef DROVER_SERVICE_DATABASE_TOOL_H
#define DROVER_SERVICE_DATABASE_TOOL_H

#include "service/options.h"

/*
 * options->database says what: check, backup, restore or rebuild. Returns an exit status: 0, 1 when
 * something is wrong (and said), 2 for an unknown action.
 */
int database_tool(const struct options *options);

#endif
