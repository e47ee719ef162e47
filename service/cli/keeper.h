/*
 * A lease renewed in the background for as long as this program lives: whoever kills it, the lease
 * ends a moment later by itself.
 *
 * Main thread only; the renewing is done by a thread with a connection of its own.
 */
#ifndef DROVER_CLI_KEEPER_H
#define DROVER_CLI_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/cli/client.h"

struct keeper;

/* Renews it for ttl_s seconds, three times in that time. Talks to the server that `like` talks to. */
int keeper_start(const struct client *like, const char *lease, int64_t ttl_s, struct keeper **ret,
                 struct failure *fail);
/* True when the server says that the lease has ended; *fail says why. */
bool keeper_lost(struct keeper *k, struct failure *fail);
/* Stops and frees; the lease stays as it was last renewed. NULL is fine. */
void keeper_stop(struct keeper *k);

#endif
