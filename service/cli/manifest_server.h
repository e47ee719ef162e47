/* What a server has of a definition (manifest.h). Main thread only. */
#ifndef DROVER_CLI_MANIFEST_SERVER_H
#define DROVER_CLI_MANIFEST_SERVER_H

#include "service/base/cleanup.h"
#include "service/cli/command.h"
#include "service/cli/manifest.h"

/* What a definition of the server's object is called; borrowed from it. */
const char *definition_name(const struct kind *kind, const json_t *object);
/* What a pool or set makes, a lease ends, no file can bring, or every server has. */
bool definition_is_nobodys(const struct kind *kind, const json_t *object);

/* The text of the object's hidden member; *ret stays NULL when there is none, else the caller's. */
int definition_secret(struct cli *cli, const char *path, const json_t *object, char **ret,
                      struct failure *fail);
struct found {
    json_t *have;    /* the spec; NULL: the server has none */
    char *etag;      /* or NULL */
    char *path;      /* of the object, also of one that is to be made with PUT */
    char *name_label; /* of a kind without names, what its label `name` says; or NULL */
    char *id, *state; /* or NULL */
};
void found_done(struct found *f);
#define auto_found auto_scope(found_done)

/*
 * What the server has of this definition. whole: with what is hidden, too, because it will be sent
 * back.
 */
int definition_get(struct cli *cli, const struct definition *d, bool whole, struct found *ret,
                   struct failure *fail);

#endif
