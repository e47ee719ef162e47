/*
 * The database's copies: made and checked by a thread of their own, as often as the setting says.
 */
#ifndef DROVER_VM_BACKUPS_H
#define DROVER_VM_BACKUPS_H

#include <stdint.h>

#include "service/base/error.h"

struct backups;
struct core;

int backups_start(struct core *core, struct backups **ret, struct error *err);
void backups_stop(struct backups *b); /* NULL is fine; waits for a copy that is being made */

struct backups_figures {
    int64_t newest_at; /* wall clock, ms; 0: there is none */
    uint64_t failures; /* since the daemon started */
};
/* From memory; any thread. b may be NULL. */
void backups_read(struct backups *b, struct backups_figures *ret);

#endif
