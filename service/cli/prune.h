/*
 * `apply --prune`: what carries a label and is defined in none of the files. Only kinds that have labels
 * (VMs, sets and webhooks), and only what people made: what a pool, a lease or a set made is theirs.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_PRUNE_H
#define DROVER_CLI_PRUNE_H

#include "service/cli/command.h"
#include "service/cli/manifest.h"
#include "service/cli/manifest_file.h"

struct doomed {
    const struct kind *kind;
    char *name, *path, *etag, *state; /* etag, state: or NULL */
};

struct prune {
    struct doomed *doomed;
    size_t count;
};
void prune_done(struct prune *p);
#define auto_prune auto_scope(prune_done)

/*
 * label: "KEY=VALUE", or NULL, which finds nothing. Refuses files with a definition that could carry the
 * label and does not: it would be lost from sight.
 */
int prune_find(struct cli *cli, const struct files *files, const char *label, struct prune *ret,
               struct failure *fail);

/* Says what would go, and asks the terminal whether it may; CLI_USAGE where nobody can be asked. */
int prune_ask(const struct prune *p, const char *label, struct failure *fail);

/* Deletes one and waits until it is gone; a definition that changed since prune_find stays (CLI_CONFLICT). */
int prune_one(struct cli *cli, const struct doomed *d, struct failure *fail);

#endif
