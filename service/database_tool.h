/*
 * droverd --database ACTION: looking after the database file without serving it. Main thread only.
 */
#ifndef DROVER_SERVICE_DATABASE_TOOL_H
#define DROVER_SERVICE_DATABASE_TOOL_H

#include "service/conf/settings.h"

/* check, backup or restore; source: the copy to restore, or NULL for the newest good one. Returns an
 * exit status: 0, 1 when something is wrong (and said), 2 for an unknown action. */
int database_tool(const char *action, const char *source, const struct settings *settings);

#endif
